"""The panel Results: what it shows of what is on disk, where its rows lead, what its buttons start and save."""

import csv
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPointF, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton

from napari_medaka_kd.gui.panels.results import ResultsPanel
from napari_medaka_kd.gui.session import Session
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.project import Project, open_project
from napari_medaka_kd.settings import NetworkSettings
from napari_medaka_kd.volumes.label_store import begin_labels
from napari_medaka_kd.volumes.nifti import open_nifti
from napari_medaka_kd.workflow.assess import compare_checkpoints
from napari_medaka_kd.workflow.cohort import measure_cohort
from napari_medaka_kd.workflow.disagree import disagree

SMALL = NetworkSettings(dimensions=2, widths=(4, 8), members=1)
Maker = Callable[..., Project]


def teach(project: Project, name: str, teacher: str = "") -> None:
    history = {"verb": "distil", "teacher": teacher} if teacher else {"verb": "train"}
    card = Checkpoint(name=name, network=SMALL, organs=project.schema, trained_on=("labelled-00",), history=history)
    card.save(build(SMALL, project.schema.classes), project.checkpoint(name))


def propose(project: Project, case: str, name: str, labels: Any) -> None:
    begun = begin_labels(project.case(case).store, name, project.schema, f"{name} {labels.sum()}")
    for number in begun.pending:
        begun.write(number, labels[begun.blocks[number]])
    drain(begun.commit())


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory, make_project_at: Maker) -> Path:
    """A folder with the projects ``taught`` and, where everything was evaluated, compared and measured, ``full``."""
    folder = tmp_path_factory.mktemp("results")
    made = make_project_at(folder / "taught", unlabelled=6)
    teach(made, "teacher")
    teach(made, "student", "teacher")
    for case in made.cases:
        labels = case.labels("teacher").volume.read()
        propose(made, case.id, "student", np.roll(labels, 1, axis=1))
        if case.id == "fish-03":
            largest = int(np.bincount(labels.ravel())[1:].argmax()) + 1
            propose(made, case.id, "teacher", np.where(labels == largest, 0, labels))
    full = open_project(shutil.copytree(made.folder, folder / "full"))
    drain(compare_checkpoints(full, ["teacher", "student"]))
    drain(disagree(full, "student", "teacher"))
    drain(measure_cohort(full, "teacher"))
    return folder


@pytest.fixture
def project(tmp_path: Path, once: Path) -> Project:
    """A teacher and its student, whose labels are the teacher's, shifted; one animal lost its largest organ."""
    return open_project(shutil.copytree(once / "taught", tmp_path / "fish"))


@pytest.fixture
def panel(session: Session, qtbot: Any) -> ResultsPanel:
    made = ResultsPanel(session)
    qtbot.addWidget(made)
    made.resize(400, 1500)
    made.show()
    return made


@pytest.fixture
def full(panel: ResultsPanel, once: Path, tmp_path: Path) -> ResultsPanel:
    """Everything was evaluated, compared and measured."""
    panel.session.open_project(shutil.copytree(once / "full", tmp_path / "full"))
    choose(panel.labels, "teacher")
    return panel


def choose(box: Any, value: str) -> None:
    box.setCurrentIndex(box.findData(value))
    box.activated.emit(box.currentIndex())


def texts(table: Any) -> list[list[str]]:
    model = table.model()
    return [[model.data(model.index(row, c)) for c in range(model.columnCount())] for row in range(model.rowCount())]


class Heard(list[Any]):
    """What a signal said."""

    def hear(self, value: Any) -> None:
        self.append(value)


def said(signal: Any) -> Heard:
    heard = Heard()
    signal.connect(heard.hear)
    return heard


def cancel_all(session: Session) -> list[tuple[str, ...]]:
    """What was started, the oldest first; none of it goes on."""
    tasks = session.board.tasks
    for task in tasks:
        task.cancel()
    return [task.argv for task in tasks]


def test_without_a_project_it_says_where_to_begin(panel: ResultsPanel) -> None:
    assert panel.help.isVisible()
    assert "Cases" in panel.help.text()
    assert not panel.work.isVisible()


def test_without_a_student_it_says_how_to_come_by_one(panel: ResultsPanel, make_project: Maker) -> None:
    project = make_project()
    panel.session.open_project(project.folder)
    assert "distil a student" in panel.state.text()
    teach(project, "teacher")
    panel.session.reload()
    assert "distil a student" in panel.state.text()
    assert not panel.evaluate.isEnabled()
    assert not panel.compare.isEnabled()
    assert panel.measure.isEnabled()


def test_a_new_student_is_chosen_as_soon_as_it_is_there(panel: ResultsPanel, make_project: Maker) -> None:
    project = make_project()
    teach(project, "teacher")
    panel.session.open_project(project.folder)
    teach(project, "student", "teacher")
    panel.session.reload()
    assert (panel.student.currentData(), panel.teacher.currentData()) == ("student", "teacher")
    assert panel.evaluate.isEnabled()
    assert "Press Evaluate" in panel.state.text()


def test_what_a_person_chose_stays(panel: ResultsPanel, project: Project) -> None:
    panel.session.open_project(project.folder)
    choose(panel.student, "teacher")
    choose(panel.teacher, "student")
    teach(project, "another", "student")
    panel.session.reload()
    assert (panel.student.currentData(), panel.teacher.currentData()) == ("teacher", "student")


def test_without_held_out_labels_it_asks_for_some(panel: ResultsPanel, make_project: Maker) -> None:
    project = make_project(held_out=0)
    teach(project, "teacher")
    teach(project, "student", "teacher")
    panel.session.open_project(project.folder)
    assert "held out" in panel.state.text()
    assert not panel.evaluate.isEnabled()


def test_the_card_shows_both_organ_by_organ_and_which_way_it_went(full: ResultsPanel) -> None:
    card = full.report.card
    assert card is not None
    rows = texts(full.report.table)
    assert [row[0] for row in rows] == [*(organ.name for organ in card.organs), "all organs"]
    for row, organ in zip(rows, card.organs, strict=False):
        if organ.gain == organ.gain:
            assert row[1:3] == [f"{100 * organ.teacher:.1f}", f"{100 * organ.student:.1f}"]
            assert row[3][0] == ("▲" if organ.gain > 0.0005 else "▼" if organ.gain < -0.0005 else "=")
    assert card.sentence in full.report.sentence.text()
    assert "parameters" in full.report.costs.text()


@pytest.mark.parametrize("how", ["double click", "enter"])
def test_a_disagreement_leads_to_its_place(full: ResultsPanel, how: str, qtbot: Any) -> None:
    found = full.differences.found
    assert found is not None
    number = next(n for n, row in enumerate(found.rows) if row.item.slab is not None)
    moved = said(full.session.moved)
    table = full.differences.table
    index = table.model().index(number, 0)
    table.scrollTo(index)
    if how == "enter":
        table.setCurrentIndex(index)
        qtbot.keyClick(table, Qt.Key.Key_Return)
    else:
        place = table.visualRect(index).center()
        QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
        QTest.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    row = found.rows[number]
    assert full.session.case is not None
    assert full.session.case.id == row.item.case
    assert moved[-1] == row.place


def test_chosen_disagreements_come_first_in_the_queue(full: ResultsPanel) -> None:
    found = full.differences.found
    assert found is not None
    full.session.use("teacher")
    numbers = [n for n, row in enumerate(found.rows) if row.item.case == "fish-02"][:1]
    full.differences.table.selectRow(numbers[0])
    assert "this one" in full.differences.pin.text()
    full.differences.pin.click()
    assert full.session.review.queue[0] == found.rows[numbers[0]].item


def test_with_nothing_chosen_the_top_goes_and_what_cannot_be_reviewed_is_told(full: ResultsPanel) -> None:
    found = full.differences.found
    assert found is not None
    heard = said(full.session.said)
    assert "top 10" in full.differences.pin.text()
    full.differences.pin.click()
    reviewed = [row.item for row in found.rows[:10] if row.item.case.startswith("fish")]
    assert list(full.session.review.queue[: len(reviewed)]) == reviewed
    assert heard[-1].startswith(f"{len(reviewed)} put first")
    assert ("held out" in heard[-1]) == (len(reviewed) < 10)


def test_the_labels_of_the_other_are_a_button_away_at_the_same_place(full: ResultsPanel) -> None:
    full.session.use("teacher")
    full.differences.go_to(0)
    moved = said(full.session.moved)
    assert "student's" in full.differences.flip.text()
    full.differences.flip.click()
    assert full.session.checkpoint == "student"
    assert full.differences.found is not None
    assert moved[-1] == full.differences.found.rows[0].place
    full.differences.flip.click()
    assert full.session.checkpoint == "teacher"


def test_what_is_selected_stays_so_when_something_else_is_new(full: ResultsPanel) -> None:
    full.differences.table.selectRow(2)
    full.session.reload()
    assert full.differences.table.chosen() == (2,)


def test_labels_made_since_are_told(full: ResultsPanel) -> None:
    assert full.session.project is not None
    propose(full.session.project, "fish-02", "teacher", np.zeros((48, 32, 32), np.uint8))
    full.session.reload()
    assert "look again" in full.differences.state.text()
    assert "measure again" in full.cohort.state.text()


def test_the_lost_organ_comes_first_in_the_cohort_and_leads_to_its_animal(full: ResultsPanel) -> None:
    first = texts(full.cohort.table)[0]
    assert (first[1], first[3]) == ("fish-03", "missing")
    full.cohort.table.opened.emit(0)
    assert full.session.case is not None
    assert full.session.case.id == "fish-03"


def test_a_click_on_a_mark_of_the_plot_leads_to_its_animal(full: ResultsPanel, qtbot: Any) -> None:
    plot = full.cohort.plot
    assert plot is not None
    qtbot.waitUntil(lambda: plot.width() > 100)
    dot = next(point for point in plot.dots.points() if point.data().kind == "missing")
    moved = said(full.session.moved)

    def click() -> bool:
        """The plot may still grow to its place: it is aimed at anew."""
        place = plot.mapFromScene(plot.dots.mapToScene(QPointF(dot.pos())))
        QTest.mouseMove(plot.viewport(), place)
        QTest.mouseClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=place)
        return bool(moved)

    qtbot.waitUntil(click, timeout=20_000)
    assert moved[-1] == dot.data().centre
    assert full.session.case is not None
    assert full.session.case.id == "fish-03"


def test_every_organ_that_was_found_has_a_mark(full: ResultsPanel) -> None:
    cohort = full.cohort.cohort
    assert cohort is not None
    drawn = [(point.data().case, point.data().organ) for point in full.cohort.plot.dots.points()]
    wanted = [(row.case, row.organ) for row in cohort.rows if row.volume_um3 or row.kind]
    assert sorted(drawn) == sorted(wanted)


def test_one_organ_can_be_listed_alone(full: ResultsPanel) -> None:
    choose(full.cohort.organ, "heart")
    assert {row[0] for row in texts(full.cohort.table)} == {"heart"}
    assert len(texts(full.cohort.table)) == len(full.session.project.cases if full.session.project else ())


def test_tables_the_report_and_labels_are_saved(full: ResultsPanel, tmp_path: Path, qtbot: Any) -> None:
    heard = said(full.session.said)
    full.report.save_table(tmp_path / "card.csv")
    full.report.save_page(tmp_path / "card.html")
    full.cohort.save_table(tmp_path / "cohort.csv")
    full.session.look_at("fish-02")
    full.save_labels(tmp_path / "organs.nii.gz")
    with (tmp_path / "card.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == 13
    assert (tmp_path / "card.html").read_text("utf-8").startswith("<!")
    assert full.session.project is not None
    labels = full.session.project.case("fish-02").labels("teacher").volume.read()
    qtbot.waitUntil(lambda: (tmp_path / "organs.nii.gz").is_file())
    assert np.array_equal(open_nifti(tmp_path / "organs.nii.gz", "organs").read(), labels)
    assert [words for words in heard if words.startswith("Saved")][-1] == f"Saved: {tmp_path / 'organs.nii.gz'}"


def test_where_nothing_can_be_saved_that_is_told(full: ResultsPanel, tmp_path: Path) -> None:
    wrong = said(full.session.went_wrong)
    full.cohort.save_table(tmp_path / "nowhere" / "a.csv")
    full.save_labels(tmp_path / "nowhere" / "a.nii.gz")
    assert ["cannot be written" in words for words in wrong] == [True, True]


def test_evaluation_is_begun_by_segmenting_what_lacks_labels(panel: ResultsPanel, make_project: Maker) -> None:
    project = make_project()
    teach(project, "teacher")
    teach(project, "student", "teacher")
    panel.session.open_project(project.folder)
    panel.evaluate.click()
    folder = str(project.folder)
    assert cancel_all(panel.session) == [
        ("segment", folder, "--checkpoint", "student", "--case", "held-out-03"),
        ("evaluate", folder, "--checkpoint", "student", "--against", "teacher"),
    ]


def test_disagreements_are_looked_for_in_all_animals_but_those_trained_on(
    panel: ResultsPanel, make_project: Maker
) -> None:
    project = make_project()
    teach(project, "teacher")
    teach(project, "student", "teacher")
    panel.session.open_project(project.folder)
    panel.compare.click()
    folder = str(project.folder)
    assert not panel.compare.isEnabled()
    cases = [word for case in ("fish-01", "fish-02", "held-out-03") for word in ("--case", case)]
    assert cancel_all(panel.session) == [
        ("segment", folder, "--checkpoint", "student", *cases),
        ("disagree", folder, "--checkpoint", "student", "--against", "teacher"),
    ]


def test_the_cohort_is_measured_in_the_background_and_shown(panel: ResultsPanel, project: Project, qtbot: Any) -> None:
    panel.session.open_project(project.folder)
    choose(panel.labels, "teacher")
    panel.measure.click()
    assert not panel.measure.isEnabled()

    def measured() -> bool:
        from napari_medaka_kd.background import tasks

        panel.session.board.take(tasks(project.folder))
        return panel.cohort.cohort is not None

    qtbot.waitUntil(measured, timeout=60_000)
    assert panel.cohort.table.isVisible()
    assert panel.measure.isEnabled()


def test_out_of_sight_it_reads_nothing_and_shows_all_when_it_comes_up(
    session: Session, project: Project, qtbot: Any
) -> None:
    drain(measure_cohort(project, "student"))
    panel = ResultsPanel(session)
    qtbot.addWidget(panel)
    session.open_project(project.folder)
    assert panel.cohort.cohort is None
    panel.show()
    assert panel.cohort.cohort is not None


def test_closing_the_project_empties_it(full: ResultsPanel) -> None:
    full.session.close()
    assert not full.work.isVisible()
    assert full.help.isVisible()


@pytest.mark.parametrize("larger", [1.0, 1.5])
def test_it_fits_the_dock_and_no_button_takes_the_keys(full: ResultsPanel, larger: float, qapp: Any) -> None:
    font = full.font()
    font.setPointSizeF(font.pointSizeF() * larger)
    full.setFont(font)
    qapp.processEvents()
    assert full.minimumSizeHint().width() <= 300
    buttons = full.findChildren(QAbstractButton)
    named = [button for button in buttons if button.text()]
    assert len(named) >= 9
    assert all(button.focusPolicy() == Qt.FocusPolicy.NoFocus for button in named)


def test_plots_are_loaded_when_there_is_something_to_plot() -> None:
    program = (
        "import sys; import napari_medaka_kd.gui.panels.results; "
        "print([m for m in ('pyqtgraph', 'torch', 'napari') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
