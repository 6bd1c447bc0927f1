"""Mean teacher with perturbation-sensitive mining and mask-guided feature distillation (MMT-PSM, arXiv 2007.10787).

Known from the paper: the teacher is the moving average of the student, of which it keeps min(1 − 1/(t+1), 0.99) a step.
It is asked about K perturbed views; the mean of its logits, sharpened (T = 0.5), is the pseudo-target, the standard
deviation over the views, summed over the classes, the sensitivity. Learned from are all positives (weight 1) and the
N_pos/2 most sensitive negatives (1.5), by cross-entropy. Features of the student, adapted by a 1×1 convolution, are
drawn to the teacher's inside the masks that it predicts. The total is ``L_sup + w(t)·(0.2·PSM + 1.0·MGD)``, w a
Gaussian ramp up to 5 and down again.

Ours: a sample is a voxel, a positive one that the teacher calls an organ. The teacher is asked about patches without
labels alone, and negatives are mined over all of them in a step. The features are those of the last decoder level, the
teacher's averaged over its views; the adapter begins as the identity; deviations are those of probabilities; the
lengths of the ramps.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.networks.unet import UNet
from napari_medaka_kd.settings import MeanTeacherSettings

from ..batches import class_balance
from ..ema import follow
from ..fit import fit
from ..guidance import Adapter, distance, ramp
from ..losses import IGNORE, dice_ce
from ..mining import Opinion, mined, opinion, sample_weights
from ..stage import Batch, Learner, Run, Stage
from ..views import Views

if TYPE_CHECKING:
    from napari_medaka_kd.job import Job
    from napari_medaka_kd.settings import DistilSettings

    from ..lesson import Lesson


class Pupil(nn.Module):
    """A student and the 1×1 convolution through which its features are compared; only the student is kept."""

    def __init__(self, student: UNet) -> None:
        super().__init__()
        self.student = student
        self.adapter = Adapter(student.width)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, Z, Y, X) → logits (B, classes, Z, Y, X), adapted features (B, F, Z, Y, X)."""
        logits, features = self.student.with_features(image)
        return logits, self.adapter(features)


@dataclass(frozen=True)
class MeanTeacherLoss:
    """``DiceCE(labelled) + w(t)·(λ_p·PSM + λ_f·MGD)``.

    ``PSM = Σ_v w_v·CE(sharpen(softmax(mean_k z_k)), p_student) / Σ_v w_v`` over the mined voxels, see
    :func:`..mining.sample_weights`; ``MGD = mean (A·F_student − mean_k F_k)²`` over the teacher's organs and the
    features. z_k and F_k are the teacher's to view k. Voxels from outside the scan count nowhere.
    """

    pupil: Pupil
    teacher: UNet
    balance: Tensor  # (classes,)
    settings: MeanTeacherSettings
    views: Views
    steps: int

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        logits, features = self.pupil(batch.image)
        given = slice(0, batch.labelled)
        terms = dice_ce(logits[given], batch.target[given], batch.weight[given], self.balance)
        say = self.settings.weight * ramp(batch.step / self.steps, self.settings.rise, self.settings.fall)
        if self.settings.weight and (self.settings.mining_weight or self.settings.feature_weight):
            guided = self._guided(logits[batch.labelled :], features[batch.labelled :], batch.rest())
            terms |= {name: say * term for name, term in guided.items()}
        return terms

    def asked(self, batch: Batch) -> Opinion:
        """What the teacher says of the views of ``batch``, as it lies in the student's view: cut and pasted alike."""
        self.teacher.eval()
        with torch.no_grad():
            said = opinion(
                (view.undone(logits), view.undone(features))
                for view in self.views.of(batch.clean, batch.number)
                for logits, features in (self.teacher.with_features(view.image),)
            )
        return Opinion(batch.mixed(said.logits), batch.mixed(said.features), batch.mixed(said.sensitivity))

    def _guided(self, logits: Tensor, features: Tensor, batch: Batch) -> dict[str, Tensor]:
        said, known = self.asked(batch), batch.target != IGNORE
        positive = said.logits.argmax(dim=1) > 0
        terms = {}
        if self.settings.mining_weight:
            terms["mining"] = self.settings.mining_weight * self._mined(logits, said, positive, batch)
        if self.settings.feature_weight:
            inside = positive & known if self.settings.masked else known
            terms["features"] = self.settings.feature_weight * distance(features, said.features, inside)
        return terms

    def _mined(self, logits: Tensor, said: Opinion, positive: Tensor, batch: Batch) -> Tensor:
        known, shaky = batch.target != IGNORE, said.sensitivity[:, 0]
        weight = sample_weights(positive, known, shaky, self.settings.mining, (self.views.seed, batch.number))
        return mined(logits, said, self.settings.temperature, weight)


def mean_teacher(settings: DistilSettings, lesson: Lesson, run: Run) -> Job[nn.Module]:
    """One stage: a student learns from labels and from the moving average of itself."""
    strategy, student = settings.strategy, lesson.student
    assert isinstance(strategy, MeanTeacherSettings)
    if not isinstance(student, UNet):
        raise UserError(
            f"A mean teacher follows one network, not {lesson.looks.members} members.", "Set network.members=1."
        )
    classes = lesson.labelled[0].labels.schema.classes
    balance = class_balance(lesson.labelled, classes, settings.patches.class_balance)
    teacher = copy.deepcopy(student).requires_grad_(requires_grad=False)
    pupil = Pupil(student)
    views = Views(settings.augment, strategy.views, run.seed)
    losses = MeanTeacherLoss(pupil, teacher, balance, strategy, views, settings.fit.steps)
    stage = Stage(
        "student",
        (Learner("student", pupil, losses),),
        lesson.diet(settings, strategy.unlabelled, 0).batches(),
        settings.fit.steps,
        followers={"mean teacher": teacher},
        after_step=lambda done: follow(teacher, student, done, strategy.memory),
        validate=lesson.validate(run.folder / "student"),
    )
    yield from fit(stage, run)
    return student
