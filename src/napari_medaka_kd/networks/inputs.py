"""What a network is shown of a scan: intensities in the body's window, and where in the body each voxel lies."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.volumes.body import Body, normalise

from .foreign import ForeignSettings

if TYPE_CHECKING:
    from napari_medaka_kd.settings import NetworkSettings
    from napari_medaka_kd.volumes.volume import Region, Volume

_OVERVIEW = 16_000_000  # voxels that a scan's statistics are taken of


def encode(
    block: npt.NDArray[Any], region: Region, body: Body, settings: NetworkSettings | ForeignSettings
) -> npt.NDArray[np.float32]:
    """Voxels → what a network of ``settings`` sees, (C, z, y, x) float32.

    Parameters
    ----------
    block
        Intensities, (z, y, x), as scanned.
    region
        Where ``block`` lies in its volume; it may reach beyond it.
    body
        The window that scales the intensities and the box that the coordinates refer to: 0 at its middle,
        ±1 at its faces. For a foreign network with a scale of its own, the body that :func:`rescaled` gives.
    """
    unclipped = isinstance(settings, ForeignSettings) and settings.scale != "window"
    intensities = _stretch(block, body.window) if unclipped else normalise(block, body.window)
    if not settings.coordinates:
        return intensities[None]
    encoded = np.empty((4, *block.shape), np.float32)
    encoded[0] = intensities
    for axis, (side, box) in enumerate(zip(region, body.box, strict=True)):
        middle, half = (box.start + box.stop) / 2, max(1.0, (box.stop - box.start) / 2)
        along = (np.arange(side.start, side.stop, dtype=np.float32) + 0.5 - middle) / half
        encoded[axis + 1] = along.reshape([-1 if axis == place else 1 for place in range(3)])
    return encoded


def rescaled(body: Body, volume: Volume, looks: NetworkSettings | ForeignSettings) -> Body:
    """``body`` with the window from which a foreign network's scale counts: its ends become 0 and 1.

    The statistics are those of the whole scan, seen on one coarse level, so that no tile has its own.
    """
    if not isinstance(looks, ForeignSettings) or looks.scale == "window":
        return body
    if looks.scale == "none":
        return replace(body, window=(0.0, 1.0))
    values = _overview(volume, body)
    mean, deviation = float(values.mean()), float(values.std())
    low, high = (mean, mean + deviation) if looks.scale == "zscore" else (float(values.min()), float(values.max()))
    return replace(body, window=(low, high if high > low else low + 1))


def _stretch(block: npt.NDArray[Any], window: tuple[float, float]) -> npt.NDArray[np.float32]:
    low, high = window
    stretched = (block.astype(np.float64) - low) / max(high - low, 1e-30)
    finite: npt.NDArray[np.float32] = np.nan_to_num(stretched, posinf=0.0, neginf=0.0).astype(np.float32)
    return finite


def _overview(volume: Volume, body: Body) -> npt.NDArray[np.float64]:
    """Finite intensities of the body's box on the finest level that is small; at least one."""
    level = volume.overview(_OVERVIEW)
    z, y, x = (
        slice(int(side.start // step), max(int(side.start // step) + 1, math.ceil(side.stop / step)))
        for side, step in zip(body.box, volume.scale(level), strict=True)
    )
    values = volume.read((z, y, x), level).astype(np.float64)
    finite: npt.NDArray[np.float64] = values[np.isfinite(values)]
    return finite if finite.size else np.zeros(1)
