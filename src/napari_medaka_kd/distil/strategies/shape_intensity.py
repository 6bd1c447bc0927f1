"""Shape and intensity (SIKD, arXiv 2409.17503): a student whose features are those of a teacher that saw shapes alone.

Known from the paper: the teacher is the same U-Net without skip connections, trained with cross-entropy on class-mean
images, in which every voxel has the mean intensity of its class, background included; the student's loss is
``CE + 2·MSE(F_student(x), F_teacher(class-mean x))`` on the last decoder feature; no logits are distilled; the student
alone is kept. Ours: means over the whole animal rather than a slice, the coordinates beside the image where a network
is told them, Dice beside the cross-entropy as everywhere in this house.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from napari_medaka_kd.networks.build import in_channels
from napari_medaka_kd.networks.unet import UNet
from napari_medaka_kd.settings import ShapeIntensitySettings
from napari_medaka_kd.volumes.body import normalise

from ..batches import class_balance
from ..fit import fit
from ..losses import dice_ce
from ..stage import Batch, Learner, Run, Stage

if TYPE_CHECKING:
    from napari_medaka_kd.job import Job
    from napari_medaka_kd.settings import DistilSettings

    from ..batches import Source
    from ..lesson import Lesson

_OVERVIEW = 16_000_000  # voxels: means are taken on the finest level of at most so many


@dataclass(frozen=True)
class ShapeLoss:
    """What the shape teacher learns: the classes of class-mean images."""

    teacher: nn.Module
    means: Tensor
    balance: Tensor
    raw: bool

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        image = batch.image if self.raw else class_mean(batch, self.means)
        return dice_ce(self.teacher(image), batch.target, batch.weight, self.balance)


@dataclass(frozen=True)
class ShapeIntensityLoss:
    """``CE + Dice + λ·MSE(F_student(x), F_teacher(class-mean x))``, the last over voxels whose class is known."""

    student: UNet
    teacher: UNet
    means: Tensor
    balance: Tensor
    settings: ShapeIntensitySettings

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        logits, features = self.student.with_features(batch.image)
        terms = dice_ce(logits, batch.target, batch.weight, self.balance)
        if self.settings.feature_weight:
            self.teacher.eval()
            with torch.no_grad():
                wanted = self.teacher.with_features(
                    batch.image if self.settings.raw else class_mean(batch, self.means)
                )[1]
            known = (batch.weight * (batch.target >= 0))[:, None]
            distance = (known * (features.float() - wanted.float()).square()).sum()
            mean = distance / (known.sum() * features.shape[1]).clamp_min(1e-6)
            terms["features"] = self.settings.feature_weight * mean
        return terms


def shape_intensity(settings: DistilSettings, lesson: Lesson, run: Run) -> Job[nn.Module]:
    """First a teacher that sees shapes, then a student that sees scans and is drawn to its features."""
    strategy, student = settings.strategy, lesson.student
    assert isinstance(strategy, ShapeIntensitySettings)
    assert isinstance(student, UNet)
    diet = lesson.diet(settings, 0, 0)
    classes = lesson.labelled[0].labels.schema.classes
    balance = class_balance(lesson.labelled, classes, settings.patches.class_balance)
    means = torch.stack([class_means(source, classes) for source in lesson.labelled])
    teacher = shape_teacher(lesson, classes, run.seed, strategy.skips)
    shapes = Learner("shape teacher", teacher, ShapeLoss(teacher, means, balance, strategy.raw))
    steps = strategy.shape_steps or settings.fit.steps
    yield from fit(Stage("shape-teacher", (shapes,), diet.batches(), steps), run)
    teacher.requires_grad_(requires_grad=False)
    losses = ShapeIntensityLoss(student, teacher, means, balance, strategy)
    stage = Stage(
        "student",
        (Learner("student", student, losses),),
        diet.batches(),
        settings.fit.steps,
        followers={"shape teacher": teacher},
        validate=lesson.validate(run.folder / "student"),
    )
    yield from fit(stage, run)
    return student


def shape_teacher(lesson: Lesson, classes: int, seed: int, skips: bool) -> UNet:
    """The student's layers, without skip connections unless ``skips``; weights drawn from ``seed``."""
    looks = lesson.looks
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        return UNet(looks.dimensions, in_channels(looks), classes, looks.widths, skips)


def class_means(source: Source, classes: int) -> Tensor:
    """Mean intensity of each class over the whole animal, in its window, (classes,) float32; 0 of an absent one.

    On a coarser level of a large scan; a pyramid's means are means.
    """
    volume, labels = source.image, source.labels
    level = min(volume.overview(_OVERVIEW), len(labels.volume.levels) - 1)
    found = labels.schema.to_classes(labels.volume.read(level=level))
    image = normalise(volume.read(level=level), source.body.window)
    counts = np.bincount(found.ravel(), minlength=classes)
    sums = np.bincount(found.ravel(), weights=image.ravel(), minlength=classes)
    return torch.from_numpy((sums / np.maximum(counts, 1)).astype(np.float32))


def class_mean(batch: Batch, means: Tensor) -> Tensor:
    """``batch.image`` with the mean intensity of each voxel's class in place of its own, coordinates as they are.

    Parameters
    ----------
    means
        (animals, classes), see :func:`class_means`. Where a piece of another row was pasted, that animal's means.
    """
    table = means.to(batch.image.device)
    classes = batch.target.clamp_min(0)
    own = table[batch.animal[:, None, None, None], classes]
    donors = table[batch.animal[batch.donor][:, None, None, None], classes]
    shade = torch.where(batch.pasted[:, 0], donors, own)[:, None]
    return torch.cat((shade.to(batch.image.dtype), batch.image[:, 1:]), dim=1)
