"""Instances in a scan's OME-Zarr store: as many label maps as they need so that what overlaps is kept.

Layer n of ``name`` is the label map ``<name>-overlap-<n>``, n from 1 on; most things are in the first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .instance_files import boxes_in, things_in
from .instances import to_layers
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
    from .volume import Region

_LAYER = re.compile(r"(.+)-overlap-[1-9][0-9]*")


def save_instances(things: Sequence[Instance], store: Path, name: str) -> Job[tuple[str, ...]]:
    """Write ``things`` into the store of their scan as ``name``; the names of their layers.

    Ids are 1, 2, … in the order of ``things``, one thing each. Written block by block: no layer is ever in memory.
    Layers of an older, deeper result of that name stay listed but hold nothing. The first layer is written last: a
    result of which it is there is whole.

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
    names = [layer_name(name, number) for number in range(1, len(layers) + 1)]
    for which, layer in reversed(list(zip(names, layers, strict=True))):
        schema = LabelSchema.from_ids({thing: f"{name} {thing}" for thing in layer.things} or {1: f"{name} 1"})
        labels = LabelMap(Volume((layer,), scan.voxel_size, name), schema)
        yield from save_labels(labels, store, which)
    return tuple(names)


def is_layer(name: str) -> bool:
    """Whether a label map of that name holds a layer of things, rather than organs."""
    return _LAYER.fullmatch(name) is not None


def layer_name(name: str, number: int = 1) -> str:
    """The label map that holds a layer of ``name``; by default the first, which is written last."""
    return f"{name}-overlap-{number}"


def instance_names(store: Path) -> tuple[str, ...]:
    """Names of the results that :func:`save_instances` wrote into ``store``, sorted."""
    end = layer_name("")
    return tuple(name.removesuffix(end) for name in label_names(store) if name.endswith(end))


def layer_names(store: Path, name: str) -> tuple[str, ...]:
    """The label maps that hold the layers of ``name``, first layer first; none where there is no such result."""
    listed = label_names(store)
    names: list[str] = []
    while (layer := layer_name(name, len(names) + 1)) in listed:
        names.append(layer)
    return tuple(names)


def open_layers(store: Path, name: str) -> tuple[Volume, ...]:
    """The label maps of what was saved as ``name``, first layer first; read when they are asked for.

    Raises
    ------
    InvalidVolume
        If a layer is damaged.
    """
    return tuple(_open_layer(store, layer) for layer in layer_names(store, name))


def open_instances(store: Path, name: str) -> tuple[Instance, ...]:
    """The things that were saved as ``name``, in the order that they were saved in.

    Raises
    ------
    InvalidVolume
        If a layer is damaged.
    """
    found = {which: thing for layer in open_layers(store, name) for which, thing in things_in(layer).items()}
    return tuple(found[which] for which in sorted(found))


def boxes_of(store: Path, name: str) -> tuple[Region, ...]:
    """Where the things of ``name`` lie, in the order that they were saved in; read block by block."""
    found = {which: box for layer in open_layers(store, name) for which, box in boxes_in(layer).items()}
    return tuple(found[which] for which in sorted(found))


def _open_layer(store: Path, layer: str) -> Volume:
    legend = read_legend(store, store / "labels" / generation(store, layer))
    ids = sorted(legend.properties) if legend else []
    return open_saved_labels(store, layer, LabelSchema.from_ids({which: str(which) for which in ids})).volume
