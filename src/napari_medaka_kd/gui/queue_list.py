"""The queue as a list: a model of any length, of which only the rows in sight are ever worded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractListModel, QEvent, QModelIndex, QSize, Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from .marks import SIGNS, quality_colour, worded_item, worded_organ, worded_quality

if TYPE_CHECKING:
    from qtpy.QtGui import QResizeEvent

    from napari_medaka_kd.workflow.desk import Proposal, ReviewItem

    from .session import Session

_ROWS = 4  # in sight at least
_AHEAD = 2  # rows in sight after the one on show


class QueueModel(QAbstractListModel):
    """The session's queue, item by item."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.items: tuple[ReviewItem, ...] = ()

    def refresh(self) -> None:
        """Take the queue as it is now; where one item went, the others keep their place in sight."""
        items = self.session.review.queue
        gone = _only_gone(self.items, items)
        if gone is not None:
            self.beginRemoveRows(QModelIndex(), gone, gone)
            self.items = items
            self.endRemoveRows()
        elif items != self.items:
            self.beginResetModel()
            self.items = items
            self.endResetModel()
        elif items:
            self.dataChanged.emit(self.index(0), self.index(len(items) - 1))

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802  Qt's name
        return 0 if parent is not None and parent.isValid() else len(self.items)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not 0 <= index.row() < len(self.items):
            return None
        item = self.items[index.row()]
        proposal = self._proposal(item)
        if role == Qt.ItemDataRole.DisplayRole:
            return self._worded(item, proposal)
        if role == Qt.ItemDataRole.DecorationRole:
            return quality_colour(math.nan if proposal is None else proposal.score)
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._explained(item, proposal)
        return None

    def _proposal(self, item: ReviewItem) -> Proposal | None:
        desk = self.session.review.desk
        return None if desk is None else desk.proposals.get(item)

    def _worded(self, item: ReviewItem, proposal: Proposal | None) -> str:
        project = self.session.project
        if project is None:
            return ""
        sign = SIGNS[proposal.decision or ""] if proposal is not None else ""
        where = "whole" if item.slab is None else f"z {item.slab[0]}-{item.slab[1] - 1}"
        number = "" if proposal is None or math.isnan(proposal.score) else f"  {proposal.score:.2f}"
        return f"{sign} {worded_organ(project.schema, item.organ)} · {item.case} · {where}{number}".strip()

    def _explained(self, item: ReviewItem, proposal: Proposal | None) -> str:
        """In full, for a narrow window cuts the row."""
        project = self.session.project
        where = "" if project is None else worded_item(project.schema, item)
        why = () if proposal is None else (worded_quality(proposal.score), *proposal.reasons)
        return "\n".join((where, *why))


class QueueList(QTableView):
    """The queue; the item on show is marked, and a click shows another.

    A table of one column: a list view asks the model for every row whenever one goes, 25 ms for 5000 rows.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.queue = QueueModel(session, self)
        self.setModel(self.queue)
        self.horizontalHeader().setStretchLastSection(True)
        self.horizontalHeader().hide()
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.verticalHeader().setMinimumSectionSize(1)
        self.verticalHeader().hide()
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("What to look at next")
        self.clicked.connect(self._on_clicked)

    def refresh(self) -> None:
        """Take the queue as it is now, and mark the item on show."""
        self.queue.refresh()
        self.mark()

    def mark(self) -> None:
        """Mark the item on show, and bring it and the next ones in sight."""
        item = self.session.review.item
        try:
            row = self.queue.items.index(item)
        except ValueError:
            self.selectionModel().clear()
            return
        for near in (min(row + _AHEAD, len(self.queue.items) - 1), row):
            self.scrollTo(self.queue.index(near))
        self.setCurrentIndex(self.queue.index(row))

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802  Qt's name
        super().resizeEvent(event)
        self.mark()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802  Qt's name
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self.verticalHeader().setDefaultSectionSize(self._row_height())

    def sizeHint(self) -> QSize:  # noqa: N802  Qt's name
        return self.minimumSizeHint()

    def minimumSizeHint(self) -> QSize:  # noqa: N802  Qt's name
        return QSize(100, _ROWS * self._row_height())

    def _row_height(self) -> int:
        return self.fontMetrics().height() + 6

    def _on_clicked(self, index: QModelIndex) -> None:
        self.session.show(self.queue.items[index.row()])


def _only_gone(before: tuple[ReviewItem, ...], after: tuple[ReviewItem, ...]) -> int | None:
    """The place in ``before`` of the one item that ``after`` lacks; ``None`` where more differs."""
    if len(after) != len(before) - 1:
        return None
    place = next((n for n, (old, new) in enumerate(zip(before, after, strict=False)) if old != new), len(after))
    return place if before[place + 1 :] == after[place:] else None
