"""A labelled animal as another one might have looked, on a worse or other scanner: where a teacher begins to err."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    import numpy.typing as npt


def bend(
    image: npt.NDArray[Any], classes: npt.NDArray[np.int64], severity: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """``image`` and ``classes`` (z, y, x) turned, scaled and smoothly deformed alike; more so with ``severity`` 0 … 1.

    The turns reach 25° and the deformation 6 % of the longest side, beyond what a teacher is trained with.
    """
    shape = np.array(image.shape)
    angles = np.deg2rad(rng.uniform(-25, 25, 3)) * severity
    matrix = np.eye(3) * (1 + 0.2 * severity * rng.uniform(-1, 1))
    for axis, angle in enumerate(angles):
        one, other = (place for place in range(3) if place != axis)
        turn = np.eye(3)
        turn[[one, one, other, other], [one, other, one, other]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
        matrix = matrix @ turn
    places = np.indices(image.shape, np.float32).reshape(3, -1) - (shape[:, None] - 1) / 2
    places = (matrix @ places + (shape[:, None] - 1) / 2).reshape(3, *image.shape).astype(np.float32)
    for axis in range(3):
        bumps = rng.normal(0, 0.03 * severity * shape.max(), (4, 4, 4)).astype(np.float32)
        places[axis] += ndimage.zoom(bumps, shape / 4, order=1, grid_mode=True, mode="nearest")
    moved = ndimage.map_coordinates(image.astype(np.float32), places, order=1, mode="nearest")
    carried = ndimage.map_coordinates(classes.astype(np.int32), places, order=0, mode="constant")
    return moved, carried.astype(np.int64)


def distort(image: npt.NDArray[Any], severity: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A copy of a scan (z, y, x) as a worse or other scanner might have made it: blur, gamma, gain and noise."""
    low, high = np.quantile(image[:: max(1, len(image) // 32)], (0.01, 0.99))
    span = max(1e-6, float(high - low))
    scan = ndimage.gaussian_filter((image.astype(np.float32) - low) / span, severity * rng.uniform(0, 1.5))
    scan = np.sign(scan) * np.abs(scan) ** np.exp(rng.normal(0, 0.6 * severity))
    noise = rng.normal(0, 1, scan.shape) * severity * rng.uniform(0, 0.3)
    bent = (scan + noise) * (1 + 0.3 * severity * rng.normal()) + 0.2 * severity * rng.normal()
    return np.asarray(bent * span + low, np.float32)
