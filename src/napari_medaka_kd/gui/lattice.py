"""Lattice: where rows and columns under a fixed head and beside fixed names lie, while the rest scrolls."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtCore import QPoint, QRect


@dataclass(frozen=True)
class Cell:
    """A place in the lattice; row -1 is the head, column -1 the names, both together the corner."""

    row: int
    column: int


@dataclass(frozen=True)
class Lattice:
    """Cells of one size, pixels.

    Attributes
    ----------
    rows, columns
        How many, without head and names.
    left, width, height
        Of the names' column; of a column, which may be broken; of a row.
    scrolled
        How far the cells are scrolled, (x, y).
    """

    rows: int
    columns: int
    left: int
    width: float
    height: int
    scrolled: tuple[int, int] = (0, 0)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of all cells, without head and names."""
        return round(self.columns * self.width), self.rows * self.height

    def cell_at(self, point: QPoint) -> Cell | None:
        """The cell under ``point``; ``None`` where there is none."""
        x, y = point.x(), point.y()
        if x < 0 or y < 0:
            return None
        row = -1 if y < self.height else (y - self.height + self.scrolled[1]) // self.height
        column = -1 if x < self.left else int((x - self.left + self.scrolled[0]) / self.width)
        return Cell(row, column) if row < self.rows and column < self.columns else None

    def rect_of(self, cell: Cell) -> QRect:
        """Where ``cell`` lies."""
        top = 0 if cell.row < 0 else (cell.row + 1) * self.height - self.scrolled[1]
        if cell.column < 0:
            return QRect(0, top, self.left, self.height)
        first, stop = (round(self.left + edge * self.width) for edge in (cell.column, cell.column + 1))
        return QRect(first - self.scrolled[0], top, stop - first, self.height)

    def rect_between(self, first: Cell, last: Cell) -> QRect:
        """Where ``first``, ``last`` and all between them lie."""
        return self.rect_of(first).united(self.rect_of(last))

    def in_sight(self, width: int, height: int) -> tuple[range, range]:
        """Rows and columns of which a part is seen in a window of that size."""
        down = range(self.scrolled[1] // self.height, (self.scrolled[1] + height - 1) // self.height + 1)
        right = range(int(self.scrolled[0] / self.width), int((self.scrolled[0] + width) / self.width) + 1)
        return range(down.start, min(down.stop, self.rows)), range(right.start, min(right.stop, self.columns))
