"""Cohort: what is usual for each organ, learned from the labelled animals; three numbers an organ and slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.volumes.body import Body, normalise

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Levels along the body at which an organ's cross-section is remembered.
LEVELS = 32


@dataclass(frozen=True)
class Unusual:
    """How far one organ is from the usual: log of the size ratio, distance and brightness in spreads."""

    log_size: float
    distance: float
    brightness: float


@dataclass(frozen=True)
class Cohort:
    """What is usual, by class.

    Attributes
    ----------
    area
        (classes, LEVELS): mean share of the body's cross-section at each level of z.
    place, spread
        (classes, 2): mean and standard deviation of the centroid in the cross-section, in body coordinates −1…1.
    brightness
        (classes, 2): mean and standard deviation of the intensity, in units of the window.
    """

    area: npt.NDArray[np.float64]
    place: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float64]
    brightness: npt.NDArray[np.float64]

    def compare(
        self,
        organ: int,
        mask: npt.NDArray[np.bool_],
        region: tuple[slice, slice, slice],
        body: Body,
        mean: float,
    ) -> Unusual:
        """How unusual the voxels ``mask`` of ``region`` are as ``organ``."""
        levels = _levels(region[0], body)
        section = (body.box[1].stop - body.box[1].start) * (body.box[2].stop - body.box[2].start)
        expected = float(self.area[organ, levels].sum()) * section
        centre = _centre(mask, region, body)
        middle, spread = self.brightness[organ]
        return Unusual(
            log_size=float(np.log((mask.sum() + 1) / (expected + 1))),
            distance=float(np.linalg.norm((centre - self.place[organ]) / self.spread[organ])),
            brightness=(mean - middle) / spread,
        )


def learn_cohort(animals: Sequence[tuple[npt.NDArray[Any], npt.NDArray[np.int64], Body]], classes: int) -> Cohort:
    """Look at labelled animals: (scanned intensities, classes, body), arrays (z, y, x)."""
    area = np.zeros((classes, LEVELS))
    seen = np.zeros(LEVELS)
    centres: list[list[npt.NDArray[np.float64]]] = [[] for _ in range(classes)]
    values: list[list[float]] = [[] for _ in range(classes)]
    for image, labels, body in animals:
        scaled = normalise(image, body.window)
        depth = slice(0, len(labels))
        section = (body.box[1].stop - body.box[1].start) * (body.box[2].stop - body.box[2].start)
        levels = _levels(depth, body)
        np.add.at(seen, levels, 1)
        for organ in range(1, classes):
            mask = labels == organ
            np.add.at(area[organ], levels, mask.sum((1, 2)) / section)
            if mask.any():
                z, y, x = (slice(0, side) for side in labels.shape)
                centres[organ].append(_centre(mask, (z, y, x), body))
                values[organ].append(float(scaled[mask].mean()))
    return Cohort(
        area / np.maximum(seen, 1),
        np.array([np.mean(c, axis=0) if c else (0.0, 0.0) for c in centres]),
        np.array([np.std(c, axis=0) + 0.1 if c else (1.0, 1.0) for c in centres]),
        np.array([(np.mean(v), np.std(v) + 0.05) if v else (0.5, 1.0) for v in values]),
    )


def _levels(depth: slice, body: Body) -> npt.NDArray[np.int64]:
    """The level of each slice of ``depth``, 0…LEVELS − 1 from one end of the body to the other."""
    box = body.box[0]
    along = (np.arange(depth.start, depth.stop) + 0.5 - box.start) / max(1, box.stop - box.start)
    levels: npt.NDArray[np.int64] = np.clip((along * LEVELS).astype(np.int64), 0, LEVELS - 1)
    return levels


def _centre(mask: npt.NDArray[np.bool_], region: tuple[slice, slice, slice], body: Body) -> npt.NDArray[np.float64]:
    """(y, x) of the centroid of ``mask`` in body coordinates."""
    place = []
    for axis in (1, 2):
        counts = mask.sum(tuple(other for other in range(3) if other != axis))
        at = (np.arange(mask.shape[axis]) * counts).sum() / counts.sum() + region[axis].start + 0.5
        box = body.box[axis]
        place.append((2 * at - box.start - box.stop) / max(1, box.stop - box.start))
    return np.array(place)
