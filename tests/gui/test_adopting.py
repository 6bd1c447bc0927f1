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
def taught(session: Session, make_project: Callable[..., Project]) -> Project:
    """A project open that has a checkpoint ``teacher``."""
    project = make_project()
    project.checkpoint("teacher").mkdir(parents=True)
    (project.checkpoint("teacher") / "checkpoint.json").write_text("{}")
    session.open_project(project.folder)
    return project


@pytest.mark.parametrize(
    "case",
    [
        ("/nets/liver v2.onnx", "/nets/liver v2.onnx", "liver-v2"),
        ("/nets/spleen_ct/configs/metadata.json", "/nets/spleen_ct", "spleen_ct"),
        ("/old/checkpoints/teacher/checkpoint.json", "/old/checkpoints/teacher", "teacher-2"),
        ("", "", ""),
    ],
)
def test_what_is_chosen_is_adopted_under_a_free_name(
    qtbot: Any, session: Session, taught: Project, begun: list[list[str]], case: tuple[str, str, str]
) -> None:
    chosen, file, name = case
    panel = SegmentPanel(session)
    qtbot.addWidget(panel)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (chosen, ""))
        panel.adopt.click()
    folder = str(taught.folder)
    assert begun == ([["adopt", folder, str(Path(file)), "--name", name]] if file else [])


def test_without_a_project_there_is_nothing_to_adopt_into(qtbot: Any, session: Session) -> None:
    panel = SegmentPanel(session)
    qtbot.addWidget(panel)
    panel.show()
    assert not panel.adopt.isVisible()
