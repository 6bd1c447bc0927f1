"""Lesson: what every strategy is given to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .batches import Diet, Source

if TYPE_CHECKING:
    from torch import nn

    from napari_medaka_kd.settings import DistilSettings, NetworkSettings


@dataclass(frozen=True)
class Lesson:
    """What a strategy is given to learn from.

    Attributes
    ----------
    labelled, unlabelled
        Animals with a person's labels; animals with the teacher's, and how far each is trusted.
    student, teacher
        The network to train, perhaps warm; the one to ask.
    looks
        What the student looks like.
    """

    labelled: tuple[Source, ...]
    unlabelled: tuple[Source, ...]
    student: nn.Module
    teacher: nn.Module
    looks: NetworkSettings

    def diet(self, settings: DistilSettings, unlabelled_rows: int, rim: int) -> Diet:
        """The batches that ``settings`` asks for."""
        return Diet(
            self.labelled,
            self.unlabelled,
            unlabelled_rows,
            settings.patches,
            settings.augment,
            self.looks,
            settings.seed,
            rim,
        )
