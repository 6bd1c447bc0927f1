"""Measuring organs: volume, place and parts, of label maps of any size."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.csv_table import as_csv
from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.volumes.atomic import replace_file
from napari_medaka_kd.volumes.tiles import block_grid
from napari_medaka_kd.volumes.volume import Region, Shape, Triple, extent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medaka_kd.volumes.labels import LabelMap, Organ

BLOCK: Shape = (128, 256, 256)
_LARGEST_BOX = 256 * 2**20  # voxels; finding the parts holds some 5 bytes for each
_COLUMNS = (
    "organ", "name", "voxels", "volume_um3", "centroid_z_um", "centroid_y_um", "centroid_x_um",
    "z_from", "z_to", "y_from", "y_to", "x_from", "x_to", "components",
)  # fmt: skip


@dataclass(frozen=True)
class OrganMeasure:
    """One organ of one animal.

    Attributes
    ----------
    organ
        Its id.
    centroid_um
        (z, y, x) of its centre of mass, where the centre of the volume's first voxel is (0, 0, 0), as in napari;
        ``None`` for an organ that is not there.
    box
        The voxels that just hold it, (z, y, x); ``None`` for an organ that is not there.
    components
        Parts that do not touch, not even at a corner; ``None`` where its box holds more than 256 Mi voxels.
    """

    organ: int
    name: str
    voxels: int
    volume_um3: float
    centroid_um: Triple | None
    box: Region | None
    components: int | None


def measure_organs(labels: LabelMap, block: Shape = BLOCK) -> Job[tuple[OrganMeasure, ...]]:
    """Measure every organ of the schema, reading ``block`` voxels (z, y, x) at a time, then the boxes around organs."""
    schema = labels.schema
    sums = [_Sums() for _ in schema.organs]
    regions = block_grid(labels.volume.shape, block)
    for done, region in enumerate(regions):
        yield Progress("measure organs", done, len(regions))
        _add_block(schema.to_classes(labels.volume.read(region)), region, sums)
    measures = []
    for place, (organ, found) in enumerate(zip(schema.organs, sums, strict=True)):
        yield Progress("count the parts of organs", place, len(sums))
        measures.append(_conclude(labels, organ, found))
    return tuple(measures)


def write_csv(measures: Sequence[OrganMeasure], path: Path) -> None:
    """One row for each organ; what is not there is an empty cell."""
    replace_file(path, as_csv(_COLUMNS, map(_cells, measures)))


def _cells(one: OrganMeasure) -> tuple[object, ...]:
    sides = (None,) * 6 if one.box is None else (end for side in one.box for end in (side.start, side.stop))
    place = one.centroid_um or (None,) * 3
    return one.organ, one.name, one.voxels, one.volume_um3, *place, *sides, one.components


@dataclass
class _Sums:
    """What is known of an organ so far: voxels, the sums of their z, y and x, the box around them."""

    voxels: int = 0
    places: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(3, np.int64))
    box: Region | None = None


def _add_block(classes: npt.NDArray[np.int64], region: Region, sums: list[_Sums]) -> None:
    from scipy import ndimage

    for place, inner in enumerate(ndimage.find_objects(classes, max_label=len(sums))):
        if inner is None:
            continue
        mask = classes[inner] == place + 1
        z, y, x = (
            slice(part.start + outer.start, part.stop + outer.start) for part, outer in zip(inner, region, strict=True)
        )
        found = sums[place]
        found.voxels += int(np.count_nonzero(mask))
        found.places += [_sum_places(mask, axis, side.start) for axis, side in enumerate((z, y, x))]
        found.box = _hull(found.box, (z, y, x))


def _sum_places(mask: npt.NDArray[np.bool_], axis: int, start: int) -> int:
    """The sum of all voxels' places along ``axis``, an integer, so that it does not depend on the blocks."""
    profile = np.count_nonzero(mask, axis=tuple(other for other in range(3) if other != axis))
    return int(np.dot(profile, np.arange(start, start + len(profile))))


def _conclude(labels: LabelMap, organ: Organ, found: _Sums) -> OrganMeasure:
    size = labels.volume.voxel_size
    if found.box is None:
        return OrganMeasure(organ.id, organ.name, 0, 0.0, None, None, 0)
    z, y, x = (float(total) / found.voxels * side for total, side in zip(found.places, size, strict=True))
    volume = found.voxels * math.prod(size)
    parts = _count_parts(labels, organ.id, found.box)
    return OrganMeasure(organ.id, organ.name, found.voxels, volume, (z, y, x), found.box, parts)


def _count_parts(labels: LabelMap, organ: int, box: Region) -> int | None:
    from scipy import ndimage

    if math.prod(extent(box)) > _LARGEST_BOX:
        return None
    structure: Any = np.ones((3, 3, 3), bool)
    _, count = ndimage.label(labels.volume.read(box) == organ, structure)
    return int(count)


def _hull(one: Region | None, other: Region) -> Region:
    if one is None:
        return other
    z, y, x = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return z, y, x
