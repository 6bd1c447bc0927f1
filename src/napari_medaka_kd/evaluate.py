"""Evaluation: how well a label map agrees with the truth, organ by organ: IoU, Dice and surface distances."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.csv_table import as_csv
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.volumes.atomic import replace_file
from napari_medaka_kd.volumes.tiles import block_grid
from napari_medaka_kd.volumes.volume import Region, Shape, Triple, extent, hull, shifted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medaka_kd.volumes.labels import LabelMap

BLOCK: Shape = (128, 256, 256)
_LARGEST_BOX = 64 * 2**20  # voxels; the distance transform holds some 30 bytes for each


@dataclass(frozen=True)
class OrganScore:
    """How well one organ of one case was found.

    Attributes
    ----------
    organ
        Its id.
    iou, dice
        Over all voxels; 0 where the organ is in one of the two only, NaN where it is in neither.
    surface_mean_um
        Mean of the distances from every surface voxel of either to the nearest surface voxel of the other.
    hd95_um
        The larger of the two directed 95th percentiles of these distances.

    A surface voxel is one of the organ with a face on another label or on the volume's edge; distances are between
    voxel centres, in µm, as MONAI has it. Every surface voxel weighs the same, and a shift by less than a slice shows
    too small where slices lie far apart. They are NaN where the organ is missing in either, and where the box around
    both holds more than 64 Mi voxels.
    """

    case: str
    organ: int
    name: str
    iou: float
    dice: float
    surface_mean_um: float
    hd95_um: float
    truth_voxels: int
    predicted_voxels: int


def compare(case: str, truth: LabelMap, prediction: LabelMap, block: Shape = BLOCK) -> Job[tuple[OrganScore, ...]]:
    """Score every organ of the schema, reading ``block`` voxels (z, y, x) at a time, then the boxes around organs.

    Raises
    ------
    UserError
        If the two have not the same shape, or not the same organs.
    """
    _check_alike(case, truth, prediction)
    schema = truth.schema
    pairs = np.zeros((schema.classes, schema.classes), np.int64)  # [truth, prediction]
    boxes: list[Region | None] = [None] * schema.classes
    regions = block_grid(truth.volume.shape, block)
    for done, region in enumerate(regions):
        yield Progress(f"compare {case}", done, len(regions))
        left, right = (schema.to_classes(labels.volume.read(region)) for labels in (truth, prediction))
        _count(left, right, region, pairs, boxes)
    scores = []
    for place, organ in enumerate(schema.organs, start=1):
        yield Progress(f"measure the surfaces of {case}", place - 1, len(schema.organs))
        both, inside, found = pairs[place, place], pairs[place].sum(), pairs[:, place].sum()
        iou, dice = _ratio(both, inside + found - both), _ratio(2 * both, inside + found)
        mean, hd95 = _measure_surfaces(truth, prediction, organ.id, boxes[place])
        scores.append(OrganScore(case, organ.id, organ.name, iou, dice, mean, hd95, int(inside), int(found)))
    return tuple(scores)


def mean_iou(scores: Sequence[OrganScore]) -> float:
    """The mean over organs of each organ's mean IoU over cases.

    An organ that is in neither truth nor prediction of a case does not count there; one that is in no case at all
    does not count. Background is no organ. NaN where nothing counts.
    """
    of_organ: dict[int, list[float]] = {}
    for score in scores:
        if not math.isnan(score.iou):
            of_organ.setdefault(score.organ, []).append(score.iou)
    means = [math.fsum(ious) / len(ious) for ious in of_organ.values()]
    return math.fsum(means) / len(means) if means else math.nan


def write_csv(scores: Sequence[OrganScore], path: Path) -> None:
    """One row for each score, one column for each of its attributes; NaN is an empty cell."""
    replace_file(path, as_csv((field.name for field in fields(OrganScore)), map(astuple, scores)))


def _check_alike(case: str, truth: LabelMap, prediction: LabelMap) -> None:
    if truth.volume.shape != prediction.volume.shape:
        raise UserError(
            f"The labels of {case!r} have {truth.volume.shape} voxels (z, y, x), the prediction has "
            f"{prediction.volume.shape}.",
            "Compare label maps of one and the same scan.",
        )
    ours, theirs = (dict(zip(s.ids, s.names, strict=True)) for s in (truth.schema, prediction.schema))
    if ours != theirs:
        raise UserError(
            f"The labels of {case!r} know the organs {ours}, the prediction {theirs}.",
            "Compare label maps of the same organs.",
        )


def _count(
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    region: Region,
    pairs: npt.NDArray[np.int64],
    boxes: list[Region | None],
) -> None:
    """Add one block of classes (z, y, x) to the joint histogram and to the boxes around the organs of either."""
    from scipy import ndimage

    classes = len(pairs)
    pairs += np.bincount((left * classes + right).ravel(), minlength=classes * classes).reshape(pairs.shape)
    for side in (left, right):
        for place, box in enumerate(ndimage.find_objects(side, max_label=classes - 1), start=1):
            if box is not None:
                z, y, x = box
                found, known = shifted((z, y, x), region), boxes[place]
                boxes[place] = found if known is None else hull(known, found)


def _ratio(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else math.nan


def _measure_surfaces(truth: LabelMap, prediction: LabelMap, organ: int, box: Region | None) -> tuple[float, float]:
    """(mean symmetric distance, 95 % Hausdorff distance) in µm, as :class:`OrganScore` defines them."""
    if box is None or math.prod(extent(box)) > _LARGEST_BOX:
        return math.nan, math.nan
    left, right = (_find_surface(labels.volume.read(box) == organ) for labels in (truth, prediction))
    if not (left.any() and right.any()):
        return math.nan, math.nan
    there = _distances(left, right, truth.volume.voxel_size)
    back = _distances(right, left, truth.volume.voxel_size)
    hd95 = max(float(np.percentile(way, 95)) for way in (there, back))
    return float(np.concatenate((there, back)).mean()), hd95


def _find_surface(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The voxels of ``mask`` with a face on what is not; the array's edge is not."""
    from scipy import ndimage

    surface: npt.NDArray[np.bool_] = mask & ~ndimage.binary_erosion(mask)
    return surface


def _distances(
    start: npt.NDArray[np.bool_], goal: npt.NDArray[np.bool_], voxel_size: Triple
) -> npt.NDArray[np.float64]:
    """From every voxel of ``start`` to the nearest one of ``goal``, µm."""
    from scipy import ndimage

    distance: npt.NDArray[np.float64] = ndimage.distance_transform_edt(~goal, sampling=voxel_size)
    return distance[start]
