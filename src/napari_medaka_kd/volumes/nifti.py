"""NIfTI, read and written: the header through nibabel, the voxels in place, a slab at a time."""

from __future__ import annotations

import gzip
import math
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.job import Job, Progress

from .atomic import sync_file, sync_folder
from .gate import check_header, refusing
from .lazy import DiskArray, convert
from .orientation import to_canonical
from .raw_file import Packing, RawReader, Run
from .volume import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    import numpy.typing as npt

    from .volume import Triple

_UNIT_UM = {0: 1e3, 1: 1e6, 2: 1e3, 3: 1.0}  # xyzt_units & 7; 0, unknown, is mm for want of anything better
_NIFTI1_SIDE = 32_767  # voxels along an axis, in the 16 bits that the first version has for it
_HEADER_BYTES = 540  # of the second version, the longer one
_SLAB = 32 * 2**20  # voxels that are read and written at once


def open_nifti(path: Path, name: str, voxel_size: Triple | None = None) -> Volume:
    """A ``.nii`` or ``.nii.gz`` as a volume: (z, y, x) of the closest canonical RAS, µm.

    Reads the header only. ``.gz`` is unpacked once at the first read. ``voxel_size`` overrides the file's.

    Raises
    ------
    InvalidVolume
        If the header is damaged, is of a series or of a 2-D image, or has an unusable voxel size.
    """
    with refusing(str(path)):
        header, mended = _read_header(path)
        shape, dtype = _drop_ones(tuple(int(size) for size in mended.get_data_shape())), mended.get_data_dtype()
        slope, intercept = (missing if value is None else float(value) for value, missing in _scaling(mended))
        if not (math.isfinite(slope) and math.isfinite(intercept)):
            raise ValueError(f"its values are scaled by {slope} and shifted by {intercept}")
        affine, offset = np.asarray(mended.get_best_affine(), np.float64), int(mended.get_data_offset())
    check_header(shape, dtype, voxel_size or _stated_size(header), str(path))
    packing: Packing = "gzip" if path.name.lower().endswith(".gz") else "none"
    run = Run(path, (shape[0], shape[1], shape[2]), dtype, offset, packing=packing)
    array = _scale(DiskArray(run.shape, dtype.newbyteorder("="), RawReader(run)), slope, intercept)
    with refusing(str(path)):
        array, found = to_canonical(array, affine[:3, :3] * _unit(header))
    return Volume((array,), voxel_size or found, name, path)


def save_nifti(volume: Volume, path: Path) -> Job[None]:
    """Write ``volume`` as ``.nii.gz``, or ``.nii``: (x, y, z) as RAS with its voxel size in µm, a slab at a time.

    The centre of the first voxel is the origin. The file is there wholly or not at all.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    z, y, x = volume.shape
    step = max(1, _SLAB // (y * x))
    with _whole_file(path) as file:
        file.write(_header(volume))
        for start in range(0, z, step):
            yield Progress(f"write {path.name}", start, z)
            slab = volume.read((slice(start, min(start + step, z)), slice(0, y), slice(0, x)))
            file.write(np.ascontiguousarray(slab, volume.dtype.newbyteorder("<")).data)
    yield Progress(f"write {path.name}", z, z)


def _header(volume: Volume) -> bytes:
    """The header, and the four bytes after it that say that there are no extensions."""
    import nibabel

    kind: Any = nibabel.Nifti1Header if max(volume.shape) <= _NIFTI1_SIDE else nibabel.Nifti2Header
    header = kind(endianness="<")
    header["magic"] = header.single_magic
    header.set_data_dtype(volume.dtype.newbyteorder("<"))
    header.set_data_shape(volume.shape[::-1])
    affine = np.diag((*volume.voxel_size[::-1], 1.0))
    header.set_qform(affine, "scanner")
    header.set_sform(affine, "scanner")
    header.set_xyzt_units("micron")
    header.set_data_offset(header.single_vox_offset)
    packed: bytes = header.binaryblock
    return packed.ljust(header.single_vox_offset, b"\0")


@contextmanager
def _whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file, packed where it is called so, that takes its name when all of it is on the disk."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with temporary.open("xb") as raw:
            if path.name.lower().endswith(".gz"):
                with gzip.GzipFile("", "wb", 5, raw, mtime=0) as packed:
                    yield packed  # type: ignore[misc]  # it is one in all but name
            else:
                yield raw
        sync_file(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _read_header(path: Path) -> tuple[Any, Any]:
    """(the header as it is in the file, the same as nibabel mends it); a voxel size of 0 becomes 1 in the latter.

    Only the header is read: nibabel.load reads its extensions too, which may be of any size once they are unpacked.
    """
    import nibabel

    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    kinds = {start[344:348]: nibabel.Nifti1Header, start[4:8]: nibabel.Nifti2Header}
    kind: Any = kinds.get(b"n+1\0") or kinds.get(b"n+2\0")
    if kind is None:
        raise ValueError("it is no NIfTI file of one part")
    block = start[: kind.template_dtype.itemsize]
    return kind(block, check=False), kind(block)


def _scaling(header: Any) -> tuple[tuple[Any, float], tuple[Any, float]]:
    """Slope and intercept, each with what it is where the header says nothing."""
    slope, intercept = header.get_slope_inter()
    return (slope, 1.0), (intercept, 0.0)


def _stated_size(header: Any) -> Triple:
    """Voxel size as ``pixdim`` has it, x-y-z, µm."""
    x, y, z = (float(size) * _unit(header) for size in header["pixdim"][1:4])
    return x, y, z


def _unit(header: Any) -> float:
    """µm in a unit of the header; NaN for a unit that is not a length."""
    return _UNIT_UM.get(int(header["xyzt_units"]) & 7, math.nan)


def _drop_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(x, y, z, 1) → (x, y, z): a series of one."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _scale(array: DiskArray, slope: float, intercept: float) -> DiskArray:
    """Stored values → intensities, in float32 where the file scales them."""
    if (slope, intercept) == (1.0, 0.0):
        return array

    def change(block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return (block * slope + intercept).astype(np.float32)

    return convert(array, np.dtype(np.float32), change)
