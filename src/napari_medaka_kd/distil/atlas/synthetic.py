"""Synthetic pairs: an atlas that was warped onto another animal, with its labels, as an animal to learn from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from napari_medaka_kd.networks.warp import integrate
from napari_medaka_kd.volumes.labels import LabelMap
from napari_medaka_kd.volumes.organ_index import OrganIndex

from .placement import Placement, warped_image, warped_labels

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    from torch import Tensor

    from napari_medaka_kd.volumes.body import Body
    from napari_medaka_kd.volumes.volume import LazyArray, Shape

    from ..batches import Source
    from .register import Atlas

_SPOTS = 64  # places a side of the body's box at which the warped labels are asked for
_CONTROL = 6  # places a side of the grid from which a random deformation is drawn
_SPREAD = 0.12  # of its velocity, in halves of the frame


@dataclass(frozen=True)
class SpotIndex(OrganIndex):
    """Where the organs of warped labels lie, from a coarse lattice: warping a whole scan to count it takes too long.

    What is drawn lies within half a step of the lattice from a voxel of the organ.

    Attributes
    ----------
    spots
        By organ, (n, 3) voxels of level 0.
    step
        (z, y, x) voxels from one place of the lattice to the next.
    """

    spots: Mapping[int, npt.NDArray[np.int64]]
    step: Shape

    @classmethod
    def of(cls, labels: LabelMap, body: Body) -> Self:
        """Ask ``labels`` at up to 64³ places of the ``body``'s box."""
        shape = labels.volume.shape
        z, y, x = (max(1, -(-(side.stop - side.start) // _SPOTS)) for side in body.box)
        along = [np.arange(side.start, side.stop, by) for side, by in zip(body.box, (z, y, x), strict=True)]
        found = np.stack([_plane(labels, at, along[1], along[2]) for at in along[0]])
        spots = {}
        for organ in np.unique(found[found > 0]).tolist():
            places = np.nonzero(found == organ)
            spots[organ] = np.stack([axis[place] for axis, place in zip(along, places, strict=True)], axis=1)
        none = OrganIndex.from_counts(shape, np.empty((0, 3), np.int64))
        return cls(shape, none.organs, none.starts, none.cells, none.voxels, spots, (z, y, x))

    def total(self, organ: int) -> int:
        """About how many voxels ``organ`` has."""
        return len(self.spots.get(organ, ())) * int(np.prod(self.step))

    def draw(self, rng: np.random.Generator, organ: int, labels: LazyArray, count: int = 1) -> npt.NDArray[np.int64]:
        """``count`` voxels in or beside ``organ``, (count, 3) as (z, y, x), all around one place; reads nothing."""
        del labels
        spot = self.spots[organ][int(rng.integers(len(self.spots[organ])))]
        moves = np.stack([rng.integers(-(by // 2), by - by // 2, count) for by in self.step], axis=1)
        drawn: npt.NDArray[np.int64] = np.clip(spot + moves, 0, np.array(self.shape) - 1)
        return drawn


def warped_onto(atlas: Atlas, target: Source, placement: Placement) -> Source:
    """The atlas and its labels on the grid of ``target``, warped when they are read; ``target`` is its twin."""
    image = warped_image(atlas.source.image, placement, target.image, atlas.view.air)
    labels = LabelMap(warped_labels(atlas.source.labels, placement, target.image), atlas.source.labels.schema)
    body = replace(target.body, window=atlas.source.body.window)
    indexed = replace(labels, index=_Once(labels, body))
    return replace(atlas.source, case=target.case, image=image, labels=indexed, body=body, twin=target)


def on_the_scan(pair: Source) -> Source:
    """The labels of a :func:`warped_onto` pair on the scan that it imitates: right as far as the warp is."""
    assert pair.twin is not None
    return replace(pair, image=pair.twin.image, body=pair.twin.body, twin=None)


def deformed(atlas: Atlas, count: int, seed: int) -> tuple[Source, ...]:
    """``count`` random smooth deformations of the atlas, on its own grid; they imitate nobody and have no twin."""
    frame, straight = atlas.view.frame, torch.eye(3, 4)
    made = []
    for number in range(count):
        placement = Placement(frame, frame, straight, _random_field(atlas.view.image.shape[-1], (seed, number)))
        made.append(replace(warped_onto(atlas, atlas.source, placement), twin=None))
    return tuple(made)


class _Once:
    """The index of warped labels, made when it is first asked for."""

    def __init__(self, labels: LabelMap, body: Body) -> None:
        self._labels, self._body = labels, body
        self._index: SpotIndex | None = None

    def __call__(self) -> SpotIndex:
        if self._index is None:
            self._index = SpotIndex.of(self._labels, self._body)
        return self._index


def _plane(labels: LabelMap, z: int, y: npt.NDArray[np.int64], x: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The labels of slice ``z`` at the rows ``y`` and columns ``x``."""
    rows, columns = (slice(int(axis[0]), int(axis[-1]) + 1) for axis in (y, x))
    read = np.asarray(labels.volume.levels[0][slice(int(z), int(z) + 1), rows, columns])[0]
    plane: npt.NDArray[np.int64] = read[np.ix_(y - y[0], x - x[0])].astype(np.int64)
    return plane


def _random_field(side: int, seed: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(seed[0] * 1_000_003 + seed[1])
    control = torch.randn(1, 3, _CONTROL, _CONTROL, _CONTROL, generator=generator) * _SPREAD
    velocity = torch.nn.functional.interpolate(control, (side,) * 3, mode="trilinear")
    return integrate(velocity)
