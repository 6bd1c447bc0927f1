"""What a training is fed: random patches of several animals, every organ equally often; a function of (seed, step)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import count, repeat
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_medaka_kd.networks import soft
from napari_medaka_kd.networks.inputs import encode
from napari_medaka_kd.volumes.organ_index import index_of
from napari_medaka_kd.volumes.patches import Pair, Patch, PatchReader, Recipe, read_patch
from napari_medaka_kd.volumes.volume import Region, Shape, Volume

from . import augment
from .losses import IGNORE
from .stage import Batch, Batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_medaka_kd.settings import AugmentSettings, NetworkSettings, PatchSettings
    from napari_medaka_kd.volumes.body import Body
    from napari_medaka_kd.volumes.channels import Channels
    from napari_medaka_kd.volumes.labels import LabelMap

_KEEP_IN_MEMORY = 64_000_000  # voxels of a volume that is read once and kept
_KEEP_IN_ALL = 500_000_000  # voxels of all that are kept: 1.5 GB of uint16 with their labels
_LABELLED, _UNLABELLED = 1, 2  # random numbers of their own


@dataclass(frozen=True)
class Source:
    """One animal as a training sees it.

    Attributes
    ----------
    trust
        (slabs, classes) float32 in 0…1: how far its labels are believed, by slab in z and by class; ``None``: wholly.
    slab
        Voxels in z of one slab.
    soft
        The teacher's soft labels, where they were kept; they stay on the disk.
    modality
        How it was scanned; empty where nobody said.
    twin
        The animal that this one imitates, on the same grid, if it does.
    """

    case: str
    image: Volume
    body: Body
    labels: LabelMap
    trust: npt.NDArray[np.float32] | None = None
    slab: int = 0
    soft: Channels | None = None
    modality: str = ""
    twin: Source | None = None

    def loaded(self) -> Source:
        """This animal, read into memory."""
        labels = replace(self.labels, volume=_loaded(self.labels.volume))
        twin = None if self.twin is None else replace(self.twin, image=_loaded(self.twin.image))
        return replace(self, image=_loaded(self.image), labels=labels, twin=twin)

    def pair(self) -> Pair:
        """What a :class:`PatchReader` takes patches from."""
        image, labels = self.image.levels[0], self.labels.volume.levels[0]
        return Pair(image, labels, index_of(self.labels), self.labels.schema.ids, self.body, self.soft)


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

    def batches(self) -> Batches:
        """Loads what fits in memory, then answers as :class:`Stage` wants it."""
        sources = _load_small((*self.labelled, *self.unlabelled))
        labelled, unlabelled = sources[: len(self.labelled)], sources[len(self.labelled) :]
        given = reader(labelled, self.patches, self.patches.batch, (self.seed, _LABELLED))
        rows = self.unlabelled_rows if unlabelled else 0
        guessed = reader(unlabelled, self.patches, rows, (self.seed, _UNLABELLED))

        def play(first: int, every: int = 1) -> Iterator[Batch]:
            more = guessed.play(first, every) if rows else repeat(())
            for step, some, others in zip(count(first, every), given.play(first, every), more, strict=False):
                shown = [self._shown(labelled[patch.pair], patch) for patch in some]
                shown += [self._shown(unlabelled[patch.pair], patch) for patch in others]
                yield self._batch(step, shown, some, others)

        return play

    def _batch(
        self,
        step: int,
        shown: Sequence[tuple[Tensor, Tensor, Tensor, Tensor | None]],
        some: Sequence[Patch],
        others: Sequence[Patch],
    ) -> Batch:
        labelled = len(some)
        rng = np.random.default_rng((self.seed, step))
        image, target, weight = (torch.stack(parts) for parts in zip(*(row[:3] for row in shown), strict=True))
        bend = augment.draw(self.augment, len(image), self.patches.patch, rng)
        clean, target, weight = augment.bend_space(image, target, weight, bend)
        strong = augment.bend_intensity(clean, bend)
        donor, pasted = augment.draw_paste(len(image), labelled, self.augment.cutmix, self.patches.patch, rng)
        hole = pasted[:, 0]
        return Batch(
            step=step,
            number=step,
            labelled=labelled,
            image=torch.where(pasted, strong[donor], strong),
            target=torch.where(hole, target[donor], target),
            weight=torch.where(hole, weight[donor], weight),
            clean=clean,
            donor=donor,
            pasted=pasted,
            animal=torch.tensor([patch.pair for patch in (*some, *others)]),
            soft=_bent_soft([patch.soft for patch in others], bend, labelled),
            twin=_bent_twins([row[3] for row in shown], clean, bend),
        )

    def _shown(self, source: Source, patch: Patch) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """(image, target, weight, twin's image if it has one) of one patch."""
        block = encode(patch.image, patch.region, source.body, self.network)
        target = source.labels.schema.to_classes(patch.labels)
        inside = _inside(patch.region, source.image.shape)
        weight = trusted(source, patch.region, target, self.rim) * inside
        known = torch.from_numpy(np.where(inside, target, IGNORE))
        return torch.from_numpy(block), known, torch.from_numpy(weight), self._twin(source, patch)

    def _twin(self, source: Source, patch: Patch) -> Tensor | None:
        if source.twin is None:
            return None
        block = read_patch(source.twin.image.levels[0], patch.region)
        return torch.from_numpy(encode(block, patch.region, source.twin.body, self.network))


def side_by_side(main: Diet, **others: Diet) -> Batches:
    """The batches of ``main``, and in ``beside`` those of ``others`` for the same steps."""
    plays = [diet.batches() for diet in (main, *others.values())]

    def play(first: int, every: int = 1) -> Iterator[Batch]:
        for batch, *rest in zip(*(each(first, every) for each in plays), strict=True):
            yield replace(batch, beside=dict(zip(others, rest, strict=True)))

    return play


def reader(sources: Sequence[Source], settings: PatchSettings, rows: int, seed: tuple[int, ...]) -> PatchReader:
    """Gives batches of ``rows`` patches of ``sources``."""
    recipe = Recipe(settings.patch, rows, settings.foreground, settings.patches_per_block)
    return PatchReader([source.pair() for source in sources], recipe, seed)


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
        labels, size = source.labels, np.prod(source.labels.volume.shape)
        index = index_of(labels)
        organs = np.array([index.total(organ) for organ in labels.schema.ids])
        counts[: len(organs) + 1] += np.array([size - organs.sum(), *organs]) / size
    frequency = np.maximum(counts / counts.sum(), 1e-5)
    factors = frequency**-exponent
    return torch.from_numpy((factors / factors.mean()).astype(np.float32))


def _bent_soft(packed: Sequence[npt.NDArray[np.uint8] | None], bend: augment.Bend, labelled: int) -> dict[int, Tensor]:
    """By row, the logits that were kept of the rows after the ``labelled`` ones, bent as the patches are."""
    rows = {labelled + row: each for row, each in enumerate(packed) if each is not None}
    return {
        row: soft.logits(augment.bend_roots(soft.unpack(torch.from_numpy(each.copy())), bend, row))
        for row, each in rows.items()
    }


def _bent_twins(twins: Sequence[Tensor | None], clean: Tensor, bend: augment.Bend) -> Tensor | None:
    """``clean``, with the twins of those rows that have one in their place, bent alike."""
    if all(twin is None for twin in twins):
        return None
    rows = enumerate(twins)
    return torch.stack([clean[row] if twin is None else augment.bend_roots(twin, bend, row) for row, twin in rows])


def _inside(region: Region, shape: Shape) -> npt.NDArray[np.bool_]:
    z, y, x = (
        (np.arange(side.start, side.stop) >= 0) & (np.arange(side.start, side.stop) < total)
        for side, total in zip(region, shape, strict=True)
    )
    return z[:, None, None] & y[None, :, None] & x[None, None, :]


def _load_small(sources: Sequence[Source]) -> tuple[Source, ...]:
    """``sources``, the small ones in memory as far as there is room; batches are the same wherever they come from."""
    loaded, room = [], _KEEP_IN_ALL
    for source in sources:
        size = math.prod(source.image.shape)
        small = size <= min(_KEEP_IN_MEMORY, room)
        room -= size if small else 0
        loaded.append(source.loaded() if small else source)
    return tuple(loaded)


def _loaded(volume: Volume) -> Volume:
    return Volume((volume.read(),), volume.voxel_size, volume.name, volume.source)
