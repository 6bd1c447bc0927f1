"""How fast a review goes by key: from a verdict to the next item drawn, and verdicts a minute.

tools/screen.sh .venv/bin/python benchmarks/reviewing.py --verdicts 60
"""

import argparse
import statistics
import time

from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from table import print_table, say_json
from window import live, propose, sample_project, window

from napari_medaka_kd.review import read_verdicts

KEYS = (Qt.Key.Key_A, Qt.Key.Key_R, Qt.Key.Key_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verdicts", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with sample_project() as folder:
        propose(folder)
        with window(folder) as (viewer, dock):
            dock.show_panel("Review")
            live(2)
            canvas = viewer.window._qt_viewer.canvas.native  # noqa: SLF001  keys go to the canvas, as a person's do
            taken = []
            wanted = min(asked.verdicts, len(dock.session.review.queue))
            begun = time.perf_counter()
            for number in range(wanted):
                at = time.perf_counter()
                QTest.keyClick(canvas, KEYS[number % len(KEYS)])
                QApplication.processEvents()  # draws
                taken.append(1000 * (time.perf_counter() - at))
                live(0.02)  # no person is faster than this
            minute = 60 * wanted / (time.perf_counter() - begun)
        kept = len(read_verdicts(folder / "review"))
    found = {"verdicts": kept, "median_ms": statistics.median(taken), "worst_ms": max(taken), "a_minute": minute}
    if asked.json:
        say_json(found)
        return
    print_table(
        ("verdicts on disk", "to the next item drawn, median (ms)", "worst (ms)", "verdicts a minute"),
        [(f"{kept} of {wanted}", f"{found['median_ms']:.0f}", f"{max(taken):.0f}", f"{minute:.0f}")],
    )


if __name__ == "__main__":
    main()
