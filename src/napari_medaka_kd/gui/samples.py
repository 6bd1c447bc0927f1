"""Sample data for napari's menu, without a download: a made-up medaka, or a whole project of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medaka_kd.demo_settings import PhantomSettings
from napari_medaka_kd.exchange.looks import Grid, colour_ids, name_ids, schema_legend
from napari_medaka_kd.volumes.phantom import phantom_animal

if TYPE_CHECKING:
    from napari_medaka_kd.exchange.looks import LayerData

_EMPTY = "made-up fish"


def open_phantom() -> list[LayerData]:
    """A micro-CT scan, (z, y, x) float or integer, and the organs in it, (z, y, x) unsigned integer."""
    animal = phantom_animal(PhantomSettings())
    place = Grid(animal.volume.voxel_size).words
    legend = schema_legend(animal.labels.schema)
    organs = {"colormap": colour_ids(legend), **name_ids(legend)}
    return [
        (animal.volume.read(), {"name": "Medaka phantom", **place}, "image"),
        (animal.labels.volume.read(), {"name": "Medaka phantom organs", **organs, **place}, "labels"),
    ]


def open_sample_project() -> list[LayerData]:
    """Open the dock with a project of made-up fish, and an empty layer.

    The dock makes the layers itself, but napari (0.9) takes a sample without any for a failure; this one goes at once.
    """
    from .commands import drop_soon, open_dock

    dock = open_dock()
    if dock is not None:
        dock.session.open_sample()
        dock.show_panel("Cases")
        drop_soon(dock.viewer, _EMPTY)
    return [(np.empty((0, 3)), {"name": _EMPTY, "ndim": 3, "units": ("um", "um", "um")}, "points")]
