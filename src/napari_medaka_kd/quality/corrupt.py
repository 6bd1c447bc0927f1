"""Faults that a label map can have, made on purpose: what the quality classifier learns bad organs from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Classes: TypeAlias = npt.NDArray[np.int64]
Corruption: TypeAlias = Callable[[Classes, int, np.random.Generator], Classes]


def corrupt(classes: Classes, rng: np.random.Generator, share: float = 0.4) -> Classes:
    """A copy of ``classes`` (z, y, x) in which about ``share`` of the organs have one fault each."""
    damaged = classes.copy()
    for organ in np.unique(classes):
        if organ and rng.random() < share and (damaged == organ).any():  # its neighbour may have grown over it
            fault = CORRUPTIONS[rng.integers(len(CORRUPTIONS))]
            damaged = fault(damaged, int(organ), rng)
    return damaged


def erode(classes: Classes, organ: int, rng: np.random.Generator) -> Classes:
    """Take one to three layers off ``organ``."""
    return _repaint(classes, organ, ndimage.binary_erosion(classes == organ, iterations=int(rng.integers(1, 4))))


def dilate(classes: Classes, organ: int, rng: np.random.Generator) -> Classes:
    """Let ``organ`` grow by one to three layers over its neighbours."""
    return _repaint(classes, organ, ndimage.binary_dilation(classes == organ, iterations=int(rng.integers(1, 4))))


def shift(classes: Classes, organ: int, rng: np.random.Generator) -> Classes:
    """Move ``organ`` by up to a third of its size along each axis."""
    mask = classes == organ
    sides = ndimage.find_objects(mask.astype(np.uint8))[0]
    move = [round((side.stop - side.start) * rng.uniform(-0.35, 0.35)) for side in sides]
    return _repaint(classes, organ, np.asarray(ndimage.shift(mask.astype(np.uint8), move, order=0), bool))


def lose_part(classes: Classes, organ: int, rng: np.random.Generator) -> Classes:
    """Cut ``organ`` off at a plane through one of its voxels."""
    places = np.argwhere(classes == organ)
    at, normal = places[rng.integers(len(places))], rng.normal(size=3)
    beyond = (places - at) @ normal > 0
    damaged = classes.copy()
    damaged[tuple(places[beyond].T)] = 0
    return damaged


def swap(classes: Classes, organ: int, rng: np.random.Generator) -> Classes:
    """Call a part of ``organ`` by the name of another one that is present."""
    others = [int(other) for other in np.unique(classes) if other not in (0, organ)]
    if not others:
        return lose_part(classes, organ, rng)
    kept = lose_part(classes, organ, rng)
    return np.where((classes == organ) & (kept == 0), others[rng.integers(len(others))], kept)


def punch(classes: Classes, organ: int, rng: np.random.Generator) -> Classes:
    """Make a round hole in ``organ``."""
    return np.where(_ball(classes, organ, rng) & (classes == organ), 0, classes)


def spill(classes: Classes, organ: int, rng: np.random.Generator) -> Classes:
    """Add a round blob of ``organ`` somewhere on it, over its neighbours too."""
    return np.where(_ball(classes, organ, rng), organ, classes)


CORRUPTIONS: tuple[Corruption, ...] = (erode, dilate, shift, lose_part, swap, punch, spill)


def _ball(classes: Classes, organ: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    places = np.argwhere(classes == organ)
    centre = places[rng.integers(len(places))]
    radius = max(1.5, (len(places) * rng.uniform(0.1, 0.6) * 0.24) ** (1 / 3))
    grids: Any = np.ogrid[tuple(slice(0, side) for side in classes.shape)]
    distance = sum((grid - at) ** 2 for grid, at in zip(grids, centre, strict=True))
    return np.asarray(distance <= radius**2)


def _repaint(classes: Classes, organ: int, mask: npt.NDArray[np.bool_]) -> Classes:
    return np.where(mask, organ, np.where(classes == organ, 0, classes))
