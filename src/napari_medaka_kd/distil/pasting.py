"""Things pasted over each other: patches in which other things overlap, in other ways, than those that were outlined.

As in copy-paste (Ghiasi et al. 2021, arXiv 2012.07177) things are cut out of scans and laid onto another. Ours: they
take the place of those that lay there, let some of what is below them shine through, and beside what people outlined
there is what a teacher found lying alone in scans without labels, which is outlined better than what lies over another
thing. However it comes to overlap, the whole outline of what is pasted is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.settings import AugmentSettings
from napari_medaka_kd.volumes.body import normalise
from napari_medaka_kd.volumes.instances import Instance, instance, overlap, shared, to_layers
from napari_medaka_kd.volumes.volume import whole, within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medaka_kd.volumes.volume import Shape

    from .instance_batches import InstanceSource

Image = npt.NDArray[np.float32]
Layers = npt.NDArray[np.int64]

_ALONE = 0.05  # of a thing may lie over others, if it is to count as lying alone
_ROOM = 100_000_000  # voxels of all that is cut out, 5 bytes each
_SALT = 53
_RIM = 2  # voxels about a thing: its ground
_TRIES = 5  # places that are tried for each thing
_HIDDEN = 0.4  # of a thing at most under or over another one
_THROUGH = (1 / 3, 1.0)  # what a thing lets through of what is below it
_BRIGHT = (0.7, 1.3)  # times as bright as it was


@dataclass(frozen=True)
class Cutting:
    """One thing, cut out: ``light`` above its ground, in its animal's window, and ``mask``; (z, y, x) float32, bool."""

    light: Image
    mask: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Pasting:
    """Things to be pasted into a ``share`` of the patches, mirrored and turned as far as ``augment`` lets them be."""

    cuttings: tuple[Cutting, ...]
    share: float
    augment: AugmentSettings

    def onto(self, image: Image, layers: Layers, rng: np.random.Generator) -> tuple[Image, Layers]:
        """A patch (C, Z, Y, X) and its layers of ids (layers, Z, Y, X), perhaps with as many other things instead."""
        if not self.cuttings or rng.random() >= self.share or (taken := np.any(layers > 0, axis=0)).all():
            return image, layers
        ground = _cleared(image[0], taken)
        above, made = np.zeros_like(ground), list[Instance]()
        wanted = max(1, np.unique(layers[layers > 0]).size)
        for _ in range(_TRIES * wanted):
            if len(made) == wanted:
                break
            cutting = self._turned(self.cuttings[int(rng.integers(len(self.cuttings)))], ground.shape, rng)
            light, mask = _placed(cutting, ground.shape, rng)
            through, bright = rng.uniform(*_THROUGH), rng.uniform(*_BRIGHT)
            thing = instance(mask)
            if thing is not None and not any(_hides(thing, other) for other in made):
                above[mask] = above[mask] * through + bright * light[mask]
                made.append(thing)
        pasted = [layer[whole(ground.shape)] for layer in to_layers(made, ground.shape)]
        return np.concatenate(((ground + above)[None], image[1:])), np.stack(pasted).astype(np.int64)

    def _turned(self, cutting: Cutting, patch: tuple[int, ...], rng: np.random.Generator) -> Cutting:
        """Mirrored, by a quarter turn or some in its plane, and of one slice where the patch has one."""
        light, mask = cutting.light, cutting.mask
        if patch[0] == 1:
            slices = np.flatnonzero(mask.any(axis=(1, 2)))
            z = int(slices[int(rng.integers(len(slices)))])
            light, mask = light[z : z + 1], mask[z : z + 1]
        mirrored = tuple(axis for axis, may in enumerate(self.augment.flips) if rng.random() < 0.5 and may)
        quarters = int(rng.integers(4)) if self.augment.rotation >= 90 else 0
        light = np.rot90(np.flip(light, mirrored), quarters, (1, 2))
        return Cutting(light, np.rot90(np.flip(mask, mirrored), quarters, (1, 2)))


NOTHING = Pasting((), 0.0, AugmentSettings())


def loose(things: Sequence[Instance], shape: Shape) -> tuple[Instance, ...]:
    """Those of a scan of ``shape`` that hardly lie over others, and do not reach its edge, beyond which they may go on.

    Outlines of single slices end with their slice.
    """
    over = shared(things)
    return tuple(
        thing
        for thing, voxels in zip(things, over, strict=True)
        if voxels <= _ALONE * thing.size
        and all(_inside(side, size) for side, size in zip(thing.box, shape, strict=True))
    )


def _inside(side: slice, size: int) -> bool:
    return bool(side.stop - side.start == 1 or 0 < side.start < side.stop < size)


def cut_out(scans: Sequence[tuple[InstanceSource, Sequence[Instance]]], seed: int) -> tuple[Cutting, ...]:
    """Things of scans, cut out: all of them, or, drawn from ``seed``, as many as half a gigabyte holds.

    Those that no ground is seen beside are left out.
    """
    every = [(source, thing) for source, things in scans for thing in things]
    made, room = [], _ROOM
    for number in np.random.default_rng((seed, _SALT)).permutation(len(every)):
        source, thing = every[number]
        room -= thing.mask.size
        if room >= 0 and (cutting := _cutting(source, thing)) is not None:
            made.append(cutting)
    return tuple(made)


def _cutting(source: InstanceSource, thing: Instance) -> Cutting | None:
    z, y, x = (
        slice(max(0, side.start - _RIM), min(size, side.stop + _RIM))
        for side, size in zip(thing.box, source.image.shape, strict=True)
    )
    bare = ~np.any([np.asarray(layer[z, y, x]) for layer in source.layers], axis=0)
    if not bare.any():
        return None
    shown = normalise(source.image.read((z, y, x)), source.body.window)
    light = np.where(thing.mask, shown[within(thing.box, (z, y, x))] - np.median(shown[bare]), 0).astype(np.float32)
    return Cutting(light, thing.mask)


def _cleared(image: Image, taken: npt.NDArray[np.bool_]) -> Image:
    """``image`` (Z, Y, X) without things: in their place the ground that is nearest."""
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(taken, return_distances=False, return_indices=True)
    cleared: Image = image[tuple(nearest)]
    return cleared


def _placed(cutting: Cutting, patch: tuple[int, ...], rng: np.random.Generator) -> tuple[Image, npt.NDArray[np.bool_]]:
    """``cutting`` with its middle anywhere in the patch, cut at its edges; (Z, Y, X) each."""
    lit, mask = np.zeros(patch, np.float32), np.zeros(patch, bool)
    corner = [int(rng.integers(0, side)) - size // 2 for side, size in zip(patch, cutting.mask.shape, strict=True)]
    there, here = [], []
    for first, side, size in zip(corner, patch, cutting.mask.shape, strict=True):
        there.append(slice(max(0, first), min(side, first + size)))
        here.append(slice(max(0, -first), min(size, side - first)))
    lit[tuple(there)], mask[tuple(there)] = cutting.light[tuple(here)], cutting.mask[tuple(here)]
    return lit, mask


def _hides(one: Instance, other: Instance) -> bool:
    """Whether too much of one of them would lie under the other."""
    return overlap(one, other) > _HIDDEN * min(one.size, other.size)
