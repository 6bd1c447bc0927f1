"""The panels Cases, Segment and Distil, and the list of tasks: what they show, and what their buttons begin."""

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from qtpy.QtCore import QMimeData, QPoint, Qt, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QPlainTextEdit

from napari_medaka_kd.background.child import Recorder
from napari_medaka_kd.gui.panels.cases import CasesPanel
from napari_medaka_kd.gui.panels.distil import DistilPanel
from napari_medaka_kd.gui.panels.segment import SegmentPanel
from napari_medaka_kd.gui.session import Session
from napari_medaka_kd.gui.tasks import TasksWidget
from napari_medaka_kd.job import Progress
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.project import Project, set_modality
from napari_medaka_kd.segment.cut import Cut
from napari_medaka_kd.segment.kept import kept
from napari_medaka_kd.segment.price import Prices, Written, load_of
from napari_medaka_kd.settings import NetworkSettings, SegmentSettings
from napari_medaka_kd.volumes.phantom import MEDAKA
from napari_medaka_kd.workflow.readiness import readiness

KINDS = [CasesPanel, SegmentPanel, DistilPanel]


@pytest.fixture
def taught(session: Session, make_project: Callable[..., Project]) -> Project:
    """A project open that has a teacher's card, as far as the panels look at it."""
    project = make_project()
    folder = project.checkpoint("teacher")
    folder.mkdir(parents=True)
    card = Checkpoint(name="teacher", network=NetworkSettings(), organs=MEDAKA, trained_on=("labelled-00",))
    (folder / "checkpoint.json").write_text(card.model_dump_json())
    session.open_project(project.folder)
    return project


def shown(qtbot: Any, kind: type[Any], session: Session) -> Any:
    panel = kind(session)
    qtbot.addWidget(panel)
    panel.resize(320, 800)
    panel.show()
    return panel


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_project_it_says_what_to_do(qtbot: Any, session: Session, kind: type[Any]) -> None:
    panel = shown(qtbot, kind, session)
    note = panel.help if hasattr(panel, "help") else panel.empty
    assert note.isVisible()
    assert "project" in note.text()


@pytest.mark.parametrize("kind", KINDS)
def test_it_fits_into_a_narrow_dock(qtbot: Any, session: Session, taught: Project, kind: type[Any]) -> None:
    assert shown(qtbot, kind, session).minimumSizeHint().width() <= 320


def test_animals_are_listed_with_their_state_and_organs(qtbot: Any, session: Session, taught: Project) -> None:
    panel = shown(qtbot, CasesPanel, session)
    table = panel.table
    rows = [[table.item(row, column).text() for column in range(3)] for row in range(table.rowCount())]
    assert [row[0] for row in rows] == ["fish-01", "fish-02", "held-out-03", "labelled-00"]
    assert rows[0][1] == "scored"
    assert rows[2][1] == "held out, labelled"
    assert all(row[2].endswith(" / 12") and not row[2].startswith("0") for row in rows)


def test_choosing_an_animal_shows_it(qtbot: Any, session: Session, taught: Project) -> None:
    panel = shown(qtbot, CasesPanel, session)
    panel.table.selectRow(3)
    assert session.case is not None
    assert session.case.id == "labelled-00"


def test_a_scan_that_is_dropped_is_asked_about_and_then_added(
    qtbot: Any, session: Session, taught: Project, begun: list[list[str]], tmp_path: Path
) -> None:
    panel = shown(qtbot, CasesPanel, session)
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(tmp_path / "fish 7.nii.gz"))])
    action, buttons = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
    panel.dropEvent(QDropEvent(QPoint(5, 5).toPointF(), action, data, buttons, Qt.KeyboardModifier.NoModifier))
    assert panel.scan.isVisible()
    panel.scan.case.setText("fish-7")
    panel.scan.held_out.click()
    panel.scan.size.setText("2, 1, 1")
    panel.scan.add()
    file = str(tmp_path / "fish 7.nii.gz")
    assert begun == [["add", str(taught.folder), file, "--id", "fish-7", "--held-out", "--voxel-size", "2", "1", "1"]]


def test_the_modality_of_a_new_animal_is_asked_and_that_of_others_shown(
    qtbot: Any, session: Session, taught: Project, begun: list[list[str]]
) -> None:
    set_modality(taught.case("labelled-00"), "phase")
    panel = shown(qtbot, CasesPanel, session)
    assert panel.table.item(3, 1).text() == "labelled, phase"
    assert "modality: phase" in panel.table.item(3, 1).toolTip()
    panel.scan.ask(Path("/scans/fish-8"))
    panel.scan.modality.setText("absorption")
    panel.scan.add()
    assert begun == [["add", str(taught.folder), "/scans/fish-8", "--id", "fish-8", "--modality", "absorption"]]


@pytest.mark.parametrize("name", ["fish-8", "fish-8.mha", "fish-8.h5::/entry/data"])
def test_a_new_animal_is_called_like_its_folder_or_file(
    qtbot: Any, session: Session, taught: Project, begun: list[list[str]], name: str
) -> None:
    panel = shown(qtbot, CasesPanel, session)
    panel.scan.ask(Path("/scans") / name)
    assert panel.scan.case.text() == "fish-8"
    panel.scan.add()
    assert begun == [["add", str(taught.folder), f"/scans/{name}", "--id", "fish-8"]]


def test_a_new_project_is_made_of_names(qtbot: Any, session: Session, tmp_path: Path) -> None:
    panel = shown(qtbot, CasesPanel, session)
    panel.new.folder.setText(str(tmp_path / "mice"))
    panel.new.organs.setPlainText("brain, heart\nliver")
    panel.new.make()
    assert session.project is not None
    assert session.project.schema.names == ("brain", "heart", "liver")
    assert "Drop a scan" in panel.help.text()


def test_without_a_teacher_one_is_trained_with_the_projects_knobs(
    qtbot: Any, session: Session, make_project: Callable[..., Project], begun: list[list[str]]
) -> None:
    project = make_project()
    (project.folder / "settings.toml").write_text("[train]\nfit = { steps = 7 }\n")
    session.open_project(project.folder)
    panel = shown(qtbot, SegmentPanel, session)
    assert "Train a teacher" in panel.help.text()
    assert not panel.all.isEnabled()
    panel.train.form.groups["fit"].fields["steps"].widget.setValue(9)
    panel.train.train()
    assert begun == [["train", str(project.folder), "--name", "teacher", "--set", "fit.steps=9"]]
    assert "fit.steps=9" in panel.train.command.text.text()


def test_settings_written_meanwhile_are_in_the_forms_under_what_a_person_turned(
    qtbot: Any, session: Session, taught: Project
) -> None:
    file = taught.folder / "settings.toml"
    segment, distil = shown(qtbot, SegmentPanel, session), shown(qtbot, DistilPanel, session)
    train = segment.train  # a part alone does not keep its panel alive
    distil.forms["rest"].groups["fit"].fields["steps"].widget.setValue(9)
    file.write_text(
        "[train]\nfit = { steps = 7 }\n[distil]\nseed = 4\nfit = { steps = 8 }\nstrategy = { name = 'mean_teacher' }\n"
    )
    session.listen()
    assert train.form.value.fit.steps == 7
    assert "--set" not in train.command.text.text()
    assert (distil.settings.fit.steps, distil.settings.seed) == (9, 4)
    assert distil.settings.strategy.name == "mean_teacher"
    complaints: list[str] = []
    session.went_wrong.connect(complaints.append)
    file.write_text("[train]\nfit = { steps = ")
    session.listen()
    assert all("cannot be read" in words for words in complaints)
    assert complaints
    assert train.form.value.fit.steps == 7


def test_a_field_that_cannot_be_read_stays_while_settings_are_written(
    qtbot: Any, session: Session, taught: Project
) -> None:
    panel = shown(qtbot, DistilPanel, session)
    form = panel.forms["rest"]
    patch, complaints = form.groups["patches"].fields["patch"].widget, list[str]()
    patch.setText("8, many")
    session.went_wrong.connect(complaints.append)
    (taught.folder / "settings.toml").write_text("[distil]\nseed = 4\nfit = { steps = 8 }\n")
    session.listen()
    assert (patch.text(), form.groups["fit"].fields["steps"].read()) == ("8, many", 8)
    assert "many" in complaints[-1]
    patch.setText("1, 16, 16")
    assert (form.value.seed, form.value.patches.patch) == (4, (1, 16, 16))


def test_what_of_the_unreviewed_is_believed_follows_its_knob(qtbot: Any, session: Session, taught: Project) -> None:
    panel = shown(qtbot, DistilPanel, session)
    assert panel.found is not None
    before, knob = panel.found, panel.forms["self_training"].fields["unreviewed"]
    knob.show("accepted")
    assert panel.found is not before
    assert panel.found == readiness(taught, "teacher", "accepted")


def test_segmenting_begins_where_one_looks_and_scores_afterwards(
    qtbot: Any, session: Session, taught: Project, begun: list[list[str]]
) -> None:
    panel = shown(qtbot, SegmentPanel, session)
    session.look_at("fish-02")
    session.look((3.0, 4.0, 5.0))
    panel.segment_all()
    segment, score = begun
    assert segment[:4] == ["segment", str(taught.folder), "--checkpoint", "teacher"]
    assert segment[4:] == ["--first", "fish-02", "--at", "3", "4", "5"]
    assert score == ["score", str(taught.folder), "--checkpoint", "teacher"]
    panel.score.click()
    panel.segment_this()
    assert begun[2][-2:] == ["--case", "fish-02"]
    assert len(begun) == 3


def test_the_doubt_is_shown_from_the_panel_and_the_panel_follows_the_key(
    qtbot: Any, session: Session, taught: Project
) -> None:
    panel = shown(qtbot, SegmentPanel, session)
    panel.doubt.click()
    assert session.overlay == "both"
    session.cycle_overlay()
    assert not panel.doubt.isChecked()


def test_readiness_is_shown_organ_by_organ(qtbot: Any, session: Session, taught: Project) -> None:
    panel = shown(qtbot, DistilPanel, session)
    assert panel.table.rowCount() == 12
    assert panel.start.isEnabled()
    assert "⚠" in panel.warnings.text()


def test_the_command_is_shown_and_begun_as_shown(
    qtbot: Any, session: Session, taught: Project, begun: list[list[str]]
) -> None:
    panel = shown(qtbot, DistilPanel, session)
    panel.forms["self_training"].fields["temperature"].widget.setValue(3.0)
    panel.start.click()
    wanted = ["distil", str(taught.folder), "--teacher", "teacher", "--name", "student"]
    assert begun == [[*wanted, "--strategy", "self_training", "--set", "strategy.temperature=3.0"]]
    assert panel.command.text.text().endswith("strategy.temperature=3.0")


def test_what_a_strategy_lacks_is_said_by_what_its_form_says(
    qtbot: Any, session: Session, make_project: Callable[..., Project]
) -> None:
    project = make_project(labelled=3)
    for case, name in zip(project.cases[-3:], ("phase", "absorption", "mri"), strict=True):
        set_modality(case, name)
    session.open_project(project.folder)
    panel = shown(qtbot, DistilPanel, session)
    panel.strategy.setCurrentIndex(panel.strategy.findData("mutual"))
    panel.strategy.activated.emit(0)
    assert "more than two modalities" in panel.sentence.text()
    assert not panel.start.isEnabled()
    for knob, name in (("target", "phase"), ("assistant", "mri")):
        panel.forms["mutual"].fields[knob].widget.setText(name)
        panel.forms["mutual"].fields[knob].widget.editingFinished.emit()
    assert panel.start.isEnabled()


def test_what_is_missing_goes_to_the_front_of_the_queue(qtbot: Any, session: Session, taught: Project) -> None:
    panel = shown(qtbot, DistilPanel, session)
    wanted = panel.found.review_next
    panel.review.click()
    assert session.review.queue[: len(wanted)] == wanted
    assert session.review.item == wanted[0]


def keep_prices(project: Project, case: str) -> None:
    """As measuring leaves them beside the teacher."""
    cut, written = Cut((64, 64, 64), (8, 8, 8), (4, 4, 4)), Written(1e-8, 1e-8, 0.5)
    costs: dict[str, Any] = {"start": 4.0, "ready": 1.0, "pace": 1e-3, "animal": written, "air": written, "alone": True}
    sizes = {"memory": 300_000_000, "for_tile": 10**8, "for_block": 10**8, "largest": 64**3, "block": 48 * 32 * 32}
    load = load_of(project.case(case).volume, project.case(case).body, project.schema, cut)
    weights = Checkpoint.open(project.checkpoint("teacher")).weights_sha256
    purse = kept(project.checkpoint("teacher"), weights, SegmentSettings())
    purse.keep(load.kind, Prices(cut=cut, computes="an abacus", **costs, **sizes))


def test_the_forecast_stands_by_the_button_as_soon_as_it_was_measured(
    qtbot: Any, session: Session, taught: Project, begun: list[list[str]]
) -> None:
    panel = shown(qtbot, SegmentPanel, session)
    assert session.case is not None
    assert panel.forecast.text.text() == "forecast: press Estimate"
    panel.forecast.estimate.click()
    case = session.case.id
    assert begun == [["forecast", str(taught.folder), "--checkpoint", "teacher", "--case", case, "--again"]]
    keep_prices(taught, case)
    session.data_changed.emit()
    said = panel.forecast.text.text()
    assert said.startswith("about ")
    assert "memory" in said
    assert "disk" in said


def ended_task(project: Project, name: str, said: str) -> Path:
    """A task's folder as it lies there when all went well."""
    folder = project.folder / "tasks" / name
    folder.mkdir(parents=True)
    card = {"title": name, "argv": [name.rpartition("-")[2]], "made": 0.0, "machine": platform.node()}
    (folder / "task.json").write_text(json.dumps(card))
    (folder / "ended.json").write_text(json.dumps({"code": 0, "cancelled": False, "time": 0.0}))
    record = Recorder(folder / "progress.jsonl")
    record(Progress("segment", 0, 1))
    record(Progress("segment", 1, 1, said=said))
    return folder


def test_what_a_task_had_to_change_stays_in_sight_also_when_others_ended_after_it(
    qtbot: Any, session: Session, taught: Project
) -> None:
    first = ended_task(taught, "20260101T000000.000000Z-segment", "tiles of 8 × 8 × 8 voxels: memory was short")
    last = ended_task(taught, "20260101T000001.000000Z-score", "")
    ended_task(taught, "20250101T000001.000000Z-train", "")
    widget = shown(qtbot, TasksWidget, session)
    session.board.follow(taught.folder)
    assert set(widget.rows) == {first, last}
    assert "memory was short" in widget.rows[first].detail.text()
    assert not widget.rows[first].detail.isHidden()
    assert widget.rows[last].detail.isHidden()


def test_tasks_are_listed_until_they_are_dismissed(qtbot: Any, session: Session, taught: Project) -> None:
    widget = shown(qtbot, TasksWidget, session)
    assert widget.rows == {}
    task = session.start("look around", ["status", str(taught.folder)])
    assert task is not None
    (row,) = widget.rows.values()
    assert not row.stop.isHidden()
    qtbot.waitUntil(lambda: task.state == "done", timeout=60_000)
    session.board.take(session.board.tasks)
    assert not row.dismiss.isHidden()
    assert "look around" in row.title.text()
    row.dismiss.click()
    assert widget.rows == {}


def test_what_went_wrong_is_told_in_its_row_and_in_the_log(qtbot: Any, session: Session, taught: Project) -> None:
    widget = shown(qtbot, TasksWidget, session)
    heard: list[str] = []
    hear = heard.append
    session.went_wrong.connect(hear)
    task = session.start("segment", ["segment", str(taught.folder), "--checkpoint", "nobody"])
    assert task is not None
    qtbot.waitUntil(lambda: task.state == "failed", timeout=60_000)
    session.board.take(session.board.tasks)
    (row,) = widget.rows.values()
    assert "There is no checkpoint" in row.detail.text()
    assert "There is no checkpoint" in heard[0]
    row.show_log()
    words = row.findChild(QPlainTextEdit)
    assert "medaka-kd segment" in words.toPlainText()
    words.window().close()
