"""metrics.csv: the figures of a training as they come, one row (step, figure, value) each; readable without torch."""

from __future__ import annotations

import csv
import os
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import BinaryIO

FILE, PREVIEW, STOPPED, STOP = "metrics.csv", "preview.npz", "stopped.json", "stop"
#: How figures of a watch are called: of the network per organ, of its teacher, and over labels that it learns from.
ORGAN, TEACHER, KNOWN = "IoU/", "teacher IoU/", "known IoU"


class Metrics:
    """Writes ``metrics.csv``, live; steps taken twice are listed once."""

    def __init__(self, file: Path, first: int) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for row in read_metrics(file) if row[0] <= first]
        begun = file.with_name(f".{file.name}.partial")
        with begun.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows((("step", "figure", "value"), *kept))
        begun.replace(file)
        self._stream = file.open("a", newline="", encoding="utf-8")
        self._table = csv.writer(self._stream)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add the figures of ``step``."""
        self._table.writerows((step, name, f"{value:.6g}") for name, value in values.items())
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


class MetricsReader:
    """Follows a ``metrics.csv`` that is being written: what was read once is not read again."""

    def __init__(self, file: Path) -> None:
        self._file, self._lock = file, threading.Lock()
        self._inode, self._offset = 0, 0
        self._curves: dict[str, list[tuple[int, float]]] = {}

    def read(self) -> dict[str, tuple[tuple[int, float], ...]]:
        """(step, value) of each figure so far, rising by step; none where there is no file."""
        with self._lock:
            try:
                with self._file.open("rb") as stream:
                    self._take(stream)
            except FileNotFoundError:
                self._forget(0)
            return {figure: tuple(curve) for figure, curve in self._curves.items()}

    def _take(self, stream: BinaryIO) -> None:
        facts = os.fstat(stream.fileno())
        if facts.st_ino != self._inode or facts.st_size < self._offset:  # resumed, or begun anew
            self._forget(facts.st_ino)
        stream.seek(self._offset)
        new = stream.read()
        new = new[: new.rfind(b"\n") + 1]
        self._offset += len(new)
        for step, figure, value in _rows(new.decode()):
            self._curves.setdefault(figure, []).append((step, value))

    def _forget(self, inode: int) -> None:
        self._inode, self._offset, self._curves = inode, 0, {}


def read_metrics(file: Path) -> list[tuple[int, str, float]]:
    """The rows of a ``metrics.csv``; none where there is no file, and a torn last row is left out."""
    if not file.is_file():
        return []
    return _rows(file.read_text("utf-8"))


def is_loss(figure: str) -> bool:
    """Whether a figure is a term of the loss, and not one of a watch."""
    return not figure.startswith((ORGAN, TEACHER, KNOWN))


def _rows(text: str) -> list[tuple[int, str, float]]:
    rows = csv.reader(text.splitlines())
    return [(int(row[0]), row[1], float(row[2])) for row in rows if len(row) == 3 and row[0] != "step"]
