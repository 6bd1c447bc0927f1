"""Sample data for napari's menu: a made-up medaka and its organs, without a download."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from napari_medaka_kd.settings import PhantomSettings
from napari_medaka_kd.volumes.phantom import phantom_animal

if TYPE_CHECKING:
    from napari_medaka_kd.volumes.labels import LabelSchema

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


def _colours(schema: LabelSchema) -> dict[int | None, str]:
    """Colour by organ id; ``None`` is the colour of ids that are not in the schema."""
    return {None: "white", 0: "transparent"} | {organ.id: organ.color for organ in schema.organs}


def _features(schema: LabelSchema) -> dict[str, list[Any]]:
    """One row an organ; shown is the row whose ``index`` is the id under the cursor."""
    return {"index": [0, *schema.ids], "organ": ["background", *schema.names]}
