"""Mean teacher for things that overlap (MMT-PSM, arXiv 2007.10787): a sample is a proposal.

As :mod:`.strategies.mean_teacher`, with the paper's kind of sample. Ours: a proposal is a peak of the teacher's mean
score of centres; positives are those above a threshold; what is distilled at a proposal is whether it is a centre,
and inside the teacher's masks, joined, the features.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_medaka_kd.networks.instances import InstanceNetwork, peaks

from .ema import follow
from .fit import fit
from .guidance import Adapter, distance, ramp
from .instance_batches import InstanceBatch, InstanceDiet
from .instance_loss import focal, heat, mask_loss, near_centres, things_of
from .losses import IGNORE
from .mining import Opinion, mined, opinion, sample_weights
from .stage import Batch, Learner, Run, Stage
from .views import Views

if TYPE_CHECKING:
    from napari_medaka_kd.job import Job
    from napari_medaka_kd.settings import MeanTeacherSettings

_AT_A_TIME = 16  # masks
_POSITIVE = 0.3  # score from which a peak is a centre, as where things are looked for


class InstancePupil(nn.Module):
    """An instance network and the adapter of its features; only the network is kept."""

    def __init__(self, student: InstanceNetwork) -> None:
        super().__init__()
        self.student = student
        self.adapter = Adapter(student.backbone.width)


@dataclass(frozen=True)
class InstanceLoss:
    """``focal + (Dice + BCE of masks) + w(t)·(λ_p·PSM + λ_f·MGD)``, see the head of the file."""

    pupil: InstancePupil
    teacher: InstanceNetwork
    settings: MeanTeacherSettings
    views: Views
    steps: int

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        assert isinstance(batch, InstanceBatch)
        logits, features = self.pupil.student(batch.image)
        terms = self._supervised(logits, features, batch)
        say = self.settings.weight * ramp(batch.step / self.steps, self.settings.rise, self.settings.fall)
        if self.settings.weight and (self.settings.mining_weight or self.settings.feature_weight):
            guided = self._guided(logits[batch.labelled :], features[batch.labelled :], batch.rest())
            terms |= {name: say * term for name, term in guided.items()}
        return terms

    def asked(self, batch: Batch) -> Opinion:
        """What the teacher says over the views of ``batch``; its logits are those of (no centre, centre)."""
        self.teacher.eval()
        with torch.no_grad():
            return opinion(
                (view.undone(two_sided(logits)), view.undone(features))
                for view in self.views.of(batch.clean, batch.number)
                for logits, features in (self.teacher(view.image),)
            )

    def _guided(self, logits: Tensor, features: Tensor, batch: Batch) -> dict[str, Tensor]:
        said, known = self.asked(batch), batch.target != IGNORE
        score = said.logits.softmax(dim=1)[:, 1]
        proposed = peaks(score, self.teacher.backbone.dimensions == 2) & known
        positive = proposed & (score > _POSITIVE)
        terms = {}
        if self.settings.mining_weight:
            learned = self._mined(two_sided(logits), said, (positive, proposed), batch)
            terms["mining"] = self.settings.mining_weight * learned
        if self.settings.feature_weight:
            inside = (self.covered(said, positive) & known) if self.settings.masked else known
            apart = distance(self.pupil.adapter(features), said.features, inside)
            terms["features"] = self.settings.feature_weight * apart
        return terms

    @torch.no_grad()
    def covered(self, said: Opinion, positive: Tensor) -> Tensor:
        """(B, Z, Y, X) bool: the masks of the teacher's centres, joined."""
        union = torch.zeros_like(positive)
        size = positive.shape[1:]
        for row, found in enumerate(each.nonzero() for each in positive):
            for places in found.split(_AT_A_TIME):
                corner = torch.zeros_like(places)
                masks = self.teacher.masks(said.features[row], places, corner, (size[0], size[1], size[2]))
                union[row] |= (masks > 0).any(dim=0)
        return union

    def _supervised(self, logits: Tensor, features: Tensor, batch: InstanceBatch) -> dict[str, Tensor]:
        given = slice(0, batch.labelled)
        generator = torch.Generator().manual_seed(self.views.seed * 1_000_003 + batch.number)
        things = [things_of(layers) for layers in batch.layers[given]]
        wanted = torch.stack([heat(each) for each in things])
        masks = torch.stack([
            mask_loss(self.pupil.student, mine, each, near_centres(each, generator))
            for mine, each in zip(features[given], things, strict=True)
        ])  # fmt: skip
        count = max(1, sum(len(each.masks) for each in things))
        known = batch.target[given] != IGNORE
        return {"centres": focal(logits[given, 0], wanted, known), "masks": masks.sum() / count}

    def _mined(self, logits: Tensor, said: Opinion, samples: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
        positive, proposed = samples
        seed = (self.views.seed, batch.number)
        weight = sample_weights(positive, proposed, said.sensitivity[:, 0], self.settings.mining, seed)
        return mined(logits, said, self.settings.temperature, weight)


def teach_instances(
    student: InstanceNetwork, diet: InstanceDiet, strategy: MeanTeacherSettings, run: Run
) -> Job[InstanceNetwork]:
    """Train ``student`` on the instances of ``diet`` and, where ``strategy`` gives it weight, on its own average."""
    teacher = copy.deepcopy(student).requires_grad_(requires_grad=False)
    pupil = InstancePupil(student)
    views = Views(diet.augment, strategy.views, run.seed)
    losses = InstanceLoss(pupil, teacher, strategy, views, run.settings.steps)
    stage = Stage(
        "student",
        (Learner("student", pupil, losses),),
        diet.batches(),
        run.settings.steps,
        followers={"mean teacher": teacher},
        after_step=lambda done: follow(teacher, student, done, strategy.memory),
    )
    yield from fit(stage, run)
    return student


def two_sided(logits: Tensor) -> Tensor:
    """Logits of one class (B, 1, …) as those of two, (B, 2, …), whose softmax is its sigmoid."""
    return torch.cat((torch.zeros_like(logits), logits), dim=1)
