"""Blocks in, answers out: the next tiles are read while one is computed."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.volumes.volume import Region, extent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari_medaka_kd.volumes.body import Body
    from napari_medaka_kd.volumes.tiles import Tile
    from napari_medaka_kd.volumes.volume import Volume

    from .segmenter import Answer, Segmenter

#: Bytes of decoded chunks: a row of blocks, halos included, of a scan 1024 voxels wide, so that most are decoded once.
CACHE = 224 * 2**20
_AHEAD = 1  # tiles that are read before they are needed; each is as large as what the network is shown
Image: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Piece:
    """A tile of a block, or the end of one."""

    index: int
    block: Region
    tile: Tile | None


def answers(
    segmenter: Segmenter, volume: Volume, body: Body, blocks: Iterable[tuple[int, Region]]
) -> Iterator[tuple[int, Answer]]:
    """(number, answer) of each of ``blocks``, in their order; only tiles that the body meets are read.

    ``blocks`` is asked for the next one some tiles before it is needed.
    """
    answer: Answer | None = None
    for piece, image in _ahead(segmenter, volume, body, _pieces(segmenter, volume, body, blocks)):
        answer = answer or segmenter.nothing(extent(piece.block))
        if piece.tile is None:
            yield piece.index, answer
            answer = None
        elif image is not None:
            found = segmenter.answer(volume, body, piece.tile, image.result())
            answer.put(piece.block, found, piece.tile.core)


def _pieces(segmenter: Segmenter, volume: Volume, body: Body, blocks: Iterable[tuple[int, Region]]) -> Iterator[_Piece]:
    for index, block in blocks:
        for tile in segmenter.tiles(volume.shape, body, block):
            yield _Piece(index, block, tile)
        yield _Piece(index, block, None)


def _ahead(
    segmenter: Segmenter, volume: Volume, body: Body, pieces: Iterator[_Piece]
) -> Iterator[tuple[_Piece, Future[Image] | None]]:
    """Each piece with what is read, or being read, for it."""
    waiting: deque[tuple[_Piece, Future[Image] | None]] = deque()
    with ThreadPoolExecutor(1, "read tiles") as reader:
        try:
            for piece in pieces:
                image = None if piece.tile is None else reader.submit(segmenter.look, volume, body, piece.tile)
                waiting.append((piece, image))
                while sum(image is not None for _, image in waiting) > _AHEAD:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            reader.shutdown(cancel_futures=True)
