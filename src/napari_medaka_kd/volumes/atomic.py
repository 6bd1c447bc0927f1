"""Writing so that a crash or a power cut leaves the old or the new, never a mixture."""

from __future__ import annotations

import os
import sys
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from napari_medaka_kd.errors import UserError

from .held import held
from .shares import on_share

if TYPE_CHECKING:
    from collections.abc import Iterator


def replace_file(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path``, durably, in one step: temporary file → fsync → replace → fsync of the folder.

    Raises
    ------
    OSError
        If it cannot be written; ``path`` is then what it was, and nothing is left beside it.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Wait until the bytes of ``path`` are on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on the disk; a no-op on Windows, which cannot open folders."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Wait until every file and folder below ``folder``, and itself, is on the disk."""
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            sync_file(Path(place, name))
        sync_folder(Path(place))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the only process between the braces; the lock ends with the process, however it ends.

    On a network share it holds between machines, too; that of a machine that died ends two minutes later.
    """
    if on_share(path.parent):
        with held(path.with_name(f"{path.name}.held")):
            yield
        return
    with path.open("a+b") as file:
        _lock(file, shared=False, wait=True)
        yield


def claim(path: Path) -> IO[bytes]:
    """Be the only one who holds ``path``, until the file that is returned is closed or the process ends.

    Raises
    ------
    OSError
        If someone holds it.
    """
    file = path.open("a+b")
    try:
        _lock(file, shared=False, wait=False)
    except OSError:
        file.close()
        raise
    return file


def claim_writing(target: Path, lock: Path) -> IO[bytes]:
    """:func:`claim` of ``lock`` by who writes ``target``.

    Raises
    ------
    UserError
        If someone else does.
    """
    try:
        return claim(lock)
    except OSError as error:
        raise UserError(f"{str(target)!r} is being written by another process.", "Wait until it is there.") from error


def share(file: IO[bytes]) -> None:
    """Say that ``file`` is in use, until it is closed or the process ends."""
    _lock(file, shared=True, wait=True)


def in_use(path: Path) -> bool:
    """Whether another holder :func:`share`-d the file at ``path``."""
    with path.open("rb") as file:
        try:
            _lock(file, shared=False, wait=False)
        except OSError:
            return True
    return False


if sys.platform == "win32":

    def _lock(file: IO[bytes], shared: bool, wait: bool) -> None:
        """Lock one byte far behind the end; Windows has no shared kind, but refuses to delete open files."""
        import msvcrt

        if not shared:
            file.seek(2**30)
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)

else:

    def _lock(file: IO[bytes], shared: bool, wait: bool) -> None:
        import fcntl

        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
