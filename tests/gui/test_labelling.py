"""The animal on show is given labels in the panel Cases, and these are taken back."""

from collections.abc import Callable
from typing import Any

import pytest
from qtpy.QtWidgets import QFileDialog

from napari_medaka_kd.gui.labelling import LabelsBox
from napari_medaka_kd.gui.panels.cases import CasesPanel
from napari_medaka_kd.gui.panels.review import ReviewPanel
from napari_medaka_kd.gui.session import Session
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import Project
from napari_medaka_kd.workflow.label import label_from, take_back


@pytest.fixture
def panel(qtbot: Any, reviewing: Session) -> CasesPanel:
    panel = CasesPanel(reviewing)
    qtbot.addWidget(panel)
    panel.show()
    return panel


def offered(box: LabelsBox) -> list[str]:
    return [part.text() for part in (box.file, box.folder, box.take, box.back) if part.isVisible()]


FILE, FOLDER = "Labels from a file …", "Labels from a folder …"
TAKE, BACK = "Take these as its labels", "Take its labels back"


@pytest.mark.parametrize(
    ("case", "checkpoint", "buttons"),
    [
        ("fish-01", "teacher", [FILE, FOLDER, TAKE]),
        ("fish-01", "student", [FILE, FOLDER]),
        ("labelled-00", "teacher", []),
    ],
)
def test_what_the_animal_on_show_has_a_use_for_is_offered(
    panel: CasesPanel, reviewing: Session, case: str, checkpoint: str, buttons: list[str]
) -> None:
    reviewing.look_at(case)
    reviewing.use(checkpoint)
    assert offered(panel.labels) == buttons


def test_labels_that_were_taken_are_taken_back_by_the_button_in_its_place(
    panel: CasesPanel, reviewing: Session, begun: list[list[str]]
) -> None:
    assert reviewing.project is not None
    reviewing.look_at("fish-01")
    panel.labels.take.click()
    folder = str(reviewing.project.folder)
    assert begun == [["label", folder, "fish-01", "--from", "teacher"]]
    drain(label_from(reviewing.project, "fish-01", "teacher"))
    reviewing.reload()
    assert offered(panel.labels) == [BACK]
    assert "taken from 'teacher'" in panel.labels.state.text()
    panel.labels.back.click()
    assert begun[1:] == [["label", folder, "fish-01", "--take-back"]]


@pytest.mark.parametrize("others", [1, 0])
def test_an_animal_that_has_labels_now_is_under_review_no_more(
    qtbot: Any, session: Session, make_project: Callable[..., Project], others: int
) -> None:
    project = make_project(unlabelled=1 + others)
    session.open_project(project.folder)
    panel, wrong = ReviewPanel(session), list[str]()
    qtbot.addWidget(panel)
    panel.show()
    session.went_wrong.connect(wrong.append)
    session.review.show(next(item for item in session.review.queue if item.case == "fish-01"))
    drain(label_from(project, "fish-01", "teacher"))
    with qtbot.waitSignal(session.data_changed):
        session.reload()
    assert {item.case for item in session.review.queue} == {f"fish-{2 + n:02d}" for n in range(others)}
    assert session.review.item is None
    assert not session.review.selection
    assert wrong == []
    take_back(project, "fish-01")
    session.reload()
    assert "fish-01" in {item.case for item in session.review.queue}


def test_a_file_or_a_folder_of_labels_is_asked_for(
    panel: CasesPanel, reviewing: Session, begun: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    reviewing.look_at("fish-01")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("drawn.nii.gz", ""))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "")
    panel.labels.file.click()
    panel.labels.folder.click()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "drawn.ome.zarr")
    panel.labels.folder.click()
    assert [argv[2:] for argv in begun] == [
        ["fish-01", "--labels", "drawn.nii.gz"],
        ["fish-01", "--labels", "drawn.ome.zarr"],
    ]
