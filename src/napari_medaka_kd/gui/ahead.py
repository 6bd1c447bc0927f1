"""Reading ahead: the slices of the next items, so that they lie in the cache when they are shown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.workflow.look import place

from .shown import open_scan

if TYPE_CHECKING:
    from napari_medaka_kd.project import Project
    from napari_medaka_kd.review import ReviewItem
    from napari_medaka_kd.volumes.volume import LazyArray, Region, Triple, Volume

_MOST = 1 << 20  # voxels of a slice


def read_ahead(project: Project, items: tuple[ReviewItem, ...], checkpoint: str) -> Job[int]:
    """Read what the viewer will read first of ``items``, so that it lies in the cache; how many voxels that were."""
    count = 0
    for number, item in enumerate(items):
        yield Progress("read ahead", number, len(items))
        case = project.case(item.case)
        found = place(project, item, checkpoint)
        for volume in (open_scan(case), case.labels(checkpoint).volume):
            count += _read_slice(volume, found.centre, found.box)
    return count


def _read_slice(volume: Volume, centre: Triple, box: Region) -> int:
    """The slice through ``centre`` with as much around ``box`` as it is wide, at a level that is not too large."""
    for level, array in enumerate(volume.levels):
        region = _around(array, volume.scale(level), centre, box)
        if math.prod(side.stop - side.start for side in region) <= _MOST or level == len(volume.levels) - 1:
            return int(volume.read(region, level).size)
    return 0


def _around(array: LazyArray, scale: Triple, centre: Triple, box: Region) -> Region:
    z = min(int(centre[0] / scale[0]), array.shape[0] - 1)
    sides = [slice(z, z + 1)]
    for axis in (1, 2):
        reach = box[axis].stop - box[axis].start
        begin, end = (box[axis].start - reach / 2) / scale[axis], (box[axis].stop + reach / 2) / scale[axis]
        sides.append(slice(max(int(begin), 0), min(math.ceil(end), array.shape[axis])))
    return sides[0], sides[1], sides[2]
