"""Saving: asks where to, and tells what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog

from napari_medaka_kd.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from .session import Session


def ask_where(parent: QWidget, name: str, kind: str) -> Path | None:
    """Where a person wants a file of that ``kind`` (``Table (*.csv)``); ``None`` if nowhere."""
    chosen, _ = QFileDialog.getSaveFileName(parent, "Save", str(Path.home() / name), kind)
    return Path(chosen) if chosen else None


def save(session: Session, path: Path, write: Callable[[Path], None]) -> None:
    """Have ``write`` make the file, and say so, or what a person can mend."""
    try:
        write(path)
    except UserError as error:
        session.went_wrong.emit(str(error))
    else:
        session.said.emit(f"Saved: {path}")
