"""Archives: zip files as zipped OME-Zarr wants them; those of others are judged before a byte of them is unpacked.

As RFC 9 of OME-NGFF has it: nothing is compressed twice, ``zarr.json`` files come first, the root's before all others.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
import unicodedata
import zipfile
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

from napari_medaka_kd.job import Progress

from .atomic import sync_file, sync_folder
from .gate import refusing
from .save import check_space, refuse_existing
from .store_array import writing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from napari_medaka_kd.job import Job

MOST_MEMBERS, MOST_BYTES = 50_000, 64 * 2**30  # of an archive that is believed
_MOST_AT_ONCE = 8 * 2**20  # bytes that zipfile may ask for at a time: its whole directory
_RATIO, _SMALL = 100, 2**20  # a member above so many bytes may be packed to no less than a hundredth
_PIECE = 2**20
_LOCK = ".lock"  # says who is writing, here and now
_NAME_BYTES = 1024
_PART = re.compile(r"(?!(?i:con|prn|aux|nul|com\d|lpt\d)(?:\.|$))[\w.~@][\w .~@-]{0,127}(?<![ .])")
_REMEDY = "Ask whoever sent it to make it again."
_COMMENT = {"ome": {"version": "0.5", "zipFile": {"centralDirectory": {"jsonFirst": True}}}}


def write_archive(folder: Path, target: Path) -> Job[int]:
    """Put all files in ``folder`` into the zip file ``target``, which is there wholly or not at all; its size in bytes.

    Raises
    ------
    UserError
        If ``target`` is there already, or the disk does not take it.
    """
    refuse_existing(target)
    there = [path for path in folder.rglob("*") if path.is_file() and path.name != _LOCK]
    files = sorted(there, key=lambda path: _place(path, folder))
    partial = target.with_name(f".{target.name}.partial")
    try:
        with writing(), partial.open("wb") as raw, _new_zip(raw) as archive:
            archive.comment = json.dumps(_COMMENT).encode()
            for done, file in enumerate(files):
                yield Progress(f"Writing {target.name}", done, len(files))
                archive.write(file, file.relative_to(folder).as_posix())
        with writing():
            sync_file(partial)
        refuse_existing(target)
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(target.parent)
    return target.stat().st_size


class Archive:
    """A zip file whose directory was judged; made by :func:`open_archive`.

    Attributes
    ----------
    sizes
        Of its files, by name, in bytes once unpacked.
    """

    def __init__(self, path: Path, opened: zipfile.ZipFile) -> None:
        self.path, self._zip = path, opened
        self._members = _judge(opened, path)
        self.sizes: Mapping[str, int] = {name: info.file_size for name, info in self._members.items()}

    def read(self, name: str) -> bytes:
        """The file of that name; the caller has looked at its size.

        Raises
        ------
        InvalidVolume
            If there is none, or it is not what was packed.
        """
        return b"".join(self._pieces(name))

    def unpack(self, folder: Path, names: Iterable[str]) -> Job[None]:
        """Write the files ``names`` below ``folder``, an empty one.

        Raises
        ------
        InvalidVolume
            If one is not what was packed.
        UserError
            If the disk has no room for them.
        """
        wanted = tuple(names)
        check_space(folder, sum(self.sizes[name] for name in wanted))
        for done, name in enumerate(wanted):
            yield Progress(f"Unpacking {self.path.name}", done, len(wanted))
            file = folder.joinpath(*name.split("/"))
            with writing():
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("xb") as opened:
                    for piece in self._pieces(name):
                        opened.write(piece)

    def _pieces(self, name: str) -> Iterator[bytes]:
        """Its bytes, a little at a time, never more than its directory promised."""
        with refusing(str(self.path), _REMEDY), self._zip.open(self._members[name]) as member:
            left = self._members[name].file_size
            while left:
                piece = member.read(min(_PIECE, left))
                if not piece:
                    raise ValueError(f"{name!r} is shorter than it says")
                left -= len(piece)
                yield piece
            member.read(1)  # checks the sum


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open the zip file at ``path`` and judge its directory; nothing of it is unpacked.

    Raises
    ------
    InvalidVolume
        If it is no zip file, or damaged, or anything in it leads out of a folder, is a link, is encrypted, is there
        twice, or would become larger than its size can explain.
    """
    with refusing(str(path), _REMEDY):
        raw = _Frugal(path)
    with raw:
        with refusing(str(path), _REMEDY):
            opened = zipfile.ZipFile(raw)
            archive = Archive(path, opened)
        with opened:
            yield archive


class _Frugal(io.FileIO):
    """A file that gives no more than 8 MiB at a time: zipfile believes what a file says of its directory's size."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(self._size - self.tell(), 0)
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > _MOST_AT_ONCE:
            raise ValueError("its directory is larger than any of ours")
        return super().read(wanted) or b""


def _judge(opened: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The files by name, all of them harmless."""
    infos = opened.infolist()
    if len(infos) > MOST_MEMBERS:
        raise ValueError(f"it holds {len(infos)} files, more than {MOST_MEMBERS}")
    for info in infos:
        _judge_member(info)
    if sum(info.compress_size for info in infos) > path.stat().st_size:
        raise ValueError("its files lie over one another")
    if sum(info.file_size for info in infos) > MOST_BYTES:
        raise ValueError(f"unpacked it would take more than {MOST_BYTES // 2**30} GiB")
    files = [info for info in infos if not info.is_dir()]
    alike = {unicodedata.normalize("NFC", info.orig_filename).casefold() for info in files}
    if len(alike) < len(files):
        raise ValueError("two of its files are called alike")
    return {info.orig_filename: info for info in files}


def _judge_member(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    parts = name.removesuffix("/").split("/")
    if len(name.encode()) > _NAME_BYTES or not all(_PART.fullmatch(part) for part in parts):
        raise ValueError(f"it holds a file called {name[:80]!r}, which could lead out of its folder")
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ValueError(f"{name!r} is a link or a device")
    if info.flag_bits & 1:
        raise ValueError(f"{name!r} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name!r} is packed in a way that nobody needs")
    if info.file_size > max(_SMALL, _RATIO * info.compress_size):
        raise ValueError(f"{name!r} would become {info.file_size:,} bytes from {info.compress_size:,}")


def _new_zip(raw: IO[bytes]) -> zipfile.ZipFile:
    return zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED, strict_timestamps=False)


def _place(path: Path, folder: Path) -> tuple[int, int, str]:
    """Metadata first, the upper before the lower."""
    name = path.relative_to(folder)
    return (0, len(name.parts), name.as_posix()) if path.name == "zarr.json" else (1, 0, name.as_posix())


def is_archive(path: Path) -> bool:
    """Whether the file at ``path`` begins as a zip file does."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"
    return False
