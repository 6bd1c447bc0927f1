"""How long the window stands still while a teacher proposes and a student learns: our child process, and a thread.

tools/screen.sh .venv/bin/python benchmarks/stalls.py --seconds 20
"""

import argparse
import statistics
import time
from pathlib import Path

from napari.qt.threading import create_worker
from qtpy.QtCore import QTimer
from table import print_table, say_json
from window import live, sample_project, wait_for, window

from napari_medaka_kd.gui.dock import MedakaDock
from napari_medaka_kd.settings import TrainSettings
from napari_medaka_kd.turns import project_knobs
from napari_medaka_kd.workflow.curate import open_project

WINDOW = 1.0  # seconds over which one maximum is taken


class Ticker:
    """A timer that ticks as often as the event loop lets it, and notes the longest pause of each second."""

    def __init__(self) -> None:
        self.maxima: list[float] = []
        self._timer = QTimer()
        self._timer.setInterval(1)
        self._timer.timeout.connect(self._tick)

    def run(self, seconds: float) -> list[float]:
        """Milliseconds of the longest pause in each window."""
        self.maxima, self._longest = [], 0.0
        self._last = self._begun = time.perf_counter()
        self._timer.start()
        live(seconds)
        self._timer.stop()
        return self.maxima

    def _tick(self) -> None:
        now = time.perf_counter()
        self._longest = max(self._longest, now - self._last)
        self._last = now
        if now - self._begun >= WINDOW:
            self.maxima.append(1000 * self._longest)
            self._longest, self._begun = 0.0, now


def learning(dock: MedakaDock) -> bool:
    """Whether a training has taken its first steps."""
    active = dock.session.board.active
    latest = active.latest() if active else None
    return latest is not None and latest.done > 5


def measure(folder: Path, seconds: float) -> dict[str, list[float]]:
    """Longest pauses of each second: with nothing to do, with our tasks at work, and with a thread at the same."""
    with window(folder) as (_, dock):
        return measure_in(dock, folder, seconds)


def measure_in(dock: MedakaDock, folder: Path, seconds: float) -> dict[str, list[float]]:
    """As :func:`measure`, in an open window."""
    ticker = Ticker()
    ticker.run(2)
    found = {"nothing": ticker.run(seconds)}
    dock.show_panel("Distil")
    dock.session.start("teach", ["train", str(folder), "--name", "teacher"])
    wait_for(lambda: learning(dock))
    found["train, child process"] = ticker.run(seconds)
    wait_for(lambda: not dock.session.board.pending, 600)
    dock.show_panel("Segment")
    dock.session.start("propose", ["segment", str(folder), "--checkpoint", "teacher"])
    dock.session.start("score", ["score", str(folder), "--checkpoint", "teacher"])
    wait_for(lambda: dock.session.board.active is not None)
    found["segment and score, child processes"] = ticker.run(seconds)
    for task in dock.session.board.pending:
        task.cancel()
    wait_for(lambda: not dock.session.board.pending)
    found["train, thread_worker"] = in_a_thread(folder, ticker, seconds)
    return found


def in_a_thread(folder: Path, ticker: Ticker, seconds: float) -> list[float]:
    """The same training as napari's own threads would carry it out."""
    from napari_medaka_kd.workflow.teach import train

    steps: list[object] = []

    def job() -> object:
        return (yield from train(open_project(folder), "thread", project_knobs(TrainSettings, folder, "train")))

    worker = create_worker(job, _start_thread=False)
    worker.yielded.connect(steps.append)
    worker.start()
    wait_for(lambda: len(steps) > 5)
    pauses = ticker.run(seconds)
    worker.quit()
    wait_for(lambda: not worker.is_running)
    return pauses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with sample_project() as folder:
        found = measure(folder, asked.seconds)
    if asked.json:
        say_json(found)
        return
    rows = [(name, f"{statistics.median(pauses):.0f}", f"{max(pauses):.0f}") for name, pauses in found.items()]
    print_table(("at work", "median of the longest pauses of each second (ms)", "worst (ms)"), rows)


if __name__ == "__main__":
    main()
