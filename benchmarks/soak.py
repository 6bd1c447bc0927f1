"""Opening, switching and closing cases a thousand times: what is left behind in layers, widgets, files, memory.

tools/screen.sh .venv/bin/python benchmarks/soak.py --cycles 1000
"""

import argparse
import gc
import threading
from typing import Any

import psutil
from qtpy.QtWidgets import QApplication
from table import print_table, say_json
from window import live, propose, sample_project, window

_SETTLED = 50  # cycles after which caches are full and everything was made once
_RESTART = 25  # cycles between two closings of the project


def count(viewer: Any) -> dict[str, float]:
    """What could leak."""
    gc.collect()
    process = psutil.Process()
    return {
        "layers": len(viewer.layers),
        "widgets": len(QApplication.allWidgets()),
        "threads": threading.active_count(),
        "open files": process.num_fds(),
        "memory (MB)": process.memory_info().rss / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with sample_project() as folder:
        propose(folder)
        with window(folder) as (viewer, dock):
            dock.show_panel("Review")
            session = dock.session
            cases = [case.id for case in session.project.cases]
            first: dict[str, float] = {}
            for cycle in range(asked.cycles):
                if cycle == _SETTLED:
                    first = count(viewer)
                if cycle % _RESTART == _RESTART - 1:
                    session.close()
                    session.open_project(folder)
                session.look_at(cases[cycle % len(cases)])
                if cycle % 10 == 0:
                    session.correct()
                    session.correcting.abandon()
                live(0.01)
            live(1)
            last = count(viewer)
    if asked.json:
        say_json({"after": _SETTLED, "first": first, "cycles": asked.cycles, "last": last})
        return
    rows = [(name, f"{first[name]:.0f}", f"{last[name]:.0f}") for name in first]
    print_table(("", f"after {_SETTLED} cycles", f"after {asked.cycles}"), rows)


if __name__ == "__main__":
    main()
