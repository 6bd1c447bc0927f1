"""convert: any scan that can be opened, as an OME-Zarr pyramid that is read fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medaka_kd.volumes.open import open_volume
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.window import find_window

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medaka_kd.job import Job
    from napari_medaka_kd.volumes.volume import Triple, Volume


def convert(
    scan: Path, target: Path, voxel_size: Triple | None = None, percentiles: tuple[float, float] | None = None
) -> Job[Volume]:
    """Copy ``scan`` to a pyramid at ``target``; stopped and called again, it goes on where it was.

    Parameters
    ----------
    voxel_size
        (z, y, x) in µm, instead of what the file says or does not say.
    percentiles
        The range that is spread over uint8; without it intensities are kept as they are.
    """
    volume = open_volume(scan, voxel_size)
    window = None if percentiles is None else find_window(volume, percentiles)
    return (yield from save_volume(volume, target, window))
