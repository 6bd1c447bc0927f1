"""Self-training with a quality classifier and pixel-wise distillation (arXiv 2302.12562).

Known from the paper: pseudo-labels refined by a quality classifier, and a pixel-wise distillation term that keeps the
student from over-fitting to them. Ours: the weights, the temperature, the ramp, CutMix on the student's view, the rim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_medaka_kd.settings import SelfTrainingSettings

from ..batches import class_balance
from ..fit import fit
from ..losses import dice_ce, distillation, soften
from ..stage import Batch, Learner, Run, Stage

if TYPE_CHECKING:
    from napari_medaka_kd.job import Job
    from napari_medaka_kd.settings import DistilSettings

    from ..lesson import Lesson


@dataclass(frozen=True)
class SelfTrainingLoss:
    """``DiceCE(labelled) + r·λ_pl·DiceCE_w(pseudo) + r·λ_kd·T²·mean_w KL(p_teacher^T ‖ p_student^T)``.

    The ramp r rises over the first steps. The teacher sees each patch as it was scanned, the student a bent and
    cut-mixed view of it; the teacher's answer is cut and pasted alike.

    Where the teacher's soft labels were kept, it is not asked again: its answer is bent as the labels are. The teacher
    that is asked sees the patch turned, scaled and mirrored, though with the intensities as scanned, and with no more
    around it than the patch holds; the one whose answer was kept saw the whole scan upright. Without turning, scaling
    and mirroring, and away from the patch's faces, the two agree to KL(T = 2) ≤ 3e-3 nat.
    """

    student: nn.Module
    teacher: nn.Module | None
    balance: Tensor  # (classes,)
    settings: SelfTrainingSettings
    steps: int

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        given = slice(0, batch.labelled)
        guessed = slice(batch.labelled, None)
        logits = self.student(batch.image)
        terms = {"labels": self._dice_ce(logits, batch, given)}
        if len(batch.image) > batch.labelled:
            ramp = min(1.0, (batch.step + 1) / max(1.0, self.settings.ramp * self.steps))
            terms["pseudo-labels"] = ramp * self.settings.pseudo_weight * self._dice_ce(logits, batch, guessed)
            if self.settings.distil_weight:
                soft = self._soft_answers(batch)[guessed]
                divergence = distillation(logits[guessed], soft, self.settings.temperature, batch.weight[guessed])
                terms["distillation"] = ramp * self.settings.distil_weight * divergence
        return terms

    def _dice_ce(self, logits: Tensor, batch: Batch, rows: slice) -> Tensor:
        terms = dice_ce(logits[rows], batch.target[rows], batch.weight[rows], self.balance)
        return torch.stack(list(terms.values())).sum()

    def _soft_answers(self, batch: Batch) -> Tensor:
        """The teacher's probabilities at T on the clean rows, cut and pasted as the student's view was."""
        rows = range(batch.labelled, len(batch.clean))
        asked = self._asked(batch, [row for row in rows if row not in batch.soft])
        logits = torch.stack([batch.soft[row] if row in batch.soft else asked[row] for row in rows])
        soft = soften(logits, self.settings.temperature)
        unseen = soft.new_zeros((batch.labelled, *soft.shape[1:]))  # labelled rows: donors stay among themselves
        return batch.mixed(torch.cat((unseen, soft)))

    def _asked(self, batch: Batch, rows: list[int]) -> dict[int, Tensor]:
        """The teacher's logits, by row."""
        if not rows:
            return {}
        assert self.teacher is not None
        self.teacher.eval()
        with torch.no_grad():
            return dict(zip(rows, self.teacher(batch.clean[rows]).float(), strict=True))


def self_training(settings: DistilSettings, lesson: Lesson, run: Run) -> Job[nn.Module]:
    """One round: the student learns from labels, trusted pseudo-labels and the teacher's soft answers."""
    strategy = settings.strategy
    assert isinstance(strategy, SelfTrainingSettings)
    diet = lesson.diet(settings, strategy.unlabelled, strategy.rim)
    classes = lesson.labelled[0].labels.schema.classes
    balance = class_balance(lesson.labelled, classes, settings.patches.class_balance)
    losses = SelfTrainingLoss(lesson.student, lesson.teacher, balance, strategy, settings.fit.steps)
    learner = Learner("student", lesson.student, losses)
    stage = Stage(
        "student",
        (learner,),
        diet.batches(),
        settings.fit.steps,
        followers={"teacher": lesson.teacher} if lesson.teacher is not None else {},
        validate=lesson.validate(run.folder / "student"),
    )
    yield from fit(stage, run)
    return lesson.student
