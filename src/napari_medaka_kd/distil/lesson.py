"""Lesson: what every strategy is given to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from .batches import Diet, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import nn

    from napari_medaka_kd.settings import DistilSettings, NetworkSettings

    from .watch import Watch


@dataclass(frozen=True)
class Lesson:
    """What a strategy is given to learn from.

    Attributes
    ----------
    labelled, unlabelled
        Animals with a person's labels; animals with the teacher's, and how far each is trusted.
    student, teacher
        The network to train, perhaps warm; the one to ask, ``None`` where all that it would say was kept.
    looks
        What the student looks like.
    watch
        The places that it is looked at while it learns.
    """

    labelled: tuple[Source, ...]
    unlabelled: tuple[Source, ...]
    student: nn.Module
    teacher: nn.Module | None
    looks: NetworkSettings
    watch: Watch | None = None

    def validate(self, folder: Path) -> Callable[[], Mapping[str, float]] | None:
        """The student's figures for :class:`Stage`, with a preview in the stage's ``folder``; ``None`` unwatched."""
        return None if self.watch is None else partial(self.watch.figures, self.student, folder)

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
