"""What an instance network is fed: random patches of scans with layers of instance ids, and of scans without."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from napari_medaka_kd.networks.inputs import encode

from . import augment
from .losses import IGNORE
from .pasting import NOTHING, Pasting
from .stage import Batch, Batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from napari_medaka_kd.settings import AugmentSettings, NetworkSettings, PatchSettings
    from napari_medaka_kd.volumes.body import Body
    from napari_medaka_kd.volumes.volume import LazyArray, Region, Shape, Volume

    Shown = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float32]]  # image, layers, inside

_SALT = 47


@dataclass(frozen=True)
class InstanceSource:
    """One scan.

    Attributes
    ----------
    layers
        Label maps (z, y, x) of instance ids; an id is one thing in all of them, so that things may overlap. Empty
        where nothing is known.
    middles
        (things, 3) int64 voxels, where they are; empty: patches are drawn from all places alike.
    """

    case: str
    image: Volume
    body: Body
    layers: tuple[LazyArray, ...] = ()
    middles: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 3), np.int64))


@dataclass(frozen=True)
class InstanceBatch(Batch):
    """A batch whose labelled rows come with ``layers``, (B, layers, Z, Y, X) int64 ids.

    ``target`` is 1 where anything is, 0 elsewhere, ``IGNORE`` outside the scan.
    """

    layers: Tensor = field(default_factory=lambda: torch.zeros(0))


@dataclass(frozen=True)
class InstanceDiet:
    """What the batches of one training are made of; patches are drawn evenly from scans, and from places or things.

    With ``pasting`` there are other things in some labelled patches.
    """

    labelled: tuple[InstanceSource, ...]
    unlabelled: tuple[InstanceSource, ...]
    unlabelled_rows: int
    patches: PatchSettings
    augment: AugmentSettings
    network: NetworkSettings
    seed: int
    pasting: Pasting = NOTHING

    def batches(self) -> Batches:
        """As :class:`Stage` wants them: a function of (seed, step)."""

        def play(first: int, every: int = 1) -> Iterator[InstanceBatch]:
            return (self._batch(step) for step in count(first, every))

        return play

    def _batch(self, step: int) -> InstanceBatch:
        rng = np.random.default_rng((self.seed, step, _SALT))
        rows = self.unlabelled_rows if self.unlabelled else 0
        drawn = [self._pasted(self._shown(self.labelled, rng), rng) for _ in range(self.patches.batch)]
        drawn += [self._shown(self.unlabelled, rng) for _ in range(rows)]
        images, layered, insides = zip(*drawn, strict=True)
        image, inside = torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(insides))
        layers = torch.from_numpy(_as_deep(layered))
        bend = augment.draw(self.augment, len(image), self.patches.patch, rng)
        moved = [augment.bend_space(image, layer, inside, bend) for layer in layers.unbind(dim=1)]
        clean, known = moved[0][0], moved[0][1] != IGNORE
        known &= moved[0][2] > 0
        ids = torch.stack([each[1].clamp_min(0) for each in moved], dim=1)
        return InstanceBatch(
            step=step,
            number=step,
            labelled=self.patches.batch,
            image=augment.bend_intensity(clean, bend),
            target=torch.where(known, (ids > 0).any(dim=1).long(), IGNORE),
            weight=known.float(),
            clean=clean,
            donor=torch.arange(len(image)),
            pasted=torch.zeros_like(clean[:, :1], dtype=torch.bool),
            animal=torch.zeros(len(image), dtype=torch.long),
            layers=ids,
        )

    def _pasted(self, shown: Shown, rng: np.random.Generator) -> Shown:
        image, layers, inside = shown
        return *self.pasting.onto(image, layers, rng), inside

    def _shown(self, sources: tuple[InstanceSource, ...], rng: np.random.Generator) -> Shown:
        """One patch, (C, Z, Y, X), (layers, Z, Y, X) and (Z, Y, X)."""
        source, patch = sources[int(rng.integers(len(sources)))], self.patches.patch
        z, y, x = (slice(first, first + side) for first, side in zip(self._corner(source, rng), patch, strict=True))
        image = _padded(source.image.read((z, y, x)), patch, "edge")
        ids = np.zeros((max(1, len(source.layers)), *patch), np.int64)
        for number, layer in enumerate(source.layers):
            ids[number] = _padded(np.asarray(layer[z, y, x]), patch, "constant")
        inside = _padded(np.ones(_cut((z, y, x), source.image.shape), np.float32), patch, "constant")
        shown = encode(image, (z, y, x), source.body, self.network)
        return shown, ids, inside

    def _corner(self, source: InstanceSource, rng: np.random.Generator) -> list[int]:
        """Where a patch begins: about a thing as often as the settings say, else anywhere."""
        patch = np.array(self.patches.patch)
        free = np.maximum(1, np.array(source.image.shape) - patch + 1)
        corner: list[int] = rng.integers(0, free).tolist()
        if len(source.middles) and rng.random() < self.patches.foreground:
            middle = source.middles[int(rng.integers(len(source.middles)))]
            aside = rng.integers(-(patch // 4), patch // 4 + 1)
            corner = (middle - patch // 2 + aside).clip(0, free - 1).tolist()
        return corner


def _as_deep(layers: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """One (layers, Z, Y, X) a row, stacked: those with few layers get empty ones more."""
    most = max(map(len, layers))
    return np.stack([np.pad(each, [(0, most - len(each)), (0, 0), (0, 0), (0, 0)]) for each in layers])


def _cut(region: Region, shape: Shape) -> tuple[int, ...]:
    return tuple(min(side.stop, size) - side.start for side, size in zip(region, shape, strict=True))


def _padded(block: npt.NDArray[Any], patch: Shape, mode: Any) -> npt.NDArray[Any]:
    """``block``, where the scan ends before it does, up to the size of ``patch``."""
    return np.pad(block, [(0, side - size) for side, size in zip(patch, block.shape, strict=True)], mode=mode)
