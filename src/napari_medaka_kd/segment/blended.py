"""Blending: overlapping windows, for networks whose answer depends on the window, on a slab that rolls along z."""

from __future__ import annotations

import math
import time
from itertools import groupby, product
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import psutil
import torch

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.networks.backends.foreign_backend import ForeignBackend
from napari_medaka_kd.networks.foreign import ForeignSettings, is_blended
from napari_medaka_kd.networks.inputs import encode
from napari_medaka_kd.networks.soft import pack
from napari_medaka_kd.volumes.label_extras import SOFT, UNCERTAINTY
from napari_medaka_kd.volumes.volume import Region, Shape, Volume, extent, within

from .segmenter import Answer, Segmenter, is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

    from napari_medaka_kd.networks.foreign import Looks
    from napari_medaka_kd.settings import SegmentSettings
    from napari_medaka_kd.volumes.body import Body

Block: TypeAlias = tuple[int, Region]
Answered: TypeAlias = tuple[int, Answer]
Floats: TypeAlias = npt.NDArray[np.float32]

OVERLAP = 0.5  # share of a window that the next one covers too
_SIGMA = 1 / 8  # of a window; as MONAI and nnU-Net weigh them
_LEAST = 1e-3  # weight at a window's corner
_PLANES = 8  # of a 2-D network's window
_SHARE = 0.4  # of the free memory that a slab may take
WARNING = "This network normalises each tile by itself: windows are blended, and the labels depend on the window size"
FIXED = "This network takes windows of one size: they are blended"


def make_segmenter(network: nn.Module, looks: Looks, settings: SegmentSettings) -> Segmenter:
    """A segmenter that cuts where that leaves no trace, and blends where it would."""
    return (BlendedSegmenter if is_blended(looks) else Segmenter)(network, looks, settings)


class BlendedSegmenter(Segmenter):
    """Probabilities of windows that overlap by half, averaged with Gaussian weights.

    The windows lie on one grid over the body's box, whatever region is asked for; so the answer about a voxel does not
    depend on the region. It does depend on the size of the windows.
    """

    def __init__(self, network: nn.Module, looks: Looks, settings: SegmentSettings) -> None:
        if settings.disagreement != "none":
            raise UserError(
                "The windows of this network are blended, and blended windows are not looked at again.",
                "Set disagreement to none.",
            )
        super().__init__(network, looks, settings, halo=(0, 0, 0))
        self.foreign = ForeignBackend(self.network, self.precision)
        assert isinstance(looks, ForeignSettings)
        fixed = looks.stride == (1, 1, 1)  # nothing but this window was tried
        self.use_window((None if fixed else settings.tile) or looks.window or (96, 96, 96))
        self.said = WARNING if looks.tile_statistics else FIXED

    def use_window(self, window: Shape) -> None:
        """Show it ``window`` voxels (z, y, x) at a time, rounded up to its stride."""
        z, y, x = (-(-side // step) * step for side, step in zip(window, self.stride, strict=True))
        self.tile = (z if self.looks.dimensions == 3 else _PLANES, y, x)
        self.overlap = (OVERLAP if self.looks.dimensions == 3 else 0.0, OVERLAP, OVERLAP)
        self.weights = importance(self.tile) if self.looks.dimensions == 3 else importance((1, y, x))

    @property
    def computes(self) -> str:
        """What computes, and how exactly."""
        return f"{super().computes}, blended"

    def ask(self, volume: Volume, body: Body, region: Region) -> Answer:
        """The organs of ``region``, in memory."""
        begun = time.monotonic()
        ((_, answer),) = self.answers(volume, body, ((0, region),))
        self.voxels += answer.classes.size
        self.seconds += time.monotonic() - begun
        return answer

    def answers(self, volume: Volume, body: Body, blocks: Sequence[Block]) -> Iterator[Answered]:
        """(number, answer) of each of ``blocks``, along z.

        Memory is a slab as thick as a window and as wide as the body, in float32 for each class; where that is too
        much, a slab as wide as a column of blocks, and windows at its rim are computed twice.
        """
        for column in _columns(blocks, self.fits(body)):
            yield from _Roll(self, volume, body, column).play()

    def probabilities(self, volume: Volume, body: Body, window: Region) -> Floats:
        """(classes, z, y, x) for ``window``, which may reach beyond the volume; there the edge is repeated."""
        sides = [slice(side.start, min(side.stop, size)) for side, size in zip(window, volume.shape, strict=True)]
        z, y, x = sides
        seen = encode(volume.read((z, y, x)), (z, y, x), body, self.looks)
        missing = [whole - part for whole, part in zip(extent(window), seen.shape[1:], strict=True)]
        seen = np.pad(seen, [(0, 0), *((0, side) for side in missing)], mode="edge") if any(missing) else seen
        try:
            votes: Floats = self.foreign.probabilities(seen).cpu().numpy()
            return votes
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(
                f"Memory does not suffice for windows of {self.tile} voxels.", "Say less: --set tile=[64,64,64]."
            ) from error

    def fits(self, body: Body) -> bool:
        """Whether a slab over all of the body fits into memory."""
        _, y, x = extent(body.box)
        classes = int(getattr(self.network, "classes", 1)) + 1
        return 4 * classes * self.tile[0] * (y + self.tile[1]) * (x + self.tile[2]) < _SHARE * available()


def available() -> int:
    """Bytes of memory that are free."""
    return int(psutil.virtual_memory().available)


def importance(window: Shape) -> Floats:
    """Weight of each voxel of a window, (z, y, x): a Gaussian about its middle."""
    sides = [np.arange(side) - (side - 1) / 2 for side in window]
    z, y, x = (np.exp(-0.5 * (at / (_SIGMA * len(at))) ** 2) for at in sides)
    weights: Floats = np.maximum(z[:, None, None] * y[:, None] * x, _LEAST).astype(np.float32)
    return weights


def starts(side: slice, window: int, overlap: float, size: int) -> tuple[int, ...]:
    """Where windows begin that cover ``side`` of an axis of ``size`` voxels; the last ones stay within it."""
    step = max(1, int(window * (1 - overlap)))
    count = max(1, math.ceil((side.stop - side.start - window) / step) + 1)
    last = max(0, min(size, side.stop) - window)
    return tuple(sorted({min(side.start + number * step, last) for number in range(count)}))


def _columns(blocks: Sequence[Block], together: bool) -> Iterator[list[Block]]:
    """All blocks, or those over one another, along z."""
    if together:
        yield sorted(blocks, key=lambda block: block[1][0].start)
        return

    def place(block: Block) -> tuple[int, int]:
        return block[1][1].start, block[1][2].start

    for _, column in groupby(sorted(blocks, key=lambda block: (*place(block), block[1][0].start)), key=place):
        yield list(column)


class _Roll:
    """One pass along z over some blocks."""

    def __init__(self, segmenter: BlendedSegmenter, volume: Volume, body: Body, blocks: list[Block]) -> None:
        self.segmenter, self.volume, self.body, self.blocks = segmenter, volume, body, blocks
        self.answers: dict[int, Answer] = {}
        window = segmenter.tile
        axes = zip(body.box, window, segmenter.overlap, volume.shape, strict=True)
        z, y, x = (starts(*axis) for axis in axes)
        self.z = [at for at in z if any(_meet(slice(at, at + window[0]), region[0]) for _, region in blocks)]
        (self.y, rows), (self.x, columns) = (self._across(axis, each) for axis, each in ((1, y), (2, x)))
        self.rows, self.columns = rows, columns
        width = (window[0], rows.stop - rows.start, columns.stop - columns.start)
        self.slab: Floats = np.zeros((1 + int(getattr(segmenter.network, "classes", 1)), *width), np.float32)

    def play(self) -> Iterator[Answered]:
        """(number, answer) of each block, as soon as no window to come says anything of it."""
        waiting = list(self.blocks)
        for place, at in enumerate(self.z):
            self._add_layer(at)
            after = self.z[place + 1] if place + 1 < len(self.z) else at + self.segmenter.tile[0]
            self._emit(slice(at, min(after, at + self.segmenter.tile[0])))
            self._roll(min(after - at, self.segmenter.tile[0]))
            while waiting and waiting[0][1][0].stop <= after:
                yield self._take(waiting.pop(0))
        for block in waiting:
            yield self._take(block)

    def _across(self, axis: int, places: tuple[int, ...]) -> tuple[list[int], slice]:
        """The windows along y or x that say anything of the blocks, and what they cover."""
        side = self.segmenter.tile[axis]
        mine = [at for at in places if any(_meet(slice(at, at + side), region[axis]) for _, region in self.blocks)]
        return mine, slice(mine[0], mine[-1] + side) if mine else slice(0, 0)

    def _add_layer(self, z: int) -> None:
        for y, x in product(self.y, self.x):
            depth, height, width = self.segmenter.tile
            window = (slice(z, z + depth), slice(y, y + height), slice(x, x + width))
            if not self.body.meets(window):
                continue
            votes = self.segmenter.probabilities(self.volume, self.body, window)
            top, left = y - self.rows.start, x - self.columns.start
            part = self.slab[:, :, top : top + height, left : left + width]
            part[:-1] += votes * self.segmenter.weights
            part[-1] += self.segmenter.weights

    def _emit(self, planes: slice) -> None:
        """Say of ``planes``, to which no window will add, what they are."""
        slab = self.slab[:, : planes.stop - planes.start]
        classes = slab[:-1].argmax(axis=0).astype(np.uint16)
        most = slab[:-1].max(axis=0)
        agreed = most / np.maximum(slab[-1], 1e-12)
        maps = {UNCERTAINTY: np.where(slab[-1] > 0, np.rint((1 - agreed) * 255).clip(0, 255), 0).astype(np.uint8)}
        if self.segmenter.settings.soft:
            maps[SOFT] = _packed(slab[:-1], most)
        covered = (planes, self.rows, self.columns)
        for number, region in self.blocks:
            box = _common(_common(region, covered), self.body.box)
            if all(side.start < side.stop for side in box):
                z, y, x = within(box, covered)
                part = {name: values[..., z, y, x] for name, values in maps.items()}
                self._put(number, region, box, Answer(classes[z, y, x], part))

    def _put(self, number: int, region: Region, box: Region, part: Answer) -> None:
        inside = self.body.inside(box)
        part = part if inside is None else part.within(inside)
        self.answers.setdefault(number, self.segmenter.nothing(extent(region))).put(region, part, box)

    def _roll(self, planes: int) -> None:
        for layer in self.slab:  # one at a time: a copy is made
            layer[: len(layer) - planes] = layer[planes:].copy()
            layer[len(layer) - planes :] = 0

    def _take(self, block: Block) -> Answered:
        number, region = block
        return number, self.answers.pop(number, None) or self.segmenter.nothing(extent(region))


def _packed(votes: Floats, most: Floats) -> npt.NDArray[np.uint8]:
    """Soft labels of weighed ``votes`` (classes, z, y, x) and their maximum; nothing where there was no vote."""
    largest = torch.from_numpy(np.maximum(most, np.finfo(np.float32).tiny))
    return np.stack([pack(torch.from_numpy(each), largest).numpy() for each in votes])


def _meet(one: slice, other: slice) -> bool:
    return bool(one.start < other.stop and other.start < one.stop)


def _common(one: Region, other: Region) -> Region:
    z, y, x = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return z, y, x
