"""Sample data for napari's menu, without a download: a made-up medaka, or a whole project of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_medaka_kd.settings import PhantomSettings
from napari_medaka_kd.volumes.phantom import phantom_animal

if TYPE_CHECKING:
    from napari_medaka_kd.volumes.labels import LabelSchema

_EMPTY = "made-up fish"
#: What napari makes a layer of: data, keyword arguments, kind of layer.
LayerData: TypeAlias = tuple[Any, dict[str, Any], str]


def open_phantom() -> list[LayerData]:
    """A micro-CT scan, (z, y, x) float or integer, and the organs in it, (z, y, x) unsigned integer."""
    animal = phantom_animal(PhantomSettings())
    place = {"scale": animal.volume.voxel_size, "units": ("um", "um", "um"), "axis_labels": ("z", "y", "x")}
    organs = {"colormap": _colours(animal.labels.schema), "features": _features(animal.labels.schema)}
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


def _colours(schema: LabelSchema) -> dict[int | None, str]:
    """Colour by organ id; ``None`` is the colour of ids that are not in the schema."""
    return {None: "white", 0: "transparent"} | {organ.id: organ.color for organ in schema.organs}


def _features(schema: LabelSchema) -> dict[str, list[Any]]:
    """One row an organ; shown is the row whose ``index`` is the id under the cursor."""
    return {"index": [0, *schema.ids], "organ": ["background", *schema.names]}
