"""Review packs in the dock: what the buttons begin, and that a pack which is opened or dropped is a project."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from qtpy.QtCore import QMimeData, QPoint, Qt, QUrl
from qtpy.QtGui import QDropEvent

from napari_medaka_kd.gui.packs import open_any
from napari_medaka_kd.gui.panels.cases import CasesPanel
from napari_medaka_kd.gui.projects import read_project
from napari_medaka_kd.gui.session import Session
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import Project
from napari_medaka_kd.review import read_verdicts
from napari_medaka_kd.workflow.merge import merge
from napari_medaka_kd.workflow.pack import Wanted, pack


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    return make_project(labelled=0, held_out=0)


@pytest.fixture
def file(project: Project, tmp_path: Path) -> Path:
    drain(pack(project, tmp_path / "x.pack.zip", Wanted(items=4)))
    return tmp_path / "x.pack.zip"


@pytest.fixture
def begun(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines that were begun, instead of beginning them."""
    lines: list[list[str]] = []
    monkeypatch.setattr(session.board, "start", lambda title, argv: lines.append(list(argv)))
    return lines


def shown(qtbot: Any, session: Session) -> CasesPanel:
    panel = CasesPanel(session)
    qtbot.addWidget(panel)
    panel.resize(320, 800)
    panel.show()
    return panel


def test_the_form_shows_and_begins_the_command_line(
    qtbot: Any, session: Session, project: Project, begun: list[list[str]]
) -> None:
    session.open_project(project.folder)
    packs = shown(qtbot, session).packs
    packs.pack.click()
    packs.form.file.setText("/tmp/a.pack.zip")
    packs.form.items.setValue(12)
    packs.form.case.setCurrentText("fish-01")
    line = ["pack", str(project.folder), "/tmp/a.pack.zip", "--checkpoint", "teacher", "--items", "12"]
    packs.form.make()
    assert begun == [[*line, "--order", "mixed", "--limit", "500", "--case", "fish-01"]]
    assert not packs.form.isVisible()
    packs.bring_home(Path("/tmp/back.zip"))
    assert begun[-1] == ["merge", str(project.folder), "/tmp/back.zip"]


def test_it_fits_into_a_narrow_dock(qtbot: Any, session: Session, project: Project) -> None:
    session.open_project(project.folder)
    panel = shown(qtbot, session)
    panel.packs.pack.click()
    assert panel.minimumSizeHint().width() <= 320


def test_without_a_project_a_pack_can_be_dropped_and_reviewed_and_its_verdicts_sent_back(
    qtbot: Any, session: Session, project: Project, file: Path, begun: list[list[str]]
) -> None:
    panel = shown(qtbot, session)
    assert panel.packs.open.isVisible()
    assert not panel.packs.pack.isVisible()
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(file))])
    action, buttons = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
    panel.dropEvent(QDropEvent(QPoint(5, 5).toPointF(), action, data, buttons, Qt.KeyboardModifier.NoModifier))
    assert session.project is not None
    assert session.project.folder == file.parent / "x"
    assert len(session.review.queue) == 4
    assert not panel.packs.merge.isVisible()
    assert panel.packs.pack.text() == "Send verdicts back …"
    session.begin_review()
    session.judge("accepted")
    panel.packs.send_back(file.parent / "back.zip")
    assert begun == [["pack", str(session.project.folder), str(file.parent / "back.zip")]]
    drain(merge(project, session.project.folder))
    assert [verdict.reviewer for verdict in read_verdicts(project.review_folder)] == ["ada"]


def test_in_a_pack_painting_is_refused_with_a_sentence(session: Session, file: Path) -> None:
    told: list[str] = []
    session.went_wrong.connect(told.append)
    open_any(session, file)
    session.begin_review()
    session.correct()
    assert session.correcting.now is None
    assert "painted in a review pack" in told[0]


def test_what_is_no_pack_is_told(session: Session, tmp_path: Path) -> None:
    told: list[str] = []
    session.went_wrong.connect(told.append)
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 and no more")
    open_any(session, tmp_path / "bad.zip")
    open_any(session, tmp_path / "none.zip")
    assert "cannot be read" in told[0]
    assert "not a project" in told[1]
    assert session.project is None


def test_napari_opens_a_pack_by_its_name(file: Path) -> None:
    reader = read_project(str(file))
    assert reader is not None
    image, labels, *_ = reader(str(file))
    assert (image[1]["name"], image[2], labels[2]) == ("fish-00", "image", "labels")
    assert (file.parent / "x" / "pack.json").is_file()
    assert read_project(str(file.with_name("none.pack.zip"))) is None
