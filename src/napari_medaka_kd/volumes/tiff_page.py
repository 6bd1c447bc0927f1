"""A page of a TIFF: how it is packed, and parts of it, read strip by strip or tile by tile."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.errors import InvalidVolume

from .gate import check_chunk

if TYPE_CHECKING:
    import numpy.typing as npt
    from tifffile import TiffFile, TiffFrame, TiffPage

_JPEG = 7
#: Packings that unpack no further than a strip or tile is long (tried with imagecodecs 2026.3.6); JPEG is looked into.
_PACKINGS = {
    1: "none", 5: "LZW", 8: "Deflate", 32946: "Deflate", 32773: "PackBits", 34925: "LZMA", 50000: "Zstandard",
    _JPEG: "JPEG",
}  # fmt: skip
# Markers of JPEG, ITU T.81, B.1.1.3: after a frame's it says how large the picture is, after these nothing is said.
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_BARE = {0x01, *range(0xD0, 0xDB)}


def check_packing(page: TiffPage, name: str) -> None:
    """Refuse what would unpack into any size that its own header asks for, and absurdly large strips and tiles.

    Raises
    ------
    InvalidVolume
        If the packing is none of those that TIFF itself bounds.
    ValueError
        If a strip or tile takes more than 1 GiB.
    """
    if int(page.compression) not in _PACKINGS:
        how = getattr(page.compression, "name", page.compression)
        known = ", ".join(dict.fromkeys(_PACKINGS.values()))
        raise InvalidVolume(f"{name!r} is packed by {how}.", f"Export it with one of these compressions: {known}.")
    check_chunk(tuple(page.chunks), np.dtype(page.dtype or object))


def read_part(tiff: TiffFile, page: TiffPage | TiffFrame, part: tuple[slice, slice], out: npt.NDArray[Any]) -> None:
    """Fill ``out`` with rows and columns ``part`` of ``page``, reading only the strips or tiles that they touch.

    Raises
    ------
    InvalidVolume
        If they are packed in a way that :func:`check_packing` refuses.
    ValueError
        If they are cut off or damaged.
    """
    check_packing(_key(page), str(tiff.filename))
    rows, columns = part
    if _key(page).is_final and page.is_contiguous:
        _read_rows(tiff, page, part, out)
        return
    height, width = _key(page).chunks[-2:]
    across = _key(page).chunked[-1]
    for down in range(rows.start // height, -(-rows.stop // height)):
        for right in range(columns.start // width, -(-columns.stop // width)):
            segment = _decode(tiff, page, down * across + right)
            top, left = down * height, right * width
            bottom, end = min(top + segment.shape[0], rows.stop), min(left + segment.shape[1], columns.stop)
            first, begin = max(top, rows.start), max(left, columns.start)
            out[first - rows.start : bottom - rows.start, begin - columns.start : end - columns.start] = segment[
                first - top : bottom - top, begin - left : end - left
            ]


def check_jpeg(data: bytes, tables: bytes, most: int) -> None:
    """Refuse a JPEG of more than ``most`` pixels; ``tables`` are those that it shares with others.

    Raises
    ------
    ValueError
        Also if no size is found where it must be.
    """
    if _jpeg_pixels(tables):
        raise ValueError("its JPEG tables hold a picture")
    pixels = _jpeg_pixels(data)
    if not 0 < pixels <= most:
        raise ValueError(f"one of its strips or tiles is a JPEG of {pixels:,} pixels")


def _jpeg_pixels(data: bytes) -> int:
    """As the first frame says; 0 where none is found by going from marker to marker, as a decoder does."""
    at = 2
    while data[at : at + 1] == b"\xff" and len(data) >= at + 9:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if marker in _FRAMES:
            return int.from_bytes(data[at + 5 : at + 7]) * int.from_bytes(data[at + 7 : at + 9])
        if marker in _BARE:
            return 0
        at += 1 if marker == 0xFF else 2 + length
    return 0


def _read_rows(tiff: TiffFile, page: TiffPage | TiffFrame, part: tuple[slice, slice], out: npt.NDArray[Any]) -> None:
    rows, columns = part
    width = _key(page).shape[-1]
    dtype = np.dtype(_key(page).dtype).newbyteorder(tiff.byteorder)
    row = width * dtype.itemsize
    data = _fetch(tiff, page.dataoffsets[0] + rows.start * row, out.shape[0] * row)
    out[:] = np.frombuffer(data, dtype).reshape(out.shape[0], width)[:, columns]


def _decode(tiff: TiffFile, page: TiffPage | TiffFrame, number: int) -> npt.NDArray[Any]:
    """One strip or tile, (y, x); one that was left out of the file is background, as TIFF defines it."""
    size, key = page.databytecounts[number], _key(page)
    if size > 2 * _unpacked(key) + 2**16:  # no packing adds as much
        raise ValueError(f"one of its strips or tiles takes {size:,} bytes where {_unpacked(key):,} are to be unpacked")
    data = _fetch(tiff, page.dataoffsets[number], size) if size else None
    if data is not None and key.compression == _JPEG:
        check_jpeg(data, page.jpegtables or b"", 2 * math.prod(key.chunks) + 2**12)
    segment, _, shape = key.decode(data, number, jpegtables=page.jpegtables)
    if segment is None:
        return np.full(shape[1:3], key.nodata, key.dtype)
    decoded: npt.NDArray[Any] = segment[0, :, :, 0]
    return decoded


def _unpacked(key: TiffPage) -> int:
    """Bytes of a strip or tile."""
    return math.prod(key.chunks) * np.dtype(key.dtype or object).itemsize


def _key(page: TiffPage | TiffFrame) -> TiffPage:
    """The page that describes how ``page`` is stored."""
    if page.keyframe is None:
        raise ValueError("one of its pages is not described")
    return page.keyframe


def _fetch(tiff: TiffFile, offset: int, size: int) -> bytes:
    missing = offset + size - tiff.filehandle.size
    if missing > 0:
        raise ValueError(f"{missing} bytes are missing at its end")
    tiff.filehandle.seek(offset)
    data: bytes = tiff.filehandle.read(size)
    return data
