"""What a training is fed: random patches of several animals, every organ equally often; a function of (seed, step)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_medaka_kd.networks.inputs import encode
from napari_medaka_kd.volumes.labels import LabelMap
from napari_medaka_kd.volumes.volume import Region, Shape, Volume

from . import augment
from .losses import IGNORE
from .stage import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari_medaka_kd.settings import AugmentSettings, NetworkSettings, PatchSettings
    from napari_medaka_kd.volumes.body import Body

_KEEP_IN_MEMORY = 64_000_000  # voxels of a volume that is read once and kept
_PLACES = 4096  # voxels remembered for each organ


@dataclass(frozen=True)
class Source:
    """One animal as a training sees it.

    Attributes
    ----------
    trust
        (slabs, classes) float32 in 0…1: how far its labels are believed, by slab in z and by class; ``None``: wholly.
    slab
        Voxels in z of one slab.
    """

    case: str
    image: Volume
    body: Body
    labels: LabelMap
    trust: npt.NDArray[np.float32] | None = None
    slab: int = 0
    places: dict[int, npt.NDArray[np.int64]] = field(default_factory=dict, compare=False)

    def located(self) -> Source:
        """This animal, still on the disk, with the places of each class found."""
        return replace(self, places=_places(self.labels))

    def loaded(self) -> Source:
        """This animal, read into memory where it is small, with the places of each class found."""
        image, labels = _loaded(self.image), LabelMap(_loaded(self.labels.volume), self.labels.schema)
        return Source(self.case, image, self.body, labels, self.trust, self.slab, _places(labels))


@dataclass(frozen=True)
class Diet:
    """What the batches of one training are made of."""

    labelled: tuple[Source, ...]
    unlabelled: tuple[Source, ...]
    unlabelled_rows: int
    patches: PatchSettings
    augment: AugmentSettings
    network: NetworkSettings
    seed: int
    rim: int = 0

    def batches(self) -> Callable[[int], Iterator[Batch]]:
        """Loads what fits in memory, then answers as :class:`Stage` wants it."""
        labelled = tuple(source.loaded() for source in self.labelled)
        unlabelled = tuple(source.loaded() for source in self.unlabelled)

        def play(first: int) -> Iterator[Batch]:
            step = first
            while True:
                yield self._batch(step, labelled, unlabelled)
                step += 1

        return play

    def _batch(self, step: int, labelled: Sequence[Source], unlabelled: Sequence[Source]) -> Batch:
        rng = np.random.default_rng((self.seed, step))
        given = [self._patch(labelled, rng) for _ in range(self.patches.batch)]
        guessed = [self._patch(unlabelled, rng) for _ in range(self.unlabelled_rows if unlabelled else 0)]
        image, target, weight = (torch.stack(parts) for parts in zip(*given, *guessed, strict=True))
        bend = augment.draw(self.augment, len(image), self.patches.patch, rng)
        clean, target, weight = augment.bend_space(image, target, weight, bend)
        strong = augment.bend_intensity(clean, bend)
        donor, pasted = augment.draw_paste(len(image), len(given), self.augment.cutmix, self.patches.patch, rng)
        hole = pasted[:, 0]
        return Batch(
            step=step,
            labelled=len(given),
            image=torch.where(pasted, strong[donor], strong),
            target=torch.where(hole, target[donor], target),
            weight=torch.where(hole, weight[donor], weight),
            clean=clean,
            donor=donor,
            pasted=pasted,
        )

    def _patch(self, sources: Sequence[Source], rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        source = sources[int(rng.integers(len(sources)))]
        region = draw_region(source, self.patches, rng)
        block = encode(read_padded(source.image, region), region, source.body, self.network)
        target = source.labels.schema.to_classes(read_padded(source.labels.volume, region))
        inside = _inside(region, source.image.shape)
        weight = trusted(source, region, target, self.rim) * inside
        return torch.from_numpy(block), torch.from_numpy(np.where(inside, target, IGNORE)), torch.from_numpy(weight)


def trusted(source: Source, region: Region, target: npt.NDArray[np.int64], rim: int) -> npt.NDArray[np.float32]:
    """The trust in each voxel of ``target`` (z, y, x): its slab's and class's; none near a rejected organ."""
    if source.trust is None:
        return np.ones(target.shape, np.float32)
    depth = np.arange(region[0].start, region[0].stop).clip(0, source.image.shape[0] - 1)
    slabs = (depth // source.slab if source.slab else np.zeros_like(depth)).clip(0, len(source.trust) - 1)
    weight = source.trust[slabs[:, None, None], target]
    rejected = torch.from_numpy((weight == 0) & (target > 0))[None, None].float()
    size = [2 * rim + 1 if side > 1 else 1 for side in target.shape]
    around = torch.nn.functional.max_pool3d(rejected, size, stride=1, padding=[side // 2 for side in size])
    return np.where(around[0, 0].numpy() > 0, np.float32(0), weight)


def class_balance(sources: Sequence[Source], classes: int, exponent: float) -> Tensor:
    """A factor for each class, (classes,) float32: its inverse frequency to the ``exponent``, 1 on average."""
    counts = np.zeros(classes)
    for source in sources:
        coarse = source.labels.volume
        labels = source.labels.schema.to_classes(coarse.read(level=_small_level(coarse)))
        counts += np.bincount(labels.ravel(), minlength=classes) / labels.size
    frequency = np.maximum(counts / counts.sum(), 1e-5)
    factors = frequency**-exponent
    return torch.from_numpy((factors / factors.mean()).astype(np.float32))


def draw_region(source: Source, settings: PatchSettings, rng: np.random.Generator) -> Region:
    """A patch around a voxel of a random organ, or anywhere in the body; jittered, and in the volume if it fits."""
    organs = [organ for organ in source.places if organ > 0]
    if organs and rng.random() < settings.foreground:
        places = source.places[organs[int(rng.integers(len(organs)))]]
        centre = places[rng.integers(len(places))]
    else:
        centre = np.array([rng.integers(side.start, side.stop) for side in source.body.box])
    sides = []
    for at, size, total in zip(centre, settings.patch, source.image.shape, strict=True):
        start = int(at) - size // 2 + int(rng.integers(-(size // 4), size // 4 + 1))
        start = min(max(start, 0), total - size) if total >= size else (total - size) // 2
        sides.append(slice(start, start + size))
    z, y, x = sides
    return z, y, x


def read_padded(volume: Volume, region: Region) -> npt.NDArray[Any]:
    """``region``, which may reach beyond the volume: its edge is repeated there."""
    inner = tuple(
        slice(max(0, side.start), min(total, side.stop)) for side, total in zip(region, volume.shape, strict=True)
    )
    z, y, x = inner
    block = volume.read((z, y, x))
    margin = [(i.start - r.start, r.stop - i.stop) for i, r in zip(inner, region, strict=True)]
    return np.pad(block, margin, mode="edge") if any(map(any, margin)) else block


def _inside(region: Region, shape: Shape) -> npt.NDArray[np.bool_]:
    z, y, x = (
        (np.arange(side.start, side.stop) >= 0) & (np.arange(side.start, side.stop) < total)
        for side, total in zip(region, shape, strict=True)
    )
    return z[:, None, None] & y[None, :, None] & x[None, None, :]


def _loaded(volume: Volume) -> Volume:
    if np.prod(volume.shape) > _KEEP_IN_MEMORY:
        return volume
    return Volume((volume.read(),), volume.voxel_size, volume.name, volume.source)


def _places(labels: LabelMap) -> dict[int, npt.NDArray[np.int64]]:
    """Some voxels of each class, (n, 3) in level-0 voxels, found at a level that is cheap to read."""
    level = _small_level(labels.volume)
    classes = labels.schema.to_classes(labels.volume.read(level=level))
    scale = np.array(labels.volume.scale(level))
    found = {}
    for organ in np.unique(classes):
        voxels = np.argwhere(classes == organ)
        voxels = voxels[:: max(1, len(voxels) // _PLACES)]
        found[int(organ)] = ((voxels + 0.5) * scale).astype(np.int64)
    return found


def _small_level(volume: Volume) -> int:
    """The finest level of at most ``_KEEP_IN_MEMORY`` voxels, or the coarsest."""
    for level, array in enumerate(volume.levels):
        if np.prod(array.shape) <= _KEEP_IN_MEMORY:
            return level
    return len(volume.levels) - 1
