"""Where in a scan an item's organ lies, and where its labels are most doubtful: seen on a coarse level."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.review import ALL_ORGANS, ReviewItem

from .outline import Outline, outline, read_doubt

if TYPE_CHECKING:
    from napari_medaka_kd.project import Case, Project
    from napari_medaka_kd.volumes.volume import Region, Shape, Triple

_BROAD = 0.5  # a slice shows an organ well from this share of its largest section on


@dataclass(frozen=True)
class Place:
    """Where to look; voxels of level 0, (z, y, x).

    Attributes
    ----------
    centre
        Well inside the organ; where it is absent, the middle of the slab and of the body.
    box
        Around the organ in the item's slices; the body there where it is absent.
    """

    centre: Triple
    box: Region


def place(project: Project, item: ReviewItem, checkpoint: str) -> Place:
    """Where the organ of ``item``, or all organs, lie in the label map of ``checkpoint``.

    The first look at a case reads a coarse level of its label map; it is kept as long as the map stays.

    Raises
    ------
    UserError
        If there is no such case, or no such label map of it.
    """
    case = _case(project, item.case)
    seen = outline(case, checkpoint)
    if item not in seen.kept:
        seen.kept[item] = _place(case, seen, item)
    found: Place = seen.kept[item]
    return found


def worst_spot(project: Project, item: ReviewItem, checkpoint: str) -> Triple:
    """The voxel of level 0, (z, y, x), inside the organ of ``item`` where the label map is worst.

    Where the checkpoint doubts it most, smoothed over a coarse voxel; where no doubt was kept, where the organ differs
    most between two slices. The centre of :func:`place` where the organ is absent.

    Raises
    ------
    UserError
        As for :func:`place`.
    """
    case = _case(project, item.case)
    seen = outline(case, checkpoint)
    if ("worst", item) not in seen.kept:
        seen.kept["worst", item] = _worst_spot(case, seen, item, checkpoint)
    found: Triple = seen.kept["worst", item]
    return found


def _case(project: Project, case_id: str) -> Case:
    if not (project.folder / "cases" / case_id / "case.json").is_file():
        _known_case.cache_clear()
    return _known_case(project, case_id)


@lru_cache(maxsize=1024)
def _known_case(project: Project, case_id: str) -> Case:
    """Asking the project lists all its cases."""
    return project.case(case_id)


def _place(case: Case, of: Outline, item: ReviewItem) -> Place:
    part = _part(of, item)
    mask = _mask(of, item, part)
    if not mask.any():
        return _absent(case, of.shape, item)
    z = _broad_slice(mask)
    y, x = _deepest(mask[z])
    box = _fine_box(of, part, mask, _slices(of.shape, item))
    return Place(_fine(of, part, (z, y, x), box[0]), box)


def _worst_spot(case: Case, of: Outline, item: ReviewItem, checkpoint: str) -> Triple:
    part = _part(of, item)
    mask = _mask(of, item, part)
    if not mask.any():
        return _place(case, of, item).centre
    doubt = read_doubt(case.store, checkpoint, of)
    spot = _largest_jump(mask) if doubt is None else _largest_doubt(doubt[part], mask)
    return _fine(of, part, spot, _slices(of.shape, item))


def _part(of: Outline, item: ReviewItem) -> Region:
    """The coarse box in which the item's organ can be: its slices, and in y and x where the organ is at all."""
    around = of.boxes.get(item.organ, (slice(0, 0),) * 3) if item.organ != ALL_ORGANS else _whole(of)
    first, last = _slices(of.shape, item).start, _slices(of.shape, item).stop
    by = of.factor[0]
    start, stop = -(-first // by), -(-last // by)  # coarse slices that were taken from within the slab
    if start == stop:  # a slab thinner than a coarse slice, between two of them
        start, stop = first // by, first // by + 1
    return slice(max(start, around[0].start), min(stop, around[0].stop)), around[1], around[2]


def _mask(of: Outline, item: ReviewItem, part: Region) -> npt.NDArray[np.bool_]:
    labels = of.labels[part] if part[0].start < part[0].stop else of.labels[:0]
    mask: npt.NDArray[np.bool_] = labels > 0 if item.organ == ALL_ORGANS else labels == item.organ
    return mask


def _broad_slice(mask: npt.NDArray[np.bool_]) -> int:
    """Of the slices that show much of the organ the one nearest to its middle."""
    areas = np.count_nonzero(mask, axis=(1, 2))
    middle = (areas * np.arange(len(areas))).sum() / areas.sum()
    broad = np.flatnonzero(areas >= _BROAD * areas.max())
    return int(broad[np.abs(broad - middle).argmin()])


def _deepest(section: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """The pixel of a (y, x) mask that is farthest from its rim."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(section, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(y), int(x)


def _largest_doubt(doubt: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> Shape:
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(doubt.astype(np.float32), 1.0)
    z, y, x = np.unravel_index(int(np.where(mask, smooth, -1).argmax()), mask.shape)
    return int(z), int(y), int(x)


def _largest_jump(mask: npt.NDArray[np.bool_]) -> Shape:
    """In the slice whose section differs most from the next one, the middle of what only one of the two has."""
    if len(mask) == 1:
        return (0, *_deepest(mask[0]))
    jumps = np.count_nonzero(mask[1:] != mask[:-1], axis=(1, 2))
    if not jumps.any():
        z = _broad_slice(mask)
        return (z, *_deepest(mask[z]))
    z = int(jumps.argmax())
    y, x = _deepest(mask[z] != mask[z + 1])
    return z + int(not mask[z, y, x]), y, x


def _fine(of: Outline, part: Region, spot: Shape, slices: slice) -> Triple:
    """A coarse voxel of ``part`` in voxels of level 0, within ``slices``."""
    z, y, x = ((side.start + at) * by for side, at, by in zip(part, spot, of.factor, strict=True))
    return float(min(max(z, slices.start), slices.stop - 1)), float(y), float(x)


def _fine_box(of: Outline, part: Region, mask: npt.NDArray[np.bool_], slices: slice) -> Region:
    """The box around all fine voxels within ``slices`` that the coarse ones of ``mask`` may stand for."""

    def side(axis: int) -> slice:
        inside = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        by, offset = of.factor[axis], part[axis].start
        first, last = (offset + int(inside[0])) * by - (by - 1), (offset + int(inside[-1]) + 1) * by
        return slice(max(0, first), min(last, of.shape[axis]))

    z = side(0)
    return slice(max(z.start, slices.start), min(z.stop, slices.stop)), side(1), side(2)


def _absent(case: Case, shape: Shape, item: ReviewItem) -> Place:
    body = case.body.box
    box = (_slices(shape, item) if item.slab else body[0], body[1], body[2])
    z, y, x = ((side.start + side.stop - 1) / 2 for side in box)
    return Place((z, y, x), box)


def _slices(shape: Shape, item: ReviewItem) -> slice:
    return slice(*(item.slab or (0, shape[0])))


def _whole(of: Outline) -> Region:
    z, y, x = (slice(0, size) for size in of.labels.shape)
    return z, y, x
