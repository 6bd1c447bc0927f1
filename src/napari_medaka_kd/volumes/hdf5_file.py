"""Reading HDF5, as ilastik, NeXus and beamlines write it: one dataset, box by box."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .gate import check_header, refusing
from .hdf5_chunks import check_storage, read_part
from .hdf5_find import find_dataset, open_safely, walk_to
from .hdf5_scale import find_voxel_size, spatial_axes
from .lazy import DiskArray
from .volume import Volume, extent

if TYPE_CHECKING:
    from pathlib import Path

    import h5py
    import numpy.typing as npt

    from .volume import Region, Shape, Triple


def open_hdf5(path: Path, inside: str, name: str, voxel_size: Triple | None = None) -> Volume:
    """A dataset of an HDF5 file as a volume, (z, y, x) by its axis names or else as it lies; axes of length 1 go.

    Reads headers, names and attributes only; a region reads the chunks that it touches. The file is opened again at
    the first read, and closed when nobody can read it any more.

    Parameters
    ----------
    inside
        Path of the dataset in the file; "" where it is the only 3-D one, NeXus's default or ilastik's.
    voxel_size
        (z, y, x) in µm, instead of what the file says.

    Raises
    ------
    InvalidVolume
        If the file is damaged, no or several datasets can be meant, the dataset leads to another file or is packed in
        an unknown way, or it is not said how large its voxels are.
    """
    with refusing(str(path)), open_safely(path) as file:
        dataset = find_dataset(file, inside, str(path))
        axes = spatial_axes(dataset, str(path))
        shape = dataset.shape or () if axes is None else tuple(dataset.shape[axis] for axis in axes)
        check_header(shape, dataset.dtype, (1.0, 1.0, 1.0), str(path))
        check_storage(dataset)
        place = _Place(path, str(dataset.name), dataset.shape, dataset.dtype, axes or (0, 1, 2))
        size = voxel_size or find_voxel_size(dataset, place.axes, str(path))
        pages = _is_paged(dataset, place.axes)
    check_header(shape, place.native, size, str(path))
    array = DiskArray((shape[0], shape[1], shape[2]), place.native, _Reader(place), pages)
    return Volume((array,), size, name, path)


@dataclass(frozen=True)
class _Place:
    """A dataset in a file, and which of its axes are z, y and x."""

    path: Path
    inside: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: Shape

    @property
    def native(self) -> np.dtype[Any]:
        """In the machine's byte order, without the names that HDF5 may give to numbers."""
        return np.dtype(self.dtype.str).newbyteorder("=")


class _Reader:
    """Reads boxes of a dataset; h5py lets one thread at a time into HDF5, and gzip is unpacked outside of it."""

    def __init__(self, place: _Place) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._dataset: h5py.Dataset | None = None

    def __call__(self, box: Region) -> npt.NDArray[Any]:
        place = self._place
        part = [slice(0, 1)] * len(place.shape)
        for axis, side in zip(place.axes, box, strict=True):
            part[axis] = side
        with refusing(str(place.path)):
            block = read_part(self._open(), tuple(part))
        rest = [axis for axis in range(len(part)) if axis not in place.axes]
        return block.transpose(*place.axes, *rest).reshape(extent(box)).astype(place.native, copy=False)

    def _open(self) -> h5py.Dataset:
        with self._lock:
            if self._dataset is None:
                file = open_safely(self._place.path)
                weakref.finalize(self, file.close)
                dataset = walk_to(file, self._place.inside)
                check_storage(dataset)
                if (dataset.shape, dataset.dtype) != (self._place.shape, self._place.dtype):
                    raise ValueError("it is another file than when it was opened")
                self._dataset = dataset
            return self._dataset


def _is_paged(dataset: h5py.Dataset, axes: Shape) -> bool:
    """Whether every chunk holds whole slices."""
    _, y, x = axes
    return dataset.chunks is not None and all(dataset.chunks[axis] >= dataset.shape[axis] for axis in (y, x))
