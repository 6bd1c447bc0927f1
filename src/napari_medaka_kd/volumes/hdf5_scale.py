"""How an HDF5 dataset lies and how large its voxels are: ilastik's axistags, NeXus's axes, ``element_size_um``."""

from __future__ import annotations

import json
import posixpath
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.errors import InvalidVolume

from .hdf5_chunks import check_storage, read_part
from .hdf5_find import text, walk_to
from .units import micrometres

if TYPE_CHECKING:
    import h5py

    from .volume import Shape, Triple

_MOST_STEPS = 2**20


def spatial_axes(dataset: h5py.Dataset, name: str) -> Shape | None:
    """Which axes of ``dataset`` are z, y and x: by name, else as they lie; ``None`` where there are not three.

    Raises
    ------
    InvalidVolume
        If another axis, of channels or time, is longer than 1.
    """
    names, shape = axis_names(dataset), dataset.shape or ()
    if {"z", "y", "x"} <= set(names):
        long = [axis for axis, size in zip(names, shape, strict=True) if axis not in "zyx" and size > 1]
        if long:
            raise InvalidVolume(f"{name!r} has several {', '.join(long)} (axes {names}).", "Export one: z, y, x.")
        return names.index("z"), names.index("y"), names.index("x")
    long_ones = [axis for axis, size in enumerate(shape) if size != 1] if len(shape) > 3 else range(len(shape))
    if len(long_ones) != 3:
        return None
    z, y, x = long_ones
    return z, y, x


def axis_names(dataset: h5py.Dataset) -> list[str]:
    """As ilastik's ``axistags`` or the ``axes`` of the NeXus group have them; none where nothing is said."""
    tags = text(dataset.attrs.get("axistags"))
    if tags:
        names = [str(axis["key"]).lower() for axis in json.loads(tags)["axes"]]
    else:
        axes = _group(dataset).attrs.get("axes")
        names = [text(axis).lower() for axis in axes] if isinstance(axes, np.ndarray) and axes.ndim == 1 else []
    return names if len(names) == dataset.ndim else []


def find_voxel_size(dataset: h5py.Dataset, axes: Shape, name: str) -> Triple:
    """(z, y, x) in µm, as the file says.

    Raises
    ------
    InvalidVolume
        If it does not say.
    """
    size = _element_size(dataset) or _pixel_sizes(dataset) or _steps(dataset, axes)
    if size is None:
        raise InvalidVolume(
            f"{name!r} does not say how large its voxels are.", "Give the voxel size in µm, in the order z, y, x."
        )
    return size


def _group(dataset: h5py.Dataset) -> Any:
    return walk_to(dataset.file, posixpath.dirname(dataset.name))


def _element_size(dataset: h5py.Dataset) -> Triple | None:
    for holder in (dataset, _group(dataset)):
        value = holder.attrs.get("element_size_um")
        if value is not None:
            z, y, x = (float(side) for side in np.asarray(value).reshape(-1))
            return z, y, x
    return None


def _pixel_sizes(dataset: h5py.Dataset) -> Triple | None:
    """``z_pixel_size`` and so on, beside the dataset, each one number with ``units``."""
    sizes = [_values(dataset, f"{axis}_pixel_size") for axis in "zyx"]
    if any(size is None or size.size != 1 for size in sizes):
        return None
    z, y, x = (float(size[0]) for size in sizes if size is not None)
    return z, y, x


def _steps(dataset: h5py.Dataset, axes: Shape) -> Triple | None:
    """From the coordinates of the voxels along each axis, which must be evenly spaced."""
    names = axis_names(dataset)
    if not names:
        return None
    sizes = []
    for axis in axes:
        places = _values(dataset, text(_group(dataset).attrs["axes"][axis])) if names[axis] not in ("", ".") else None
        if places is None or places.size != dataset.shape[axis] or places.size < 2:
            return None
        steps = np.abs(np.diff(places))
        if not np.allclose(steps, steps.mean(), rtol=0.01):
            raise ValueError(f"its places along {names[axis]!r} are not evenly spaced")
        sizes.append(float(steps.mean()))
    return sizes[0], sizes[1], sizes[2]


def _values(dataset: h5py.Dataset, part: str) -> Any:
    """The numbers, in µm, of the small dataset ``part`` beside ``dataset``; ``None`` where there are none."""
    try:
        found = walk_to(dataset.file, f"{posixpath.dirname(dataset.name)}/{part}")
    except KeyError:
        return None
    unit = micrometres(text(found.attrs.get("units")))
    if unit is None or not hasattr(found, "dtype") or found.dtype.kind not in "iuf" or found.size > _MOST_STEPS:
        return None
    check_storage(found)
    return np.asarray(read_part(found, tuple(slice(0, size) for size in found.shape)), np.float64).reshape(-1) * unit
