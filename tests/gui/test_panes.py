"""The two other views: what they cut out, where a click leads, and that they are quick and never larger than asked."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_medaka_kd.errors import InvalidVolume
from napari_medaka_kd.gui.colours import colour_table, grey, lay_over
from napari_medaka_kd.gui.cuts import PIXELS, Cut, choose_level, choose_window, draw_cut, is_inside
from napari_medaka_kd.gui.layers import Scene
from napari_medaka_kd.gui.panes import OrthoViews, Pane
from napari_medaka_kd.gui.session import Session
from napari_medaka_kd.volumes.lazy import DiskArray
from napari_medaka_kd.volumes.phantom import MEDAKA
from napari_medaka_kd.volumes.volume import Volume


@pytest.fixture
def views(qtbot: Any, reviewing: Session) -> Iterator[OrthoViews]:
    scene = Scene(ViewerModel(), reviewing)
    views = OrthoViews(reviewing, scene)
    qtbot.addWidget(views)
    views.resize(600, 280)
    with qtbot.waitExposed(views):
        views.show()
    yield views
    views.release()
    scene.close()


def pixels(pane: Pane) -> npt.NDArray[np.uint8]:
    """What the pane looks like, (h, w, 4)."""
    image = pane.grab().toImage().convertToFormat(pane.grab().toImage().Format.Format_RGBA8888)
    bits = image.constBits()
    if hasattr(bits, "setsize"):  # PyQt6 does not know how long it is
        bits.setsize(image.sizeInBytes())
    return np.frombuffer(bytes(bits), np.uint8).reshape(image.height(), image.width(), 4)


def turn(pane: Pane, eighths: int) -> None:
    middle = QPointF(pane.rect().center())
    none = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase
    QApplication.sendEvent(
        pane, QWheelEvent(middle, pane.mapToGlobal(middle), QPoint(), QPoint(0, eighths), *none, False)
    )


# ---- cuts ----------------------------------------------------------------------------------------------------------


@given(
    data=st.data(),
    shape=st.tuples(*[st.integers(2, 400)] * 3),
    size=st.tuples(*[st.floats(0.5, 20)] * 3),
)
def test_a_window_lies_in_the_volume_holds_its_point_and_its_box(data: Any, shape: Any, size: Any) -> None:
    volume = Volume((np.broadcast_to(np.uint8(0), shape),), size)
    point = tuple(data.draw(st.integers(0, most - 1)) for most in shape)
    bare = choose_window(point, None, volume)
    assert is_inside(point, bare)
    low = [data.draw(st.integers(0, most - 1)) for most in shape]
    box = tuple(slice(a, data.draw(st.integers(a + 1, most))) for a, most in zip(low, shape, strict=True))
    around = choose_window(point, box, volume)
    for window in (bare, around):
        assert all(0 <= side.start < side.stop <= most for side, most in zip(window, shape, strict=True))
    assert all(w.start <= b.start and b.stop <= w.stop for w, b in zip(around, box, strict=True))


def pyramid(shape: tuple[int, int, int], levels: int) -> Volume:
    fine = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)
    return Volume(tuple(fine[:: 1 << n, :: 1 << n, :: 1 << n] for n in range(levels)), (1.0, 1.0, 1.0))


@pytest.mark.parametrize("along", [1, 2])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_cut_holds_the_voxels_of_its_plane(along: int, level: int) -> None:
    volume = pyramid((16, 24, 32), 3)
    window = (slice(4, 12), slice(8, 24), slice(0, 16))
    plane = Cut(along, 3 - along, 12, window, level).read(volume)
    step = 1 << level
    fine = volume.read()
    expected = fine[4:12, 12, 0:16] if along == 1 else fine[4:12, 8:24, 12]
    assert np.array_equal(plane, expected[::step, ::step])


def test_a_pane_reads_few_pixels_of_a_large_volume() -> None:
    shapes = [(4096 >> n, 4096 >> n, 4096 >> n) for n in range(6)]
    volume = Volume(tuple(np.broadcast_to(np.uint8(0), shape) for shape in shapes), (1.0, 1.0, 1.0))
    whole = choose_window((2048, 2048, 2048), tuple(slice(0, 4096) for _ in range(3)), volume)
    for window in (whole, choose_window((2048, 2048, 2048), None, volume)):
        plane = Cut(1, 2, 2048, window, choose_level(window, volume)).read(volume)
        assert max(plane.shape) <= PIXELS
        assert min(plane.shape) >= 64


def test_organs_are_laid_over_the_tissue() -> None:
    shades = grey(np.full((8, 8), 50.0), (0.0, 100.0))
    ids = np.zeros((8, 8), np.uint8)
    ids[1:5, 1:5], ids[5:8, 5:8] = 3, 4
    picture = lay_over(shades, ids, colour_table(MEDAKA), 3).astype(int)
    tissue = picture[0, 7]
    assert (tissue == 127).all()
    assert abs(picture[2, 2] - tissue).max() > 20
    assert (picture[6, 6] == tissue).all(), "a neighbour is not filled"
    assert abs(picture[5, 6] - tissue).max() > 20, "a neighbour has an outline"
    assert abs(lay_over(shades, ids, colour_table(MEDAKA), 0).astype(int)[6, 6] - tissue).max() > 20


def test_brightness_survives_what_is_not_a_number() -> None:
    assert grey(np.array([[np.nan, -1.0, 0.0, 1.0, 9.0]]), (0.0, 1.0)).tolist() == [[0, 0, 0, 255, 255]]


# ---- the panes -----------------------------------------------------------------------------------------------------


def test_both_views_show_tissue_and_the_organ_in_its_colour(views: OrthoViews) -> None:
    organ = MEDAKA.organs[MEDAKA.ids.index(views.session.review.item.organ)]
    colour = np.array([int(organ.color[at : at + 2], 16) for at in (1, 3, 5)], float)
    for pane in (views.front, views.side):
        picture = pixels(pane)[..., :3].astype(float)
        assert picture.std() > 3
        hue = picture / np.maximum(picture.sum(-1, keepdims=True), 1) - colour / colour.sum()
        assert (np.abs(hue).max(-1) < 0.06).sum() > 20


def test_voxels_are_as_wide_and_high_as_they_are_in_micrometres(views: OrthoViews) -> None:
    for pane in (views.front, views.side):
        side = pane.window_shown
        wide, high = side[pane.across], side[0]
        ratio = (wide.stop - wide.start) / (high.stop - high.start)
        assert pane.frame.width() / pane.frame.height() == pytest.approx(ratio)


@given(share=st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)))
def test_a_place_in_the_widget_is_where_its_voxel_is_drawn(share: tuple[float, float]) -> None:
    """Of a pane that is never shown."""
    pane = _Bare.pane()
    frame = pane.frame
    place = QPointF(frame.left() + share[0] * frame.width(), frame.top() + share[1] * frame.height())
    back = pane.place_of(pane.point_at(place))
    assert (back.x(), back.y()) == pytest.approx((place.x(), place.y()), abs=6)


class _Bare:
    """A pane of a volume that fills it wholly, made once."""

    made: Pane | None = None

    @classmethod
    def pane(cls) -> Pane:
        if cls.made is None:
            volume = Volume((np.zeros((200, 100, 100), np.uint8),), (1.0, 2.0, 2.0))
            scene: Any = type("Stage", (), {})()
            scene.shown = type("Shown", (), {"scan": volume})()
            scene.position = lambda: (100.0, 50.0, 50.0)
            cls.made = Pane(scene, across=2)
            cls.made.resize(200, 200)
            cls.made.window_shown = (slice(0, 200), slice(0, 100), slice(0, 100))
        return cls.made


@pytest.fixture(autouse=True, scope="module")
def _application() -> Iterator[None]:
    app = QApplication.instance() or QApplication([])
    yield
    _Bare.made = None
    del app


def test_a_click_leads_the_viewer_there_and_the_other_view_follows(views: OrthoViews) -> None:
    before = views.scene.position()
    frame = views.front.frame
    place = QPointF(frame.left() + frame.width() * 0.3, frame.top() + frame.height() * 0.7)
    wanted = views.front.point_at(place)
    QTest.mouseClick(views.front, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place.toPoint())
    now = views.scene.position()
    assert now == pytest.approx(wanted, abs=1)
    assert now[1] == before[1]
    assert views.session.position == now
    assert views.side.label.endswith(f"x = {round(now[2])}")


def test_the_wheel_moves_the_plane_and_parts_of_a_notch_add_up(views: OrthoViews) -> None:
    views.scene.look_at((20.0, 15.0, 15.0))
    turn(views.front, 120)
    assert views.scene.position()[1] == pytest.approx(16)
    turn(views.side, -240)
    assert views.scene.position()[2] == pytest.approx(13)
    for _ in range(4):
        turn(views.front, 30)
    assert views.scene.position()[1] == pytest.approx(17)


def test_the_slider_of_the_viewer_moves_the_line_but_reads_nothing_anew(qtbot: Any, views: OrthoViews) -> None:
    before = pixels(views.front)
    picture = views.front.picture
    z = views.scene.position()[0]
    views.scene.viewer.dims.set_point(0, (z + 3) * 500)
    assert not np.array_equal(pixels(views.front), before)
    assert views.front.picture is picture


def test_nothing_is_read_while_the_views_are_hidden(views: OrthoViews) -> None:
    views.hide()
    picture = views.front.picture
    for _ in range(3):
        views.session.step(1)
    assert views.front.picture is picture


def test_hiding_the_overlay_hides_it_here_too(views: OrthoViews) -> None:
    shown = views.scene.shown
    cut = Cut(1, 2, 15, views.front.window_shown, 0)
    views.scene.hide(True)
    bare = draw_cut(cut, views.scene)
    assert (bare == bare[..., :1]).all()
    views.scene.hide(False)
    assert shown is views.scene.shown
    assert any((draw_cut(cut, views.scene) != bare).any() for cut in [cut])


def test_what_is_painted_shows_in_the_views(views: OrthoViews) -> None:
    views.session.correct()
    layer = views.scene.viewer.layers["correction"]
    z, y, x = (size // 2 for size in layer.data.shape)
    organ = views.session.correcting.now.item.organ
    at = views.scene.crop.region[1].start + y
    cut = Cut(1, 2, at, views.front.window_shown, 0)
    layer.data[...] = 0
    views.session.correcting.record(layer.data)
    before = draw_cut(cut, views.scene)
    layer.paint((z, y, x), organ)
    assert (draw_cut(cut, views.scene) != before).any()


def test_damage_is_told_in_the_view_and_does_not_end_the_program(views: OrthoViews) -> None:
    def read_box(_: Any) -> Any:
        raise InvalidVolume("A chunk is damaged.", "Restore it.")

    shown = views.scene.shown
    broken = tuple(DiskArray(level.shape, level.dtype, read_box) for level in shown.scan.levels)
    views.scene.shown = replace(shown, scan=replace(shown.scan, levels=broken))
    views.front.redraw()
    assert pixels(views.front).any()
    assert views.front.complaint == "A chunk is damaged. Restore it."
    views.scene.shown = shown
    views.front.redraw()
    pixels(views.front)
    assert not views.front.complaint


def test_without_a_project_the_views_are_empty_and_take_clicks(views: OrthoViews) -> None:
    views.session.close()
    QTest.mouseClick(views.front, Qt.MouseButton.LeftButton)
    turn(views.side, 120)
    assert not pixels(views.front)[..., :3].any()


def test_the_views_fit_into_a_narrow_dock(views: OrthoViews) -> None:
    assert views.minimumSizeHint().width() <= 300
    views.resize(120, 60)
    assert pixels(views.front).any()


def test_both_views_are_painted_in_an_eye_blink(views: OrthoViews) -> None:
    took = []
    for step in range(12):
        views.scene.look_at((20.0, 10.0 + step % 8, 10.0 + step % 8))
        begun = time.perf_counter()
        views.front.repaint()
        views.side.repaint()
        took.append(time.perf_counter() - begun)
    assert np.median(took) < 0.1, "measured: 5 ms; the limit leaves room for a busy machine"
