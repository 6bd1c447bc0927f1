"""Instances in a scan's OME-Zarr store: as many label maps as they need so that what overlaps is kept.

Layer n of ``name`` is the label map ``<name>-overlap-<n>``, n from 1 on; most things are in the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .instances import from_layers, to_layers
from .label_legend import read_legend
from .label_store import generation, label_names, open_saved_labels, save_labels
from .labels import LabelMap, LabelSchema
from .open import open_store
from .volume import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medaka_kd.job import Job

    from .instances import Instance


def save_instances(things: Sequence[Instance], store: Path, name: str) -> Job[tuple[str, ...]]:
    """Write ``things`` into the store of their scan as ``name``; the names of their layers.

    Ids are 1, 2, … in the order of ``things``, one thing each. Written block by block: no layer is ever in memory.
    Layers of an older, deeper result of that name stay listed but hold nothing.

    Raises
    ------
    UserError
        If the disk has no room for them.
    ValueError
        If there are more things than a 16-bit label map has ids.
    """
    scan = open_store(store)
    layers = list(to_layers(things, scan.shape))
    layers += to_layers((), scan.shape) * (len(layer_names(store, name)) - len(layers))
    names = []
    for number, layer in enumerate(layers, start=1):
        schema = LabelSchema.from_ids({which: f"{name} {which}" for which in layer.things} or {1: f"{name} 1"})
        labels = LabelMap(Volume((layer,), scan.voxel_size, name), schema)
        names.append(f"{name}-overlap-{number}")
        yield from save_labels(labels, store, names[-1])
    return tuple(names)


def layer_names(store: Path, name: str) -> tuple[str, ...]:
    """The label maps that hold the layers of ``name``, first layer first; none where there is no such result."""
    listed = label_names(store)
    names: list[str] = []
    while (layer := f"{name}-overlap-{len(names) + 1}") in listed:
        names.append(layer)
    return tuple(names)


def open_instances(store: Path, name: str) -> tuple[Instance, ...]:
    """The things that were saved as ``name``, by id; read wholly, a layer at a time.

    Raises
    ------
    InvalidVolume
        If a layer is damaged.
    """
    layers = []
    for layer in layer_names(store, name):
        legend = read_legend(store, store / "labels" / generation(store, layer))
        ids = sorted(legend.properties) if legend else []
        schema = LabelSchema.from_ids({which: str(which) for which in ids})
        layers.append(open_saved_labels(store, layer, schema).volume.read())
    return from_layers(layers)
