"""Reading MetaImage (.mha, .mhd). Own parser: SimpleITK is 262 MB, and reads cut-off files without complaint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.errors import InvalidVolume

from .gate import check_header, refusing
from .lazy import DiskArray
from .orientation import RAS_UM_FROM_LPS_MM, to_canonical
from .raw_file import RawReader, Run, data_beside
from .volume import Volume

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from .volume import Triple

_HEADER_BYTES = 64 * 2**10
# https://github.com/Kitware/MetaIO/blob/master/src/metaTypes.h, MET_ValueTypeSize: a LONG has four bytes
_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip


def open_metaimage(path: Path, name: str, voxel_size: Triple | None = None) -> Volume:
    """A ``.mha`` or ``.mhd`` as a volume: (z, y, x) of the closest canonical RAS, µm (MetaImage's unit is mm).

    Reads the header only. A compressed file is unpacked once at the first read. ``voxel_size`` overrides the file's.

    Raises
    ------
    InvalidVolume
        If the header is damaged or is not of one 3-D grey-value volume, its data file lies in another folder or is
        not as long as the header says, or it does not say how large its voxels are.
    """
    with refusing(str(path)):
        header, end = _read_header(path)
        shape, dtype = _shape(header), _dtype(header)
    check_header(shape, dtype, (1.0, 1.0, 1.0), str(path))
    spacing = header.get("ElementSpacing", header.get("ElementSize"))
    if spacing is None and voxel_size is None:
        raise InvalidVolume(
            f"{str(path)!r} does not say how large its voxels are.", "Give the voxel size in µm, z, y, x."
        )
    with refusing(str(path)):
        run = _run(path, header, end, Run(path, (shape[0], shape[1], shape[2]), dtype, 0))
        steps = _numbers("ElementSpacing", spacing if spacing and voxel_size is None else "1 1 1", 3)
    check_header(shape, dtype, voxel_size or [1e3 * step for step in steps[::-1]], str(path))
    with refusing(str(path)):
        array = DiskArray(run.shape, dtype.newbyteorder("="), RawReader(run))
        array, found = to_canonical(array, _directions(header) * steps)
    return Volume((array,), voxel_size or found, name, path)


def _read_header(path: Path) -> tuple[Mapping[str, str], int]:
    """(the fields, how many bytes they take); ``ElementDataFile`` is the last one."""
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    fields: dict[str, str] = {}
    end = 0
    while "ElementDataFile" not in fields:
        line, newline, _ = start[end:].partition(b"\n")
        if (not newline and len(start) == _HEADER_BYTES) or (not line and not newline):
            raise ValueError("its header has no end, the line 'ElementDataFile = …'")
        end += len(line) + len(newline)
        text = line.decode("utf-8", "replace").strip()
        key, equals, value = (part.strip() for part in text.partition("="))
        if text and (not equals or (key in fields and key != "Comment")):
            raise ValueError(f"its header has the line {text!r}" + (", a second of its kind" if equals else ""))
        fields[key] = value
    return fields, end


def _field(header: Mapping[str, str], key: str) -> str:
    if key not in header:
        raise ValueError(f"its header has no {key}")
    return header[key]


def _shape(header: Mapping[str, str]) -> tuple[int, ...]:
    """(x, y, z), voxels."""
    kind = header.get("ObjectType", "Image")
    if kind != "Image" or int(header.get("ElementNumberOfChannels", 1)) != 1:
        raise ValueError(f"it is not one grey-value image but of type {kind!r}, or has several channels")
    if not _claims(header, "BinaryData", default=True):
        raise ValueError("its voxels are written as text; export it with binary data")
    sizes = tuple(int(size) for size in _field(header, "DimSize").split())
    if len(sizes) != int(_field(header, "NDims")):
        raise ValueError(f"it has {header['NDims']} axes but sizes {header['DimSize']!r}")
    return sizes


def _dtype(header: Mapping[str, str]) -> np.dtype[Any]:
    name = _field(header, "ElementType").upper()
    if name not in _TYPES:
        raise ValueError(f"its type is {name!r}")
    big = _claims(header, "BinaryDataByteOrderMSB") or _claims(header, "ElementByteOrderMSB")
    return np.dtype(_TYPES[name]).newbyteorder(">" if big else "<")


def _claims(header: Mapping[str, str], key: str, *, default: bool = False) -> bool:
    value = header.get(key, str(default)).lower()
    if value not in ("true", "false", "1", "0"):
        raise ValueError(f"it says {key} = {value!r}, neither True nor False")
    return value in ("true", "1")


def _directions(header: Mapping[str, str]) -> npt.NDArray[np.float64]:
    """(3, 3), µm for a step of 1 mm: column ``i`` is the direction of axis ``i`` of the file, in RAS.

    MetaImage lies as LPS; its matrix holds the direction of one axis after the other, as ITK writes and reads it.
    """
    keys = [key for key in ("TransformMatrix", "Rotation", "Orientation") if key in header]
    matrix = _numbers(keys[0], header[keys[0]], 9).reshape(3, 3) if keys else np.eye(3)
    columns: npt.NDArray[np.float64] = matrix.T * RAS_UM_FROM_LPS_MM
    return columns


def _numbers(key: str, text: str, count: int) -> npt.NDArray[np.float64]:
    numbers = np.array([float(number) for number in text.split()])
    if numbers.shape != (count,):
        raise ValueError(f"it says {key} = {text!r}, not {count} numbers")
    return numbers


def _run(path: Path, header: Mapping[str, str], end: int, like: Run) -> Run:
    """Where the voxels of shape and type ``like`` lie."""
    name, skip = header["ElementDataFile"], int(header.get("HeaderSize", 0))
    data, start = (path, end) if name.upper() == "LOCAL" else (_data_file(path, name), 0)
    size, there = like.nbytes, data.stat().st_size
    if _claims(header, "CompressedData"):
        if skip < 0:
            raise ValueError(f"it is compressed and says HeaderSize = {skip}")
        return Run(data, like.shape, like.dtype, 0, packing="zlib", packed_from=start + skip)
    start = there - size if skip == -1 else start + max(skip, 0)
    if start < 0 or start + size != there:
        raise ValueError(f"its header promises {size} bytes of voxels, and {data.name!r} holds {there - max(start, 0)}")
    return Run(data, like.shape, like.dtype, start)


def _data_file(path: Path, name: str) -> Path:
    if name.upper().startswith("LIST") or "%" in name:
        raise InvalidVolume(
            f"{str(path)!r} is spread over several files: {name!r}.", "Save it as one .mha file, and open that."
        )
    return data_beside(path, name)
