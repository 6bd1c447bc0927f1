"""A scan that is not in the project yet, to be looked at while it is copied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.volumes.body import intensity_window
from napari_medaka_kd.volumes.open import open_volume

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medaka_kd.volumes.volume import Triple, Volume


@dataclass(frozen=True)
class Preview:
    """A scan as it lies in its file.

    Attributes
    ----------
    window
        Between which intensities its middle slice lies.
    """

    file: Path
    volume: Volume
    window: tuple[float, float]

    @property
    def sentence(self) -> str:
        """Its size and type, for people."""
        voxels = " × ".join(map(str, self.volume.shape))
        return (
            f"{voxels} voxels of {' × '.join(f'{side:g}' for side in self.volume.voxel_size)} µm, {self.volume.dtype}"
        )


def preview(file: Path, voxel_size: Triple | None = None) -> Job[Preview]:
    """Open the scan in ``file`` and read its middle slice, which unpacks a file that is packed as a whole.

    Raises
    ------
    UserError, InvalidVolume
        As :func:`~napari_medaka_kd.volumes.open.open_volume` does.
    """
    volume = open_volume(file, voxel_size)
    yield Progress(f"Reading {volume.name}", 0, 0)
    level = len(volume.levels) - 1
    depth, height, width = volume.levels[level].shape
    middle = volume.read((slice(depth // 2, depth // 2 + 1), slice(0, height), slice(0, width)), level)
    return Preview(file, volume, intensity_window(middle))
