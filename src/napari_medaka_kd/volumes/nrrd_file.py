"""Reading NRRD: the header through pynrrd, the voxels in place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.errors import InvalidVolume

from .gate import check_header, refusing
from .lazy import DiskArray
from .orientation import to_canonical
from .raw_file import Packing, RawReader, Run, data_beside
from .units import micrometres
from .volume import Volume

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from .volume import Triple

_HEADER_BYTES = 2**20
_PACKINGS: dict[str, Packing] = {
    "raw": "none", "gz": "gzip", "gzip": "gzip", "bz2": "bzip2", "bzip2": "bzip2",
}  # fmt: skip
# https://teem.sourceforge.net/nrrd/format.html#type
_TYPES = {
    "signed char": "i1", "int8": "i1", "int8_t": "i1", "uchar": "u1", "unsigned char": "u1", "uint8": "u1",
    "uint8_t": "u1", "short": "i2", "short int": "i2", "signed short": "i2", "signed short int": "i2", "int16": "i2",
    "int16_t": "i2", "ushort": "u2", "unsigned short": "u2", "unsigned short int": "u2", "uint16": "u2",
    "uint16_t": "u2", "int": "i4", "signed int": "i4", "int32": "i4", "int32_t": "i4", "uint": "u4",
    "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4", "longlong": "i8", "long long": "i8",
    "long long int": "i8", "signed long long": "i8", "signed long long int": "i8", "int64": "i8", "int64_t": "i8",
    "ulonglong": "u8", "unsigned long long": "u8", "unsigned long long int": "u8", "uint64": "u8", "uint64_t": "u8",
    "float": "f4", "double": "f8",
}  # fmt: skip
_TOWARDS_RAS = {"right": 1, "left": -1, "anterior": 1, "posterior": -1, "superior": 1, "inferior": -1}


def open_nrrd(path: Path, name: str, voxel_size: Triple | None = None) -> Volume:
    """A ``.nrrd`` or ``.nhdr`` as a volume: (z, y, x) of the closest canonical RAS, µm (mm where no unit is given).

    Reads the header only. A compressed file is unpacked once at the first read. ``voxel_size`` overrides the file's.

    Raises
    ------
    InvalidVolume
        If the header is damaged or is not of one 3-D grey-value volume, or its data file lies in another folder.
    """
    with refusing(str(path)):
        header, end = _read_header(path)
        shape, dtype = tuple(int(size) for size in header["sizes"]), _dtype(header)
    check_header(shape, dtype, (1.0, 1.0, 1.0), str(path))
    with refusing(str(path)):
        run = _run(path, header, end, (shape, dtype))
        directions = _directions(header)
        array, found = to_canonical(
            DiskArray(run.shape, dtype.newbyteorder("="), RawReader(run)),
            np.eye(3) if directions is None else directions,
        )
    if directions is None and voxel_size is None:
        raise InvalidVolume(
            f"{str(path)!r} does not say how large its voxels are.", "Give the voxel size in µm, z, y, x."
        )
    check_header(array.shape, dtype, voxel_size or found, str(path))
    return Volume((array,), voxel_size or found, name, path)


def _read_header(path: Path) -> tuple[Mapping[str, Any], int]:
    """(the fields, how many bytes they take)."""
    import nrrd

    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    end = re.search(rb"\r?\n\r?\n", start)
    if end is None and path.suffix.lower() != ".nhdr":
        raise ValueError("its header has no end")
    text = start[: end.start() if end else len(start)].decode("utf-8", "replace")
    header: Mapping[str, Any] = nrrd.read_header(text.splitlines())
    return header, end.end() if end else len(start)


def _dtype(header: Mapping[str, Any]) -> np.dtype[Any]:
    name = " ".join(str(header["type"]).split())
    if name not in _TYPES:
        raise ValueError(f"its type is {name!r}")
    kind = np.dtype(_TYPES[name])
    return kind.newbyteorder(">" if header.get("endian") == "big" else "<") if kind.itemsize > 1 else kind


def _directions(header: Mapping[str, Any]) -> npt.NDArray[np.float64] | None:
    """(3, 3), µm: column ``i`` is the step along axis ``i`` of the file, in RAS; ``None`` where nothing is said."""
    if "space directions" in header:
        rows = np.asarray(header["space directions"], np.float64)
        units = header.get("space units") or ["mm"] * 3
        signs = _signs(str(header.get("space", "")))
        scale = [sign * _factor(unit) for sign, unit in zip(signs, units, strict=True)]
        columns: npt.NDArray[np.float64] = (rows * np.array(scale)).T
        return columns
    if "spacings" not in header:
        return None
    units = header.get("units") or ["mm"] * 3
    return np.diag([float(size) * _factor(unit) for size, unit in zip(header["spacings"], units, strict=True)])


def _signs(space: str) -> tuple[int, int, int]:
    """Which world axes of ``space`` run against RAS; a space without anatomy is taken as RAS."""
    names = space.lower().split("-")
    short = {"ras": (1, 1, 1), "las": (-1, 1, 1), "lps": (-1, -1, 1)}
    if len(names) == 3 and set(names) <= set(_TOWARDS_RAS):
        x, y, z = (_TOWARDS_RAS[name] for name in names)
        return x, y, z
    return short.get(space.lower(), (1, 1, 1))


def _factor(unit: str) -> float:
    size = micrometres(unit) if unit.strip() else 1e3
    if size is None:
        raise ValueError(f"its unit of length is {unit!r}")
    return size


def _run(path: Path, header: Mapping[str, Any], end: int, like: tuple[tuple[int, ...], np.dtype[Any]]) -> Run:
    """Where the voxels of (shape, dtype) ``like`` lie."""
    (x, y, z), dtype = like
    packing = _PACKINGS.get(str(header["encoding"]).lower())
    if packing is None:
        raise ValueError(f"its encoding is {header['encoding']!r}; raw, gzip and bzip2 are known")
    data, start = _data_file(path, header, end)
    lines = int(header.get("line skip", header.get("lineskip", 0)))
    skip = int(header.get("byte skip", header.get("byteskip", 0)))
    start += _bytes_of_lines(data, start, lines) if lines else 0
    if packing != "none":
        return Run(data, (x, y, z), dtype, max(skip, 0), packing=packing, packed_from=start)
    if skip == -1:
        start, skip = data.stat().st_size - x * y * z * dtype.itemsize, 0
    return Run(data, (x, y, z), dtype, max(start + skip, 0))


def _data_file(path: Path, header: Mapping[str, Any], end: int) -> tuple[Path, int]:
    """(the file with the voxels, where they begin); a detached one must lie beside its header."""
    name = header.get("data file", header.get("datafile"))
    if name is None:
        return path, end
    return data_beside(path, name), 0


def _bytes_of_lines(path: Path, start: int, lines: int) -> int:
    if not 0 <= lines <= 1000:
        raise ValueError(f"it skips {lines} lines")
    with path.open("rb") as file:
        file.seek(start)
        return sum(len(file.readline(_HEADER_BYTES)) for _ in range(lines))
