"""The session, without Qt and napari: what a person does in the window, and what comes of it on disk."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_medaka_kd.background import PENDING, Task, tasks
from napari_medaka_kd.background.task import PROGRESS, note_process
from napari_medaka_kd.gui.remembered import Remembered
from napari_medaka_kd.gui.session import Session
from napari_medaka_kd.project import Project
from napari_medaka_kd.review import read_verdicts
from napari_medaka_kd.volumes.growing import looked_at
from napari_medaka_kd.volumes.label_store import begin_labels


class Heard(list[Any]):
    """What a signal said."""

    def hear(self, *values: Any) -> None:
        self.append(values[0] if len(values) == 1 else values)


def decisions(session: Session) -> list[str]:
    assert session.project is not None
    return [str(verdict.decision) for verdict in read_verdicts(session.project.review_folder)]


def test_it_knows_neither_qt_nor_napari_nor_torch() -> None:
    program = (
        "import sys; import napari_medaka_kd.gui.session; "
        "print([m for m in ('napari', 'qtpy', 'PyQt6', 'torch') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_opening_a_project_shows_a_case_its_proposals_and_the_first_of_the_queue(reviewing: Session) -> None:
    assert reviewing.checkpoint == "teacher"
    assert reviewing.review.queue
    assert reviewing.review.item == reviewing.review.queue[0]
    assert reviewing.case is not None
    assert reviewing.case.id == reviewing.review.item.case


def test_what_is_no_project_is_told_and_not_raised(session: Session, tmp_path: Path) -> None:
    heard = Heard()
    session.went_wrong.connect(heard.hear)
    session.open_project(tmp_path)
    assert "is not a project" in heard[0]
    assert session.project is None


def test_a_verdict_is_on_the_disk_and_the_next_item_on_show(reviewing: Session) -> None:
    first, second = reviewing.review.queue[:2]
    reviewing.judge("accepted")
    assert decisions(reviewing) == ["accepted"]
    assert reviewing.review.item == second
    assert first not in reviewing.review.queue


def test_undo_takes_the_verdict_back_and_shows_its_item_again(reviewing: Session) -> None:
    first = reviewing.review.item
    reviewing.judge("rejected")
    reviewing.undo()
    assert decisions(reviewing) == ["rejected", "undone"]
    assert reviewing.review.item == first
    assert first in reviewing.review.queue


def test_without_a_verdict_of_ones_own_there_is_nothing_to_undo(reviewing: Session) -> None:
    heard = Heard()
    reviewing.said.connect(heard.hear)
    reviewing.undo()
    assert heard == ["There is no verdict of yours to take back."]


def test_next_and_back_end_where_they_began_and_go_round(reviewing: Session) -> None:
    queue = reviewing.review.queue
    reviewing.step(1)
    reviewing.step(-1)
    assert reviewing.review.item == queue[0]
    reviewing.step(-1)
    assert reviewing.review.item == queue[-1]


def test_an_item_of_another_animal_brings_its_case(reviewing: Session) -> None:
    assert reviewing.case is not None
    other = next(item for item in reviewing.review.queue if item.case != reviewing.case.id)
    reviewing.show(other)
    assert reviewing.case.id == other.case


def test_one_word_covers_all_that_is_marked(reviewing: Session) -> None:
    marked = reviewing.review.queue[:3]
    reviewing.review.select(marked)
    reviewing.judge("accepted")
    assert decisions(reviewing) == ["accepted"] * 3
    assert not set(marked) & set(reviewing.review.queue)


def test_reasons_are_kept_with_the_verdict_before(reviewing: Session) -> None:
    reviewing.judge("rejected")
    reviewing.review.amend(["spills over"])
    assert reviewing.project is not None
    assert read_verdicts(reviewing.project.review_folder)[-1].reasons == ("spills over",)


def test_another_reviewers_word_takes_the_item_out_of_ones_own_queue(reviewing: Session, tmp_path: Path) -> None:
    other = Session(Remembered(tmp_path / "other.json"), reviewer="bob")
    assert reviewing.project is not None
    other.open_project(reviewing.project.folder)
    judged = other.review.queue[3]
    other.show(judged)
    other.judge("accepted")
    reviewing.listen()
    assert judged not in reviewing.review.queue
    other.close()


def test_the_next_time_the_same_item_is_on_show(reviewing: Session) -> None:
    assert reviewing.project is not None
    folder, wanted = reviewing.project.folder, reviewing.review.queue[5]
    reviewing.show(wanted)
    reviewing.close()
    reviewing.open_project(folder)
    assert reviewing.review.item == wanted
    assert reviewing.recent == (folder,)


def test_a_correction_is_painted_undone_redone_and_committed(reviewing: Session) -> None:
    item = reviewing.review.item
    reviewing.correct()
    crop = reviewing.correcting.now
    assert crop is not None
    assert item is not None
    before = crop.labels.copy()
    painted = before.copy()
    painted[:, :4, :4] = item.organ
    reviewing.correcting.record(painted)
    reviewing.undo()
    assert np.array_equal(crop.labels, before)
    reviewing.correcting.redo()
    assert np.array_equal(crop.labels, painted)
    region = crop.region
    reviewing.commit()
    assert reviewing.correcting.now is None
    assert "corrected" in decisions(reviewing)
    assert reviewing.case is not None
    case = reviewing.project.case(item.case) if reviewing.project else None
    assert case is not None
    assert np.array_equal(case.labels("reviewed").volume.read(region), painted)


def test_while_correcting_verdicts_and_other_items_wait(reviewing: Session) -> None:
    heard = Heard()
    reviewing.went_wrong.connect(heard.hear)
    item = reviewing.review.item
    reviewing.correct()
    reviewing.judge("accepted")
    reviewing.step(1)
    assert len(heard) == 2
    assert reviewing.review.item == item
    assert decisions(reviewing) == []
    reviewing.correcting.abandon()


def test_a_correction_left_open_comes_back_with_its_strokes(reviewing: Session) -> None:
    assert reviewing.project is not None
    folder, item = reviewing.project.folder, reviewing.review.item
    assert item is not None
    reviewing.correct()
    assert reviewing.correcting.now is not None
    painted = reviewing.correcting.now.labels.copy()
    painted[0, :5, :5] = item.organ
    reviewing.correcting.record(painted)
    reviewing.close()
    reviewing.open_project(folder)
    reviewing.show(item)
    reviewing.correct()
    assert np.array_equal(reviewing.correcting.now.labels, painted)


def test_the_place_of_an_item_lies_in_its_slab(reviewing: Session) -> None:
    for item in reviewing.review.queue[:6]:
        z, _, _ = reviewing.place(item).centre
        assert item.slab is not None
        assert item.slab[0] <= z <= item.slab[1]


@pytest.mark.parametrize("organ", [0, 3])
def test_going_somewhere_shows_the_case_and_the_organ_there(reviewing: Session, organ: int) -> None:
    went = Heard()
    reviewing.moved.connect(went.hear)
    item = next((i for i in reviewing.review.known if i.organ == organ), reviewing.review.queue[-1])
    assert item.slab is not None
    point = (float(item.slab[0]), 5.0, 6.0)
    reviewing.go_to(item.case, point, item.organ)
    assert reviewing.review.item == item
    assert went[-1] == point


def test_closing_leaves_nothing_on_show(reviewing: Session, make_project: Callable[..., Project]) -> None:
    reviewing.close()
    assert (reviewing.project, reviewing.case, reviewing.review.item) == (None, None, None)
    reviewing.open_project(make_project(name="other").folder)
    assert reviewing.review.queue


def test_a_damaged_memory_is_no_reason_to_stop(tmp_path: Path) -> None:
    file = tmp_path / "remembered.json"
    file.write_text("{", "utf-8")
    remembered = Remembered(file)
    assert remembered.projects() == ()
    remembered.keep(tmp_path, {"case": "a"})
    assert remembered.recall(tmp_path) == {"case": "a"}


REVIEWER = """
import sys
from pathlib import Path
from napari_medaka_kd.background import PENDING, tasks
from napari_medaka_kd.gui.remembered import Remembered
from napari_medaka_kd.gui.session import Session
session = Session(Remembered(Path(sys.argv[2])), reviewer="ada")
session.open_project(Path(sys.argv[1]))
while session.review.queue:
    session.judge("accepted")
    print("said", flush=True)
"""


def test_killed_between_any_two_verdicts_none_is_lost(make_project: Callable[..., Project], tmp_path: Path) -> None:
    folder, said = make_project(unlabelled=3).folder, 0
    for number in range(1, 6):
        command = [sys.executable, "-c", REVIEWER, str(folder), str(tmp_path / "memory.json")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reviewer:
            assert reviewer.stdout is not None
            for _ in range(number):
                said += bool(reviewer.stdout.readline())
            reviewer.kill()
            said += len(reviewer.stdout.read().splitlines())
        kept = [verdict for verdict in read_verdicts(folder / "review") if verdict.decision == "accepted"]
        assert len(kept) >= said
        said = len(kept)
    assert said >= 15


def test_a_scan_is_shown_as_it_lies_in_its_file_and_as_a_case_once_it_is_copied(
    reviewing: Session, tmp_path: Path
) -> None:
    import nibabel

    values = np.random.default_rng(0).integers(0, 900, (20, 30, 40)).astype(np.int16)
    file = tmp_path / "fish-7.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.diag([0.02, 0.02, 0.05, 1])), file)
    reviewing.preview_scan(file)
    assert reviewing.preview is not None
    assert reviewing.preview.sentence == "40 × 30 × 20 voxels of 50 × 20 × 20 µm, int16"
    assert reviewing.project is not None
    task = reviewing.start("add", ["add", str(reviewing.project.folder), str(file), "--id", "fish-7"])
    assert task is not None
    while task.state in PENDING:
        tasks(reviewing.project.folder)
    reviewing.board.take(reviewing.board.tasks)
    assert reviewing.preview is None
    assert reviewing.case is not None
    assert reviewing.case.id == "fish-7"


def test_while_a_case_is_segmented_its_tiles_are_followed_and_those_come_next_where_the_person_looks(
    reviewing: Session,
) -> None:
    assert reviewing.project is not None
    assert reviewing.case is not None
    task = Task(reviewing.project.folder / "tasks" / "1-segment", "segment", ("segment",), time.time())
    task.folder.mkdir(parents=True)
    note_process(task.folder, os.getpid())  # it waits for as long as this test runs
    generation = begin_labels(reviewing.case.store, "teacher", reviewing.project.schema, "anew")
    heard = Heard()
    reviewing.growing_changed.connect(heard.hear)
    reviewing.board.take((task,))
    assert heard[0].generation == generation.name
    assert looked_at(generation.folder) is None
    reviewing.look((3.0, 2.0, 1.0))
    reviewing.board.take((task,))
    assert looked_at(generation.folder) == (3.0, 2.0, 1.0)
    generation.discard()
    reviewing.board.take((task,))
    assert heard[-1] is None
    shutil.rmtree(task.folder)


def test_each_animal_that_is_finished_is_told_of_while_the_others_are_at_work(reviewing: Session) -> None:
    assert reviewing.project is not None
    task = Task(reviewing.project.folder / "tasks" / "1-segment", "segment", ("segment",), time.time())
    task.folder.mkdir(parents=True)
    note_process(task.folder, os.getpid())  # it waits for as long as this test runs
    heard = list[str]()

    def say(doing: str) -> None:
        with (task.folder / PROGRESS).open("a") as file:
            file.write(json.dumps({"time": 0, "doing": doing, "done": 0, "total": 9, "values": {}}) + "\n")
        reviewing.board.take((task,))

    reviewing.data_changed.connect(lambda: heard.append("something changed"))
    say("segment fish-01")
    heard.clear()
    say("segment fish-01")
    assert heard == []
    say("segment fish-02")
    assert len(heard) == 1
    shutil.rmtree(task.folder)
