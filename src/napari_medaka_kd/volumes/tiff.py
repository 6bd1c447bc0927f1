"""Reading TIFF: one multi-page file (BigTIFF, OME, ImageJ) or a folder of slices, page by page."""

from __future__ import annotations

import re
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.errors import InvalidVolume

from .gate import check_header, refusing
from .lazy import DiskArray
from .raw_file import RawReader, Run
from .tiff_ome import check_description
from .tiff_page import check_packing, read_part
from .tiff_scale import find_voxel_size
from .volume import Volume, extent

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    from tifffile import TiffFile, TiffPageSeries

    from .volume import Region, Shape, Triple

SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")
_SLICE_AXES = "ZIQT"  # ImageJ and tifffile also call a z-stack T, I or Q
_MOST_CHANNELS = 8  # tifffile's ImageJ writer calls an unnamed stack C: more channels than these are slices


def open_tiff(path: Path, name: str, voxel_size: Triple | None = None) -> Volume:
    """A multi-page TIFF as a volume, (z, y, x).

    Reads the page directory only; a region reads its pages, and of these only the strips or tiles that it touches.
    ``voxel_size`` (µm) overrides the file's.

    Raises
    ------
    InvalidVolume
        If it is no stack of one channel, is cut off, or does not say how large its voxels are.
    """
    from tifffile import TiffFile

    with refusing(str(path)):
        tiff = TiffFile(path)
    try:
        with refusing(str(path)):
            _refuse_cut_off(tiff)
            check_description(tiff, str(path))
            series = tiff.series[0]
            shape, dtype = _shape_of(series, str(path)), np.dtype(series.dtype)
            check_header(shape, dtype, (1.0, 1.0, 1.0), str(path))
            check_packing(series.keyframe, str(path))
            size = voxel_size or find_voxel_size(tiff, str(path))
        check_header(shape, dtype, size, str(path))
        array = _stack(tiff, series, DiskArray((shape[0], shape[1], shape[2]), dtype, _SliceFiles([])))
    except BaseException:
        tiff.close()
        raise
    return Volume((array,), size, name, path)


def open_slices(folder: Path, name: str, voxel_size: Triple | None = None) -> Volume:
    """A folder of single-page TIFFs as a volume, (z, y, x); slices in natural order (2 before 10).

    Reads the headers of the first and the last slice; the others are checked when they are read. ``voxel_size`` (µm)
    overrides the files'; slices that say nothing of z are taken to be as far apart as their pixels.

    Raises
    ------
    InvalidVolume
        If the slices differ in size or type, or do not say how large their voxels are.
    """
    files = slice_files(folder)
    with refusing(str(folder)):
        with _open_slice(files[0]) as first:
            page = first.pages.first
            check_packing(page, str(files[0]))
            shape, dtype = (len(files), *page.shape), np.dtype(page.dtype or object)
            size = voxel_size or find_voxel_size(first, str(folder))
        check_header(shape, dtype, size, str(folder))
        reader = _SliceFiles(files)
        array = DiskArray((shape[0], shape[1], shape[2]), dtype.newbyteorder("="), reader, reads_pages=True)
        reader.shape, reader.dtype = array.shape, array.dtype
        with _open_slice(files[-1]) as last:
            reader.check(last, files[-1])
    return Volume((array,), size, name, folder)


def slice_files(folder: Path) -> list[Path]:
    """The TIFFs in ``folder``, in natural order; hidden files are no slices."""
    files = (file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    return sorted(files, key=_natural)


def _open_slice(file: Path) -> TiffFile:
    from tifffile import TiffFile

    if not file.is_file():
        raise ValueError("it is no file")
    return TiffFile(file)


def _natural(file: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", file.name.lower())
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


def _refuse_cut_off(tiff: TiffFile) -> None:
    """Why: tifffile only logs a page directory that leads out of the file, and goes on with the pages it found."""
    at = tiff.pages.next_page_offset
    if at is None:
        return
    size = tiff.tiff.offsetsize
    tiff.filehandle.seek(at)
    if any(tiff.filehandle.read(size)):
        raise ValueError("it is cut off: its page directory leads out of the file")


def _shape_of(series: TiffPageSeries, name: str) -> tuple[int, ...]:
    """The shape of the series without its axes of length one."""
    kept = [(axis, size) for axis, size in zip(series.axes, series.shape, strict=True) if size > 1 or axis in "YX"]
    axes = "".join(axis for axis, _ in kept)
    if series.is_multifile:
        raise InvalidVolume(f"{name!r} is spread over several files.", "Export one file, or a folder of slices.")
    if "S" in axes or not axes.endswith("YX") or not all(_is_slices(axis, size) for axis, size in kept[:-2]):
        raise InvalidVolume(
            f"{name!r} is not a stack of grey values: its axes are {series.axes} ({series.shape}).",
            "Export one channel and one time point, without colours.",
        )
    return tuple(size for _, size in kept)


def _is_slices(axis: str, size: int) -> bool:
    return axis in _SLICE_AXES or (axis == "C" and size > _MOST_CHANNELS)


def _stack(tiff: TiffFile, series: TiffPageSeries, like: DiskArray) -> DiskArray:
    """The series as an array: in place where its bytes lie in one run, else page by page."""
    native = like.dtype.newbyteorder("=")
    offset = series.dataoffset
    if offset is not None:
        path, dtype = tiff.filehandle.path, like.dtype.newbyteorder(tiff.byteorder)
        tiff.close()
        return DiskArray(like.shape, native, RawReader(_run(path, like.shape, dtype, offset)))
    if len(series.pages) != like.shape[0] or tuple(series.keyframe.shape) != like.shape[1:]:
        tiff.close()
        raise InvalidVolume(f"{tiff.filename!r} packs several slices into a page.", "Export it with a page per slice.")
    return DiskArray(like.shape, native, _Pages(tiff, series), reads_pages=True)


def _run(path: str, shape: Shape, dtype: np.dtype[Any], offset: int) -> Run:
    from pathlib import Path

    return Run(Path(path), shape, dtype, offset, order="C")


class _Pages:
    """Reads boxes from the pages of one file, which stays open as long as anyone may read."""

    def __init__(self, tiff: TiffFile, series: TiffPageSeries) -> None:
        self._tiff, self._series = tiff, series
        self._lock = threading.RLock()
        weakref.finalize(self, tiff.close)

    def __call__(self, box: Region) -> npt.NDArray[Any]:
        out = np.empty(extent(box), np.dtype(self._series.dtype).newbyteorder("="))
        with self._lock, refusing(str(self._tiff.filehandle.path)):
            for place, number in enumerate(range(box[0].start, box[0].stop)):
                page = self._series.pages[number]
                if page is None:
                    raise ValueError(f"its page {number} is missing")
                read_part(self._tiff, page, (box[1], box[2]), out[place])
        return out


class _SliceFiles:
    """Reads boxes from a folder of slices; opens each file only while it reads it."""

    shape: Shape
    dtype: np.dtype[Any]

    def __init__(self, files: list[Path]) -> None:
        self._files = files

    def check(self, tiff: TiffFile, file: Path) -> None:
        """Refuse a slice that is not like the first."""
        page = tiff.pages.first
        if len(tiff.pages) != 1 or tuple(page.shape) != self.shape[1:] or page.dtype != self.dtype:
            raise InvalidVolume(
                f"The slice {str(file)!r} is not like the first one: {len(tiff.pages)} page(s) of {tuple(page.shape)} "
                f"{page.dtype}, not one of {self.shape[1:]} {self.dtype}.",
                "Remove it from the folder, or export it again.",
            )

    def __call__(self, box: Region) -> npt.NDArray[Any]:
        out = np.empty(extent(box), self.dtype)
        for place, file in enumerate(self._files[box[0]]):
            with refusing(str(file)), _open_slice(file) as tiff:
                self.check(tiff, file)
                read_part(tiff, tiff.pages.first, (box[1], box[2]), out[place])
        return out
