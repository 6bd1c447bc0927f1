"""Painting in the viewer: every stroke of napari's own tools reaches the correction, and nothing else does."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels

from napari_medaka_kd.gui.layers import Scene
from napari_medaka_kd.gui.session import Session
from napari_medaka_kd.workflow.correct import Correction


@pytest.fixture
def scene(reviewing: Session) -> Iterator[Scene]:
    scene = Scene(ViewerModel(), reviewing)
    reviewing.correct()
    yield scene
    scene.close()


@pytest.fixture
def layer(scene: Scene) -> Labels:
    return scene.viewer.layers["correction"]


@pytest.fixture
def correction(scene: Scene) -> Correction:
    correction = scene.session.correcting.now
    assert correction is not None
    return correction


def middle(layer: Labels) -> tuple[int, int, int]:
    """Of the crop, in the slice on show."""
    z, y, x = layer.data.shape
    return z // 2, y // 2, x // 2


def press(layer: Labels, key: str) -> None:
    """What napari does with a key that the active layer has bound."""
    (deed,) = [deed for name, deed in layer.keymap.items() if str(name) == key]
    deed(layer)


def test_the_crop_is_shown_where_it_lies_on_top_and_ready_to_paint(
    scene: Scene, layer: Labels, correction: Correction
) -> None:
    assert np.array_equal(layer.data, correction.labels)
    assert layer.translate == pytest.approx([side.start * 500 for side in correction.region])
    assert tuple(layer.scale) == correction.voxel_size
    assert scene.viewer.layers[-1] is layer
    assert scene.viewer.layers.selection.active is layer
    assert (layer.selected_label, layer.mode, layer.n_edit_dimensions) == (correction.item.organ, "paint", 2)
    assert layer.editable


def test_the_proposals_are_not_shown_under_the_crop(scene: Scene, correction: Correction) -> None:
    case, organs = scene.session.case, scene.viewer.layers["organs"].data
    expected = case.labels("teacher").volume.read().copy()
    expected[correction.region] = 0
    assert np.array_equal(organs[0][:], expected)
    assert np.array_equal(organs[1][:], expected[::2, ::2, ::2])


@pytest.mark.parametrize("tool", ["paint", "fill", "erase", "polygon", "script"])
def test_a_stroke_of_every_tool_is_recorded_as_it_was_painted(layer: Labels, correction: Correction, tool: str) -> None:
    z, y, x = middle(layer)
    other = next(organ for organ in (1, 2, 3) if organ != layer.data[z, y, x])
    before = layer.data.copy()
    layer.events.paint.connect(lambda event: None)
    if tool == "paint":
        layer.paint((z, y, x), other)
    elif tool == "fill":
        layer.fill((z, y, x), other)
    elif tool == "erase":
        layer.paint((z, y, x), other)
        layer.paint((z, y, x), 0)
    elif tool == "polygon":
        layer.paint_polygon([(z, y - 3, x - 3), (z, y - 3, x + 3), (z, y + 3, x)], other)
    else:
        layer.data_setitem((np.array([z]), np.array([y]), np.array([x])), other)
    assert not np.array_equal(layer.data, before)
    assert np.array_equal(correction.labels, layer.data)
    assert correction.strokes == (2 if tool == "erase" else 1)


def test_a_drag_is_one_stroke(layer: Labels, correction: Correction) -> None:
    z, y, x = middle(layer)
    with layer.block_history():
        for step in range(5):
            layer.paint((z, y + step - 2, x), 1, refresh=False)
            layer.paint((z, y + step - 2, x), 2, refresh=False)
    assert correction.strokes == 1
    assert np.array_equal(correction.labels, layer.data)


def test_painting_what_is_there_already_is_no_stroke(layer: Labels, correction: Correction) -> None:
    z, y, x = middle(layer)
    layer.paint((z, y, x), int(layer.data[z, y, x]))
    strokes = correction.strokes
    layer.paint((z, y, x), int(layer.data[z, y, x]))
    assert correction.strokes == strokes


def test_undo_and_redo_are_those_of_the_correction(layer: Labels, correction: Correction) -> None:
    z, y, x = middle(layer)
    begun = layer.data.copy()
    layer.paint((z, y, x), 1 if layer.data[z, y, x] != 1 else 2)
    painted = layer.data.copy()
    press(layer, "Ctrl+Z")
    assert np.array_equal(layer.data, begun)
    assert np.array_equal(correction.labels, begun)
    press(layer, "Ctrl+Shift+Z")
    assert np.array_equal(layer.data, painted)
    assert np.array_equal(correction.labels, painted)


def test_strokes_and_undo_in_any_order_keep_layer_and_correction_alike(layer: Labels, correction: Correction) -> None:
    rng = np.random.default_rng(0)
    kept = [layer.data.copy()]
    for _ in range(40):
        if rng.random() < 0.4 and len(kept) > 1:
            press(layer, "Ctrl+Z")
            kept.pop()
        else:
            strokes = correction.strokes
            layer.paint(tuple(int(rng.integers(size)) for size in layer.data.shape), int(rng.integers(4)))
            if correction.strokes > strokes:
                kept.append(layer.data.copy())
        assert np.array_equal(layer.data, kept[-1])
        assert np.array_equal(correction.labels, kept[-1])


def test_an_organ_that_the_project_lacks_is_refused_and_unpainted(
    scene: Scene, layer: Labels, correction: Correction
) -> None:
    heard: list[Any] = []
    scene.session.went_wrong.connect(heard.append)
    before = layer.data.copy()
    layer.paint(middle(layer), 99)
    assert len(heard) == 1
    assert "99" in heard[0]
    assert np.array_equal(layer.data, before)
    assert np.array_equal(correction.labels, before)


def test_filling_in_all_directions_stays_in_the_crop(scene: Scene, layer: Labels, correction: Correction) -> None:
    scene.crop.switch_dimensions()
    assert layer.n_edit_dimensions == 3
    layer.data[...] = 0
    correction.record(layer.data)
    layer.fill(middle(layer), 2)
    assert (correction.labels == 2).all()
    scene.crop.switch_dimensions()
    assert layer.n_edit_dimensions == 2


def test_hiding_hides_the_crop_too(scene: Scene, layer: Labels) -> None:
    scene.hide(True)
    assert not layer.visible
    scene.hide(False)
    assert layer.visible


def test_giving_up_takes_the_crop_away_and_shows_the_proposals_whole(scene: Scene) -> None:
    scene.session.correcting.abandon()
    assert not scene.viewer.layers["correction"].visible
    case, organs = scene.session.case, scene.viewer.layers["organs"]
    assert np.array_equal(organs.data[0][:], case.labels("teacher").volume.read())
    assert scene.viewer.layers.selection.active is organs


def test_a_second_correction_is_painted_in_the_same_layer(scene: Scene, layer: Labels) -> None:
    scene.session.correcting.abandon()
    reach = scene.viewer.dims.range
    other = next(item for item in scene.session.review.queue if item.case != scene.session.case.id)
    scene.session.show(other)
    scene.session.correct()
    assert scene.viewer.dims.range == reach
    correction = scene.session.correcting.now
    assert scene.viewer.layers["correction"] is layer
    assert layer.visible
    assert np.array_equal(layer.data, correction.labels)
    assert layer.translate == pytest.approx([side.start * 500 for side in correction.region])
    assert (layer.selected_label, layer.mode) == (other.organ, "paint")
    layer.paint(middle(layer), 1 if layer.data[middle(layer)] != 1 else 2)
    assert correction.strokes == 1
    assert np.array_equal(layer.data, correction.labels)


def test_throwing_the_layer_away_leaves_the_correction_on_the_disk(scene: Scene, layer: Labels) -> None:
    layer.paint(middle(layer), 1 if layer.data[middle(layer)] != 1 else 2)
    painted = layer.data.copy()
    scene.viewer.layers.remove(layer)
    assert scene.session.correcting.now is None
    scene.session.correct()
    assert np.array_equal(scene.viewer.layers["correction"].data, painted)


def test_what_was_painted_is_shown_among_the_proposals_when_it_is_done(scene: Scene, layer: Labels) -> None:
    case, region = scene.session.case, scene.crop.region
    organ = scene.session.correcting.now.item.organ
    z, y, x = next(zip(*np.nonzero(layer.data == 0), strict=True))
    layer.paint((z, y, x), organ)
    scene.session.commit()
    scene.session.look_at(case.id)
    place = tuple(side.start + at for side, at in zip(region, (z, y, x), strict=True))
    assert scene.viewer.layers["organs"].data[0][place] == organ
    scene.session.undo()
    assert scene.viewer.layers["organs"].data[0][place] == case.labels("teacher").volume.read()[place]


def test_nothing_is_recorded_any_more_while_it_is_being_written(
    scene: Scene, layer: Labels, correction: Correction
) -> None:
    before = layer.data.copy()
    scene.session.correcting.committing = True
    layer.paint(middle(layer), 1 if layer.data[middle(layer)] != 1 else 2)
    scene.session.correcting.committing = False
    assert correction.strokes == 0
    assert np.array_equal(layer.data, before)
