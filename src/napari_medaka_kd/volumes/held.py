"""Held: a lock that holds between machines on a network share, where those of the system may not show."""

from __future__ import annotations

import os
import platform
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BEAT = 10.0  # seconds between two signs of life of who holds it
_SILENT = 120.0  # seconds without one after which a machine is taken for dead; a share may show what is old for 60
_LOOKS_AGAIN = 0.05  # seconds between two looks of who waits


@contextmanager
def held(sign: Path) -> Iterator[None]:
    """Be the only one between the braces, on whatever machine, by the folder ``sign``, which only one can make.

    In it lies a file named after the machine and the process. Of a process of this machine that is gone it is taken
    away at once, of another machine once there was no sign of life for two minutes.

    Raises
    ------
    OSError
        If nothing can be written there.
    """
    token, done = _take(sign), threading.Event()
    try:
        with ThreadPoolExecutor(1, "sign of life") as thread:
            life = thread.submit(_live, token, done)
            try:
                yield
            finally:
                done.set()
                life.result()
    finally:
        _take_away(sign, token)


def _take(sign: Path) -> Path:
    token = sign / f"{_machine()} {os.getpid()} {uuid.uuid4().hex}"
    seen, since = None, time.monotonic()
    while True:
        with suppress(FileExistsError):
            sign.mkdir()
            with suppress(FileNotFoundError):  # someone took it away before the file was there
                token.touch(exist_ok=False)
                return token
        there = _look(sign)
        if there != seen:
            seen, since = there, time.monotonic()
        elif time.monotonic() - since > _SILENT or _is_dead(there[0]):
            _take_away(sign, sign / there[0])
        time.sleep(_LOOKS_AGAIN)


def _live(token: Path, done: threading.Event) -> None:
    """Write another number from time to time: others look at it by their own clocks alone."""
    number = 0
    while not done.wait(_BEAT):
        number += 1
        with suppress(OSError):
            token.write_text(str(number))


def _look(sign: Path) -> tuple[str, bytes]:
    """Who holds it, and their last sign of life; empty where nobody is named yet, or any more."""
    with suppress(OSError):
        for token in sign.iterdir():
            return token.name, token.read_bytes()
    return "", b""


def _is_dead(name: str) -> bool:
    """Whether a process of this machine left it behind."""
    import psutil

    machine, _, process = name.rpartition(" ")[0].rpartition(" ")
    return machine == _machine() and process.isdecimal() and not psutil.pid_exists(int(process))


def _take_away(sign: Path, token: Path) -> None:
    """Of two who do it at once one fails, and whoever has made it anew since keeps it: their file is another one."""
    with suppress(OSError):
        if token != sign:
            token.unlink()
        sign.rmdir()


def _machine() -> str:
    return f"{platform.node()} {uuid.getnode():x}"
