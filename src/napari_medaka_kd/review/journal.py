"""Journal: the strokes of one correction, each on the disk before the next one is made."""

from __future__ import annotations

import json
import logging
import math
import os
import struct
import weakref
import zlib
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.volumes.atomic import in_use, share, sync_folder
from napari_medaka_kd.volumes.volume import extent

from .verdict import ReviewItem

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medaka_kd.volumes.volume import Region

MOST_VOXELS = 64 * 2**20  # of a crop, so that it can be painted in memory
_FORMAT = 1
_HEAD = struct.Struct("<II")  # of a record: bytes that follow, their CRC-32
_STROKE = struct.Struct("<cBI")  # of a stroke: kind, bytes of an id, voxels; then zlib of the places and the ids
_MOST_BYTES = 2**30  # of a record

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Begun:
    """What a journal is about.

    Attributes
    ----------
    checkpoint, labels
        Whose proposal is corrected, and its generation.
    region
        The crop, in voxels of level 0; strokes count its voxels in C order.
    """

    item: ReviewItem
    checkpoint: str
    labels: str
    region: Region
    reviewer: str


@dataclass(frozen=True)
class Stroke:
    """Voxels of the crop, rising flat indices, and the organ ids that they got.

    Attributes
    ----------
    painted
        By hand; else interpolated.
    """

    where: npt.NDArray[np.uint32]
    after: npt.NDArray[Any]
    painted: bool = True


class Move(Enum):
    """A stroke taken back, or brought back."""

    UNDO = b"u"
    REDO = b"r"


Record: TypeAlias = Stroke | Move


class Journal:
    """A file that is only ever appended to; made by :func:`begin_journal` or :func:`open_journal`.

    Attributes
    ----------
    records
        Those that were there when it was opened.
    """

    def __init__(self, path: Path, begun: Begun, records: tuple[Record, ...], end: int) -> None:
        self.path, self.begun, self.records = path, begun, records
        self._end = end
        self._file = path.open("r+b", buffering=0)
        weakref.finalize(self, self._file.close)
        share(self._file)
        self._file.truncate(end)

    def append(self, record: Record) -> None:
        """Write ``record``; it is on the disk when this returns.

        Raises
        ------
        UserError
            If the disk does not take it; the journal is then what it was.
        """
        data = _frame(record.value if isinstance(record, Move) else _pack(record))
        try:
            _write(self._file.fileno(), data, self._end)
        except OSError as error:
            self._file.truncate(self._end)
            raise UserError(
                f"The disk did not take the stroke: {error.strerror or error}.", "Free some space and paint it again."
            ) from error
        self._end += len(data)

    def close(self) -> None:
        self._file.close()

    def remove(self) -> None:
        """Close it and forget what it held."""
        self.close()
        remove_journal(self.path)


def begin_journal(path: Path, begun: Begun) -> Journal:
    """A journal without strokes, durably; whatever was at ``path`` is gone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = _frame(_describe(begun))
    with path.open("wb") as file:
        _write(file.fileno(), data, 0)
    for folder in list(path.parents)[:3]:
        sync_folder(folder)
    return Journal(path, begun, (), len(data))


def open_journal(path: Path) -> Journal | None:
    """The journal at ``path``, to go on with; a record that a crash cut short is dropped. ``None``: there is none.

    Raises
    ------
    UserError
        If it is open already, here or in another program.
    """
    if not path.is_file():
        return None
    if in_use(path):
        raise UserError("This correction is open in another window.", "Finish it there, or close that window.")
    read = read_journal(path)
    return None if read is None else Journal(path, *read)


def read_journal(path: Path) -> tuple[Begun, tuple[Record, ...], int] | None:
    """(what it is about, the whole records, where they end); ``None`` where not even its first record is whole."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        first, end = _next(file, size)
        begun = _understand(first)
        if begun is None:
            return None
        records: list[Record] = []
        while (data := _next(file, size))[0]:
            record = _unpack(data[0], math.prod(extent(begun.region)))
            if record is None:
                break
            records.append(record)
            end = data[1]
    if end < size:
        _log.warning("%s: the last %d bytes are no whole record and are dropped", path, size - end)
    return begun, tuple(records), end


def remove_journal(path: Path) -> None:
    """Forget the journal at ``path``, durably, if there is one."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def _write(handle: int, data: bytes, at: int) -> None:
    os.lseek(handle, at, os.SEEK_SET)
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]
    os.fsync(handle)


def _frame(data: bytes) -> bytes:
    return _HEAD.pack(len(data), zlib.crc32(data)) + data


def _next(file: Any, size: int) -> tuple[bytes, int]:
    """(the next record, where it ends); nothing where none is whole."""
    head = file.read(_HEAD.size)
    if len(head) == _HEAD.size:
        length, checksum = _HEAD.unpack(head)
        if length <= min(_MOST_BYTES, size - file.tell()):
            data = file.read(length)
            if zlib.crc32(data) == checksum:
                return data, file.tell()
    return b"", 0


def _describe(begun: Begun) -> bytes:
    item = {"case": begun.item.case, "organ": begun.item.organ, "slab": begun.item.slab}
    card = {name: getattr(begun, name) for name in ("checkpoint", "labels", "reviewer")}
    region = [[side.start, side.stop] for side in begun.region]
    return json.dumps({"format": _FORMAT, "item": item, **card, "region": region}).encode()


def _understand(data: bytes) -> Begun | None:
    try:
        card = json.loads(data)
        _refuse_newer(card["format"])
        item, slab = card["item"], card["item"]["slab"]
        z, y, x = (slice(int(start), int(stop)) for start, stop in card["region"])
        slices = None if slab is None else (int(slab[0]), int(slab[1]))
        known = ReviewItem(str(item["case"]), int(item["organ"]), slices)
        begun = Begun(known, str(card["checkpoint"]), str(card["labels"]), (z, y, x), str(card["reviewer"]))
        return begun if 0 < math.prod(extent(begun.region)) <= MOST_VOXELS else None
    except (ValueError, LookupError, TypeError):
        return None


def _refuse_newer(made_by: int) -> None:
    if made_by > _FORMAT:
        raise UserError(
            f"A correction was begun in format {made_by}, this version reads up to {_FORMAT}.",
            "Update napari-medaka-kd.",
        )


def _pack(stroke: Stroke) -> bytes:
    """Places as steps from one to the next, which zlib makes small."""
    steps = np.diff(stroke.where, prepend=np.uint32(0)).astype("<u4")
    ids = stroke.after.astype(stroke.after.dtype.newbyteorder("<"))
    head = _STROKE.pack(b"s" if stroke.painted else b"i", ids.dtype.itemsize, len(steps))
    return head + zlib.compress(steps.tobytes() + ids.tobytes(), 1)


def _unpack(data: bytes, voxels: int) -> Record | None:
    """The record that ``data`` is, of a crop of so many ``voxels``; ``None`` where it is none."""
    if data in (Move.UNDO.value, Move.REDO.value):
        return Move(data)
    if len(data) < _STROKE.size:
        return None
    kind, size, count = _STROKE.unpack_from(data)
    if kind not in (b"s", b"i") or size not in (1, 2) or count > voxels:
        return None
    try:
        values = zlib.decompressobj().decompress(data[_STROKE.size :], count * (4 + size) + 1)
    except zlib.error:
        return None
    if len(values) != count * (4 + size):
        return None
    where = np.cumsum(np.frombuffer(values, "<u4", count), dtype=np.uint64)
    if count and where[-1] >= voxels:
        return None
    return Stroke(where.astype(np.uint32), np.frombuffer(values, f"<u{size}", offset=4 * count), kind == b"s")
