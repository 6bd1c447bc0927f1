"""The table of figures: its order, its widths, and how a row is opened and chosen."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_medaka_kd.gui.table import Cell, Column, FigureTable, share_out

UP, DOWN = Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder
widths = st.lists(st.tuples(st.integers(1, 200), st.integers(0, 100), st.booleans()), min_size=2, max_size=6)


def rows(*figures: float) -> list[tuple[Cell, Cell]]:
    return [(Cell(f"row {place}"), Cell(f"{figure}", figure)) for place, figure in enumerate(figures)]


@pytest.fixture
def table(qtbot: Any) -> FigureTable:
    made = FigureTable((Column("organ"), Column("figure", "A figure.")), most=5)
    qtbot.addWidget(made)
    made.resize(300, 200)
    made.show()
    return made


def shown(table: FigureTable, column: int = 1) -> list[str]:
    model = table.model()
    return [model.data(model.index(row, column)) for row in range(model.rowCount())]


@given(st.lists(st.floats(allow_infinity=True, allow_nan=True), max_size=8))
def test_figures_are_sorted_as_numbers_and_the_unknown_comes_last_either_way(qapp: Any, figures: list[float]) -> None:
    table = FigureTable((Column("organ"), Column("figure")))
    table.show_rows(rows(*figures))
    known = sorted(figure for figure in figures if not math.isnan(figure))
    for order, wanted in ((UP, known), (DOWN, known[::-1])):
        table.sortByColumn(1, order)
        found = [float(text) for text in shown(table)]
        assert found[: len(known)] == wanted
        assert all(math.isnan(figure) for figure in found[len(known) :])


def test_rows_come_as_they_were_given_until_somebody_sorts_them(table: FigureTable) -> None:
    table.show_rows(rows(2, 3, 1))
    assert shown(table) == ["2", "3", "1"]


def test_a_click_on_the_head_sorts(table: FigureTable) -> None:
    table.show_rows(rows(2, 3, 1))
    head = table.horizontalHeader()
    QTest.mouseClick(head.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(head.sectionPosition(1) + 5, 5))
    first = shown(table)
    QTest.mouseClick(head.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(head.sectionPosition(1) + 5, 5))
    assert sorted((first, shown(table))) == [["1", "2", "3"], ["3", "2", "1"]]


def test_other_rows_keep_the_order_that_was_asked_for(table: FigureTable) -> None:
    table.show_rows(rows(2, 3, 1))
    table.sortByColumn(1, DOWN)
    table.show_rows(rows(5, 9, 7))
    assert shown(table) == ["9", "7", "5"]


def test_enter_and_a_double_click_open_the_row_as_it_was_given(table: FigureTable, qtbot: Any) -> None:
    table.show_rows(rows(2, 3, 1))
    table.sortByColumn(1, UP)
    opened: list[int] = []
    table.opened.connect(opened.append)
    table.setCurrentIndex(table.model().index(0, 0))
    qtbot.keyClick(table, Qt.Key.Key_Return)
    place = table.visualRect(table.model().index(1, 0)).center()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    QTest.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert opened == [2, 0]


def test_what_is_chosen_is_told_by_the_places_as_given(table: FigureTable) -> None:
    table.show_rows(rows(2, 3, 1))
    table.sortByColumn(1, UP)
    table.selectRow(0)
    assert table.chosen() == (2,)


def test_it_is_as_high_as_its_rows_up_to_the_most(table: FigureTable) -> None:
    heights = []
    for count in (1, 3, 5, 50):
        table.show_rows(rows(*range(count)))
        heights.append(table.height())
    assert heights[0] < heights[1] < heights[2] == heights[3]


@given(widths, st.integers(0, 900))
def test_columns_fill_the_room(columns: list[tuple[int, int, bool]], room: int) -> None:
    cells, over, worded = (list(part) for part in zip(*columns, strict=True))
    worded[0] = True
    found = share_out(room, cells, over, worded)
    assert min(found) >= 0
    figures = sum(cell for cell, cut in zip(cells, worded, strict=True) if not cut)
    if room >= figures:
        assert sum(found) == room
        assert all(width >= cell for width, cell, cut in zip(found, cells, worded, strict=True) if not cut)


@given(widths, st.integers(0, 900))
def test_with_room_for_all_no_head_is_cut(columns: list[tuple[int, int, bool]], more: int) -> None:
    cells, over, worded = (list(part) for part in zip(*columns, strict=True))
    found = share_out(sum(cells) + sum(over) + more, cells, over, worded)
    assert all(width >= cell + extra for width, cell, extra in zip(found, cells, over, strict=True))
