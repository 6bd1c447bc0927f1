"""What napari's own menus open, in a window: pixels of the canvas, and the dock for a project."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

from napari_medaka_kd.demo_settings import PhantomSettings
from napari_medaka_kd.gui.dock import MedakaDock
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import Project
from napari_medaka_kd.volumes.label_store import save_labels
from napari_medaka_kd.volumes.labels import LabelMap, LabelSchema
from napari_medaka_kd.volumes.phantom import phantom_animal
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume

PLUGIN = "napari-medaka-kd"


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Any]) -> Iterator[Any]:
    viewer = make_napari_viewer(show=True)
    yield viewer
    for dock in viewer.window._qt_window.findChildren(MedakaDock):
        dock.shut()
    QApplication.processEvents()


def canvas(viewer: Any) -> np.ndarray:
    QApplication.processEvents()
    return viewer.screenshot(canvas_only=True, flash=False, size=(400, 400))[..., :3].astype(int)


def test_a_store_is_seen_with_its_organs_in_their_colours(viewer: Any, tmp_path: Path) -> None:
    """The left half is called red and the right half blue; between them is the scan alone."""
    schema = LabelSchema.from_ids({1: "left", 5: "right"})
    schema = schema.model_copy(
        update={
            "organs": tuple(
                o.model_copy(update={"color": c}) for o, c in zip(schema.organs, ("#ff0000", "#0000ff"), strict=True)
            )
        }
    )
    animal = phantom_animal(PhantomSettings(shape=(32, 64, 64), voxel_size=400))
    ids = np.zeros(animal.volume.shape, np.uint8)
    ids[..., :24], ids[..., 40:] = 1, 5
    drain(save_volume(animal.volume, tmp_path / "fish.ome.zarr"))
    labels = LabelMap(Volume((ids,), animal.volume.voxel_size), schema)
    drain(save_labels(labels, tmp_path / "fish.ome.zarr", "halves"))
    image, halves = viewer.open(tmp_path / "fish.ome.zarr", plugin=PLUGIN)
    seen = canvas(viewer)
    red, blue = (seen[..., 0] - seen[..., 2] > 60), (seen[..., 2] - seen[..., 0] > 60)
    columns = np.arange(400)
    assert red.sum() > 4000 < blue.sum()
    assert columns[red.any(0)].max() < columns[blue.any(0)].min()
    halves.visible = False
    alone = canvas(viewer)
    assert (alone.max(-1) - alone.min(-1)).max() < 10
    assert alone.std() > 10
    image.visible = False
    assert canvas(viewer).std() < 3


def test_a_project_opens_the_dock_with_that_project(viewer: Any, make_project: Callable[..., Project]) -> None:
    project = make_project(unlabelled=1, labelled=0, held_out=0)
    assert viewer.open(project.folder, plugin=PLUGIN) == []
    (dock,) = viewer.window._qt_window.findChildren(MedakaDock)
    assert dock.session.project == project
    assert [layer.name for layer in viewer.layers] == ["scan", "organs", "uncertainty"]
    assert viewer.open(project.folder / "project.toml", plugin=PLUGIN) == []
    assert len(viewer.layers) == 3
