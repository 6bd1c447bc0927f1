"""What the benchmarks of the window share: a napari with the dock in it, and its event loop."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import napari
from qtpy.QtCore import QEventLoop, QTimer

from napari_medaka_kd.gui.dock import MedakaDock


def live(seconds: float) -> None:
    """Let the window's event loop run."""
    loop = QEventLoop()
    QTimer.singleShot(round(1000 * seconds), loop.quit)
    loop.exec()


def wait_for(what: Callable[[], bool], seconds: float = 600) -> None:
    """Let the window live until ``what`` holds."""
    end = time.perf_counter() + seconds
    while not what():
        if time.perf_counter() > end:
            raise TimeoutError
        live(0.05)


@contextmanager
def window(folder: Path | None = None) -> Iterator[tuple[Any, MedakaDock]]:
    """A viewer with the dock open, and in the dock the project in ``folder``."""
    viewer = napari.Viewer(show=True)
    dock = viewer.window.add_plugin_dock_widget("napari-medaka-kd", "Medaka KD")[1]
    try:
        if folder is not None:
            dock.session.open_project(folder)
            wait_for(lambda: dock.session.case is not None)
        yield viewer, dock
    finally:
        dock.shut()
        viewer.close()


@contextmanager
def sample_project() -> Iterator[Path]:
    """The project of made-up fish, in a folder that is gone afterwards."""
    from napari_medaka_kd.job import drain
    from napari_medaka_kd.workflow.sample import sample

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "project"
        drain(sample(place))
        yield place


def propose(folder: Path) -> None:
    """Give every animal of the project the truth, shifted, as what a teacher proposed; no network is needed."""
    import numpy as np

    from napari_medaka_kd.job import drain
    from napari_medaka_kd.volumes.label_extras import Extra
    from napari_medaka_kd.volumes.label_store import begin_labels
    from napari_medaka_kd.volumes.phantom import phantom_animal
    from napari_medaka_kd.workflow.curate import open_project
    from napari_medaka_kd.workflow.sample import FISH, animals

    fish = animals(FISH)
    for number, case in enumerate(open_project(folder).cases):
        ids = np.roll(phantom_animal(fish[case.id]).labels.volume.read(), number % 5, axis=2)
        begun = begin_labels(case.store, "teacher", case.schema, f"shifted {number}", extras=(Extra("uncertainty"),))
        begun.write(0, ids, {"uncertainty": (ids > 0).astype(np.uint8) * 100})
        drain(begun.commit())
