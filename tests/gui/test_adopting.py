"""The button that adopts a teacher asks for a file and begins the verb under a free name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from qtpy.QtWidgets import QFileDialog

from napari_medaka_kd.gui.panels.segment import SegmentPanel
from napari_medaka_kd.gui.session import Session
from napari_medaka_kd.project import Project


@pytest.fixture
def begun(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines that were begun, instead of beginning them."""
    lines: list[list[str]] = []
    monkeypatch.setattr(session.board, "start", lambda title, argv: lines.append(list(argv)))
    return lines


@pytest.mark.parametrize(
    ("chosen", "file", "name"),
    [
        ("/nets/liver v2.onnx", "/nets/liver v2.onnx", "liver-v2"),
        ("/nets/spleen_ct/configs/metadata.json", "/nets/spleen_ct", "spleen_ct"),
        ("/old/checkpoints/teacher/checkpoint.json", "/old/checkpoints/teacher", "teacher-2"),
        ("", None, None),
    ],
)
def test_what_is_chosen_is_adopted_under_a_free_name(
    qtbot: Any,
    session: Session,
    make_project: Callable[..., Project],
    begun: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    chosen: str,
    file: str | None,
    name: str | None,
) -> None:
    project = make_project()
    project.checkpoint("teacher").mkdir(parents=True)
    (project.checkpoint("teacher") / "checkpoint.json").write_text("{}")
    session.open_project(project.folder)
    panel = SegmentPanel(session)
    qtbot.addWidget(panel)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (chosen, ""))
    panel.adopt.click()
    folder = str(project.folder)
    assert begun == ([["adopt", folder, str(Path(file)), "--name", name]] if file and name else [])


def test_without_a_project_there_is_nothing_to_adopt_into(qtbot: Any, session: Session) -> None:
    panel = SegmentPanel(session)
    qtbot.addWidget(panel)
    panel.show()
    assert not panel.adopt.isVisible()
