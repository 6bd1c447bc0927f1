"""Evidence: what can be said of each organ of a label map by looking at it, in numbers; no network needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.volumes.body import Body, normalise

from .anatomy import ANATOMY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .cohort import Cohort

#: (organ's class, first z, last z + 1)
Unit: TypeAlias = tuple[int, int, int]

#: In this order everywhere; what second looks say and the critic's logit are appended by whoever has them.
FEATURES = (
    "confidence",
    "least confident tenth",
    "confidence around",
    "log size off cohort",
    "distance from usual place",
    "jump between slices",
    "log pieces",
    "largest piece",
    "brightness off cohort",
    "texture",
)

SECOND_LOOKS = ("disagreement", "disagreement around")  # in it, and about it; 0 where nobody looked again
CRITIC = "critic"  # its logit, last
_ANATOMY_SLOPES = (-0.2, -0.2, -0.1, -0.2, -0.2, -0.1, -0.1, -0.1)

_SLOPES = (1.5, 0.5, 0.0, -0.3, -0.5, -0.3, -0.1, 0.1, -0.1, 0.0)
#: The slope to expect of each before any lesson: how loud it speaks for a good organ.
PRIOR = {**dict(zip(FEATURES, _SLOPES, strict=True)), "disagreement": -0.5, "disagreement around": 0.0, CRITIC: 0.3}
PRIOR |= dict(zip(ANATOMY, _ANATOMY_SLOPES, strict=True))


def columns(count: int) -> tuple[str, ...]:
    """The names of ``count`` numbers of evidence.

    The features, two of second looks if there are any, those of the whole organ's anatomy if it was looked at, the
    critic's. What was saved before there was anatomy has at most three beside the features.
    """
    beside = count - len(FEATURES)
    anatomy = ANATOMY if beside >= len(ANATOMY) else ()
    again, critic = divmod(beside - len(anatomy), len(SECOND_LOOKS))
    return (*FEATURES, *SECOND_LOOKS * again, *anatomy, *(CRITIC,) * critic)


@dataclass(frozen=True)
class Reading:
    """One label map with what it was made from, all (z, y, x).

    Attributes
    ----------
    image
        Intensities in the body's window, float32.
    classes
        int64.
    doubt
        uint8; 255 is no confidence at all.
    disagreement
        uint8, of second looks; ``None`` where it is not to be looked at.
    voxel_size
        (z, y, x) in µm.
    """

    image: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]
    doubt: npt.NDArray[np.uint8]
    body: Body
    disagreement: npt.NDArray[np.uint8] | None = None
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0)


def read(
    image: npt.NDArray[Any],
    classes: npt.NDArray[np.int64],
    doubt: npt.NDArray[np.uint8],
    body: Body,
    disagreement: npt.NDArray[np.uint8] | None = None,
) -> Reading:
    """Scanned intensities → a :class:`Reading`."""
    return Reading(normalise(image, body.window), classes, doubt, body, disagreement)


def slabs(depth: int, slab: int) -> list[tuple[int, int]]:
    """The z-ranges of the review units of an animal of ``depth`` slices; one where ``slab`` is 0."""
    step = slab or depth
    return [(first, min(first + step, depth)) for first in range(0, depth, step)]


def gather(reading: Reading, slab: int, cohort: Cohort) -> Mapping[Unit, npt.NDArray[np.float64]]:
    """The features of each organ present in each slab, float64 and finite; second looks' too where there were any."""
    found = {}
    for first, last in slabs(len(reading.classes), slab):
        part = reading.classes[first:last]
        for organ, box in boxes(part):
            region = (slice(box[0].start + first, box[0].stop + first), box[1], box[2])
            found[(organ, first, last)] = _features(reading, organ, region, cohort)
    return found


def overlaps(classes: npt.NDArray[np.int64], truth: npt.NDArray[np.int64], slab: int) -> Mapping[Unit, float]:
    """IoU with ``truth`` of each organ present in ``classes``, slab by slab."""
    result = {}
    for first, last in slabs(len(classes), slab):
        mine, true = classes[first:last], truth[first:last]
        count = max(int(mine.max(initial=0)), int(true.max(initial=0))) + 1
        table = np.bincount((mine * count + true).ravel(), minlength=count * count).reshape(count, count)
        for organ in range(1, count):
            if table[organ].sum():
                union = table[organ].sum() + table[:, organ].sum() - table[organ, organ]
                result[(organ, first, last)] = float(table[organ, organ] / union)
    return result


def boxes(classes: npt.NDArray[np.int64]) -> Iterator[tuple[int, tuple[slice, slice, slice]]]:
    """Each class that is there, with the box around it."""
    from scipy import ndimage

    for number, box in enumerate(ndimage.find_objects(classes.astype(np.int32)), start=1):
        if box is not None:
            z, y, x = box
            yield number, (z, y, x)


def _features(
    reading: Reading, organ: int, region: tuple[slice, slice, slice], cohort: Cohort
) -> npt.NDArray[np.float64]:
    from scipy import ndimage

    mask = reading.classes[region] == organ
    inside = 1 - reading.doubt[region][mask] / 255
    wide = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in region)
    around = ndimage.binary_dilation(reading.classes[wide] == organ) & (reading.classes[wide] != organ)
    outside = 1 - reading.doubt[wide][around] / 255
    intensities = reading.image[region][mask]
    pieces = np.bincount(ndimage.label(mask)[0].ravel())[1:]
    again: list[float] = []
    if reading.disagreement is not None:
        about = reading.disagreement[wide][around]
        again = [float(each.mean()) / 255 if each.size else 0.0 for each in (reading.disagreement[region][mask], about)]
    usual = cohort.compare(organ, mask, region, reading.body, float(intensities.mean()))
    return np.array(
        [
            inside.mean(),
            np.quantile(inside, 0.1),
            outside.mean() if outside.size else inside.mean(),
            abs(usual.log_size),
            usual.distance,
            _jump(mask),
            np.log(len(pieces)),
            pieces.max() / pieces.sum(),
            abs(usual.brightness),
            intensities.std(),
            *again,
        ]
    )


def _jump(mask: npt.NDArray[np.bool_]) -> float:
    """1 − the mean overlap (IoU) of neighbouring slices; 0 for a single slice."""
    if len(mask) < 2:
        return 0.0
    both = (mask[1:] & mask[:-1]).sum((1, 2))
    either = (mask[1:] | mask[:-1]).sum((1, 2))
    return float(1 - (both / np.maximum(either, 1)).mean())
