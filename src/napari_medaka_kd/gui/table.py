"""A table of figures: sorted by a click on its head, bars under numbers, a double click or Enter opens a row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFont, QPainter
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QStyledItemDelegate, QTableView, QWidget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QKeyEvent, QResizeEvent, QWheelEvent
    from qtpy.QtWidgets import QStyleOptionViewItem

_AIR = 6  # pixels between two rows, and a bar among them


@dataclass(frozen=True)
class Column:
    """A column's head, and what it means."""

    title: str
    tip: str = ""


@dataclass(frozen=True)
class Cell:
    """What one cell shows.

    Attributes
    ----------
    key
        What it is sorted by, of one type in a column; the text where there is none. NaN comes last in either order.
    share
        Length of the bar under the text, 0 … 1; NaN for none.
    colour
        Of the bar, ``#rrggbb``.
    strong
        Whether it is set in bold: a sum, or what stands out.
    """

    text: str
    key: float | None = None
    share: float = math.nan
    colour: str = "#808080"
    tip: str = ""
    strong: bool = False


class Figures(QAbstractTableModel):
    """Rows of cells, in the order of one column or as they were given."""

    def __init__(self, columns: Sequence[Column], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.columns = tuple(columns)
        self.rows: tuple[tuple[Cell, ...], ...] = ()
        self.order: list[int] = []
        self._sorted = (-1, Qt.SortOrder.AscendingOrder)

    def take(self, rows: Sequence[Sequence[Cell]]) -> None:
        """Show other rows, in the order that was asked for last."""
        self.beginResetModel()
        self.rows = tuple(map(tuple, rows))
        self._arrange()
        self.endResetModel()

    def worded(self) -> list[bool]:
        """Which columns hold words, and not figures."""
        first = self.rows[0] if self.rows else ()
        return [cell.key is None for cell in first] or [True] * len(self.columns)

    def cell(self, index: QModelIndex) -> Cell:
        return self.rows[self.order[index.row()]][index.column()]

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        self.layoutAboutToBeChanged.emit()
        self._sorted = (column, order)
        self._arrange()
        self.layoutChanged.emit()

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802  Qt's name
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802  Qt's name
        return 0 if parent is not None and parent.isValid() else len(self.columns)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if role == Qt.ItemDataRole.DisplayRole:
            return self.cell(index).text
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.cell(index).tip or self.cell(index).text
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _side(self.cell(index).key is not None)
        if role == Qt.ItemDataRole.FontRole and self.cell(index).strong:
            return _bold(self.parent())
        return None

    def headerData(  # noqa: N802  Qt's name
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self.columns[section].title
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.columns[section].tip
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _side(not self.worded()[section])
        return None

    def _arrange(self) -> None:
        column, order = self._sorted
        self.order = list(range(len(self.rows)))
        if column < 0:
            return
        cells = [row[column] for row in self.rows]
        known = [n for n in self.order if not (cells[n].key is not None and math.isnan(cells[n].key or 0.0))]
        unknown = [n for n in self.order if n not in set(known)]
        known.sort(
            key=lambda n: (cells[n].key or 0.0, cells[n].text.lower()), reverse=order != Qt.SortOrder.AscendingOrder
        )
        self.order = known + unknown


class FigureTable(QTableView):
    """A table of figures.

    Attributes
    ----------
    opened
        A row was double-clicked, or Enter pressed on it: its place among the rows as they were given.
    chosen_changed
        Other rows are selected.
    """

    opened = Signal(int)
    chosen_changed = Signal()

    def __init__(self, columns: Sequence[Column], most: int = 12, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.figures, self.most = Figures(columns, self), most
        self.setModel(self.figures)
        self.setItemDelegate(_Bars(self))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setTabKeyNavigation(False)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.verticalHeader().hide()
        head = self.horizontalHeader()
        head.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        head.setMinimumSectionSize(1)
        head.setHighlightSections(False)
        head.setTextElideMode(Qt.TextElideMode.ElideRight)
        head.setSortIndicator(-1, Qt.SortOrder.DescendingOrder)
        self.setSortingEnabled(True)
        self.doubleClicked.connect(self._on_opened)
        self.selectionModel().selectionChanged.connect(self._on_selection)

    def show_rows(self, rows: Sequence[Sequence[Cell]]) -> None:
        """Show ``rows``, a cell for each column."""
        self.figures.take(rows)
        self.verticalHeader().setDefaultSectionSize(self._row_height())
        self.setFixedHeight(self.sizeHint().height())
        self._share_out()
        self.chosen_changed.emit()

    def chosen(self) -> tuple[int, ...]:
        """The selected rows, by their places as they were given."""
        return tuple(sorted(self.figures.order[index.row()] for index in self.selectionModel().selectedRows()))

    def sizeHint(self) -> QSize:  # noqa: N802  Qt's name
        """As high as its rows, up to ``most`` of them."""
        shown = min(max(1, self.figures.rowCount()), self.most)
        height = self.horizontalHeader().sizeHint().height() + shown * self._row_height() + 2 * self.frameWidth()
        return QSize(0, height)

    def minimumSizeHint(self) -> QSize:  # noqa: N802  Qt's name
        return self.sizeHint()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802  Qt's name
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentIndex().isValid():
            self._on_opened(self.currentIndex())
        else:
            super().keyPressEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802  Qt's name
        super().resizeEvent(event)
        self._share_out()

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802  Qt's name
        """One that needs no scrolling leaves the wheel to the panel around it."""
        if self.verticalScrollBar().maximum() > 0:
            super().wheelEvent(event)
        else:
            event.ignore()

    def _share_out(self) -> None:
        """Give each column what its cells and its head need; where there is no room, heads give way, then words."""
        head, room = self.horizontalHeader(), self.viewport().width()
        cells = [self.sizeHintForColumn(column) for column in range(head.count())]
        over = [max(0, head.sectionSizeHint(column) - cell) for column, cell in enumerate(cells)]
        for column, width in enumerate(share_out(room, cells, over, self.figures.worded())):
            head.resizeSection(column, width)

    def _row_height(self) -> int:
        return self.fontMetrics().height() + _AIR

    def _on_opened(self, index: QModelIndex) -> None:
        self.opened.emit(self.figures.order[index.row()])

    def _on_selection(self, *_: object) -> None:
        self.chosen_changed.emit()


def share_out(room: int, cells: Sequence[int], over: Sequence[int], worded: Sequence[bool]) -> list[int]:
    """Widths of columns that fill ``room`` pixels; figures are never cut as long as they fit.

    Parameters
    ----------
    cells, over
        What each column's cells need, and by how much its head needs more.
    worded
        Which columns hold words, that are cut first; the first one does.
    """
    slack = room - sum(cells)
    if slack >= 0:
        part = min(1.0, slack / max(1, sum(over)))
        widths = [cell + int(more * part) for cell, more in zip(cells, over, strict=True)]
    else:
        words = sum(cell for cell, cut in zip(cells, worded, strict=True) if cut)
        part = max(0.0, (words + slack) / max(1, words))
        widths = [int(cell * part) if cut else cell for cell, cut in zip(cells, worded, strict=True)]
    return [max(0, room - sum(widths[1:])), *widths[1:]]


class _Bars(QStyledItemDelegate):
    """Draws a cell's bar under its text."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        super().paint(painter, option, index)
        model = index.model()
        cell = model.cell(index) if isinstance(model, Figures) else None
        if cell is None or math.isnan(cell.share):
            return
        box, thick = QRectF(option.rect), max(3.0, option.rect.height() / 7)
        painter.fillRect(
            QRectF(box.left() + 2, box.bottom() - thick, (box.width() - 4) * min(max(cell.share, 0.0), 1.0), thick - 1),
            QColor(cell.colour),
        )


def _bold(widget: Any) -> QFont:
    font = QFont(widget.font())
    font.setBold(True)
    return font


def _side(is_figure: bool) -> Any:
    side = Qt.AlignmentFlag.AlignRight if is_figure else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter
