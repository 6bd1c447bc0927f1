"""Labels, pseudo-labels and a teacher → a student: which strategy, from what, into which folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import nn

from napari_medaka_kd.job import Job
from napari_medaka_kd.settings import DistilSettings

from .lesson import Lesson
from .stage import Run
from .strategies.mean_teacher import mean_teacher
from .strategies.mutual import mutual
from .strategies.reconstruction import reconstruction
from .strategies.self_training import self_training
from .strategies.shape_intensity import shape_intensity

Strategy: TypeAlias = Callable[[DistilSettings, Lesson, Run], Job[nn.Module]]

STRATEGIES: dict[str, Strategy] = {
    "self_training": self_training,
    "shape_intensity": shape_intensity,
    "mean_teacher": mean_teacher,
    "mutual": mutual,
    "reconstruction": reconstruction,
}


def distil(settings: DistilSettings, lesson: Lesson, run: Run) -> Job[nn.Module]:
    """Play the strategy that ``settings`` names; the student, trained and in evaluation mode."""
    student = yield from STRATEGIES[settings.strategy.name](settings, lesson, run)
    return student.eval()
