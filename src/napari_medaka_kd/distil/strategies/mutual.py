"""Mutual distillation between two modalities (arXiv 2010.01532): scans of the one are made to look like the other's.

Known from the paper: an image alignment module like CycleGAN's makes assistant scans look like target scans; of two
segmentors one learns from these translations and one from target scans, by Dice and cross-entropy, and each from the
other's probabilities; all is trained together, so that the segmentation reaches the translation; their mean is asked.
Ours: least squares as the adversarial loss, one network as the student unless both are wanted, the ramp, the direction
of the divergences and how far each is heard, small translators that begin near a line, unlabelled target scans to align
and to distil with.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.networks.align import Pairing, judges, line_between, translators
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.unet import Ensemble
from napari_medaka_kd.settings import MutualSettings

from ..batches import class_balance, side_by_side
from ..fit import fit
from ..losses import IGNORE, dice_ce, distillation, soft_dice
from ..modalities import roles
from ..stage import Batch, Batches, Learner, Run, Stage
from ..views import Views

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medaka_kd.job import Job
    from napari_medaka_kd.settings import DistilSettings

    from ..batches import Source
    from ..lesson import Lesson

ASSISTANT = "assistant"  # the batch beside that of the target modality
_LOOKED_AT = 16  # batches, before the first step
_BORN = 7919  # the first of the seeds from which the networks beside the student are drawn


@dataclass(frozen=True)
class Mutual:
    """Five networks that learn from one another, and what each of them learns.

    t: target scans; a: assistant scans; G: assistant → target, F: the way back; D_T, D_A judge scans of the target and
    of the assistant modality; x̃ = G(a), a itself without alignment. The ramp r rises over the first steps. What a
    segmentor is told by the other has no gradient in the other, and counts as far as the other is right on labels (h).

    Attributes
    ----------
    balances
        Of the classes, (classes,) each, among the target's labels and among the assistant's.
    views
        How the intensities of translations are bent, as those of every scan that is learned from.
    """

    real: nn.Module
    synthetic: nn.Module
    translators: Pairing
    judges: Pairing
    balances: tuple[Tensor, Tensor]
    views: Views
    settings: MutualSettings
    steps: int

    def translation(self, batch: Batch) -> dict[str, Tensor]:
        """``(D_T(G(a)) − 1)² + (D_A(F(t)) − 1)² + λ_c·(|F(G(a)) − a| + |G(F(t)) − t|) + λ_f·(what S_syn learns)``."""
        target, assistant = batch.clean, batch.beside[ASSISTANT].clean
        to_target, to_assistant = self.translators.target, self.translators.assistant
        as_target, as_assistant = to_target(assistant), to_assistant(target)
        with _frozen(self.judges):
            fooled = _away(self.judges.target(as_target), 1) + _away(self.judges.assistant(as_assistant), 1)
        terms = {"adversarial": fooled}
        if self.settings.cycle_weight:
            back = _distance(to_assistant(as_target), assistant) + _distance(to_target(as_assistant), target)
            terms["cycle"] = self.settings.cycle_weight * back
        if self.settings.feedback:
            with _frozen(self.synthetic):
                said = self._of_synthetic(batch, batch.beside[ASSISTANT].mixed(as_target))
            terms["feedback"] = self.settings.feedback * torch.stack(list(said.values())).sum()
        return terms

    def judgement(self, batch: Batch) -> dict[str, Tensor]:
        """``½·((D_T(t) − 1)² + D_T(G(a))²)``, and the same of the assistant modality."""
        target, assistant = batch.clean, batch.beside[ASSISTANT].clean
        with torch.no_grad():
            as_target, as_assistant = self.translators.target(assistant), self.translators.assistant(target)
        of_target, of_assistant = self.judges.target, self.judges.assistant
        return {
            "target": (_away(of_target(target), 1) + _away(of_target(as_target), 0)) / 2,
            ASSISTANT: (_away(of_assistant(assistant), 1) + _away(of_assistant(as_assistant), 0)) / 2,
        }

    def on_translations(self, batch: Batch) -> dict[str, Tensor]:
        """``DiceCE(S_syn(x̃), y_a) + r·λ_rs·h(S_real, x̃)·KL(S_real(x̃) ‖ S_syn(x̃))``."""
        return self._of_synthetic(batch, self.translated(batch))

    def on_target(self, batch: Batch) -> dict[str, Tensor]:
        """``DiceCE(S_real(t), y_t) + r·λ_sr·h(S_syn, t)·KL(S_syn(t) ‖ S_real(t))``, the last on unlabelled scans, too.

        The synthetic segmentor is shown t with the intensities as scanned.
        """
        given = slice(0, batch.labelled)
        logits = self.real(batch.image if self.settings.to_real else batch.image[given])
        terms = dice_ce(logits[given], batch.target[given], batch.weight[given], self.balances[0])
        if self.settings.to_real:
            soft = batch.mixed(_asked(self.synthetic, batch.clean))
            told = distillation(logits, soft, 1.0, (batch.target != IGNORE).float())
            heard = _heard(soft[given], batch.target[given], batch.weight[given])
            terms["distillation"] = self._ramp(batch) * self.settings.to_real * heard * told
        return terms

    def translated(self, batch: Batch) -> Tensor:
        """The assistant's labelled rows, as they look in the target modality, bent and cut-mixed."""
        assistant = batch.beside[ASSISTANT]
        if not self.settings.align:
            return assistant.image
        with torch.no_grad():
            (view,) = self.views.of(self.translators.target(assistant.clean), batch.number)
        return assistant.mixed(view.image)

    def _of_synthetic(self, batch: Batch, image: Tensor) -> dict[str, Tensor]:
        assistant = batch.beside[ASSISTANT]
        logits = self.synthetic(image)
        terms = dice_ce(logits, assistant.target, assistant.weight, self.balances[1])
        if self.settings.to_synthetic:
            soft = _asked(self.real, image)
            told = distillation(logits, soft, 1.0, assistant.weight)
            heard = _heard(soft, assistant.target, assistant.weight)
            terms["distillation"] = self._ramp(batch) * self.settings.to_synthetic * heard * told
        return terms

    def _ramp(self, batch: Batch) -> float:
        return min(1.0, (batch.step + 1) / max(1.0, self.settings.ramp * self.steps))

    def learners(self) -> tuple[Learner, ...]:
        """All five, in the order in which they take their steps on a batch."""
        pace = self.settings.alignment_pace
        aligning = (
            Learner("translators", self.translators, self.translation, pace),
            Learner("judges", self.judges, self.judgement, pace),
        )
        segmenting = (
            Learner("synthetic", self.synthetic, self.on_translations),
            Learner("student", self.real, self.on_target),
        )
        return (*aligning, *segmenting) if self.settings.align else segmenting


def mutual(settings: DistilSettings, lesson: Lesson, run: Run) -> Job[nn.Module]:
    """One stage: on each batch the translators take a step, then their judges, then both segmentors."""
    strategy = settings.strategy
    assert isinstance(strategy, MutualSettings)
    parts = roles(strategy, Counter(source.modality for source in lesson.labelled))
    target, assistant = _of(lesson, parts.target), _of(lesson, parts.assistant)
    classes = lesson.labelled[0].labels.schema.classes
    real, synthetic = _segmentors(lesson, strategy, classes, settings.seed)
    exponent, dimensions = settings.patches.class_balance, lesson.looks.dimensions
    learning = Mutual(
        real,
        synthetic,
        translators(dimensions, strategy.width, settings.seed + _BORN + 1),
        judges(dimensions, strategy.width, settings.seed + _BORN + 2),
        (class_balance(target.labelled, classes, exponent), class_balance(assistant.labelled, classes, exponent)),
        Views(settings.augment, count=1, seed=settings.seed + _BORN),
        strategy,
        settings.fit.steps,
    )
    batches = _batches(settings, strategy, target, assistant)
    if strategy.align:
        begin(learning.translators, batches, classes)
    stage = Stage(
        "student",
        learning.learners(),
        batches,
        settings.fit.steps,
        validate=lesson.validate(run.folder / "student"),
    )
    yield from fit(stage, run)
    return lesson.student


def _batches(settings: DistilSettings, strategy: MutualSettings, target: Lesson, assistant: Lesson) -> Batches:
    """Target rows, the unlabelled ones last, and beside them the assistant's."""
    rows = strategy.assistants or settings.patches.batch
    patches = settings.patches.model_copy(update={"batch": rows})
    helping = replace(assistant.diet(settings, 0, 0), patches=patches, seed=settings.seed + _BORN)
    unlabelled = strategy.unlabelled if strategy.align or strategy.to_real else 0
    return side_by_side(target.diet(settings, unlabelled, 0), **{ASSISTANT: helping})


def begin(pairing: Pairing, batches: Batches, classes: int) -> None:
    """Let both translators begin as the line on which each organ is as bright as in the other modality, about."""
    sums = torch.zeros(2, 2, classes)  # target, assistant; brightness, voxels
    for batch in islice(batches(0), _LOOKED_AT):
        for which, each in enumerate((batch, batch.beside[ASSISTANT])):
            known = each.target[: each.labelled] != IGNORE
            seen = each.target[: each.labelled][known]
            scan = each.mixed(each.clean)[: each.labelled, 0][known]
            sums[which].index_add_(1, seen, torch.stack((scan, torch.ones_like(scan))))
    both = (sums[:, 1] > 0).all(dim=0)
    target, assistant = (sums[:, 0] / sums[:, 1].clamp_min(1))[:, both]
    if len(target) > 1:
        pairing.target.get_buffer("line").copy_(line_between(assistant, target))
        pairing.assistant.get_buffer("line").copy_(line_between(target, assistant))


def _of(lesson: Lesson, modality: str) -> Lesson:
    """What of ``lesson`` is of that modality."""

    def chosen(sources: tuple[Source, ...]) -> tuple[Source, ...]:
        return tuple(source for source in sources if source.modality == modality)

    return replace(lesson, labelled=chosen(lesson.labelled), unlabelled=chosen(lesson.unlabelled))


def _segmentors(lesson: Lesson, strategy: MutualSettings, classes: int, seed: int) -> tuple[nn.Module, nn.Module]:
    """S_real and S_syn: the two members of an ensemble, or the student and a fresh network that looks like it."""
    if lesson.looks.members != strategy.members:
        raise UserError(
            f"A student of {lesson.looks.members} members cannot be taught by 'mutual'.",
            "Set network.members=1; strategy.ensemble=true makes two of it.",
        )
    if isinstance(lesson.student, Ensemble):
        return lesson.student.members[0], lesson.student.members[1]
    return lesson.student, build(lesson.looks, classes, seed + _BORN)


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """``network`` as a fixed function: a gradient passes through it and moves neither its weights nor its norms."""
    network.eval()
    network.requires_grad_(requires_grad=False)
    try:
        yield
    finally:
        network.requires_grad_(requires_grad=True)


def _asked(network: nn.Module, image: Tensor) -> Tensor:
    """The probabilities of ``network`` as it is, without a gradient."""
    network.eval()
    with torch.no_grad():
        answer: Tensor = network(image).float().softmax(dim=1)
    return answer


def _heard(soft: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """h: how far a segmentor is heard by the other, 0 … 1; the square of its soft Dice where there are labels."""
    return (1 - soft_dice(soft.clamp_min(1e-6).log(), target, weight)).square()


def _away(judged: Tensor, wanted: int) -> Tensor:
    return (judged.float() - wanted).square().mean()


def _distance(image: Tensor, other: Tensor) -> Tensor:
    """L1 of the intensities; the coordinates are the same."""
    return (image[:, :1].float() - other[:, :1].float()).abs().mean()
