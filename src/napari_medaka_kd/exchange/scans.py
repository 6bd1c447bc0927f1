"""A scan or a label map in one file (NIfTI, NRRD, …) as a layer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from napari_medaka_kd.errors import InvalidVolume
from napari_medaka_kd.volumes.label_legend import Legend
from napari_medaka_kd.volumes.open import open_volume

from .looks import Grid, LayerData, image_layer, labels_layer
from .tell import warn

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medaka_kd.volumes.volume import Volume

#: A file of whole numbers with one of these words in its name, or in a folder called so, is a label map.
_WORDS = "labels?|seg|segmentations?|masks?|annotations?|organs?"
_FILE, _FOLDER = re.compile(f"(?<![a-z])({_WORDS})(?![a-z])", re.IGNORECASE), re.compile(_WORDS, re.IGNORECASE)
_PAINTABLE = 64 * 2**20  # voxels; a smaller label map is read into memory, where it can be painted


def scan_layers(path: Path) -> list[LayerData]:
    """The scan or the label map at ``path`` as one layer; without a voxel size in pixels, of which the person is told.

    Raises
    ------
    UserError
        If the format is not known.
    InvalidVolume
        If the gate refuses it.
    """
    volume, grid = _open(path)
    if volume.dtype.kind not in "iub" or not (_FILE.search(path.name) or _FOLDER.fullmatch(path.parent.name)):
        return [image_layer(volume, grid)]
    if np.prod(volume.shape) > _PAINTABLE:
        return [labels_layer(volume, grid, Legend({}, {}))]
    return [(volume.read(), {"name": volume.name, "metadata": {"source": str(path)}, **grid.words}, "labels")]


def _open(path: Path) -> tuple[Volume, Grid]:
    try:
        volume = open_volume(path)
        return volume, Grid(volume.voxel_size)
    except InvalidVolume as refused:
        try:
            volume = open_volume(path, (1.0, 1.0, 1.0))
        except InvalidVolume:
            raise refused from None
        warn(f"{refused.message} It is shown in pixels.")
        return volume, Grid((1.0, 1.0, 1.0), unit="pixel")
