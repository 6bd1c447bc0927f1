"""Reading DICOM: a folder with a slice in each file, or a file of many frames, as one volume."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.errors import InvalidVolume

from .dicom_header import Frame, Header, Stored, read_header
from .dicom_place import arrange
from .gate import check_header, refusing
from .lazy import DiskArray
from .orientation import to_canonical
from .raw_file import RawReader
from .volume import Volume, extent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from .volume import Region, Triple


def open_dicom(path: Path, name: str, voxel_size: Triple | None = None) -> Volume:
    """A folder of slices or a multi-frame file as a volume: (z, y, x) of the closest canonical RAS, µm.

    Reads the header of every file, and no pixels; a region reads its rows, or whole slices where they are compressed.
    Values are rescaled as the files say, and stay integers where they can. Slices that do not say where they lie are
    taken in the order of their numbers, and need ``voxel_size`` (z, y, x in µm), which overrides the files'.

    Raises
    ------
    InvalidVolume
        If there are several series, the slices are not alike or not evenly spaced, or their compression is unknown.
    """
    headers = [read_header(file) for file in (dicom_files(path) if path.is_dir() else [path])]
    _require_one_series(headers, str(path))
    frames, stored = [frame for header in headers for frame in header.frames], headers[0].stored
    shape = (len(frames), stored.rows, stored.columns)
    check_header(shape, stored.dtype, voxel_size or (1.0, 1.0, 1.0), str(path))
    frames, directions = arrange(frames, path, voxel_size)
    dtype = _value_type(stored, frames)
    array = DiskArray(shape, dtype, _Reader(stored, frames, dtype), reads_pages=True)
    if directions is not None:
        with refusing(str(path)):
            array, found = to_canonical(array, directions)
        voxel_size = voxel_size or found
    if voxel_size is None:
        raise AssertionError("slices without a place were let in without a voxel size")
    return Volume((array,), voxel_size, name, path)


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files in ``folder``: ``.dcm``, or named by a number or without ending and marked as such."""
    return sorted(
        file
        for file in folder.iterdir()
        if not file.name.startswith(".")
        and file.name.upper() != "DICOMDIR"
        and file.is_file()
        and (file.suffix.lower() == ".dcm" or (re.fullmatch(r"\.?\d*", file.suffix) and is_dicom(file)))
    )


def is_dicom(path: Path) -> bool:
    """Whether the mark of DICOM is where it should be."""
    with refusing(str(path)), path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _require_one_series(headers: Sequence[Header], name: str) -> None:
    series = defaultdict(list)
    for header in headers:
        series[header.series].append(header)
    if len(series) > 1:
        listed = "; ".join(
            f"{len(files)} of {files[0].description or 'no name'!r} ({uid[-12:]})" for uid, files in series.items()
        )
        raise InvalidVolume(f"{name!r} holds several series: {listed}.", "Put each into a folder of its own.")
    for header in headers:
        if header.stored != headers[0].stored:
            raise InvalidVolume(
                f"The slice {str(header.frames[0].path)!r} is not like the first one: {_told(header.stored)}, not "
                f"{_told(headers[0].stored)}.",
                "Remove it from the folder, or export it again.",
            )


def _told(stored: Stored) -> str:
    return f"{stored.rows} x {stored.columns} pixels of {stored.bits} bits ({stored.dtype.name}, {stored.syntax})"


def _value_type(stored: Stored, frames: Sequence[Frame]) -> np.dtype[Any]:
    """The smallest integers that hold all values, rather those of the file; float32 where any is not whole."""
    scales = {frame.scale for frame in frames}
    if not all(slope.is_integer() and intercept.is_integer() for slope, intercept in scales):
        return np.dtype(np.float32)
    low = -(2 ** (stored.bits - 1)) if stored.dtype.kind == "i" else 0
    ends = [slope * end + intercept for slope, intercept in scales for end in (low, low + 2**stored.bits - 1)]
    for kind in (stored.dtype.newbyteorder("="), *map(np.dtype, ("i2", "u2", "i4", "u4"))):
        if np.iinfo(kind).min <= min(ends) and max(ends) <= np.iinfo(kind).max:
            return kind
    return np.dtype(np.float32)


class _Reader:
    """Reads boxes from frames in the order of the volume; opens each file only while it reads it."""

    def __init__(self, stored: Stored, frames: Sequence[Frame], dtype: np.dtype[Any]) -> None:
        self._stored, self._frames, self._dtype = stored, frames, dtype

    def __call__(self, box: Region) -> npt.NDArray[Any]:
        out = np.empty(extent(box), self._dtype)
        for place, frame in enumerate(self._frames[box[0]]):
            with refusing(str(frame.path)):
                out[place] = self._values(self._pixels(frame, (box[1], box[2])), frame.scale)
        return out

    def _pixels(self, frame: Frame, part: tuple[slice, slice]) -> npt.NDArray[Any]:
        from pydicom.pixels.utils import pixel_array

        if frame.run is not None:
            rows: npt.NDArray[Any] = RawReader(frame.run)((slice(frame.number, frame.number + 1), *part))[0]
            return rows
        whole = pixel_array(frame.path, index=frame.number, raw=True)
        if whole.shape != (self._stored.rows, self._stored.columns):
            raise ValueError(f"its frame {frame.number} unpacks to {whole.shape} pixels")
        return whole[part].astype(self._stored.dtype.newbyteorder("="), copy=False)

    def _values(self, pixels: npt.NDArray[Any], scale: tuple[float, float]) -> npt.NDArray[Any]:
        """Stored bits → intensities."""
        empty = 8 * pixels.dtype.itemsize - self._stored.bits
        if empty:  # what is above the stored bits is no part of the value, but for the sign
            pixels = (pixels << empty) >> empty
        if self._stored.inverted:
            pixels = ~pixels if pixels.dtype.kind == "i" else pixels ^ np.array(2**self._stored.bits - 1, pixels.dtype)
        if scale == (1.0, 0.0):
            return pixels
        exact = np.int64 if self._dtype.kind in "iu" else np.float64
        return pixels.astype(exact) * exact(scale[0]) + exact(scale[1])
