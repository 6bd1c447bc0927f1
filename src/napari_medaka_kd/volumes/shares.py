"""Whether a project lies on a network share, where the locks of other machines may not hold."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SHARES = ("nfs", "cifs", "smb", "afp", "9p", "fuse.sshfs", "ncpfs", "webdav", "davfs", "fuse.davfs", "fuse.rclone")


def warn_of_share(folder: Path) -> tuple[str, ...]:
    """A sentence where ``folder`` lies on a network share; nothing on a local disk, or where that cannot be told."""
    kind = network_disk(folder)
    if not kind:
        return ()
    return (
        f"The project lies on a network share ({kind}): let each reviewer's name be used on one machine at a time, for "
        "the locks that two machines need to write the same log may not hold there.",
    )


@cache
def on_share(folder: Path) -> bool:
    """Whether ``folder`` lies on one; asked once, for what is mounted stays so."""
    return bool(network_disk(folder))


def network_disk(folder: Path) -> str:
    """The kind of network file system that ``folder`` lies on; empty for a local one, or where it cannot be told."""
    import psutil

    place = os.path.realpath(folder)
    try:
        mounted = [part for part in psutil.disk_partitions(all=True) if _lies_in(place, part.mountpoint)]
    except OSError:
        return ""
    if not mounted:
        return "a network path" if place.startswith("\\\\") else ""
    nearest = max(mounted, key=lambda part: len(part.mountpoint))  # of two on one place the later one covers the other
    kind = nearest.fstype.lower()
    return kind if kind.startswith(_SHARES) else "a network drive" if "remote" in nearest.opts.split(",") else ""


def _lies_in(place: str, mount: str) -> bool:
    try:
        return os.path.commonpath([place, mount]) == mount
    except ValueError:  # on different drives
        return False
