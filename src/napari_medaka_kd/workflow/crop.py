"""Which part of a scan is opened for painting: an item's slices, and its organ's box with a margin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medaka_kd.review import ALL_ORGANS
from napari_medaka_kd.volumes.pyramid import plan_levels

from .outline import MOST

if TYPE_CHECKING:
    from napari_medaka_kd.project import Case
    from napari_medaka_kd.review import ReviewItem
    from napari_medaka_kd.volumes.labels import LabelMap
    from napari_medaka_kd.volumes.volume import Region

_LEAST = 64  # voxels in y and x, where the scan has them


def crop_region(case: Case, labels: LabelMap, item: ReviewItem, margin: int) -> Region:
    """The crop around ``item`` in ``labels``, voxels of level 0.

    In z the item's slab, or for the whole animal the organ's slices and ``margin`` more. In y and x the organ there;
    where it is absent from the slab, where it lies in the animal; and where it is absent from that, the body.
    """
    z, y, x = _find_box(labels, item) or case.body.box
    depth, height, width = labels.volume.shape
    slices = slice(*item.slab) if item.slab is not None else _grow(z, margin, depth, 1)
    return slices, _grow(y, margin, height, _LEAST), _grow(x, margin, width, _LEAST)


def _find_box(labels: LabelMap, item: ReviewItem) -> Region | None:
    """Around the organ, as seen at a coarse level, and surely around all of it that can be seen there."""
    volume = labels.volume
    level = volume.overview(MOST)
    factor = plan_levels(volume.shape, volume.voxel_size)[level].factor
    seen = volume.read(level=level)
    mask = seen > 0 if item.organ == ALL_ORGANS else seen == item.organ
    first, last = item.slab or (0, volume.shape[0])
    here = mask[first // factor[0] : -(-last // factor[0])]
    mask = here if here.any() else mask
    if not mask.any():
        return None
    sides = []
    for axis, (by, size) in enumerate(zip(factor, volume.shape, strict=True)):
        inside = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        sides.append(slice(max(0, int(inside[0] - 1) * by + 1), min(size, int(inside[-1] + 1) * by)))
    return sides[0], sides[1], sides[2]


def _grow(side: slice, margin: int, size: int, least: int) -> slice:
    """``side`` with a margin, no shorter than ``least``, as far as an axis of ``size`` allows."""
    start, stop = max(0, side.start - margin), min(size, side.stop + margin)
    lacking = min(least, size) - (stop - start)
    if lacking > 0:
        start = min(max(0, start - lacking // 2), size - min(least, size))
        stop = start + min(least, size)
    return slice(start, stop)
