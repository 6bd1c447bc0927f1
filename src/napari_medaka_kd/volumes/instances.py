"""Instances that may overlap: each a mask in a box of its own; from and to mask stacks and layers of a label map.

A label map gives each voxel to one thing. Things that overlap lie in several label maps of the same scan, *layers*:
within a layer none overlap, an id is one thing in all layers, and together they lose nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .volume import common, extent, hull, within

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .volume import Region, Shape

MOST = 65_535  # ids of a uint16 label map, so things of a scan


@dataclass(frozen=True)
class Instance:
    """One thing.

    Attributes
    ----------
    box
        Where it lies, (z, y, x), as tightly as may be.
    mask
        (z, y, x) bool, which voxels of the box are its.
    score
        How sure who found it is, 0 … 1.
    """

    box: Region
    mask: npt.NDArray[np.bool_]
    score: float = 1.0

    @property
    def size(self) -> int:
        """Voxels."""
        return int(np.count_nonzero(self.mask))


def instance(mask: npt.NDArray[np.bool_], corner: Shape = (0, 0, 0), score: float = 1.0) -> Instance | None:
    """The thing whose ``mask`` (z, y, x) begins at voxel ``corner`` of the scan; ``None`` where the mask is empty."""
    from scipy import ndimage

    boxes = ndimage.find_objects(mask.view(np.uint8))
    if not boxes:
        return None
    z, y, x = (slice(side.start + first, side.stop + first) for side, first in zip(boxes[0], corner, strict=True))
    return Instance((z, y, x), mask[boxes[0]].copy(), score)


def overlap(one: Instance, other: Instance) -> int:
    """Voxels that both hold."""
    box = common(one.box, other.box)
    return 0 if box is None else int(np.count_nonzero(_both(one, other, box)))


def likeness(one: Instance, other: Instance) -> float:
    """Intersection over union, 0 … 1."""
    both = overlap(one, other)
    return both / (one.size + other.size - both) if both else 0.0


def without_doubles(found: Iterable[Instance], alike: float) -> tuple[Instance, ...]:
    """Those of ``found`` that are no more than ``alike`` (IoU) any surer one; the surest first."""
    ranked = sorted(found, key=lambda one: (-one.score, [side.start for side in one.box]))
    kept: dict[int, Instance] = {}
    for number, (each, others) in enumerate(zip(ranked, _touching(ranked), strict=True)):
        if all(likeness(each, kept[other]) <= alike for other in others if other in kept):
            kept[number] = each
    return tuple(kept.values())


def shared(things: Sequence[Instance]) -> tuple[int, ...]:
    """How many voxels of each thing others hold, too; each voxel counts once, however many hold it."""
    theirs = [np.zeros_like(thing.mask) for thing in things]
    for number, others in enumerate(_touching(things)):
        for other in others:
            box = common(things[number].box, things[other].box)
            assert box is not None
            both = _both(things[number], things[other], box)
            for which in (number, other):
                theirs[which][within(box, things[which].box)] |= both
    return tuple(int(np.count_nonzero(mask)) for mask in theirs)


def from_layers(layers: Sequence[npt.NDArray[Any]]) -> tuple[Instance, ...]:
    """The things of ``layers``, label maps (z, y, x) of one shape, by rising id; an id in several layers is one thing.

    A mask stack (things, z, y, x) of bool is not this: see :func:`from_stack`.
    """
    from scipy import ndimage

    boxes: dict[int, list[tuple[int, Region]]] = {}
    for number, layer in enumerate(layers):
        ids = np.asarray(layer)
        for place, box in enumerate(ndimage.find_objects(ids.astype(np.int32, copy=False)), start=1):
            if box is not None:
                boxes.setdefault(place, []).append((number, (box[0], box[1], box[2])))
    return tuple(_joined(layers, which, boxes[which]) for which in sorted(boxes))


def from_stack(masks: npt.NDArray[Any]) -> tuple[Instance, ...]:
    """The things of a stack of masks, (things, z, y, x); empty ones are left out."""
    made = (instance(np.asarray(mask) != 0) for mask in masks)
    return tuple(each for each in made if each is not None)


def layer_numbers(things: Sequence[Instance]) -> tuple[int, ...]:
    """For each thing the first layer in which it lies over none of those before it."""
    numbers: list[int] = []
    for thing, others in zip(things, _touching(things), strict=True):
        taken = {numbers[other] for other in others if overlap(thing, things[other])}
        numbers.append(next(number for number in count() if number not in taken))
    return tuple(numbers)


def to_layers(things: Sequence[Instance], shape: Shape) -> tuple[PaintedLayer, ...]:
    """Layers of ids 1, 2, … in the order of ``things``, see :func:`layer_numbers`; at least one, painted when read.

    Raises
    ------
    ValueError
        If there are more things than a 16-bit label map has ids.
    """
    if len(things) > MOST:
        raise ValueError(f"{len(things)} things do not fit ids up to {MOST}")
    numbers = layer_numbers(things)
    return tuple(
        PaintedLayer(shape, {which: thing for which, thing in enumerate(things, 1) if numbers[which - 1] == layer})
        for layer in range(max(numbers, default=0) + 1)
    )


class PaintedLayer:
    """A label map (z, y, x) uint16 of things that do not overlap, by id; a region is painted when it is read."""

    dtype = np.dtype(np.uint16)

    def __init__(self, shape: Shape, things: dict[int, Instance]) -> None:
        self.shape, self.things = shape, things

    def __getitem__(self, region: Region) -> npt.NDArray[np.uint16]:
        """The ids of ``region``, three slices of step 1."""
        z, y, x = (slice(*side.indices(size)) for side, size in zip(region, self.shape, strict=True))
        ids = np.zeros(extent((z, y, x)), np.uint16)
        for which, thing in self.things.items():
            if (box := common(thing.box, (z, y, x))) is not None:
                ids[within(box, (z, y, x))][thing.mask[within(box, thing.box)]] = which
        return ids


def _joined(layers: Sequence[npt.NDArray[Any]], which: int, places: Sequence[tuple[int, Region]]) -> Instance:
    box = hull(*(place for _, place in places))
    mask = np.zeros(extent(box), bool)
    for number, _ in places:
        mask |= np.asarray(layers[number][box]) == which
    return Instance(box, mask)


def _touching(things: Sequence[Instance]) -> Iterator[list[int]]:
    """For each thing the numbers of those before it whose boxes meet its own."""
    starts, stops = (
        np.array([[getattr(side, end) for side in thing.box] for thing in things]).reshape(-1, 3)
        for end in ("start", "stop")
    )
    for number in range(len(things)):
        meet = (starts[:number] < stops[number]) & (stops[:number] > starts[number])
        yield np.flatnonzero(meet.all(axis=1)).tolist()


def _both(one: Instance, other: Instance, box: Region) -> npt.NDArray[np.bool_]:
    """Which voxels of ``box`` both hold."""
    mine, theirs = (each.mask[within(box, each.box)] for each in (one, other))
    both: npt.NDArray[np.bool_] = mine & theirs
    return both
