"""What segmenting a volume asks for, what that costs on this machine, and what comes of the two: arithmetic alone."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_medaka_kd.volumes.label_extras import UNCERTAINTY, Extra
from napari_medaka_kd.volumes.label_store import room_for
from napari_medaka_kd.volumes.store_array import CACHE_BYTES, CHUNK, LABEL_SHARD
from napari_medaka_kd.volumes.tiles import block_grid
from napari_medaka_kd.volumes.volume import extent

from .cut import WORTH_IT, Cut

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from napari_medaka_kd.volumes.body import Body
    from napari_medaka_kd.volumes.labels import LabelSchema
    from napari_medaka_kd.volumes.tiles import Tile
    from napari_medaka_kd.volumes.volume import Shape, Volume

_FILES = 150_000  # bytes that some twenty folders and as many small files take up, however little is in them
FEW, MANY = "few", "many"  # tiles: a volume of many of them is computed by the back end that won a race


@dataclass(frozen=True)
class Load:
    """What segmenting one volume asks for.

    Attributes
    ----------
    blocks, tiles
        How many are written, and how many are computed.
    read, largest
        Voxels that the network is shown in all, and in the largest tile.
    animal, air
        Voxels of the label map where the body is, and elsewhere.
    block
        Voxels of the largest block.
    scan
        Bytes of the scan's chunks that are read.
    room
        Bytes that must be free before it is begun.
    """

    blocks: int
    tiles: int
    read: int
    largest: int
    animal: int
    air: int
    block: int
    scan: int
    room: int

    @property
    def kind(self) -> str:
        """Whether its tiles are few or many."""
        return MANY if self.tiles >= WORTH_IT else FEW


@dataclass(frozen=True)
class Written:
    """What a voxel of a label map costs, with all that is kept beside it: where the animal is, or where air is.

    Attributes
    ----------
    beside, after
        Seconds while the next tiles are computed, and seconds when nothing else goes on (ids, pyramids).
    bytes
        On the disk, pyramids included.
    """

    beside: float
    after: float
    bytes: float


@dataclass(frozen=True)
class Prices:
    """What segmenting costs on one machine with one network.

    Attributes
    ----------
    cut
        How volumes are cut.
    computes
        What computes, and how exactly.
    start, ready
        Seconds until the first volume can be begun, and from there to the first tile of each.
    pace
        Seconds a voxel that the network is shown.
    animal, air
        What is written.
    alone
        Whether a processor is left for writing while the network computes.
    memory
        Bytes at rest, with the network loaded.
    for_tile, for_block
        Bytes more while tiles of ``largest`` voxels are computed, and for blocks of ``block`` voxels beside that.
    gpu
        Bytes on the GPU at the peak; 0 where none is used.
    said
        What had to be changed, in words.
    """

    cut: Cut
    computes: str
    start: float
    ready: float
    pace: float
    animal: Written
    air: Written
    alone: bool
    memory: int
    for_tile: int
    for_block: int
    largest: int
    block: int
    gpu: int = 0
    said: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """What :meth:`to_json` made.

        Raises
        ------
        ValueError, TypeError, LookupError
            If it is damaged, or makes no sense.
        """
        sides = {name: _shape(data["cut"][name]) for name in ("tile", "halo", "stride")}
        written = {name: Written(**{k: _number(v) for k, v in data[name].items()}) for name in ("animal", "air")}
        seconds = {name: _number(data[name]) for name in ("start", "ready", "pace")}
        sizes = {n: int(_number(data[n])) for n in ("memory", "for_tile", "for_block", "largest", "block", "gpu")}
        if min(sizes["largest"], sizes["block"], *sides["tile"], *sides["stride"]) < 1:
            raise ValueError("a size is zero")
        words = {"computes": str(data["computes"]), "said": str(data["said"]), "alone": bool(data["alone"])}
        return cls(cut=Cut(**sides), **written, **seconds, **sizes, **words)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Forecast:
    """What segmenting one volume will take: seconds, and bytes of memory, GPU memory and disk.

    Attributes
    ----------
    room
        Bytes that must be free on the disk before it is begun.
    """

    case: str
    tiles: int
    seconds: float
    memory: int
    gpu: int
    disk: int
    room: int

    def words(self) -> str:
        """For people."""
        parts = [f"about {in_time(self.seconds)}", f"{in_bytes(self.memory)} memory"]
        parts += [f"{in_bytes(self.gpu)} GPU memory"] if self.gpu else []
        return ", ".join([*parts, f"{in_bytes(self.disk)} disk"])


def load_of(
    volume: Volume, body: Body, schema: LabelSchema, cut: Cut, extras: Sequence[Extra] = (Extra(UNCERTAINTY),)
) -> Load:
    """What segmenting ``volume`` asks for, ``extras`` included; nothing of it is read. About 10 µs a tile."""
    blocks = block_grid(volume.shape, LABEL_SHARD)
    tiles = [tile for block in blocks for tile in cut.tiles(volume.shape, body, block)]
    voxels = [cut.voxels(tile) for tile in tiles]
    total, animal = math.prod(volume.shape), _animal(body, volume.shape)
    return Load(
        blocks=len(blocks),
        tiles=len(tiles),
        read=sum(voxels),
        largest=max(voxels, default=0),
        animal=animal,
        air=total - animal,
        block=math.prod(extent(blocks[0])),
        scan=chunk_bytes(volume.shape, volume.dtype, tiles),
        room=room_for(volume, schema, extras),
    )


def forecast(case: str, load: Load, prices: Prices) -> Forecast:
    """What a volume will take once the program has started.

    Time: until the first tile, then computing and writing, beside one another where a processor is left for that (the
    last block has nothing to be written beside), then pyramids. Memory: the program and its network, one tile, two
    blocks, and the scan's chunks in the cache, up to its limit. Disk: labels, and what is kept beside them, where the
    animal is and where air is, with their pyramids.
    """
    compute = load.read * prices.pace
    beside = load.animal * prices.animal.beside + load.air * prices.air.beside
    after = load.animal * prices.animal.after + load.air * prices.air.after
    both = max(compute, beside) + beside / load.blocks if prices.alone else compute + beside
    disk = load.animal * prices.animal.bytes + load.air * prices.air.bytes
    tile = prices.for_tile * load.largest / prices.largest
    block = prices.for_block * load.block / prices.block
    return Forecast(
        case=case,
        tiles=load.tiles,
        seconds=prices.ready + both + after,
        memory=round(prices.memory + tile + block + min(load.scan, CACHE_BYTES)),
        gpu=prices.gpu,
        disk=round(disk + _FILES),
        room=load.room,
    )


def chunk_bytes(shape: Shape, dtype: np.dtype[Any], tiles: Iterable[Tile]) -> int:
    """Bytes of the chunks of 32³ voxels that ``tiles`` are read from, in a volume of ``shape``."""
    met: npt.NDArray[np.bool_] = np.zeros([-(-side // CHUNK) for side in shape], bool)
    for tile in tiles:
        met[tuple(slice(side.start // CHUNK, -(-side.stop // CHUNK)) for side in tile.read)] = True
    return int(np.count_nonzero(met)) * CHUNK**3 * dtype.itemsize


def in_time(seconds: float) -> str:
    """As people say it: 40 s, 4 min, 3.5 h."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def in_bytes(size: float) -> str:
    """As people say it: 85 MB, 1.2 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(size / 1e6, 0.1):.{0 if size >= 1e7 else 1}f} MB"


def _animal(body: Body, shape: Shape) -> int:
    """Voxels that may be the animal's: in the box, and in the mask where there is one."""
    if body.mask is None:
        return math.prod(extent(body.box))
    coarse = body.mask.coarse
    box = tuple(
        slice(side.start * count // size, max(-(-side.stop * count // size), side.start * count // size + 1))
        for side, size, count in zip(body.box, shape, coarse.shape, strict=True)
    )
    voxels = math.prod(shape) / coarse.size
    return min(round(np.count_nonzero(coarse[box]) * voxels), math.prod(extent(body.box)))


def _shape(sides: Any) -> Shape:
    z, y, x = (int(_number(side)) for side in sides)
    return z, y, x


def _number(value: Any) -> float:
    """Finite, and not negative."""
    number = float(value)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{value!r} is no price")
    return number
