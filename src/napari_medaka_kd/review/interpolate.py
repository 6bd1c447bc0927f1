"""Interpolation: the shapes between two drawn slices, by distance from their outlines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from typing import Any

    Mask = npt.NDArray[np.bool_]


def between(first: Mask, last: Mask, steps: int) -> Mask:
    """The ``steps`` masks between ``first`` and ``last``, (steps, y, x), evenly spaced.

    Shape-based interpolation (Raya and Udupa 1990): the mean of the signed distances from both outlines, weighted by
    how near each slice is, is positive inside. What is in both masks is in every one between, what is in neither in
    none. Where one mask is empty, so are all between.
    """
    from scipy import ndimage

    if first.shape != last.shape:
        raise ValueError(f"the slices have {first.shape} and {last.shape} pixels")
    masks = np.zeros((steps, *first.shape), bool)
    if not (first.any() and last.any()):
        return masks
    box = ndimage.find_objects((first | last).astype(np.uint8))[0]
    before, after = _depth(first[box]), _depth(last[box])
    for step in range(steps):
        masks[step][box] = (steps - step) * before + (step + 1) * after > 0
    return masks


def _depth(mask: Mask) -> npt.NDArray[Any]:
    """Distance from the outline in pixels, positive inside; what is beyond the array is outside."""
    from scipy import ndimage

    inside = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    outside = ndimage.distance_transform_edt(~mask)
    distance: npt.NDArray[Any] = np.where(mask, inside - 0.5, 0.5 - outside)
    return distance
