"""Heat: one animal's scores and verdicts, organs × slabs, and what a gesture on them is about. Knows no Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medaka_kd.workflow.desk import Grid, ReviewItem

from .lattice import Cell
from .marks import worded_quality, worded_slices

if TYPE_CHECKING:
    from napari_medaka_kd.workflow.desk import Desk

_ALL_ORGANS = ReviewItem("").organ


@dataclass(frozen=True, eq=False)
class Heat:
    """What the strip shows.

    Attributes
    ----------
    case, names
        The animal's id; the organs' names, row by row.
    grid
        Scores and verdicts.
    whole
        Whether organs are judged in the whole animal, so that the only column is no slab.
    """

    case: str
    names: tuple[str, ...]
    grid: Grid
    whole: bool

    def items(self, first: Cell, last: Cell) -> tuple[ReviewItem, ...]:
        """What a gesture from ``first`` along its row to ``last`` is about; nothing where nothing is proposed."""
        organ = _ALL_ORGANS if first.row < 0 else self.grid.organs[first.row]
        there = [self._proposed(first.row, column) for column in range(len(self.grid.slabs))]
        if first.column < 0:
            return (ReviewItem(self.case, organ),) if any(there) else ()
        low, high = sorted((first.column, max(last.column, 0)))
        return tuple(ReviewItem(self.case, organ, self._slab(at)) for at in range(low, high + 1) if there[at])

    def slice_of(self, cell: Cell, z: int) -> tuple[ReviewItem, ...]:
        """Slice ``z`` alone, of the cell's organ or all, where the cell's slab holds it; else nothing."""
        if cell.column < 0 or not self.items(cell, cell):
            return ()
        first, stop = self.grid.slabs[cell.column]
        organ = _ALL_ORGANS if cell.row < 0 else self.grid.organs[cell.row]
        return (ReviewItem(self.case, organ, (z, z + 1)),) if first <= z < stop else ()

    def corners(self, item: ReviewItem) -> tuple[Cell, Cell] | None:
        """The first and the last cell of which ``item`` speaks; ``None`` where there is none."""
        if item.case != self.case or item.organ not in (_ALL_ORGANS, *self.grid.organs):
            return None
        wanted = item.slab or (self.grid.slabs[0][0], self.grid.slabs[-1][1])
        at = [n for n, (first, stop) in enumerate(self.grid.slabs) if first < wanted[1] and wanted[0] < stop]
        rows = (0, len(self.names) - 1) if item.organ == _ALL_ORGANS else (self.grid.organs.index(item.organ),) * 2
        return (Cell(rows[0], at[0]), Cell(rows[1], at[-1])) if at else None

    def worded(self, cell: Cell) -> str:
        """What there is in ``cell``, and what a click on it marks."""
        name = "all organs" if cell.row < 0 else self.names[cell.row]
        if cell.column < 0 or (self.whole and cell.row < 0):
            return f"{name}, whole animal: click to judge at once"
        where = worded_slices(ReviewItem(self.case, slab=self._slab(cell.column)))
        if cell.row < 0:
            return f"all organs, {where}: click to judge at once"
        if not self.grid.proposed[cell.row, cell.column]:
            return f"{name}, {where}: nothing proposed"
        said = str(self.grid.decision[cell.row, cell.column]) or "no verdict yet"
        quality = worded_quality(float(self.grid.score[cell.row, cell.column]))
        return f"{name}, {where}: {quality}, {said}\nDrag to mark several; Shift+click the slice on show alone."

    def _proposed(self, row: int, column: int) -> bool:
        rows = slice(None) if row < 0 else row
        return bool(self.grid.proposed[rows, column].any())

    def _slab(self, column: int) -> tuple[int, int] | None:
        return None if self.whole else self.grid.slabs[column]


def read_heat(desk: Desk, case: str) -> Heat | None:
    """The heat of ``case``; ``None`` where it is not under review."""
    if case not in desk.cases:
        return None
    grid, schema = desk.grid(case), desk.project.schema
    names = dict(zip(schema.ids, schema.names, strict=True))
    whole = any(ReviewItem(case, organ) in desk.proposals for organ in grid.organs)
    return Heat(case, tuple(names[organ] for organ in grid.organs), grid, whole)
