"""Probe: a few tiles computed and one block written, for the prices of segmenting on this machine."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import psutil
import torch

from napari_medaka_kd.job import drain
from napari_medaka_kd.volumes.label_generation import LabelGeneration
from napari_medaka_kd.volumes.label_store import plan_labels
from napari_medaka_kd.volumes.store_array import LABEL_SHARD
from napari_medaka_kd.volumes.tiles import block_grid
from napari_medaka_kd.volumes.volume import Shape, Volume, extent, whole

from .pipeline import answers
from .price import Prices, Written, chunk_bytes
from .segmenter import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medaka_kd.networks.checkpoint import Checkpoint
    from napari_medaka_kd.volumes.body import Body
    from napari_medaka_kd.volumes.label_extras import Extra
    from napari_medaka_kd.volumes.labels import LabelSchema
    from napari_medaka_kd.volumes.tiles import Tile

    from .segmenter import Segmenter

_TILES = 6  # that are computed, spread over the volume
_SECONDS = 8.0  # after which no further one is begun


@dataclass(frozen=True)
class _Block:
    """Answers put together as a block of label maps, and where in it the animal may be, (z, y, x) bool."""

    answer: Answer
    inside: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Desk:
    """Where blocks are written to see what that costs: an empty folder, for label maps of ``like``'s voxel size."""

    folder: Path
    like: Volume
    organs: LabelSchema
    extras: tuple[Extra, ...]


def probe(volume: Volume, body: Body, card: Checkpoint, segmenter: Segmenter, folder: Path) -> Prices:
    """The prices of segmenting volumes like this one, without those of starting; ``ready`` is what its first tile took.

    Tiles are read ahead and computed as in a run. A block is put together of their answers and written to an empty
    ``folder`` as a run writes it: alone, for its seconds and bytes, then while a tile is computed, for the memory.
    That is the peak of this process, which therefore should have done nothing else; the scan's chunks in the cache are
    taken off, for a run fills it.
    """
    tiles = segmenter.tiles(volume.shape, body, whole(volume.shape))
    numbers = sorted({(2 * place + 1) * len(tiles) // (2 * _TILES) for place in range(_TILES)}) if tiles else []
    picked = [tiles[number] for number in numbers]
    middle = tiles[len(tiles) // 2 : len(tiles) // 2 + 1]  # which the back end was tried on
    rest = psutil.Process().memory_info().rss - chunk_bytes(volume.shape, volume.dtype, middle)
    found, seconds = _ask(segmenter, volume, body, picked)
    cached = chunk_bytes(volume.shape, volume.dtype, [*middle, *picked[: len(found)]])
    with_tile = peak_memory() - cached
    desk = _Desk(folder, volume, card.organs, segmenter.extras)
    nothing = segmenter.nothing(_block_shape(volume.shape))
    block = _collage(found, [body.inside(tile.core) for tile in picked], nothing)
    animal, air = _written(block, desk)
    _compute_and_write(segmenter, body, picked[:1], block, desk)
    sizes = [segmenter.cut.voxels(tile) for tile in picked]
    paces = [each / size for each, size in zip(seconds[1:], sizes, strict=False)]
    pace = median(paces) if paces else 0.0
    return Prices(
        cut=segmenter.cut,
        computes=segmenter.computes,
        start=0.0,
        ready=max(seconds[0] - pace * sizes[0], 0.0) if seconds else 0.0,
        pace=pace,
        animal=animal,
        air=air,
        alone=segmenter.device.type != "cpu" or torch.get_num_threads() < (psutil.cpu_count() or 1),
        memory=max(rest, 0),
        for_tile=max(with_tile - rest, 0),
        for_block=max(peak_memory() - cached - with_tile, 0),
        largest=max(sizes, default=1),
        block=block.inside.size,
        gpu=torch.cuda.max_memory_allocated(segmenter.device) if segmenter.device.type == "cuda" else 0,
        said=segmenter.said,
    )


def peak_memory() -> int:
    """Bytes of memory that this process held at most so far."""
    if sys.platform == "linux":  # what getrusage says may be of the process that began this one
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _ask(segmenter: Segmenter, volume: Volume, body: Body, tiles: Sequence[Tile]) -> tuple[list[Answer], list[float]]:
    """Answers about the cores of ``tiles``, and the seconds of each; those of the first tile, once more, come first."""
    found: list[Answer] = []
    seconds: list[float] = []
    begun = last = time.monotonic()
    asked = [*tiles[:1], *tiles]
    for _, answer in answers(segmenter, volume, body, enumerate(tile.core for tile in asked)):
        found.append(answer)
        seconds.append(time.monotonic() - last)
        last = time.monotonic()
        if len(found) > 1 and last - begun > _SECONDS:
            break
    return found[1:], seconds


def _collage(found: Sequence[Answer], inside: Sequence[npt.NDArray[np.bool_] | None], nothing: Answer) -> _Block:
    """The block ``nothing``, filled with what was answered, over and over."""
    shape: Shape = nothing.classes.shape
    block = _Block(nothing, np.zeros(shape, bool))
    if not found:
        return block
    pieces = cycle(zip(found, inside, strict=False))
    for place in block_grid(shape, found[0].classes.shape):
        answer, mask = next(pieces)
        common = whole(tuple(min(a, b) for a, b in zip(extent(place), answer.classes.shape, strict=True)))
        block.answer.classes[place][common] = answer.classes[common]
        for name, values in block.answer.maps.items():
            values[(..., *place)][(..., *common)] = answer.maps[name][(..., *common)]
        block.inside[place][common] = True if mask is None else mask[common]
    return block


def _written(block: _Block, desk: _Desk) -> tuple[Written, Written]:
    """What a voxel costs where the animal is and where air is, from two blocks: ``block``, and one of nothing."""
    shape = block.inside.shape
    air = _write(Answer.nothing(shape, desk.extras), desk, "air")
    both = _write(block.answer, desk, "animal")
    animal, rest = int(np.count_nonzero(block.inside)), int(np.count_nonzero(~block.inside))
    size = animal + rest
    a_voxel = Written(*(of / size for of in air))
    if animal == 0:
        return a_voxel, a_voxel
    return Written(*(max(of - rest * each / size, 0.0) / animal for of, each in zip(both, air, strict=True))), a_voxel


def _write(answer: Answer, desk: _Desk, name: str) -> tuple[float, float, float]:
    """Seconds to write ``answer`` as a block, seconds for its ids and what follows, and bytes on the disk."""
    scan, folder = Volume((answer.classes,), desk.like.voxel_size), desk.folder / name
    folder.mkdir()
    plan = plan_labels(scan, desk.organs, "probe", desk.extras)
    generation = LabelGeneration(folder, scan, plan, desk.organs)
    begun = time.monotonic()
    ids = desk.organs.to_ids(answer.classes)
    mapped = time.monotonic()
    generation.write(0, ids, answer.maps)
    written = time.monotonic()
    drain(generation.complete())
    generation.close()
    after = time.monotonic() - written + mapped - begun
    return written - mapped, after, float(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()))


def _compute_and_write(segmenter: Segmenter, body: Body, tiles: Sequence[Tile], block: _Block, desk: _Desk) -> None:
    """Hold what a run holds: a block being filled, and one being written while a tile is computed."""
    maps = {name: values.copy() for name, values in block.answer.maps.items()}
    filling = Answer(block.answer.classes.copy(), maps)
    with ThreadPoolExecutor(1, "write block") as writer:
        writing = writer.submit(_write, block.answer, desk, "beside")
        for tile in tiles:
            segmenter.answer(desk.like, body, tile, segmenter.look(desk.like, body, tile))
        writing.result()
    del filling, maps


def _block_shape(shape: Shape) -> Shape:
    z, y, x = (min(side, most) for side, most in zip(shape, LABEL_SHARD, strict=True))
    return z, y, x
