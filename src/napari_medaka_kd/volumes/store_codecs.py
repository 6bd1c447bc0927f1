"""How the chunks of a zarr array are packed: codecs that are known to be harmless, in an order that bounds memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from .gate import check_chunk

if TYPE_CHECKING:
    import numpy as np

_CODECS_2 = {"blosc", "zstd", "gzip", "zlib", "bz2"}
_CODECS_3 = {"bytes", "transpose", "blosc", "zstd", "gzip", "crc32c", "sharding_indexed"}
_COMPRESSORS = {"blosc", "zstd", "gzip"}
_MOST_AXES = 5
_MOST_PIECES = 2**20  # in a shard; its index, 16 bytes for each, is read as a whole


@dataclass(frozen=True)
class ShardIndex:
    """Where in a shard each of its pieces lies: pairs of 64-bit integers, offset and length, at its start or end."""

    at_start: bool
    little: bool
    checksum: bool


@dataclass(frozen=True)
class Packing:
    """What is unpacked at once.

    Attributes
    ----------
    piece
        Its shape, voxels: a chunk, or a chunk of a shard.
    bytes
        That it takes when it is unpacked.
    blosc
        Whether blosc comes first: it allocates what the first bytes of a piece ask for.
    index
        ``None`` where a file is one piece.
    """

    piece: tuple[int, ...]
    bytes: int
    blosc: bool
    index: ShardIndex | None = None


def read_packing_2(metadata: dict[str, Any], chunk: tuple[int, ...], dtype: np.dtype[Any]) -> Packing:
    """From the ``.zarray`` of zarr 2.

    Raises
    ------
    ValueError
        If it is not one of the codecs that are allowed.
    """
    steps = [*(metadata.get("filters") or ()), *filter(None, [metadata.get("compressor")])]
    names = [str(step["id"]) for step in steps]
    if len(names) > 1 or not set(names) <= _CODECS_2:
        raise ValueError(f"it is packed by {', '.join(names)}")
    return _one_piece(chunk, dtype, "blosc" in names)


def read_packing_3(codecs: Any, chunk: tuple[int, ...], dtype: np.dtype[Any]) -> Packing:
    """From the ``codecs`` of zarr 3.

    Raises
    ------
    ValueError
        If it is none of the codecs that are allowed, or a combination that nobody writes.
    """
    names = _allowed(codecs)
    if "sharding_indexed" not in names:
        _check_order(names)
        return _one_piece(chunk, dtype, "blosc" in names)
    if names[-1] != "sharding_indexed" or names.count("sharding_indexed") > 1:
        raise ValueError("its shards are packed once more as a whole")
    shard = codecs[-1]["configuration"]
    piece, inner = read_sizes(shard["chunk_shape"]), _allowed(shard["codecs"])
    if len(piece) != len(chunk) or any(outer % size for outer, size in zip(chunk, piece, strict=True)):
        raise ValueError(f"its shards of {chunk} do not hold whole chunks of {piece}")
    if "sharding_indexed" in inner:
        raise ValueError("its shards hold shards")
    _check_order(inner)
    if math.prod(outer // size for outer, size in zip(chunk, piece, strict=True)) > _MOST_PIECES:
        raise ValueError(f"its shards of {chunk} hold more than {_MOST_PIECES} chunks of {piece}")
    packing = _one_piece(piece, dtype, "blosc" in inner)
    return Packing(piece, packing.bytes, packing.blosc, _index(shard))


def read_sizes(values: Any) -> tuple[int, ...]:
    """A shape in metadata, as it must be: one to five positive integers.

    Raises
    ------
    ValueError
        Quoting it.
    """
    sizes: tuple[int, ...] = TypeAdapter(tuple[int, ...]).validate_python(values, strict=False)
    if not 1 <= len(sizes) <= _MOST_AXES or min(sizes) < 1:
        raise ValueError(f"it claims a shape or chunk of {values!r}")
    return sizes


def _allowed(codecs: Any) -> list[str]:
    names = [str(codec["name"]) for codec in codecs]
    if not set(names) <= _CODECS_3:
        raise ValueError(f"it is packed by {', '.join(sorted(set(names) - _CODECS_3))}")
    return names


def _check_order(names: list[str]) -> None:
    """Why: what is inside another compressor cannot be looked at before it is unpacked, and blosc must be."""
    if "blosc" in names and len(_COMPRESSORS & set(names)) + names.count("blosc") > 2:
        raise ValueError(f"it is packed several times: {', '.join(names)}")


def _index(shard: Any) -> ShardIndex:
    codecs = shard["index_codecs"]
    names = [codec["name"] for codec in codecs]
    if names not in (["bytes"], ["bytes", "crc32c"]):
        raise ValueError(f"the index of its shards is packed by {names}")
    endian = codecs[0].get("configuration", {}).get("endian", "little")
    return ShardIndex(shard.get("index_location", "end") == "start", endian == "little", len(names) == 2)


def _one_piece(shape: tuple[int, ...], dtype: np.dtype[Any], blosc: bool) -> Packing:
    check_chunk(shape, dtype)
    return Packing(shape, math.prod(shape) * dtype.itemsize, blosc)
