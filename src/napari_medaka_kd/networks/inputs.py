"""What a network is shown of a scan: intensities in the body's window, and where in the body each voxel lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.volumes.body import Body, normalise

if TYPE_CHECKING:
    from napari_medaka_kd.settings import NetworkSettings
    from napari_medaka_kd.volumes.volume import Region


def encode(block: npt.NDArray[Any], region: Region, body: Body, settings: NetworkSettings) -> npt.NDArray[np.float32]:
    """Voxels → what a network of ``settings`` sees, (C, z, y, x) float32.

    Parameters
    ----------
    block
        Intensities, (z, y, x), as scanned.
    region
        Where ``block`` lies in its volume; it may reach beyond it.
    body
        The window that scales the intensities and the box that the coordinates refer to: 0 at its middle,
        ±1 at its faces.
    """
    intensities = normalise(block, body.window)
    if not settings.coordinates:
        return intensities[None]
    encoded = np.empty((4, *block.shape), np.float32)
    encoded[0] = intensities
    for axis, (side, box) in enumerate(zip(region, body.box, strict=True)):
        middle, half = (box.start + box.stop) / 2, max(1.0, (box.stop - box.start) / 2)
        along = (np.arange(side.start, side.stop, dtype=np.float32) + 0.5 - middle) / half
        encoded[axis + 1] = along.reshape([-1 if axis == place else 1 for place in range(3)])
    return encoded
