"""What is on show of a case: its scan, organs and doubt, each lazy, and blank where there is none yet."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.volumes.label_store import open_uncertainty
from napari_medaka_kd.volumes.lazy import DiskArray
from napari_medaka_kd.volumes.volume import Region, Shape, Volume, extent
from napari_medaka_kd.workflow.correct import corrected_labels

if TYPE_CHECKING:
    from napari_medaka_kd.project import Case, Project
    from napari_medaka_kd.volumes.growing import Growing

_MANUAL = "manual"  # the label map that people gave with the scan


@dataclass(frozen=True)
class Shown:
    """What is on show of a case; all on one grid, with as many levels and at least two.

    Attributes
    ----------
    window
        Between which intensities the animal's tissue lies.
    organs
        Organ ids; nothing but background where nobody has labelled or proposed.
    doubt
        uint8, 0 sure … 255; ``None`` where there is none.
    """

    case: Case
    scan: Volume
    window: tuple[float, float]
    organs: Volume
    doubt: Volume | None


def gather(project: Project, case: Case, checkpoint: str, growing: Growing | None) -> Shown:
    """What there is to show: tiles just being written, else proposals with people's corrections, else people's labels.

    Raises
    ------
    UserError
        If the scan or its labels are damaged.
    """
    scan = deepen(open_scan(case), None)
    organs, doubt = _find_labels(project, case, checkpoint, growing)
    if organs is None:
        organs = blank(scan, case.schema.dtype)
    return Shown(case, scan, case.body.window, deepen(organs, scan), None if doubt is None else deepen(doubt, scan))


def open_scan(case: Case) -> Volume:
    """The scan of ``case``, opened once as long as nobody puts another one in its place."""
    return _open_scan(case, (case.store / "zarr.json").stat().st_mtime_ns)


def blank(scan: Volume, dtype: np.dtype[Any]) -> Volume:
    """Nothing, on the grid of ``scan``."""

    def read_box(box: Region) -> npt.NDArray[Any]:
        return np.zeros(extent(box), dtype)

    levels = tuple(DiskArray(_shape(level.shape), dtype, read_box) for level in scan.levels)
    return Volume(levels, scan.voxel_size)


def deepen(volume: Volume, scan: Volume | None) -> Volume:
    """``volume`` with coarser levels where it has fewer than ``scan``, or just one, which napari takes for no pyramid.

    They are strided as they are read, so that they are right as soon as the finer level is.
    """
    shapes = [] if scan is None else [_shape(level.shape) for level in scan.levels]
    if len(shapes) < 2:
        z, y, x = (-(-size // 2) for size in volume.shape)
        shapes = [volume.shape, (z, y, x)]
    missing = shapes[len(volume.levels) :]
    return replace(volume, levels=(*volume.levels, *(_stride(volume, shape) for shape in missing)))


def lay_crop_over(organs: Volume, region: Region, crop: npt.NDArray[Any] | None) -> Volume:
    """``organs`` with ``crop`` in their place at ``region``, background where it is ``None``; at every level.

    ``crop`` is looked at whenever something is read, so that painting in it shows.
    """
    levels = tuple(_patch(organs, level, region, crop) for level in range(len(organs.levels)))
    return Volume(levels, organs.voxel_size)


@lru_cache(maxsize=64)
def _open_scan(case: Case, _: int) -> Volume:
    return case.volume


def _find_labels(
    project: Project, case: Case, checkpoint: str, growing: Growing | None
) -> tuple[Volume | None, Volume | None]:
    """(organs, doubt)."""
    if growing is not None:
        return growing.labels, growing.uncertainty
    names = case.label_names
    if checkpoint in names:
        return corrected_labels(project, case, checkpoint).volume, open_uncertainty(case.store, checkpoint)
    return (case.labels(_MANUAL).volume, None) if _MANUAL in names else (None, None)


def _patch(organs: Volume, level: int, region: Region, crop: npt.NDArray[Any] | None) -> DiskArray:
    array = organs.levels[level]
    steps = _steps(organs.shape, _shape(array.shape))

    def read_box(box: Region) -> npt.NDArray[Any]:
        block = np.array(array[box])
        inside, picked = [], []
        for side, step, part in zip(box, steps, region, strict=True):
            fine = np.arange(side.start, side.stop) * step
            within = (part.start <= fine) & (fine < part.stop)
            inside.append(within)
            picked.append(fine[within] - part.start)
        block[np.ix_(*inside)] = 0 if crop is None else crop[np.ix_(*picked)]
        return block

    return DiskArray(_shape(array.shape), array.dtype, read_box)


def _stride(volume: Volume, shape: Shape) -> DiskArray:
    array, steps = volume.levels[0], _steps(volume.shape, shape)

    def read_box(box: Region) -> npt.NDArray[Any]:
        every = tuple(
            slice(side.start * step, (side.stop - 1) * step + 1, step) for side, step in zip(box, steps, strict=True)
        )
        return np.asarray(array[every])

    return DiskArray(shape, array.dtype, read_box)


def _steps(fine: Shape, coarse: Shape) -> Shape:
    """Fine voxels from one coarse voxel to the next: our pyramids halve, and round their shapes up."""
    z, y, x = (1 << math.ceil(math.log2(size / fewer)) for size, fewer in zip(fine, coarse, strict=True))
    return z, y, x


def _shape(shape: tuple[int, ...]) -> Shape:
    z, y, x = shape
    return z, y, x
