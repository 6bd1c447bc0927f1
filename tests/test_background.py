"""Tasks in real child processes: they queue, report, are cancelled, die, outlive who began them, are found again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from napari_medaka_kd.background import PENDING, Report, State, Task, pace, start, tasks
from napari_medaka_kd.background.child import Recorder
from napari_medaka_kd.background.report import latest_report, read_reports
from napari_medaka_kd.background.task import note_process
from napari_medaka_kd.job import Progress
from napari_medaka_kd.project import Project

PATIENCE = 60.0


def wait_until(what: Callable[[], Any], patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def ended(folder: Path) -> bool:
    return all(task.state not in PENDING for task in tasks(folder))


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Any:
    made = make_project(unlabelled=1, labelled=1, held_out=0)
    yield made
    for task in tasks(made.folder):
        task.cancel()
    wait_until(lambda: ended(made.folder))


def long_task(project: Project, name: str = "long") -> Task:
    """A training that would take minutes."""
    turns = ["network.dimensions=2", "network.widths=[8,16]", "patches.patch=[1,32,32]", "fit.steps=100000"]
    sets = [word for turn in turns for word in ("--set", turn)]
    return start(project.folder, f"train {name}", ["train", str(project.folder), "--name", name, *sets])


def training(task: Task) -> bool:
    latest = task.latest()
    return latest is not None and latest.done > 3


def test_what_it_says_and_how_it_ended_are_kept(project: Project) -> None:
    task = start(project.folder, "look", ["status", str(project.folder)])
    wait_until(lambda: task.state == State.DONE)
    assert task.outcome()["name"] == "fish"
    assert task.complaint() == ""
    assert task.command().startswith("medaka-kd status ")
    (found,) = tasks(project.folder)
    assert (found, found.title, found.state) == (task, "look", State.DONE)


def test_they_run_one_after_the_other_in_their_order(project: Project) -> None:
    begun = [start(project.folder, f"number {n}", ["status", str(project.folder)]) for n in range(3)]
    seen: list[list[State]] = []
    wait_until(lambda: seen.append([task.state for task in begun]) or ended(project.folder))
    assert all(states.count(State.RUNNING) <= 1 for states in seen)
    times = [(task.folder / "begun").stat().st_mtime for task in begun]
    ends = [json.loads((task.folder / "ended.json").read_text())["time"] for task in begun]
    assert times[1] >= ends[0] - 0.05
    assert times[2] >= ends[1] - 0.05


def test_a_mistake_of_the_user_is_told_in_sentences(project: Project) -> None:
    task = start(project.folder, "segment", ["segment", str(project.folder), "--checkpoint", "nobody"])
    wait_until(lambda: task.state == State.FAILED)
    assert "There is no checkpoint" in task.complaint()


def test_progress_is_read_while_it_runs_and_cancel_is_immediate(project: Project) -> None:
    task = long_task(project)
    wait_until(lambda: training(task))
    reports, offset = task.reports()
    assert reports[0].doing == "long-0"
    assert [report.done for report in reports] == sorted(report.done for report in reports)
    wait_until(lambda: task.reports(offset)[0])
    assert task.reports(offset)[0][0].done > reports[-1].done
    task.cancel()
    wait_until(lambda: task.state == State.CANCELLED, 10)


def test_a_training_that_is_told_to_stop_ends_well(project: Project) -> None:
    task = long_task(project)
    wait_until(lambda: training(task))
    stop = start(project.folder, "stop", ["stop", str(project.folder), "long"])
    command = [sys.executable, "-m", "napari_medaka_kd", "stop", str(project.folder), "long"]
    subprocess.run(command, check=True, capture_output=True)  # by hand: that in the queue waits for the training
    wait_until(lambda: task.state not in PENDING)
    assert task.state == State.DONE, task.log()
    assert task.outcome()["checkpoint"] == "long"
    wait_until(lambda: stop.state == State.FAILED)
    assert "under way" in stop.complaint()


def test_one_that_waits_is_cancelled_without_ever_beginning(project: Project) -> None:
    first, second = long_task(project), start(project.folder, "later", ["status", str(project.folder)])
    wait_until(lambda: first.state == State.RUNNING)
    second.cancel()
    wait_until(lambda: second.state == State.CANCELLED)
    assert not (second.folder / "begun").exists()
    assert first.state == State.RUNNING
    first.cancel()


def test_a_killed_one_is_lost_and_says_so_and_the_next_one_has_its_turn(project: Project) -> None:
    first, second = long_task(project), start(project.folder, "next", ["status", str(project.folder)])
    wait_until(lambda: training(first))
    os.kill(json.loads((first.folder / "process.json").read_text())["pid"], signal.SIGKILL)
    wait_until(lambda: first.state == State.LOST)
    assert "Start it again" in first.complaint()
    wait_until(lambda: second.state == State.DONE)


def test_it_outlives_who_began_it_and_is_found_by_the_next(project: Project) -> None:
    program = (
        "import sys; from pathlib import Path; from napari_medaka_kd.background import start; "
        "start(Path(sys.argv[1]), 'look', ['status', sys.argv[1]])"
    )
    command = [sys.executable, "-W", "always", "-c", program, str(project.folder)]
    window = subprocess.run(command, check=True, capture_output=True, text=True)
    assert window.stderr == ""  # no warning of a child left behind
    (task,) = tasks(project.folder)
    wait_until(lambda: task.state == State.DONE)
    assert task.outcome()["name"] == "fish"


def test_a_number_that_another_process_has_got_since_does_not_count(project: Project) -> None:
    task = start(project.folder, "look", ["status", str(project.folder)])
    wait_until((task.folder / "ended.json").is_file)
    (task.folder / "ended.json").unlink()
    mine = {"pid": os.getpid(), "born": psutil.Process().create_time() - 1000}
    (task.folder / "process.json").write_text(json.dumps(mine))
    assert task.state == State.LOST


def test_one_that_does_not_let_go_is_killed_with_all_that_it_began(tmp_path: Path) -> None:
    """A process that will not hear, with a child that will not either, stands for a task."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    both = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {deaf!r}]); {deaf}"
    task = start(tmp_path, "deaf", ["status", str(tmp_path)])
    wait_until((task.folder / "ended.json").is_file)
    (task.folder / "ended.json").unlink()
    with subprocess.Popen([sys.executable, "-c", both], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.read(2) == b"\n\n"
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
        note_process(task.folder, process.pid)
        task.cancel()
        tasks(tmp_path)
        assert task.state == State.RUNNING
        long_ago = time.time() - 60
        os.utime(task.folder / "cancelled", (long_ago, long_ago))
        tasks(tmp_path)
        process.wait(PATIENCE)
    assert task.state == State.CANCELLED
    assert len(psutil.wait_procs(family, timeout=PATIENCE)[0]) == 2


def test_a_bug_is_told_by_its_last_words(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise RuntimeError('broken on purpose.')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    task = start(project.folder, "train", ["train", str(project.folder)])
    wait_until(lambda: task.state == State.FAILED)
    assert task.complaint() == "It failed: RuntimeError: broken on purpose. See the log."
    assert "Traceback" in task.log()


def test_tasks_of_another_machine_are_not_ours(project: Project) -> None:
    task = start(project.folder, "look", ["status", str(project.folder)])
    wait_until(lambda: task.state == State.DONE)
    theirs = project.folder / "tasks" / "29990101T000000.000000Z-train"
    theirs.mkdir()
    card = json.loads((task.folder / "task.json").read_text()) | {"machine": "another"}
    (theirs / "task.json").write_text(json.dumps(card))
    assert tasks(project.folder) == (task,)


def test_one_that_waits_has_loaded_nothing_heavy() -> None:
    program = "import sys, napari_medaka_kd.__main__; sys.exit(bool({'numpy', 'torch', 'typer'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_the_first_and_last_report_of_a_thing_are_written_and_few_between(tmp_path: Path) -> None:
    tell = Recorder(tmp_path / "progress.jsonl")
    begun = time.monotonic()
    for doing in ("fit", "save"):
        for done in range(5000):
            tell(Progress(doing, done, 0, {"loss": 1.0}))
    seconds = time.monotonic() - begun
    reports, _ = read_reports(tmp_path / "progress.jsonl", 0)
    fit = [report.done for report in reports if report.doing == "fit"]
    assert (fit[0], fit[-1]) == (0, 4999)
    assert len(reports) <= 3 + 10 * seconds
    assert reports[0].values == {"loss": 1.0}


def test_the_latest_report_is_found_in_a_long_file(tmp_path: Path) -> None:
    tell = Recorder(tmp_path / "progress.jsonl")
    for number in range(3000):
        tell(Progress(f"thing {number}", 1, 1, {f"organ {organ}": 0.5 for organ in range(20)}))
    latest = latest_report(tmp_path / "progress.jsonl")
    assert latest is not None
    assert latest.doing == "thing 2999"


def test_a_torn_line_waits_until_it_is_whole(project: Project) -> None:
    task = start(project.folder, "look", ["status", str(project.folder)])
    wait_until(lambda: task.state == State.DONE)
    line = json.dumps({"time": 1.0, "doing": "a", "done": 1, "total": 2, "values": {}}).encode()
    file = task.folder / "progress.jsonl"
    file.write_bytes(line + b"\n" + line[:9])
    reports, offset = task.reports()
    assert len(reports) == 1
    file.write_bytes(line + b"\n" + line + b"\n")
    assert len(task.reports(offset)[0]) == 1
    task.dismiss()
    assert tasks(project.folder) == ()


def test_pace_is_that_of_what_is_being_done_now() -> None:
    reports = [Report(0, "a", 0, 9, {}), Report(10, "b", 0, 100, {}), Report(20, "b", 25, 100, {})]
    assert pace(reports).rate == pytest.approx(2.5)
    assert pace(reports).seconds_left == pytest.approx(30)
    assert pace(reports[:2]).seconds_left is None
    assert pace([]).seconds_left is None


def test_a_thing_that_begins_anew_has_a_pace_of_its_own() -> None:
    first = [Report(n, "blocks", n, 9, {}) for n in range(10)]
    again = [Report(100 + 2 * n, "blocks", n, 9, {}) for n in range(4)]
    assert pace([*first, *again]).rate == pytest.approx(0.5)
