"""What a DICOM file says of its frames, without their pixels: where they lie, how they are stored, what they mean."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from struct import unpack
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from napari_medaka_kd.errors import InvalidVolume

from .gate import refusing
from .raw_file import Run

if TYPE_CHECKING:
    from pathlib import Path

    from .volume import Triple

_FUNCTIONAL = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
_TAGS = [
    "SeriesInstanceUID", "SeriesDescription", "InstanceNumber", "NumberOfFrames", "Rows", "Columns", "SamplesPerPixel",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept", *_FUNCTIONAL,
]  # fmt: skip
_PLAIN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")  # implicit and explicit, little endian
_DEFLATED = "1.2.840.10008.1.2.1.99"


@dataclass(frozen=True)
class Stored:
    """How the pixels of a series are stored: alike in all of its frames.

    Attributes
    ----------
    bits
        Of a pixel, without sign if ``dtype`` has none; those above hold nothing.
    inverted
        Whether the largest value means the darkest (MONOCHROME1).
    syntax
        UID of the transfer syntax.
    """

    rows: int
    columns: int
    dtype: np.dtype[Any]
    bits: int
    inverted: bool
    syntax: str


@dataclass(frozen=True)
class Frame:
    """One slice.

    Attributes
    ----------
    path, number
        The file, and which of its frames it is.
    run
        Where the pixels of all frames of the file lie; ``None`` where they are compressed.
    order
        InstanceNumber, and the number in the file.
    position
        (x, y, z) of the first pixel, LPS, mm; ``None`` where nothing is said.
    orientation
        Direction along a row and along a column, LPS.
    spacing
        Distance between rows and between columns, mm.
    scale
        Slope and intercept from stored values to intensities.
    """

    path: Path
    number: int
    run: Run | None
    order: tuple[int, int]
    position: Triple | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    scale: tuple[float, float]


@dataclass(frozen=True)
class Header:
    """What one file says."""

    series: str
    description: str
    stored: Stored
    frames: tuple[Frame, ...]


def read_header(path: Path) -> Header:
    """The header of one file; its pixels are not read.

    Raises
    ------
    InvalidVolume
        If it is no DICOM file of grey values, is damaged, or is compressed as nothing here can decode.
    """
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info

    with refusing(str(path)):
        syntax = read_file_meta_info(path).get("TransferSyntaxUID")
        _require_decoder(path, syntax)
        with path.open("rb") as file:
            dataset = dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
            stored = _stored(dataset, str(syntax))
            start, length = _pixels(file, syntax)
        count = int(dataset.get("NumberOfFrames") or 1)
        there = path.stat().st_size - start
        run = Run(path, (count, stored.rows, stored.columns), stored.dtype, start, "C") if syntax in _PLAIN else None
        if count < 1 or (run.nbytes > min(there, length) if run else count > there):
            raise ValueError(f"it claims {count} frames of {stored.rows} x {stored.columns}, and is too short for that")
        frames = tuple(_frame(dataset, path, number, run) for number in range(count))
        series, told = (str(dataset.get(name, "")) for name in ("SeriesInstanceUID", "SeriesDescription"))
    return Header(series, told, stored, frames)


def _require_decoder(path: Path, syntax: Any) -> None:
    from pydicom.pixels.decoders.base import get_decoder

    if syntax is None:
        raise ValueError("it does not say how its pixels are stored (no transfer syntax)")
    if syntax == _DEFLATED:  # pydicom unpacks all of it at once, however large
        raise InvalidVolume(f"{str(path)!r} is packed as a whole ({syntax.name}).", "Export it without compression.")
    if syntax in _PLAIN:
        return
    with suppress(NotImplementedError):
        decoder = get_decoder(syntax)
        if decoder.is_available:
            return
        needed = ", or ".join(each.partition(" - requires ")[2] for each in decoder.missing_dependencies)
        raise InvalidVolume(
            f"{str(path)!r} is compressed as {syntax.name}, which nothing that is installed can decode.",
            f"Export it without compression, or install {needed}.",
        )
    raise InvalidVolume(
        f"{str(path)!r} is stored as {syntax.name}, which is not known.", "Export it without compression."
    )


def _stored(dataset: Any, syntax: str) -> Stored:
    missing = [tag for tag in ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation") if tag not in dataset]
    if missing:
        raise ValueError(f"it holds no picture, or is cut off: there is no {missing[0]}")
    meaning, allocated = str(dataset.PhotometricInterpretation), int(dataset.BitsAllocated)
    bits = int(dataset.get("BitsStored", allocated))
    if meaning not in ("MONOCHROME1", "MONOCHROME2") or int(dataset.get("SamplesPerPixel", 1)) != 1:
        raise ValueError(f"its pixels are not grey values but {meaning}")
    if allocated not in (8, 16, 32) or not 1 <= bits <= allocated or int(dataset.get("HighBit", bits - 1)) != bits - 1:
        raise ValueError(f"its pixels have {bits} bits in {allocated}, up to bit {dataset.get('HighBit')}")
    sign = "i" if int(dataset.get("PixelRepresentation", 0)) else "u"
    dtype = np.dtype(f"<{sign}{allocated // 8}")
    return Stored(int(dataset.Rows), int(dataset.Columns), dtype, bits, meaning == "MONOCHROME1", syntax)


def _pixels(file: BinaryIO, syntax: Any) -> tuple[int, int]:
    """(where the pixels begin, how many bytes they take), from the head of the element that ``file`` is at.

    https://dicom.nema.org/medical/dicom/current/output/html/part05.html#chapter_7
    """
    order, long = "<" if syntax.is_little_endian else ">", 8 if syntax.is_implicit_VR else 12
    head = file.read(long)
    if len(head) < long or unpack(f"{order}HH", head[:4]) != (0x7FE0, 0x0010):
        raise ValueError("it holds no pixels of whole numbers, or is cut off before them")
    return file.tell(), unpack(f"{order}L", head[-4:])[0]


def _frame(dataset: Any, path: Path, number: int, run: Run | None) -> Frame:
    position = _floats(dataset, number, "PlanePositionSequence", "ImagePositionPatient", 3)
    slope, intercept = (
        (_floats(dataset, number, "PixelValueTransformationSequence", keyword, 1) or (usual,))[0]
        for keyword, usual in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    )
    spacing = _floats(dataset, number, "PixelMeasuresSequence", "PixelSpacing", 2)
    if not slope or (spacing is not None and min(spacing) <= 0):
        raise ValueError(f"it says that its values are scaled by {slope}, and that its pixels measure {spacing} mm")
    return Frame(
        path,
        number,
        run,
        (int(dataset.get("InstanceNumber") or 0), number),
        (position[0], position[1], position[2]) if position else None,
        _floats(dataset, number, "PlaneOrientationSequence", "ImageOrientationPatient", 6),
        spacing,
        (slope, intercept),
    )


def _floats(dataset: Any, number: int, sequence: str, keyword: str, count: int) -> tuple[float, ...] | None:
    """The numbers of ``keyword`` that hold for frame ``number``: its own, else those of all frames."""
    for group, place in zip(_FUNCTIONAL, (number, 0), strict=True):
        items = dataset.get(group)
        if items and sequence in items[place]:
            return _numbers(items[place][sequence].value[0].get(keyword), keyword, count)
    # The position of a file with several frames is that of its first one only.
    alone = keyword != "ImagePositionPatient" or int(dataset.get("NumberOfFrames") or 1) == 1
    return _numbers(dataset.get(keyword), keyword, count) if alone else None


def _numbers(value: Any, keyword: str, count: int) -> tuple[float, ...] | None:
    if value is None or value == "":
        return None
    numbers = tuple(float(number) for number in (value if count > 1 else [value]))
    if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"it says {keyword} = {value}")
    return numbers
