"""The pictures of docs/img, from the running program: every panel, and the four main scenes.

tools/screen.sh .venv/bin/python tools/shots.py [FOLDER]

FOLDER keeps the project between two calls, so that only the pictures are made anew.
"""

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import numpy as np
from window import live, wait_for, window

from napari_medaka_kd.gui.dock import MedakaDock
from napari_medaka_kd.workflow.sample import begin_sample

IMAGES = Path(__file__).parents[1] / "docs" / "img"
SIZE = (1400, 900)


def main(folder: Path) -> None:
    os.environ["MEDAKA_KD_STATE"] = str(folder / "remembered.json")
    project = begin_sample(folder / "project").folder
    with window() as (viewer, dock):
        viewer.window.resize(*SIZE)
        take_panel(dock, "Cases", "cases-empty")
        dock.session.open_project(project)
        prepare(dock)
        scene_watch(viewer, dock)
        judge_some(dock)
        scene_review(viewer, dock)
        scene_correct(viewer, dock)
        learn(dock)
        scene_results(viewer, dock)
        for name in dock.panels:
            take_panel(dock, name, name.lower())


def prepare(dock: MedakaDock) -> None:
    """Fish and a teacher."""
    session = dock.session
    play(dock, "make fish", ["sample", str(session.project.folder)])
    if not session.project.checkpoints:
        play(dock, "train teacher", ["train", str(session.project.folder)])


def scene_watch(viewer: object, dock: MedakaDock) -> None:
    """The teacher's proposals arrive."""
    session, folder = dock.session, str(dock.session.project.folder)
    dock.show_panel("Segment")
    session.use("teacher")
    session.look_at("unlabelled-02")
    if "teacher" not in session.case.label_names:
        dock.panels["Segment"].segment_all()
        wait_for(lambda: "teacher" in session.project.case("unlabelled-02").label_names)
        live(1.5)
        take(viewer, "scene-watch")
        wait_for(lambda: not session.board.pending, 1200)
        play(dock, "score the proposals", ["score", folder])
    live(1)


def judge_some(dock: MedakaDock) -> None:
    """A few verdicts of each kind."""
    dock.show_panel("Review")
    live(1)
    if dock.session.review.desk.tally().done < 12:
        for number in range(14):
            good = dock.session.review.desk.proposals[dock.session.review.item].score > 0.5
            dock.session.judge("unsure" if number % 6 == 5 else "accepted" if good else "rejected")


def scene_review(viewer: object, dock: MedakaDock) -> None:
    live(1)
    take(viewer, "scene-review")


def scene_correct(viewer: object, dock: MedakaDock) -> None:
    """A stroke is being painted."""
    session = dock.session
    liver = next((i for i in session.review.queue if i.organ == 7), session.review.queue[0])
    session.show(liver)
    session.correct()
    painted = np.array(session.correcting.now.labels)
    z, y, x = (size // 2 for size in painted.shape)
    painted[z, max(y - 5, 0) : y + 5, max(x - 8, 0) : x + 8] = liver.organ
    session.correcting.record(painted)
    session.moved.emit(
        tuple(float(side.start + at) for side, at in zip(session.correcting.now.region, (z, y, x), strict=True))
    )
    live(1)
    take(viewer, "scene-correct")
    take_panel(dock, "Review", "review-correcting")
    session.correcting.abandon()


def learn(dock: MedakaDock) -> None:
    """A student, what it gains, where it differs, and the cohort's organ volumes."""
    session, folder = dock.session, str(dock.session.project.folder)
    dock.show_panel("Distil")
    if "student" not in session.project.checkpoints:
        session.start("distil student", ["distil", folder])
        wait_for(lambda: session.board.active is not None and (session.board.active.latest() or None) is not None)
        wait_for(lambda: (session.board.active is None) or session.board.active.latest().done > 150, 600)
        live(1)
        take_panel(dock, "Distil", "distil-running")
        wait_for(lambda: not session.board.pending, 600)
        play(dock, "segment with the student", ["segment", folder, "--checkpoint", "student"])
        play(dock, "evaluate", ["evaluate", folder, "--checkpoint", "student", "--against", "teacher"])
        play(dock, "find disagreements", ["disagree", folder])
        play(dock, "measure", ["measure", folder, "--labels", "teacher"])


def scene_results(viewer: object, dock: MedakaDock) -> None:
    dock.show_panel("Results")
    live(2)
    take(viewer, "scene-results")


def play(dock: MedakaDock, title: str, argv: list[str]) -> None:
    """Have a command line carried out, and wait for it."""
    task = dock.session.start(title, argv)
    wait_for(lambda: not dock.session.board.pending, 1200)
    live(0.5)
    if task.complaint():
        raise RuntimeError(task.complaint())
    task.dismiss()


def take(viewer: object, name: str) -> None:
    """The whole window."""
    viewer.window._qt_window.grab().save(str(IMAGES / f"{name}.png"))  # noqa: SLF001  its chrome, not the canvas alone


def take_panel(dock: MedakaDock, name: str, file: str) -> None:
    """The dock with that panel in front."""
    dock.show_panel(name)
    live(1)
    dock.grab().save(str(IMAGES / f"{file}.png"))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as place:
            main(Path(place))
