"""Adopting: a button that takes a network that was made elsewhere as a teacher, in the background."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog

from .parts import button

if TYPE_CHECKING:
    from qtpy.QtWidgets import QPushButton, QWidget

    from .session import Session

_KINDS = "Networks (*.onnx *.ts *.pt *.pth *.safetensors metadata.json checkpoint.json);;All files (*)"
_FOLDERS = {"metadata.json": 1, "checkpoint.json": 0}  # a file that stands for a folder so many above its own


def adopt_button(session: Session, parent: QWidget) -> QPushButton:
    """Asks for a file and begins ``medaka-kd adopt`` with it."""

    def ask() -> None:
        file, _ = QFileDialog.getOpenFileName(parent, "A network that was made elsewhere", filter=_KINDS)
        if file:
            adopt(session, Path(file))

    tip = "ONNX, TorchScript, weights, a MONAI bundle's metadata.json, or a checkpoint.json of ours."
    return button("Adopt a teacher …", ask, tip)


def adopt(session: Session, file: Path) -> None:
    """Begin to adopt ``file``, under a name like its own that is free."""
    project = session.project
    if project is None:
        return
    chosen = file.parents[_FOLDERS[file.name]] if file.name in _FOLDERS else file
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", chosen.stem).strip("-_")[:50] or "adopted"
    numbered = (plain if number == 1 else f"{plain}-{number}" for number in count(1))
    name = next(each for each in numbered if each not in project.checkpoints)
    session.start(f"adopt {chosen.name}", ["adopt", str(project.folder), str(chosen), "--name", name])
