"""Correcting: the crop that is being painted, if any. Evented; knows neither Qt nor napari."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_medaka_kd.workflow.correct import (
    Correction,
    abandon_correction,
    begin_correction,
    commit_correction,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medaka_kd.job import Job
    from napari_medaka_kd.project import Project
    from napari_medaka_kd.review import ReviewItem, Verdict


class Correcting:
    """One correction at a time; every stroke is on the disk before the next one.

    Attributes
    ----------
    now
        The correction under way.
    committing
        Whether it is being written just now.
    """

    changed = Signal(object)  # Correction | None
    stroke_made = Signal()  # recorded, undone or redone

    def __init__(self) -> None:
        self.now: Correction | None = None
        self.committing = False

    def begin(self, project: Project, item: ReviewItem, checkpoint: str, reviewer: str) -> None:
        """Open ``item`` for painting, with the strokes of an earlier, unfinished correction of it.

        Raises
        ------
        UserError
            If its crop is too large, or the disk takes no journal.
        """
        if self.now is None:
            self.now = begin_correction(project, item, checkpoint, reviewer)
            self.changed.emit(self.now)

    def record(self, painted: Any) -> None:
        """Keep a stroke: ``painted`` is the crop after it, (z, y, x) organ ids."""
        if self.now is not None and self.now.record(painted):
            self.stroke_made.emit()

    def interpolate(self) -> None:
        """Fill the item's organ in between the slices that were edited."""
        if self.now is not None and self.now.interpolate(self.now.item.organ):
            self.stroke_made.emit()

    def undo(self) -> None:
        """Take the last stroke back."""
        if self.now is not None and self.now.undo():
            self.stroke_made.emit()

    def redo(self) -> None:
        """Bring back the stroke that was taken back last."""
        if self.now is not None and self.now.redo():
            self.stroke_made.emit()

    def commit(
        self, project: Project, seconds: float, why: Callable[[ReviewItem], str]
    ) -> Job[tuple[Verdict, ...]] | None:
        """The job that writes the correction and says ``corrected``; ``None`` where there is nothing to write."""
        if self.now is None or self.committing:
            return None
        self.committing = True
        return commit_correction(project, self.now, seconds, why(self.now.item))

    def abandon(self) -> None:
        """Throw the strokes away."""
        if self.now is not None and not self.committing:
            abandon_correction(self.now)
            self.leave()

    def leave(self) -> None:
        """Let go of the crop; what is not committed waits on the disk."""
        if self.now is not None:
            self.now.close()
            self.now, self.committing = None, False
            self.changed.emit(None)
