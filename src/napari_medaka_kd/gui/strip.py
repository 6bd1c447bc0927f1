"""The heat strip of an animal: organs × slabs in the colour of their predicted quality, signed with verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QSize, Qt, Signal
from qtpy.QtGui import QPainter
from qtpy.QtWidgets import QAbstractScrollArea, QLabel, QSizePolicy, QToolTip, QWidget

from .lattice import Cell, Lattice
from .strip_picture import Picture

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qtpy.QtGui import QFocusEvent, QFontMetrics, QHelpEvent, QKeyEvent, QMouseEvent, QPaintEvent, QResizeEvent

    from napari_medaka_kd.workflow.desk import ReviewItem

    from .heat import Heat

_ROWS = 5  # in sight at least, besides the head
_NAMED = 0.38  # of the width at most, for the organs' names
#: By key: rows and columns to go on.
_STEPS: dict[int, tuple[int, int]] = {
    Qt.Key.Key_Left: (0, -1),
    Qt.Key.Key_Right: (0, 1),
    Qt.Key.Key_Up: (-1, 0),
    Qt.Key.Key_Down: (1, 0),
}


class HeatStrip(QAbstractScrollArea):
    """Predicted quality and verdicts of one animal at a glance; names and head stay in sight.

    A click marks a slab of an organ, a drag along a row several, a click on an organ's name the whole animal, on a
    column's head all organs of the slab, on the corner everything; Shift+click on the column on show the slice alone.
    Once it has the focus by Tab, arrows do what clicks do, and Shift+arrows what a drag does.

    Emits ``opened`` with a proposal that shall be shown, and ``selected`` with what the next verdict is about.
    """

    selected = Signal(object)
    opened = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.heat: Heat | None = None
        self.item: ReviewItem | None = None  # on show
        self.marked: tuple[ReviewItem, ...] = ()
        self.z = 0  # the slice on show
        self.cursor_cell = Cell(0, 0)  # of the keyboard
        self._from: Cell | None = None
        self._ruler = QLabel(self)  # napari sets the size of a label's font, not of any widget's
        self._ruler.hide()
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName("Predicted quality and verdicts, organs by slabs")

    def show_heat(self, heat: Heat | None) -> None:
        """Show an animal, or none."""
        other = heat is None or self.heat is None or heat.names != self.heat.names
        self.heat = heat
        if other:
            self.updateGeometry()
        self._fit()

    def show_item(self, item: ReviewItem | None) -> None:
        """Frame the proposal on show, and bring it in sight."""
        self.item = item
        self._bring_item()
        self.viewport().update()

    def mark(self, items: Iterable[ReviewItem]) -> None:
        """Frame what the next verdict is about."""
        self.marked = tuple(items)
        self.viewport().update()

    def show_slice(self, z: int) -> None:
        """Point at the slice on show."""
        if z != self.z:
            self.z = z
            self.viewport().update()

    @property
    def lattice(self) -> Lattice:
        """Where everything lies just now."""
        heat, words = self.heat, self._words()
        if heat is None:
            return Lattice(0, 0, 0, 1.0, words.height() + 2)
        widest = max(words.horizontalAdvance(name) for name in ("all", *heat.names)) + 8
        left = int(min(widest, _NAMED * self.viewport().width()))
        narrowest = words.horizontalAdvance("✎") + 6
        width = max((self.viewport().width() - left) / len(heat.grid.slabs), narrowest)
        scrolled = self.horizontalScrollBar().value(), self.verticalScrollBar().value()
        return Lattice(len(heat.names), len(heat.grid.slabs), left, width, words.height() + 2, scrolled)

    def sizeHint(self) -> QSize:  # noqa: N802  Qt's name
        return self.minimumSizeHint()

    def minimumSizeHint(self) -> QSize:  # noqa: N802  Qt's name
        return self._size_of(_ROWS)

    # ---- what a person does ------------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802  Qt's name
        cell = self.lattice.cell_at(event.position().toPoint())
        if self.heat is None or cell is None or event.button() != Qt.MouseButton.LeftButton:
            return
        alone = self.heat.slice_of(cell, self.z) if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else ()
        if alone:
            self._tell(alone)
        else:
            self._from = cell
            self._take(cell)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802  Qt's name
        cell = self.lattice.cell_at(event.position().toPoint())
        if self._from is not None and cell is not None:
            self._extend(cell)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802  Qt's name
        self._from = None

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802  Qt's name
        step = _STEPS.get(event.key())
        if step is None or self.heat is None:
            event.ignore()  # the review's own keys are the dock's
            return
        lattice, at = self.lattice, self.cursor_cell
        to = Cell(
            min(max(at.row + step[0], -1), lattice.rows - 1), min(max(at.column + step[1], -1), lattice.columns - 1)
        )
        self.cursor_cell = to
        self._bring(to)
        if event.modifiers() & Qt.KeyboardModifier.ShiftModifier and step[0] == 0:
            self._from = self._from or at
            self._extend(to)
        else:
            self._from = None
            self._take(to)
        self.viewport().update()

    def focusOutEvent(self, event: QFocusEvent) -> None:  # noqa: N802  Qt's name
        self._from = None
        super().focusOutEvent(event)

    def _take(self, cell: Cell) -> None:
        """Mark what ``cell`` stands for; one proposal is shown, too."""
        assert self.heat is not None
        self.cursor_cell = cell
        items = self.heat.items(cell, cell)
        if not items:
            return
        if cell.row >= 0 <= cell.column:
            self.opened.emit(items[0])
        self._tell(items)

    def _extend(self, cell: Cell) -> None:
        """Mark all from where the drag began."""
        assert self.heat is not None
        assert self._from is not None
        items = self.heat.items(self._from, cell)
        if items and items != self.marked:
            self._tell(items)

    def _tell(self, items: tuple[ReviewItem, ...]) -> None:
        self.mark(items)
        self.selected.emit(items)

    # ---- how it is seen ----------------------------------------------------------------------------------------

    def viewportEvent(self, event: QEvent) -> bool:  # noqa: N802  Qt's name
        if event.type() != QEvent.Type.ToolTip:
            return bool(super().viewportEvent(event))
        asked: QHelpEvent = event
        cell = self.lattice.cell_at(asked.pos())
        if self.heat is not None and cell is not None:
            QToolTip.showText(asked.globalPos(), self.heat.worded(cell), self)
        return True

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802  Qt's name
        super().resizeEvent(event)
        self._fit()
        self._bring_item()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802  Qt's name
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self.updateGeometry()
            self._fit()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802  Qt's name
        if self.heat is None:
            return
        painter = QPainter(self.viewport())
        painter.setFont(self._ruler.font())
        painter.setPen(self.palette().windowText().color())
        picture = Picture(painter, self.heat, self.lattice, self.viewport().size())
        picture.draw_cells()
        for item in self.marked:
            picture.frame(item, Qt.PenStyle.SolidLine)
        if self.item is not None and self.item not in self.marked:
            picture.frame(self.item, Qt.PenStyle.DashLine)
        picture.draw_names()
        picture.draw_head(self.z)
        if self.hasFocus():
            picture.draw_cursor(self.cursor_cell)

    def _size_of(self, rows: int) -> QSize:
        words = self._words()
        return QSize(12 * words.averageCharWidth(), (rows + 1) * (words.height() + 2) + 2 * self.frameWidth())

    def _words(self) -> QFontMetrics:
        self._ruler.ensurePolished()
        return self._ruler.fontMetrics()

    def _fit(self) -> None:
        """Let the bars scroll as far as there are cells."""
        lattice, view = self.lattice, self.viewport()
        wide, high = view.width() - lattice.left, view.height() - lattice.height
        bars = (self.horizontalScrollBar(), wide, lattice.size[0]), (self.verticalScrollBar(), high, lattice.size[1])
        for bar, room, size in bars:
            bar.setRange(0, max(0, size - room))
            bar.setPageStep(max(1, room))
            bar.setSingleStep(lattice.height)
        across = self.horizontalScrollBar().sizeHint().height() if lattice.size[0] > wide else 0
        self.setMaximumHeight(self._size_of(max(lattice.rows, _ROWS)).height() + across)
        view.update()

    def _bring_item(self) -> None:
        corners = self.heat.corners(self.item) if self.heat is not None and self.item is not None else None
        if corners is not None:
            self.cursor_cell = corners[0]
            self._bring(corners[0])

    def _bring(self, cell: Cell) -> None:
        """Scroll no farther than it takes to see ``cell``."""
        lattice, view = self.lattice, self.viewport()
        box = lattice.rect_of(cell)
        for bar, low, high, first, stop in (
            (self.horizontalScrollBar(), box.left(), box.right(), lattice.left, view.width() - 1),
            (self.verticalScrollBar(), box.top(), box.bottom(), lattice.height, view.height() - 1),
        ):
            if (cell.column if bar is self.horizontalScrollBar() else cell.row) >= 0:
                bar.setValue(bar.value() + max(0, high - stop) - max(0, first - low))
