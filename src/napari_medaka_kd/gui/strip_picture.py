"""The picture of the heat strip: cells, frames, names, head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRect, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF

from .lattice import Cell, Lattice
from .marks import SIGNS, ink_on, quality_colour

if TYPE_CHECKING:
    from napari_medaka_kd.workflow.desk import ReviewItem

    from .heat import Heat

_MIDDLE_LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
_MIDDLE_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


@dataclass(frozen=True)
class Picture:
    """Draws what is in sight, words with the painter's font and pen.

    Attributes
    ----------
    size
        Of the window through which the lattice is seen, pixels.
    """

    painter: QPainter
    heat: Heat
    lattice: Lattice
    size: QSize

    def draw_cells(self) -> None:
        """Proposals in the colour of their quality, with the sign of their verdict."""
        self._save(QRect(self.lattice.left, self.lattice.height, self.size.width(), self.size.height()))
        rows, columns = self._in_sight()
        for cell in (Cell(row, column) for row in rows for column in columns):
            if self.heat.grid.proposed[cell.row, cell.column]:
                self._draw_cell(cell)
        self.painter.restore()

    def frame(self, item: ReviewItem, line: Qt.PenStyle) -> None:
        """A frame around ``item``, white on black, so that it is seen on any colour."""
        corners = self.heat.corners(item)
        if corners is None:
            return
        self._save(QRect(self.lattice.left, self.lattice.height, self.size.width(), self.size.height()))
        box = self.lattice.rect_between(*corners).adjusted(1, 1, -2, -2)
        for pen in (QPen(QColor("black"), 4), QPen(QColor("white"), 2, line)):
            self.painter.setPen(pen)
            self.painter.drawRect(box)
        self.painter.restore()

    def draw_names(self) -> None:
        """The organs' names, and the corner that stands for all of them."""
        self._save(QRect(0, self.lattice.height, self.lattice.left, self.size.height()))
        for row in self._in_sight()[0]:
            self._name(Cell(row, -1), self.heat.names[row])
        self.painter.restore()
        self._name(Cell(-1, -1), "all")

    def draw_head(self, z: int) -> None:
        """The first slice of every slab that has the room, and a pointer to slice ``z``."""
        self._save(QRect(self.lattice.left, 0, self.size.width(), self.lattice.height))
        number = self.painter.fontMetrics().horizontalAdvance("00000")
        every = max(1, -(-number // max(1, int(self.lattice.width))))
        for column in self._in_sight()[1]:
            first, stop = self.heat.grid.slabs[column]
            box = self.lattice.rect_of(Cell(-1, column))
            if column % every == 0:
                room = QRect(box.left() + 3, 0, int(every * self.lattice.width), box.height())
                self.painter.drawText(room, _MIDDLE_LEFT, str(first))
            if first <= z < stop:
                share = (z + 0.5 - first) / (stop - first)
                self._point(QPointF(box.left() + share * self.lattice.width, self.lattice.height))
        self.painter.restore()

    def draw_cursor(self, cell: Cell) -> None:
        """Where the keyboard is."""
        self._save(QRect(0, 0, self.size.width(), self.size.height()))
        self.painter.setPen(QPen(self.painter.pen().color(), 1, Qt.PenStyle.DotLine))
        self.painter.drawRect(self.lattice.rect_of(cell).adjusted(2, 2, -3, -3))
        self.painter.restore()

    def _draw_cell(self, cell: Cell) -> None:
        colour = quality_colour(float(self.heat.grid.score[cell.row, cell.column]))
        box = self.lattice.rect_of(cell).adjusted(1, 1, -1, -1)
        self.painter.fillRect(box, colour)
        sign = SIGNS[str(self.heat.grid.decision[cell.row, cell.column])]
        if sign:
            self.painter.setPen(ink_on(colour))
            self.painter.drawText(box, Qt.AlignmentFlag.AlignCenter, sign)

    def _name(self, cell: Cell, name: str) -> None:
        box = self.lattice.rect_of(cell).adjusted(0, 0, -4, 0)
        words = self.painter.fontMetrics().elidedText(name, Qt.TextElideMode.ElideMiddle, box.width())
        self.painter.drawText(box, _MIDDLE_RIGHT, words)

    def _point(self, tip: QPointF) -> None:
        side = self.painter.fontMetrics().height() / 3
        self.painter.setBrush(self.painter.pen().color())
        self.painter.drawPolygon(QPolygonF([tip, tip + QPointF(-side / 2, -side), tip + QPointF(side / 2, -side)]))
        self.painter.setBrush(Qt.BrushStyle.NoBrush)

    def _in_sight(self) -> tuple[range, range]:
        return self.lattice.in_sight(self.size.width(), self.size.height())

    def _save(self, room: QRect) -> None:
        """Draw within ``room`` until the painter is restored."""
        self.painter.save()
        self.painter.setClipRect(room)
