"""One labelled atlas, warped onto scans without labels, and a teacher that reconstructs them (arXiv 2408.03616).

Known from the paper: a registration network warps the one labelled atlas onto each unlabelled image y, which gives a
synthetic pair (ŷ, l̂); the student segments ŷ while the teacher reconstructs the real y;
``CE(S(ŷ), l̂) + λ_r·MSE(T(y), y) + λ_h·Σ(1 − cos(F_T, F_S))`` over the last two levels of the decoder, the features of
each flattened to one vector, the teacher's detached; λ_r = λ_h = 1; the student alone is kept. The published code
detaches both features, so that its hint teaches nobody; ours has a gradient in the student and none in the teacher.
Ours: the affine alignment, the atlas itself as a pair, Dice beside the cross-entropy, the bent view of the student;
and, as a choice, the warped labels on the real scan in place of the warped atlas.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_medaka_kd.networks.build import in_channels
from napari_medaka_kd.networks.unet import UNet
from napari_medaka_kd.settings import ReconstructionSettings

from ..atlas.register import choose_atlas, register
from ..atlas.synthetic import deformed, on_the_scan, warped_onto
from ..batches import class_balance
from ..fit import fit
from ..losses import dice_ce
from ..stage import Batch, Learner, Run, Stage

if TYPE_CHECKING:
    from napari_medaka_kd.job import Job
    from napari_medaka_kd.settings import DistilSettings

    from ..batches import Source
    from ..lesson import Lesson

_LEVELS = 2  # of the decoder, the finest ones, whose features are compared
_DEFORMED = 24  # random deformations to draw from, where the atlas is not registered


@dataclass(frozen=True)
class ReconstructionLoss:
    """``CE + Dice (S(ŷ), l̂) + λ_r·MSE(T(y), y) + λ_h·Σ(1 − cos(sg[F_T(y)], F_S(ŷ)))``; of labels alone without T."""

    student: UNet
    teacher: UNet | None
    balance: Tensor
    settings: ReconstructionSettings

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        logits, ours = self.student.with_levels(batch.image)
        terms = dice_ce(logits, batch.target, batch.weight, self.balance)
        if self.teacher is not None:
            real = batch.mixed(batch.clean if batch.twin is None else batch.twin)
            image, theirs = self.teacher.with_levels(real)
            error = functional.mse_loss(image.float(), real[:, :1])
            terms["reconstruction"] = self.settings.reconstruction_weight * error
            terms["hint"] = self.settings.hint_weight * hint(theirs[:_LEVELS], ours[:_LEVELS])
        return terms


def reconstruction(settings: DistilSettings, lesson: Lesson, run: Run) -> Job[nn.Module]:
    """First the atlas is laid onto every scan, then the student learns from what that makes of its labels."""
    strategy, student = settings.strategy, lesson.student
    assert isinstance(strategy, ReconstructionSettings)
    assert isinstance(student, UNet)
    made = (yield from _synthetic(lesson, strategy, run)) if strategy.synthetic else ()
    diet = replace(lesson, unlabelled=made).diet(settings, strategy.synthetic, 0)
    classes = lesson.labelled[0].labels.schema.classes
    balance = class_balance(lesson.labelled, classes, settings.patches.class_balance)
    teacher = reconstructor(lesson, run.seed) if strategy.hint_weight else None
    losses = ReconstructionLoss(student, teacher, balance, strategy)
    both = student if teacher is None else nn.ModuleDict({"student": student, "teacher": teacher})
    validate = lesson.validate(run.folder / "student")
    learner = Learner("student", both, losses)
    yield from fit(Stage("student", (learner,), diet.batches(), settings.fit.steps, validate=validate), run)
    return student


def reconstructor(lesson: Lesson, seed: int) -> UNet:
    """The student's layers with one channel of output; weights drawn from ``seed``."""
    looks = lesson.looks
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        return UNet(looks.dimensions, in_channels(looks), 1, looks.widths)


def hint(teacher: tuple[Tensor, ...], student: tuple[Tensor, ...]) -> Tensor:
    """Σ over levels of the rows' mean of 1 − cos(F_T, F_S), each (B, C, Z, Y, X) flattened; none flows into F_T."""
    pairs = [(t.detach().float().flatten(1), s.float().flatten(1)) for t, s in zip(teacher, student, strict=True)]
    return torch.stack([(1 - functional.cosine_similarity(t, s)).mean() for t, s in pairs]).sum()


def _synthetic(lesson: Lesson, strategy: ReconstructionSettings, run: Run) -> Job[tuple[Source, ...]]:
    """The atlas warped onto each animal without labels; or deformed at random."""
    source = choose_atlas(lesson.labelled, strategy.atlas)
    registered = lesson.unlabelled if strategy.warps == "registered" else ()
    atlas, placements = yield from register(source, registered, strategy, run)
    if strategy.warps == "random":
        return deformed(atlas, _DEFORMED, run.seed)
    made = tuple(warped_onto(atlas, *pair) for pair in zip(lesson.unlabelled, placements, strict=True))
    return tuple(map(on_the_scan, made)) if strategy.seen == "scan" else made
