"""The layers: what the session shows is what napari's viewer model holds, and at the end what the screen shows."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels, Points
from napari.utils._proxies import PublicOnlyProxy
from qtpy.QtWidgets import QApplication

from napari_medaka_kd.gui.colours import GHOST, isolate, name_organs
from napari_medaka_kd.gui.layers import Scene
from napari_medaka_kd.gui.session import Session
from napari_medaka_kd.gui.shown import blank, deepen, lay_crop_over
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import Project
from napari_medaka_kd.volumes.label_extras import Extra
from napari_medaka_kd.volumes.label_store import begin_labels, open_saved_labels
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.lazy import DiskArray
from napari_medaka_kd.volumes.phantom import MEDAKA
from napari_medaka_kd.volumes.volume import Region, Volume, extent, whole


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def scene(viewer: ViewerModel, reviewing: Session) -> Iterator[Scene]:
    scene = Scene(viewer, reviewing)
    yield scene
    scene.close()


def names(viewer: ViewerModel) -> list[str]:
    return [layer.name for layer in viewer.layers]


def opacity(layer: Any, organ: int) -> float:
    return round(float(layer.colormap.color_dict[organ][3]), 3)


def test_a_case_is_shown_as_three_layers_on_one_grid_in_micrometres(viewer: ViewerModel, scene: Scene) -> None:
    assert names(viewer) == ["scan", "organs", "uncertainty"]
    for layer in viewer.layers:
        assert tuple(layer.scale) == (500.0, 500.0, 500.0)
        assert {str(unit) for unit in layer.units} == {"micrometer"}
        assert layer.axis_labels == ("z", "y", "x")
        assert layer.multiscale
    assert viewer.layers["organs"].visible
    assert not viewer.layers["uncertainty"].visible
    assert not viewer.layers["organs"].editable
    assert viewer.layers.selection.active is viewer.layers["organs"]


def test_what_is_cut_out_of_a_layer_is_not_read_before_it_is_drawn(viewer: ViewerModel, scene: Scene) -> None:
    for layer in viewer.layers:
        cut = layer.data[0][:, 3:9, 4:6]
        assert not isinstance(cut, np.ndarray)
        assert np.asarray(cut[7]).shape == (6, 2)


def test_the_scan_is_as_bright_as_its_tissue(viewer: ViewerModel, scene: Scene) -> None:
    assert scene.session.case is not None
    assert tuple(viewer.layers["scan"].contrast_limits) == pytest.approx(scene.session.case.body.window)


def test_the_name_of_an_organ_shows_under_the_cursor(viewer: ViewerModel, scene: Scene) -> None:
    features = viewer.layers["organs"].features
    assert list(features["index"]) == [0, *MEDAKA.ids]
    assert list(features["organ"]) == ["", *MEDAKA.names]


def test_another_case_is_shown_in_the_same_layers(viewer: ViewerModel, scene: Scene) -> None:
    before = list(viewer.layers)
    shown = scene.session.case
    other = next(case for case in scene.session.project.cases if case.id != shown.id and not case.labelled)
    scene.session.look_at(other.id)
    assert list(viewer.layers) == before
    assert np.array_equal(viewer.layers["scan"].data[0][:], other.volume.read())
    assert np.array_equal(viewer.layers["organs"].data[0][:], other.labels("teacher").volume.read())


def test_the_organ_of_the_item_stands_out_and_its_neighbours_are_ghosts(viewer: ViewerModel, scene: Scene) -> None:
    item = scene.session.review.item
    organs = viewer.layers["organs"]
    assert opacity(organs, item.organ) == 1
    assert {opacity(organs, organ) for organ in MEDAKA.ids if organ != item.organ} == {GHOST}
    assert opacity(organs, 0) == 0


def test_without_an_item_all_organs_are_alike(viewer: ViewerModel, scene: Scene) -> None:
    scene.show_item(None)
    assert {opacity(viewer.layers["organs"], organ) for organ in MEDAKA.ids} == {1.0}


def test_every_item_of_the_queue_is_shown_where_its_organ_is(viewer: ViewerModel, scene: Scene) -> None:
    session = scene.session
    for item in session.review.queue:
        session.show(item)
        z, y, x = (round(place) for place in scene.position())
        assert item.slab[0] <= z < item.slab[1]
        assert session.case.labels("teacher").volume.read()[z, y, x] == item.organ
        assert tuple(session.position) == scene.position()
        assert viewer.dims.point[0] == pytest.approx(z * 500, abs=500)


def test_the_item_fits_on_the_canvas(viewer: ViewerModel, scene: Scene) -> None:
    session = scene.session
    for item in session.review.queue:
        session.show(item)
        box = session.place(item).box
        across = [(side.stop - side.start) * 500 * getattr(viewer, "scene", viewer).camera.zoom for side in box[1:]]
        canvas = viewer.canvas.size if hasattr(viewer, "canvas") else viewer._canvas_size  # before napari 0.9
        assert all(span <= size for span, size in zip(across, canvas, strict=True))


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)])
def test_a_place_is_found_whichever_way_the_volume_is_turned(
    viewer: ViewerModel, scene: Scene, order: tuple[int, int, int]
) -> None:
    viewer.dims.order = order
    scene.session.moved.emit((30.0, 12.0, 17.0))
    assert scene.position() == pytest.approx((30, 12, 17))
    assert scene.session.position == pytest.approx((30, 12, 17))


def test_a_place_is_found_in_three_dimensions_too(viewer: ViewerModel, scene: Scene) -> None:
    viewer.dims.ndisplay = 3
    scene.look_at((30.0, 12.0, 17.0))
    assert scene.position() == pytest.approx((30, 12, 17))


def test_a_layer_with_time_does_not_confuse_the_place(viewer: ViewerModel, scene: Scene) -> None:
    viewer.add_layer(Points(np.zeros((1, 4)), scale=(1, 500, 500, 500), units=("um",) * 4))
    scene.look_at((30.0, 12.0, 17.0))
    assert scene.position() == pytest.approx((30, 12, 17))


def test_a_place_outside_is_the_nearest_inside(scene: Scene) -> None:
    scene.look_at((-5.0, 1e6, 3.0))
    assert scene.position() == pytest.approx((0, 31, 3))


def test_the_session_hears_where_the_slider_is_put(viewer: ViewerModel, scene: Scene) -> None:
    heard: list[Any] = []
    scene.session.position_changed.connect(heard.append)
    viewer.dims.set_point(0, 500.0 * 7)
    assert heard[-1][0] == pytest.approx(7)


def test_overlays_are_organs_then_doubt_too_then_nothing(viewer: ViewerModel, scene: Scene) -> None:
    seen = []
    for _ in range(4):
        seen.append((viewer.layers["organs"].visible, viewer.layers["uncertainty"].visible))
        scene.cycle_overlays()
    assert seen == [(True, False), (True, True), (False, False), (True, False)]


def test_doubt_that_is_not_there_is_not_shown(viewer: ViewerModel, scene: Scene) -> None:
    scene.session.set_overlay("both")
    scene.session.use("other")
    assert not viewer.layers["uncertainty"].visible
    assert not np.any(viewer.layers["uncertainty"].data[0][:])


def test_disagreement_is_one_more_overlay_where_there_is_a_map_of_it(viewer: ViewerModel, scene: Scene) -> None:
    case = scene.session.case
    assert case is not None
    known = open_saved_labels(case.store, "teacher", case.schema).volume.read()
    begun = begin_labels(case.store, "teacher", case.schema, "anew", [Extra("uncertainty"), Extra("disagreement")])
    begun.write(0, known, {"uncertainty": np.zeros(known.shape, np.uint8), "disagreement": (known > 0) * np.uint8(7)})
    drain(begun.commit())
    scene.reload()
    assert names(viewer) == ["scan", "organs", "uncertainty", "disagreement"]
    np.testing.assert_array_equal(viewer.layers["disagreement"].data[0][:], 7 * (known > 0))
    assert viewer.layers.selection.active is viewer.layers["organs"]
    seen = []
    for _ in range(5):
        seen.append([layer.name for layer in viewer.layers if layer.visible and layer.name != "scan"])
        scene.cycle_overlays()
    assert seen == [["organs"], ["organs", "uncertainty"], ["organs", "disagreement"], [], ["organs"]]
    scene.session.set_overlay("disagreement")
    scene.session.use("other")
    assert not viewer.layers["disagreement"].visible
    scene.cycle_overlays()
    assert scene.session.overlay == "none"


def test_hiding_leaves_the_scan_alone_until_it_ends(viewer: ViewerModel, scene: Scene) -> None:
    scene.session.set_overlay("both")
    scene.hide(True)
    assert [layer.name for layer in viewer.layers if layer.visible] == ["scan"]
    scene.hide(False)
    assert [layer.name for layer in viewer.layers if layer.visible] == ["scan", "organs", "uncertainty"]


def test_outlines_come_and_go(viewer: ViewerModel, scene: Scene) -> None:
    scene.outline()
    assert viewer.layers["organs"].contour == 1
    scene.outline()
    assert viewer.layers["organs"].contour == 0


def test_a_case_without_proposals_shows_what_people_labelled(viewer: ViewerModel, scene: Scene) -> None:
    scene.session.use("nobody")
    labelled = next(case for case in scene.session.project.cases if case.labelled)
    scene.session.look_at(labelled.id)
    assert np.array_equal(viewer.layers["organs"].data[0][:], labelled.labels("manual").volume.read())
    bare = next(case for case in scene.session.project.cases if not case.labelled)
    scene.session.look_at(bare.id)
    assert not np.any(viewer.layers["organs"].data[0][:])


def test_leaving_the_project_leaves_nothing_of_ours_to_be_seen(viewer: ViewerModel, scene: Scene) -> None:
    mine = viewer.add_layer(Points(np.zeros((1, 3)), name="mine"))
    folder = scene.session.project.folder
    scene.session.close()
    assert [layer for layer in viewer.layers if layer.visible] == [mine]
    assert scene.shown is None
    scene.session.open_project(folder)
    assert {layer.name for layer in viewer.layers if layer.visible} == {"mine", "scan", "organs"}


def test_closing_takes_our_layers_and_no_others(viewer: ViewerModel, scene: Scene) -> None:
    mine = viewer.add_layer(Points(np.zeros((1, 3)), name="mine"))
    scene.session.correct()
    scene.close()
    assert list(viewer.layers) == [mine]


def test_a_layer_that_was_thrown_away_comes_back_with_the_next_case(viewer: ViewerModel, scene: Scene) -> None:
    viewer.layers.remove("organs")
    scene.session.step(1)
    other = next(case for case in scene.session.project.cases if case.id != scene.session.case.id)
    scene.session.look_at(other.id)
    assert "organs" in names(viewer)


def test_what_was_closed_hears_nothing(viewer: ViewerModel, reviewing: Session) -> None:
    scene = Scene(viewer, reviewing)
    scene.close()
    assert names(viewer) == []
    reviewing.step(1)
    viewer.dims.set_point(0, 3)
    assert names(viewer) == []
    assert not reviewing.case_changed
    assert not reviewing.correcting.changed


def test_another_project_with_other_organs_is_shown_in_its_colours(
    viewer: ViewerModel, scene: Scene, make_project: Callable[..., Project]
) -> None:
    scene.session.open_project(make_project(name="second").folder)
    assert names(viewer) == ["scan", "organs", "uncertainty"]


def test_a_damaged_scan_is_told_and_the_next_one_shown(viewer: ViewerModel, scene: Scene) -> None:
    heard: list[str] = []
    scene.session.went_wrong.connect(heard.append)
    shown = scene.session.case
    labelled = next(case for case in scene.session.project.cases if case.labelled)
    for file in (labelled.store / "0").rglob("*"):
        if file.is_file() and file.name != "zarr.json":
            file.write_bytes(bytes(file.stat().st_size))
    scene.session.look_at(labelled.id)
    assert heard
    assert "damaged" in heard[0]
    scene.session.look_at(shown.id)
    assert np.array_equal(viewer.layers["scan"].data[0][:], shown.volume.read())


# ---- what is read --------------------------------------------------------------------------------------------------


@dataclass
class Counted:
    """Counts the voxels that are read of each level."""

    read: Counter[int] = field(default_factory=Counter)

    def count(self, volume: Volume) -> Volume:
        return replace(volume, levels=tuple(self._count(array, level) for level, array in enumerate(volume.levels)))

    def _count(self, array: Any, level: int) -> DiskArray:
        def read_box(box: Region) -> Any:
            self.read[level] += int(np.prod(extent(box)))
            return array[box]

        return DiskArray(array.shape, array.dtype, read_box)


def large(dtype: Any) -> Volume:
    shapes = [(512, 4096, 4096), (256, 2048, 2048), (128, 1024, 1024), (64, 512, 512)]

    def read_box(box: Region) -> Any:
        return np.zeros(extent(box), dtype)

    return Volume(tuple(DiskArray(shape, np.dtype(dtype), read_box) for shape in shapes), (1.0, 1.0, 1.0))


def test_looking_at_a_slice_reads_no_more_than_slices(viewer: ViewerModel, scene: Scene) -> None:
    counted = Counted()
    scan = counted.count(large(np.uint16))
    scene.shown = replace(scene.shown, scan=scan, organs=counted.count(large(np.uint8)), doubt=None)
    scene._fill_scan(scene.shown)
    scene._fill_organs(scene.shown)
    viewer.dims.set_point(0, 100)
    viewer.dims.set_point(0, 200)
    assert set(counted.read) == {3}
    assert counted.read[3] <= 10 * 512 * 512


# ---- pictures without napari ---------------------------------------------------------------------------------------


def test_colours_tell_organs_apart_and_strangers_from_organs() -> None:
    colours = isolate(MEDAKA, 0).color_dict
    assert len({tuple(np.round(colour, 3)) for colour in colours.values()}) == len(MEDAKA.ids) + 2


def test_a_colour_map_is_made_once_for_each_organ() -> None:
    same = LabelSchema.model_validate(MEDAKA.model_dump())
    assert isolate(MEDAKA, 3) is isolate(same, 3)
    assert isolate(MEDAKA, 3) is not isolate(MEDAKA, 4)


def test_napari_takes_the_names_and_colours() -> None:
    layer = Labels(np.zeros((2, 2), np.uint8), colormap=isolate(MEDAKA, 1), features=name_organs(MEDAKA))
    assert layer.colormap.color_dict[1][3] == 1


def stacked(seed: int) -> Volume:
    fine = np.random.default_rng(seed).integers(0, 9, (25, 20, 15), dtype=np.uint8)
    return Volume((fine, fine[::2, ::2, ::2], fine[::4, ::4, ::4]), (1.0, 1.0, 1.0))


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("seed", range(5))
def test_a_crop_replaces_just_its_region_at_every_level(seed: int, level: int) -> None:
    volume, rng = stacked(seed), np.random.default_rng(seed)
    low = [int(rng.integers(0, size - 4)) for size in volume.shape]
    region = tuple(slice(a, int(rng.integers(a + 1, size + 1))) for a, size in zip(low, volume.shape, strict=True))
    crop = rng.integers(10, 19, extent(region), dtype=np.uint8)
    fine = volume.read().copy()
    fine[region] = crop
    step = 1 << level
    assert np.array_equal(lay_crop_over(volume, region, crop).read(level=level), fine[::step, ::step, ::step])
    fine[region] = 0
    assert np.array_equal(lay_crop_over(volume, region, None).read(level=level), fine[::step, ::step, ::step])


@pytest.mark.parametrize("seed", range(5))
def test_a_label_map_of_one_level_gets_those_of_the_scan(seed: int) -> None:
    scan = stacked(seed)
    deep = deepen(replace(scan, levels=scan.levels[:1]), scan)
    for level in range(3):
        assert np.array_equal(deep.read(level=level), scan.read(level=level))
    assert len(deepen(replace(scan, levels=scan.levels[:1]), None).levels) == 2
    assert deepen(scan, None) == scan


def test_nothing_is_as_large_as_the_scan() -> None:
    volume = stacked(0)
    empty = blank(volume, np.dtype(np.uint16))
    assert [level.shape for level in empty.levels] == [level.shape for level in volume.levels]
    assert not empty.read(whole(volume.shape)).any()


# ---- in a window ---------------------------------------------------------------------------------------------------


@pytest.fixture
def seen(make_napari_viewer: Callable[..., Any], reviewing: Session) -> Iterator[Scene]:
    """A scene on the screen, in a viewer as plugins get it."""
    scene = Scene(PublicOnlyProxy(make_napari_viewer(show=True)), reviewing)
    QApplication.processEvents()
    yield scene
    scene.close()
    QApplication.processEvents()


def coloured(scene: Scene) -> int:
    """How many pixels of the canvas are plainly coloured, where tissue is grey."""
    QApplication.processEvents()
    canvas = scene.viewer.screenshot(canvas_only=True, flash=False, size=(400, 400))[..., :3].astype(int)
    return int((canvas.max(-1) - canvas.min(-1) > 60).sum())


def test_the_organ_is_seen_on_the_canvas_until_it_is_hidden(seen: Scene) -> None:
    item = next(item for item in seen.session.review.known if item.organ == 6)  # orange; one organ is as grey as tissue
    seen.session.show(item)
    visible = coloured(seen)
    seen.hide(True)
    hidden = coloured(seen)
    seen.hide(False)
    assert visible > 150
    assert hidden < visible / 10
    assert coloured(seen) > visible / 2


def test_correcting_hiding_and_leaving_on_the_screen_go_well_again_and_again(seen: Scene) -> None:
    for _ in range(3):
        seen.session.step(1)
        seen.session.correct()
        layer = seen.viewer.layers["correction"]
        layer.paint(tuple(size // 2 for size in layer.data.shape), 1)
        QApplication.processEvents()
        seen.hide(True)
        seen.hide(False)
        seen.session.correcting.abandon()
        QApplication.processEvents()
        seen.hide(True)
        QApplication.processEvents()
        seen.hide(False)
    folder = seen.session.project.folder
    seen.session.close()
    QApplication.processEvents()
    seen.session.open_project(folder)
    QApplication.processEvents()
    assert seen.shown is not None
    assert seen.viewer.layers["scan"].visible


def test_the_next_item_is_there_in_an_eye_blink(seen: Scene) -> None:
    took = []
    for _ in range(len(seen.session.review.queue)):
        begun = time.perf_counter()
        seen.session.step(1)
        QApplication.processEvents()
        took.append(time.perf_counter() - begun)
    assert np.median(took) < 0.4, "measured: 60 to 80 ms; the limit leaves room for a busy machine"


def test_a_scan_that_is_not_in_the_project_yet_is_shown_alone_until_a_case_is(
    viewer: ViewerModel, scene: Scene, tmp_path: Path
) -> None:
    import nibabel

    values = np.random.default_rng(0).integers(0, 900, (20, 30, 40)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([0.02, 0.02, 0.05, 1])), tmp_path / "new.nii.gz")
    session = scene.session
    case = session.case
    assert case is not None
    session.preview_scan(tmp_path / "new.nii.gz")
    assert [layer.name for layer in viewer.layers if layer.visible] == ["new scan"]
    layer = viewer.layers["new scan"]
    assert layer.data[0].shape == (40, 30, 20)
    assert tuple(layer.scale) == pytest.approx((50.0, 20.0, 20.0))
    assert 0 <= layer.contrast_limits[0] < layer.contrast_limits[1] <= 900
    session.look_at(case.id)
    assert [layer.name for layer in viewer.layers if layer.visible] == ["scan", "organs"]
    session.preview_scan(tmp_path / "new.nii.gz")
    session.preview_scan(tmp_path / "nothing.nii.gz")
    assert session.preview is None
    assert not viewer.layers["new scan"].visible
