"""Where two checkpoints differ most: a list that jumps there, and can be put into the review queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from .marks import worded_organ
from .parts import button, words
from .report_view import short
from .table import Cell, Column, FigureTable

if TYPE_CHECKING:
    from napari_medaka_kd.workflow.disagree import Disagreement, Disagreements

    from .session import Session

_COLUMNS = (
    Column("organ"),
    Column("animal"),
    Column("slices"),
    Column("differ", "Voxels that only one of the two counts to the organ; the bar: which share of it they are."),
)
_TOP = 10  # of the list go into the queue where nothing is selected
_SHOWN = 200  # the list is sorted: what comes later is small


class DifferenceView(QWidget):
    """The largest disagreements of two checkpoints."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.found: Disagreements | None = None
        self._last: Disagreement | None = None
        self.state = words()
        self.table = FigureTable(_COLUMNS, most=8)
        self.pin = button("Review", self.pin_chosen, "They come first in the panel Review, even if they were judged.")
        self.flip = button("Show", self.show_other, "The same place as the other of the two labels it.")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (self.state, self.table, self.pin, self.flip):
            widget.setMinimumWidth(1)
            column.addWidget(widget)
        self.table.opened.connect(self.go_to)
        self.table.chosen_changed.connect(self._word_buttons)
        session.checkpoint_changed.connect(self._on_checkpoint)

    def show_found(self, found: Disagreements | None, changed: int = 0) -> None:
        """Show what was ``found``; ``changed``: how many animals' labels are newer."""
        same, self.found = found == self.found, found
        self.setVisible(found is not None)
        if found is None:
            return
        self.state.setText(_summary(found, changed))
        for widget in (self.table, self.pin, self.flip):
            widget.setVisible(bool(found.rows))
        if not same:  # else what is selected stays so
            self._last = None
            self.table.show_rows([self._row(row) for row in found.rows[:_SHOWN]])

    def go_to(self, row: int) -> None:
        """Show that place."""
        if self.found is not None:
            self._last = self.found.rows[row]
            self.session.go_to(self._last.item.case, self._last.place, self._last.item.organ)

    def pin_chosen(self) -> None:
        """Put the selected places, or the top of the list, first into the review queue."""
        if self.found is None:
            return
        items = [self.found.rows[row].item for row in self._chosen()]
        self.session.review.pin(items)
        pinned = sum(item in self.session.review.queue for item in items)
        left = f"; the other {len(items) - pinned} are held out or not under review" if pinned < len(items) else ""
        self.session.said.emit(f"{pinned} put first into the review queue{left}.")

    def show_other(self) -> None:
        """Show the labels of the other checkpoint, at the same place."""
        if self.found is None:
            return
        self.session.use(self._other())
        if self._last is not None:
            self.session.go_to(self._last.item.case, self._last.place, self._last.item.organ)

    def _other(self) -> str:
        assert self.found is not None
        shown = self.session.checkpoint
        return self.found.against if shown == self.found.checkpoint else self.found.checkpoint

    def _chosen(self) -> tuple[int, ...]:
        return self.table.chosen() or tuple(range(min(_TOP, self.table.figures.rowCount())))

    def _row(self, row: Disagreement) -> tuple[Cell, ...]:
        assert self.session.project is not None
        slab, share = row.item.slab, f"overlap (IoU) {row.iou:.0%}"
        first = -1.0 if slab is None else float(slab[0])
        organ = worded_organ(self.session.project.schema, row.item.organ)
        return (
            Cell(organ, tip=f"{organ}: {share}"),
            Cell(row.item.case, tip=f"{row.item.case}: {share}"),
            Cell("all" if slab is None else f"{slab[0]}-{slab[1] - 1}", first),
            Cell(short(row.voxels), float(row.voxels), 1 - row.iou, tip=f"{row.voxels} voxels; {share}"),
        )

    def _word_buttons(self) -> None:
        if self.found is not None and self.found.rows:
            chosen = len(self.table.chosen())
            which = "this one" if chosen == 1 else f"these {chosen}" if chosen else f"the top {len(self._chosen())}"
            self.pin.setText(f"Queue {which} for review")
            self.flip.setText(
                "Show the teacher's labels" if self._other() == self.found.against else "Show the student's labels"
            )

    def _on_checkpoint(self, _: str) -> None:
        self._word_buttons()


def _summary(found: Disagreements, changed: int) -> str:
    said = f"{len(found.rows)} places in {len(found.cases)} animals. Double click to go there."
    if not found.rows:
        said = f"None: both say the same of {len(found.cases)} animals."
    return said + (" Some labels are newer: look again." if changed else "")
