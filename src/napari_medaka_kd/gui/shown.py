"""What is on show of a case: its scan, organs and doubt, each lazy, and blank where there is none yet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.volumes.deepen import as_shape, deepen, strides
from napari_medaka_kd.volumes.instance_store import open_layers
from napari_medaka_kd.volumes.label_extras import DISAGREEMENT, UNCERTAINTY
from napari_medaka_kd.volumes.label_store import open_extra
from napari_medaka_kd.volumes.lazy import DiskArray
from napari_medaka_kd.volumes.volume import Region, Volume, extent
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
    doubt, disagreement
        uint8, 0 sure … 255, and 0 agreed … 255; ``None`` where there is none.
    things
        Label maps of things that may overlap, as many as their overlaps need; none where there are none.
    finder
        Who found them: a checkpoint, or "manual".
    """

    case: Case
    scan: Volume
    window: tuple[float, float]
    organs: Volume
    doubt: Volume | None
    disagreement: Volume | None = None
    things: tuple[Volume, ...] = ()
    finder: str = ""


def gather(project: Project, case: Case, checkpoint: str, growing: Growing | None) -> Shown:
    """What there is to show: tiles just being written, else proposals with people's corrections, else people's labels.

    Raises
    ------
    UserError
        If the scan or its labels are damaged.
    """
    scan = deepen(open_scan(case), None)
    organs, doubt, differ = _find_labels(project, case, checkpoint, growing)
    if organs is None:
        organs = blank(scan, case.schema.dtype)
    doubt, differ = (None if each is None else deepen(each, scan) for each in (doubt, differ))
    finder = find_finder(case, checkpoint)
    things = tuple(deepen(layer, scan) for layer in open_layers(case.store, finder)) if finder else ()
    return Shown(case, scan, case.body.window, deepen(organs, scan), doubt, differ, things, finder)


def find_finder(case: Case, checkpoint: str) -> str:
    """Whose things of ``case`` are shown: those of ``checkpoint``, else those that people outlined; else empty."""
    return next((name for name in (checkpoint, _MANUAL) if name in case.instance_names), "")


def open_scan(case: Case) -> Volume:
    """The scan of ``case``, opened once as long as nobody puts another one in its place."""
    return _open_scan(case, (case.store / "zarr.json").stat().st_mtime_ns)


def blank(scan: Volume, dtype: np.dtype[Any]) -> Volume:
    """Nothing, on the grid of ``scan``."""

    def read_box(box: Region) -> npt.NDArray[Any]:
        return np.zeros(extent(box), dtype)

    levels = tuple(DiskArray(as_shape(level.shape), dtype, read_box) for level in scan.levels)
    return Volume(levels, scan.voxel_size)


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
) -> tuple[Volume | None, Volume | None, Volume | None]:
    """(organs, doubt, disagreement)."""
    if growing is not None:
        return growing.labels, growing.uncertainty, growing.disagreement
    names = case.label_names
    if checkpoint in names:
        organs = corrected_labels(project, case, checkpoint).volume
        doubt, differ = (open_extra(case.store, checkpoint, name) for name in (UNCERTAINTY, DISAGREEMENT))
        return organs, doubt, differ
    return case.labels(_MANUAL).volume if _MANUAL in names else None, None, None


def _patch(organs: Volume, level: int, region: Region, crop: npt.NDArray[Any] | None) -> DiskArray:
    array = organs.levels[level]
    steps = strides(organs.shape, as_shape(array.shape))

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

    return DiskArray(as_shape(array.shape), array.dtype, read_box)
