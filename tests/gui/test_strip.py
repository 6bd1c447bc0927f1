"""The heat strip: which gesture is about what, by mouse and by key, and how it scales."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor
from qtpy.QtTest import QTest

from napari_medaka_kd.gui.heat import Heat
from napari_medaka_kd.gui.lattice import Cell, Lattice
from napari_medaka_kd.gui.marks import SIGNS, ink_on, quality_colour, worded_quality, worded_time
from napari_medaka_kd.gui.strip import HeatStrip
from napari_medaka_kd.workflow.desk import Grid, ReviewItem

NAMES = ("eyes", "brain", "heart", "gut")


def make_heat(rows: int = 4, columns: int = 3, depth: int = 16, whole: bool = False) -> Heat:
    """Scores rise from row to row; the last organ is not proposed in the first slab."""
    proposed = np.ones((rows, columns), bool)
    proposed[-1, 0] = columns == 1
    score = np.linspace(0, 1, rows * columns).reshape(rows, columns)
    slabs = tuple((at * depth, (at + 1) * depth) for at in range(columns))
    names = NAMES if rows == len(NAMES) else tuple(f"organ number {row}" for row in range(rows))
    grid = Grid(tuple(range(2, rows + 2)), slabs, score, np.full((rows, columns), "", "<U9"), proposed)
    return Heat("fish-01", names, grid, whole)


class Seen:
    """A strip on the screen, and what it told."""

    def __init__(self, qtbot: Any, heat: Heat, width: int = 320) -> None:
        self.strip = HeatStrip()
        qtbot.addWidget(self.strip)
        self.selected: list[tuple[ReviewItem, ...]] = []
        self.opened: list[ReviewItem] = []
        self.strip.selected.connect(self.selected.append)
        self.strip.opened.connect(self.opened.append)
        self.strip.show_heat(heat)
        self.strip.resize(width, 240)
        self.strip.show()
        qtbot.waitExposed(self.strip)

    def at(self, row: int, column: int) -> QPoint:
        return self.strip.lattice.rect_of(Cell(row, column)).center()

    def click(
        self, row: int, column: int, keys: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier
    ) -> tuple[ReviewItem, ...]:
        self.selected.clear()
        QTest.mouseClick(self.strip.viewport(), Qt.MouseButton.LeftButton, keys, self.at(row, column))
        return self.selected[-1] if self.selected else ()

    def drag(self, start: tuple[int, int], end: tuple[int, int]) -> tuple[ReviewItem, ...]:
        view = self.strip.viewport()
        QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=self.at(*start))
        QTest.mouseMove(view, self.at(*end))
        QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=self.at(*end))
        return self.selected[-1] if self.selected else ()

    def key(self, key: Qt.Key, keys: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> tuple[ReviewItem, ...]:
        QTest.keyClick(self.strip, key, keys)
        return self.selected[-1] if self.selected else ()


LATTICES = st.builds(
    Lattice,
    rows=st.integers(1, 40),
    columns=st.integers(1, 200),
    left=st.integers(0, 90),
    width=st.floats(5, 60),
    height=st.integers(10, 40),
    scrolled=st.tuples(st.integers(0, 2000), st.integers(0, 800)),
)


@given(LATTICES, st.data())
def test_the_middle_of_each_cell_in_sight_is_that_cell(lattice: Lattice, data: st.DataObject) -> None:
    cell = Cell(data.draw(st.integers(-1, lattice.rows - 1)), data.draw(st.integers(-1, lattice.columns - 1)))
    box = lattice.rect_of(cell)
    middle = box.center()
    hidden = (cell.column >= 0 and middle.x() < lattice.left) or (cell.row >= 0 and middle.y() < lattice.height)
    if not hidden and box.width() > 0:
        assert lattice.cell_at(middle) == cell


@given(LATTICES, st.integers(0, 299), st.integers(0, 199))
def test_no_cell_that_is_seen_is_left_out(lattice: Lattice, x: int, y: int) -> None:
    rows, columns = lattice.in_sight(300, 200)
    cell = lattice.cell_at(QPoint(x, y))
    if cell is not None:
        assert cell.row in (-1, *rows)
        assert cell.column in (-1, *columns)


def test_a_click_shows_and_marks_a_slab_of_an_organ(qtbot: Any) -> None:
    seen = Seen(qtbot, make_heat())
    item = ReviewItem("fish-01", 3, (16, 32))
    assert seen.click(1, 1) == (item,)
    assert seen.opened == [item]
    assert seen.strip.marked == (item,)


def test_a_drag_along_a_row_marks_a_range_of_slabs_in_either_direction(qtbot: Any) -> None:
    seen = Seen(qtbot, make_heat())
    wanted = tuple(ReviewItem("fish-01", 2, (at, at + 16)) for at in (0, 16, 32))
    assert seen.drag((0, 0), (0, 2)) == wanted
    assert seen.drag((0, 2), (0, 0)) == wanted


def test_a_drag_keeps_to_its_row(qtbot: Any) -> None:
    seen = Seen(qtbot, make_heat())
    assert {item.organ for item in seen.drag((1, 0), (3, 2))} == {3}


def test_a_name_stands_for_the_organ_in_the_whole_animal(qtbot: Any) -> None:
    seen = Seen(qtbot, make_heat())
    assert seen.click(2, -1) == (ReviewItem("fish-01", 4),)
    assert seen.opened == []


def test_a_head_stands_for_all_organs_of_its_slab_and_the_corner_for_the_animal(qtbot: Any) -> None:
    seen = Seen(qtbot, make_heat())
    assert seen.click(-1, 2) == (ReviewItem("fish-01", 0, (32, 48)),)
    assert seen.click(-1, -1) == (ReviewItem("fish-01"),)


def test_where_nothing_is_proposed_nothing_can_be_marked(qtbot: Any) -> None:
    seen = Seen(qtbot, make_heat())
    assert seen.click(3, 0) == ()
    assert len(seen.drag((3, 0), (3, 2))) == 2


def test_shift_and_a_click_on_the_column_on_show_is_about_that_slice_alone(qtbot: Any) -> None:
    seen = Seen(qtbot, make_heat())
    seen.strip.show_slice(20)
    assert seen.click(1, 1, Qt.KeyboardModifier.ShiftModifier) == (ReviewItem("fish-01", 3, (20, 21)),)
    assert seen.click(-1, 1, Qt.KeyboardModifier.ShiftModifier) == (ReviewItem("fish-01", 0, (20, 21)),)
    assert seen.click(1, 2, Qt.KeyboardModifier.ShiftModifier) == (ReviewItem("fish-01", 3, (32, 48)),)


def test_organs_that_are_judged_whole_are_marked_whole(qtbot: Any) -> None:
    seen = Seen(qtbot, make_heat(columns=1, depth=48, whole=True))
    assert seen.click(1, 0) == (ReviewItem("fish-01", 3),)
    assert seen.click(-1, 0) == (ReviewItem("fish-01"),)


def test_arrows_do_what_clicks_do_and_shift_what_a_drag_does(qtbot: Any) -> None:
    seen = Seen(qtbot, make_heat())
    first = ReviewItem("fish-01", 2, (0, 16))
    seen.strip.show_item(first)
    assert seen.key(Qt.Key.Key_Down) == (ReviewItem("fish-01", 3, (0, 16)),)
    assert len(seen.key(Qt.Key.Key_Right, Qt.KeyboardModifier.ShiftModifier)) == 2
    assert len(seen.key(Qt.Key.Key_Right, Qt.KeyboardModifier.ShiftModifier)) == 3
    assert seen.key(Qt.Key.Key_Left) == (ReviewItem("fish-01", 3, (16, 32)),)
    for _ in range(2):
        seen.key(Qt.Key.Key_Left)
    assert seen.selected[-1] == (ReviewItem("fish-01", 3),)
    for _ in range(4):
        seen.key(Qt.Key.Key_Up)
    assert seen.selected[-1] == (ReviewItem("fish-01"),)


def test_a_review_key_is_left_to_others(qtbot: Any) -> None:
    seen = Seen(qtbot, make_heat())
    QTest.keyClick(seen.strip, Qt.Key.Key_A)
    assert seen.selected == []


def test_the_strip_does_not_take_the_keys_from_the_canvas_when_it_is_clicked(qtbot: Any) -> None:
    assert not HeatStrip().focusPolicy() & Qt.FocusPolicy.ClickFocus


def test_forty_organs_and_two_hundred_slabs_scroll_to_the_item_on_show(qtbot: Any) -> None:
    seen = Seen(qtbot, make_heat(40, 200))
    item = ReviewItem("fish-01", 35, (150 * 16, 151 * 16))
    assert seen.strip.horizontalScrollBar().maximum() > 0
    assert seen.strip.verticalScrollBar().maximum() > 0
    seen.strip.show_item(item)
    lattice, view = seen.strip.lattice, seen.strip.viewport()
    box = lattice.rect_of(Cell(33, 150))
    assert lattice.left <= box.left() < box.right() < view.width()
    assert lattice.height <= box.top() < box.bottom() < view.height()
    assert seen.click(33, 150) == (item,)


def test_the_item_on_show_stays_in_sight_in_a_smaller_window(qtbot: Any) -> None:
    seen = Seen(qtbot, make_heat(40, 200), width=600)
    seen.strip.show_item(ReviewItem("fish-01", 35, (150 * 16, 151 * 16)))
    seen.strip.resize(200, 120)
    box, lattice = seen.strip.lattice.rect_of(Cell(33, 150)), seen.strip.lattice
    assert lattice.left <= box.left() < box.right() < seen.strip.viewport().width()
    assert lattice.height <= box.top() < box.bottom() < seen.strip.viewport().height()


def test_it_gives_way_to_narrow_windows(qtbot: Any) -> None:
    seen = Seen(qtbot, make_heat(40, 200), width=150)
    assert seen.strip.minimumSizeHint().width() <= 150
    assert seen.strip.lattice.left < 75


def test_cells_have_the_colour_of_their_quality_and_only_proposals_have_one(qtbot: Any) -> None:
    seen = Seen(qtbot, make_heat())
    picture = seen.strip.viewport().grab().toImage()

    def colour(row: int, column: int) -> QColor:
        box = seen.strip.lattice.rect_of(Cell(row, column))
        return QColor(picture.pixel(box.left() + 4, box.top() + 4))

    for cell, score in (((0, 0), 0.0), ((1, 1), 4 / 11), ((3, 2), 1.0)):
        assert colour(*cell).name() == quality_colour(score).name()
    assert colour(3, 0).name() not in {quality_colour(score).name() for score in np.linspace(0, 1, 12)}


def test_a_verdict_is_seen_as_a_sign_and_not_as_a_colour(qtbot: Any) -> None:
    heat = make_heat()
    seen = Seen(qtbot, heat)
    box = seen.strip.lattice.rect_of(Cell(1, 1))
    before = seen.strip.viewport().grab(box).toImage()
    heat.grid.decision[1, 1] = "rejected"
    after = seen.strip.viewport().grab(box).toImage()
    assert before != after
    assert before.pixel(4, 4) == after.pixel(4, 4)


@pytest.mark.parametrize("score", np.linspace(0, 1, 21))
def test_signs_can_be_read_on_any_quality(score: float) -> None:
    def luminance(colour: QColor) -> float:
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour.getRgbF()[:3]]
        return float(np.dot(parts, (0.2126, 0.7152, 0.0722)))

    light, dark = sorted((luminance(quality_colour(score)), luminance(ink_on(quality_colour(score)))), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4  # WCAG's contrast


def test_better_is_brighter_for_any_eye() -> None:
    greys = [quality_colour(score).lightnessF() for score in np.linspace(0, 1, 21)]
    assert greys == sorted(greys)


def test_every_verdict_has_a_sign_of_its_own() -> None:
    assert len(set(SIGNS.values())) == len(SIGNS)


@pytest.mark.parametrize(
    ("score", "words"), [(0.05, "probably bad"), (0.5, "doubtful"), (0.9, "probably good"), (np.nan, "not scored yet")]
)
def test_quality_has_a_word(score: float, words: str) -> None:
    assert worded_quality(score).startswith(words)


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (80, "80 s"), (360, "6 min"), (7200, "2.0 h")])
def test_time_has_a_fitting_unit(seconds: float, words: str) -> None:
    assert worded_time(seconds) == words


def test_what_lies_under_the_cursor_is_said() -> None:
    heat = make_heat()
    assert "brain, slices 16-31: probably bad · 0.36, no verdict yet" in heat.worded(Cell(1, 1))
    assert "nothing proposed" in heat.worded(Cell(3, 0))
    assert "whole animal" in heat.worded(Cell(1, -1))
