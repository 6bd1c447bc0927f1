"""Reading NIfTI: the header through nibabel, the voxels in place."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .gate import check_header, refusing
from .lazy import DiskArray, convert
from .orientation import to_canonical
from .raw_file import Packing, RawReader, Run
from .volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from .volume import Triple

_UNIT_UM = {0: 1e3, 1: 1e6, 2: 1e3, 3: 1.0}  # xyzt_units & 7; 0, unknown, is mm for want of anything better


def open_nifti(path: Path, name: str, voxel_size: Triple | None = None) -> Volume:
    """A ``.nii`` or ``.nii.gz`` as a volume: (z, y, x) of the closest canonical RAS, µm.

    Reads the header only. ``.gz`` is unpacked once at the first read. ``voxel_size`` overrides the file's.

    Raises
    ------
    InvalidVolume
        If the header is damaged, is of a series or of a 2-D image, or has an unusable voxel size.
    """
    with refusing(str(path)):
        import nibabel

        image: Any = nibabel.load(path)
        proxy, affine = image.dataobj, np.asarray(image.affine, np.float64)
        shape, dtype = _drop_ones(tuple(int(size) for size in proxy.shape)), np.dtype(proxy.dtype)
        header = _unmended_header(path, type(image.header))
        slope, intercept = float(proxy.slope), float(proxy.inter)
        if not (math.isfinite(slope) and math.isfinite(intercept)):
            raise ValueError(f"its values are scaled by {slope} and shifted by {intercept}")
    check_header(shape, dtype, voxel_size or _stated_size(header), str(path))
    packing: Packing = "gzip" if path.name.lower().endswith(".gz") else "none"
    run = Run(path, (shape[0], shape[1], shape[2]), dtype, int(proxy.offset), packing=packing)
    array = _scale(DiskArray(run.shape, dtype.newbyteorder("="), RawReader(run)), slope, intercept)
    with refusing(str(path)):
        array, found = to_canonical(array, affine[:3, :3] * _unit(header))
    return Volume((array,), voxel_size or found, name, path)


def _unmended_header(path: Path, kind: Any) -> Any:
    """The header as it is in the file; on loading nibabel makes a voxel size of 1 out of 0."""
    from nibabel.openers import ImageOpener

    with ImageOpener(str(path)) as file:
        return kind.from_fileobj(file, check=False)


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
