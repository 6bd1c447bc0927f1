"""An OME-Zarr store as layers: the scan, its label maps with their names and colours, and the doubt of ours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import InvalidVolume, UserError
from napari_medaka_kd.volumes.label_extras import DISAGREEMENT, UNCERTAINTY, extra_folder
from napari_medaka_kd.volumes.label_legend import Legend, label_folders, read_legend
from napari_medaka_kd.volumes.label_list import split_name
from napari_medaka_kd.volumes.open import open_store
from napari_medaka_kd.volumes.store_gate import StoredImage, read_image

from .looks import Grid, LayerData, doubt_layer, image_layer, labels_layer, name_organs
from .tell import warn

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medaka_kd.volumes.volume import Shape, Triple, Volume


@dataclass(frozen=True)
class _Placed:
    """An image of a store, and where it lies."""

    image: StoredImage
    volume: Volume
    grid: Grid


def store_layers(path: Path) -> list[LayerData]:
    """The layers of the OME-Zarr image at ``path``: the scan, and each label map that it lists; all lazy.

    A scan whose store names no unit is shown in pixels. A label map that the gate refuses is left out. The person is
    told of both.

    Raises
    ------
    InvalidVolume
        If the gate refuses the scan.
    """
    scan = _place(path)
    legend = read_legend(scan.image.root, scan.image.root)
    if scan.grid.unit == "pixel":
        warn(f"{str(path)!r} does not say in which unit its voxels are measured. It is shown in pixels.")
    if legend is not None:
        return [_labels(scan, legend)]
    return [image_layer(scan.volume, scan.grid), *_all_labels(scan)]


def _all_labels(scan: _Placed) -> list[LayerData]:
    """The last label map is shown, the others wait to be."""
    found: list[LayerData] = []
    root = scan.image.root
    try:
        folders = label_folders(root)
    except UserError as error:
        warn(str(error))
        return []
    for folder in folders:
        try:
            labels = _place(folder, scan)
            legend = read_legend(root, folder) or Legend({}, {})
            name = f"{scan.volume.name} {split_name(folder.name)[0]}".lstrip()
            found += [_labels(labels, legend, name), *_doubt(labels, name)]
        except UserError as error:
            warn(str(error))
    shown = [words for _, words, kind in found if kind == "labels"]
    for words in shown[:-1]:
        words["visible"] = False
    return found


def _labels(placed: _Placed, legend: Legend, name: str = "") -> LayerData:
    if placed.volume.dtype.kind not in "iub":
        raise InvalidVolume(
            f"The label map {str(placed.image.root)!r} holds values of type {str(placed.volume.dtype)!r}.",
            "Ids are whole numbers: export it again.",
        )
    if placed.image.ours:
        legend = name_organs(
            legend.colors, {number: str(told.get("name", "")) for number, told in legend.properties.items()}
        )
    return labels_layer(placed.volume, placed.grid, legend, name=name or placed.volume.name)


def _doubt(labels: _Placed, name: str) -> list[LayerData]:
    """Its uncertainty and disagreement, where it has them."""
    kept = {each: extra_folder(labels.image.root, each) for each in (UNCERTAINTY, DISAGREEMENT) if labels.image.ours}
    return [
        doubt_layer(open_store(folder), labels.grid, name=f"{name} {each}")
        for each, folder in kept.items()
        if folder is not None
    ]


def _place(path: Path, scan: _Placed | None = None) -> _Placed:
    """The image at ``path``; a label map that says nothing of its voxels covers what its ``scan`` does."""
    image = read_image(path)
    shape = _shape(image)
    if scan is not None and (image.voxel_size is None or scan.grid.unit == "pixel"):
        grid = scan.grid.under(scan.volume.shape, shape)
        return _Placed(image, open_store(path, grid.scale), grid)
    if image.voxel_size is None:
        grid = Grid(image.steps, image.origin, "pixel") if _usable(image.steps) else Grid((1.0, 1.0, 1.0), unit="pixel")
        return _Placed(image, open_store(path, grid.scale), grid)
    volume = open_store(path)
    return _Placed(image, volume, Grid(volume.voxel_size, _origin(image, volume.voxel_size)))


def _origin(image: StoredImage, voxel_size: Triple) -> Triple:
    """µm."""
    z, y, x = (at * size / step for at, size, step in zip(image.origin, voxel_size, image.steps, strict=True))
    if not all(math.isfinite(at) for at in (z, y, x)):
        raise InvalidVolume(f"{str(image.root)!r} says that it begins at {(z, y, x)} µm.", "Mend its metadata.")
    return z, y, x


def _usable(steps: Triple) -> bool:
    return all(math.isfinite(step) and step > 0 for step in steps)


def _shape(image: StoredImage) -> Shape:
    z, y, x = (image.arrays[0].shape[axis] for axis in image.axes)
    return z, y, x
