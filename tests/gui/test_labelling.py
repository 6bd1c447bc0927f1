"""The animal on show is given labels in the panel Cases, and these are taken back."""

from typing import Any

import pytest
from qtpy.QtWidgets import QFileDialog

from napari_medaka_kd.gui.labelling import LabelsBox
from napari_medaka_kd.gui.panels.cases import CasesPanel
from napari_medaka_kd.gui.session import Session
from napari_medaka_kd.job import drain
from napari_medaka_kd.workflow.label import label_from


@pytest.fixture
def panel(qtbot: Any, reviewing: Session) -> CasesPanel:
    panel = CasesPanel(reviewing)
    qtbot.addWidget(panel)
    panel.show()
    return panel


def offered(box: LabelsBox) -> list[str]:
    return [part.text() for part in (box.file, box.take, box.back) if part.isVisible()]


FILE, TAKE, BACK = "Labels from a file …", "Take these as its labels", "Take its labels back"


@pytest.mark.parametrize(
    ("case", "checkpoint", "buttons"),
    [
        ("fish-01", "teacher", [FILE, TAKE]),
        ("fish-01", "student", [FILE]),
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


def test_a_file_of_labels_is_asked_for(
    panel: CasesPanel, reviewing: Session, begun: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    reviewing.look_at("fish-01")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("drawn.nii.gz", ""))
    panel.labels.file.click()
    assert begun[0][2:] == ["fish-01", "--labels", "drawn.nii.gz"]
