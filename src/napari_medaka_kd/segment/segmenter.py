"""Segmenter: a network made ready to be asked about any region of a volume."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.networks.backends.choose import Ahead, Sample, choose, is_chosen
from napari_medaka_kd.networks.backends.foreign_backend import ForeignBackend, require_no_other
from napari_medaka_kd.networks.backends.table import make
from napari_medaka_kd.networks.backends.torch_backend import eager
from napari_medaka_kd.networks.backends.verdict import classes_of
from napari_medaka_kd.networks.build import network_stride
from napari_medaka_kd.networks.device import choose_device, choose_precision
from napari_medaka_kd.networks.foreign import ForeignSettings, Looks
from napari_medaka_kd.networks.inputs import encode
from napari_medaka_kd.networks.unet import Ensemble
from napari_medaka_kd.volumes.label_extras import DISAGREEMENT, SOFT, UNCERTAINTY
from napari_medaka_kd.volumes.volume import Region, Shape, Volume, extent, whole, within

from .asked import asked_extras
from .cut import WORTH_IT, Cut
from .second_looks import disagree, second_looks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_medaka_kd.networks.backends.backend import Backend
    from napari_medaka_kd.settings import SegmentSettings
    from napari_medaka_kd.volumes.body import Body
    from napari_medaka_kd.volumes.label_extras import Extra
    from napari_medaka_kd.volumes.tiles import Tile

_CORE = 128  # voxels of a tile that are answered, each way but x: two, evenly, in a block of label maps
_PLANES = 16  # of a 2-D network's tile


@dataclass(frozen=True)
class Answer:
    """What a network says of one region.

    Attributes
    ----------
    classes
        (z, y, x) uint16, the most probable one.
    maps
        What is kept beside them, uint8 by name, of the same shape behind its channels, if any:

        - ``uncertainty``: the mean over the members of 255·(1 − the probability that it gives the chosen class). For a
          network alone that is 1 − max-softmax.
        - ``disagreement``, where it is asked for: :mod:`.second_looks`.
        - ``soft``, where it is asked for: (classes, z, y, x), :mod:`napari_medaka_kd.networks.soft`.
    """

    classes: npt.NDArray[Any]
    maps: Mapping[str, npt.NDArray[np.uint8]]

    @property
    def doubt(self) -> npt.NDArray[np.uint8]:
        """The uncertainty."""
        return self.maps[UNCERTAINTY]

    @classmethod
    def nothing(cls, shape: Shape, extras: Sequence[Extra]) -> Answer:
        """All background, and sure."""
        leading = {extra.name: (extra.channels,) if extra.channels else () for extra in extras}
        maps = {name: np.zeros((*first, *shape), np.uint8) for name, first in leading.items()}
        return cls(np.zeros(shape, np.uint16), maps)

    def put(self, region: Region, part: Answer, core: Region) -> None:
        """Fill in ``part``, which is about ``core``; this answer is about ``region``."""
        z, y, x = within(core, region)
        self.classes[z, y, x] = part.classes
        for name, values in self.maps.items():
            values[..., z, y, x] = part.maps[name]

    def within(self, inside: npt.NDArray[np.bool_]) -> Answer:
        """The same in the voxels ``inside``, and nothing elsewhere."""
        return Answer(self.classes * inside, {name: values * inside for name, values in self.maps.items()})


class Segmenter:
    """A network made ready to be asked about any region of a volume.

    The answer about a voxel does not depend on the region that it was asked with, but for one voxel in 100 000:
    intensities are scaled by the body's window; tiles overlap by a halo and start at multiples of the network's stride.

    Parameters
    ----------
    halo
        How far around a tile's core it looks, voxels (z, y, x): as :mod:`.halo` measured it. Without it four strides,
        about 60 % of ``network_reach``: with half of that the labels of a well trained network differed in 3 voxels in
        a million from those of the whole volume at once, those of a barely trained one in 2 %; with this one in 0.05 %.

    Attributes
    ----------
    voxels, seconds
        How much it was asked about so far, and how long it took to answer, reading included.
    backend
        What computes.
    said
        What it had to change, in words; empty where nothing.
    """

    def __init__(self, network: nn.Module, looks: Looks, settings: SegmentSettings, halo: Shape | None = None) -> None:
        self.device = choose_device(settings.device)
        self.precision = choose_precision(settings.precision, self.device)
        self.network = network.to(self.device).eval()
        self.looks, self.settings = looks, settings
        self.voxels, self.seconds = 0, 0.0
        self.said = ""
        self.stride = network_stride(looks)
        z, y, x = (4 * step for step in self.stride)
        self.use_halo(halo or (z if looks.dimensions == 3 else 0, y, x))
        self.backend = self._plain()
        self.look_again = second_looks(self.network, looks, settings, self.precision)

    def use_halo(self, halo: Shape) -> None:
        """Look that far around each core, (z, y, x)."""
        self.halo = halo
        z, y, x = (side + 2 * rim for side, rim in zip(_core(self.looks), halo, strict=True))
        self.tile: Shape = self.settings.tile or (z, y, x)

    def use_backend(self, volume: Volume, body: Body, folder: Path | None, volumes: int = 1) -> None:
        """Have the fastest back end compute that agrees with float32, as measured on a tile of ``volume``.

        ``folder`` is where the choice is kept. A few tiles are not worth the measurement, if as many ``volumes`` like
        this one are to be segmented; what was measured before is used in any case.
        """
        self.backend = self._plain()
        if isinstance(self.looks, ForeignSettings):
            return require_no_other(self.settings.backend)
        tiles = self.tiles(volume.shape, body, whole(volume.shape))
        if self.settings.backend != "auto":
            self.backend = make(self.settings.backend, self.network, self.looks, self.tile, self.settings.soft)
        elif (self.settings.precision == "auto" and tiles) and (
            len(tiles) * volumes >= WORTH_IT or is_chosen(self.network, self.looks, self.tile, folder)
        ):
            small = replace(self.cut, tile=self._small_tile()).tiles(volume.shape, body, tiles[len(tiles) // 2].core)
            tile = small[len(small) // 2]
            sample = Sample(self.look(volume, body, tile), tile.inner)
            ahead = Ahead(self.tile, volumes * sum(map(self.cut.voxels, tiles)))
            self.backend = choose(self.network, self.looks, ahead, sample, folder)
            if self.settings.soft:
                self.backend = make(self.backend.name, self.network, self.looks, self.tile, soft=True)

    @property
    def extras(self) -> tuple[Extra, ...]:
        """What it answers beside the classes."""
        return asked_extras(self.settings, classes_of(self.network) if self.settings.soft else 0)

    def _small_tile(self) -> Shape:
        """With half the core, or less: enough to compare by."""
        z, y, x = (
            min(side, _CORE // 2 // step * step + 2 * rim)
            for side, step, rim in zip(self.tile, self.stride, self.halo, strict=True)
        )
        return z, y, x

    @property
    def cut(self) -> Cut:
        """How it cuts volumes now."""
        return Cut(self.tile, self.halo, self.stride)

    def compute_by(self, name: str) -> None:
        """Have the back end of this name compute.

        Raises
        ------
        UserError
            If this machine does not have it.
        """
        if name == self.backend.name:
            return
        if isinstance(self.looks, ForeignSettings):
            return require_no_other(name)
        self.backend = make(name, self.network, self.looks, self.tile, self.settings.soft)

    @property
    def computes(self) -> str:
        """What computes, how exactly, and what beside the labels and their uncertainty."""
        more = [" ".join((extra.name, *extra.facts.values())) for extra in self.extras[1:]]
        return ", ".join((f"{self.backend.name} ({self.device})", *more))

    def _plain(self) -> Backend:
        """What any machine has."""
        soft = self.settings.soft
        if isinstance(self.looks, ForeignSettings):
            return ForeignBackend(self.network, self.precision, soft)
        return eager(f"torch {str(self.precision).removeprefix('torch.')}", self.network, self.looks, self.tile, soft)

    def ask(self, volume: Volume, body: Body, region: Region) -> Answer:
        """The organs of ``region``; a tile with none of the body in it is background and is not read."""
        begun = time.monotonic()
        answer = self.nothing(extent(region))
        for tile in self.tiles(volume.shape, body, region):
            answer.put(region, self.answer(volume, body, tile, self.look(volume, body, tile)), tile.core)
        self.voxels += answer.classes.size
        self.seconds += time.monotonic() - begun
        return answer

    def nothing(self, shape: Shape) -> Answer:
        """An answer that is all background, and sure."""
        return Answer.nothing(shape, self.extras)

    def tiles(self, shape: Shape, body: Body, region: Region) -> Sequence[Tile]:
        """The tiles that answer for the body in ``region`` of a volume of ``shape``."""
        return self.cut.tiles(shape, body, region)

    def look(self, volume: Volume, body: Body, tile: Tile) -> npt.NDArray[np.float32]:
        """Read ``tile`` as the network sees it, (C, z, y, x); sides are multiples of its stride, the edge repeated."""
        encoded = encode(volume.read(tile.read), tile.read, body, self.looks)
        missing = [-side % step for side, step in zip(encoded.shape[1:], self.stride, strict=True)]
        return np.pad(encoded, [(0, 0), *((0, side) for side in missing)], mode="edge") if any(missing) else encoded

    def answer(self, volume: Volume, body: Body, tile: Tile, image: npt.NDArray[np.float32]) -> Answer:
        """What it says of the core of ``tile``, of which it sees ``image``; background wherever there is no body.

        Where memory does not suffice the core is answered in smaller tiles, and so are all that come.

        Raises
        ------
        UserError
            If memory does not even suffice for the smallest tile.
        """
        try:
            part = self._look_at(image, tile.inner)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._shrink(tile)
            return self._answer_in_parts(volume, body, tile.core)
        inside = body.inside(tile.core)
        return part if inside is None else part.within(inside)

    def _look_at(self, image: npt.NDArray[np.float32], inner: Region) -> Answer:
        """What it says of ``inner``, on second looks too where they are asked for."""
        classes, doubt, *soft = self.backend(image, inner)
        maps = {UNCERTAINTY: doubt, **({SOFT: soft[0]} if soft else {})}
        if self.settings.disagreement != "none":
            maps[DISAGREEMENT] = disagree(classes, doubt, self.look_again(self.backend, image, inner))
        return Answer(classes, maps)

    def _answer_in_parts(self, volume: Volume, body: Body, core: Region) -> Answer:
        answer = self.nothing(extent(core))
        for small in self.tiles(volume.shape, body, core):
            answer.put(core, self.answer(volume, body, small, self.look(volume, body, small)), small.core)
        return answer

    def _shrink(self, tile: Tile) -> None:
        """Take tiles of half the core, if ``tile`` was one of those that are taken now."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        before = self.tile
        if any(read.stop - read.start > side for read, side in zip(tile.read, self.tile, strict=True)):
            return  # it was cut before the others shrank
        cores = [max(side - 2 * rim, 1) for side, rim in zip(before, self.halo, strict=True)]
        halved = [max(core // 2 // step * step, step) for core, step in zip(cores, self.stride, strict=True)]
        if halved == cores:
            raise UserError(
                f"Memory does not even suffice for tiles of {before} voxels.",
                "Close other programs, or segment on a machine with more memory.",
            )
        z, y, x = (core + 2 * rim for core, rim in zip(halved, self.halo, strict=True))
        self.tile = (z, y, x)
        self.said = f"tiles of {z} × {y} × {x} voxels instead of {' × '.join(map(str, before))}: memory was short"


def is_out_of_memory(error: Exception) -> bool:
    """Whether ``error`` is one of the ways in which memory does not suffice; on a CPU torch only says so in words."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


def members(network: nn.Module) -> Iterator[nn.Module]:
    """The networks that vote in ``network``; itself where it is one."""
    yield from network.members if isinstance(network, Ensemble) else (network,)


def _core(looks: Looks) -> Shape:
    """The longer a core, the less of a tile is halo; the default network takes 2 GB for one of 128 × 128 × 256.

    Slices are cheap to answer in large pieces: a whole block of label maps at a time.
    """
    return (_PLANES, 2 * _CORE, 2 * _CORE) if looks.dimensions == 2 else (_CORE, _CORE, 2 * _CORE)
