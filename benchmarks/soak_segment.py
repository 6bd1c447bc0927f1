"""Two hundred volumes segmented in one process, one after the other: what is left behind in memory, threads and files.

python benchmarks/soak_segment.py --volumes 200
"""

import argparse
import ctypes
import gc
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import psutil
import torch
from table import print_table, say_json

from napari_medaka_kd.job import Progress, drain
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.project import Project, add_case, create_project
from napari_medaka_kd.settings import NetworkSettings, SegmentSettings
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.volume import Volume
from napari_medaka_kd.workflow.propose import segment

LOOKS = NetworkSettings(dimensions=3, widths=(8, 16))
SCHEMA = LabelSchema.from_ids({3: "eye", 40: "gut"})
SETTINGS = SegmentSettings(precision="float32", device="cpu")
SIDE = 64  # voxels
NAME = "teacher"
_SETTLED = 20  # volumes after which everything was made once


def make_project(folder: Path, volumes: int) -> Project:
    """So many animals of noise, and a network that learned nothing."""
    project = create_project(folder / "project", "soak", SCHEMA)
    for number in range(volumes):
        scan = np.random.default_rng(number).integers(0, 60_000, (SIDE, SIDE, SIDE), dtype=np.uint16)
        drain(add_case(project, Volume((scan,), (10.0, 10.0, 10.0)), None, f"fish-{number:03d}", False))
    network = build(LOOKS, SCHEMA.classes, 0)
    Checkpoint(name=NAME, network=LOOKS, organs=SCHEMA).save(network, project.checkpoint(NAME))
    return project


def count() -> dict[str, float]:
    """What could leak; memory that was freed is given back to the system first, for malloc keeps now more, now less."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    process = psutil.Process()
    return {
        "memory (MB)": process.memory_info().rss / 1e6,
        "threads": threading.active_count(),
        "open files": process.num_fds(),
    }


class Watch:
    """Counts each time another volume is begun."""

    def __init__(self) -> None:
        self.counts: list[dict[str, float]] = []

    def __call__(self, report: Progress) -> None:
        if report.doing == f"segment with {NAME}":
            self.counts.append(count())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volumes", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        drain(segment(make_project(Path(folder), asked.volumes), NAME, SETTINGS), watch)
    first, last = watch.counts[_SETTLED], watch.counts[-1]
    peak = {name: max(each[name] for each in watch.counts[_SETTLED:]) for name in first}
    if asked.json:
        say_json({"volumes": asked.volumes, "after": _SETTLED, "first": first, "last": last, "peak": peak})
        return
    rows = [(name, *(f"{each[name]:.1f}" for each in (first, peak, last))) for name in first]
    print_table(("", f"after {_SETTLED} volumes", "at most", f"after {asked.volumes}"), rows)


if __name__ == "__main__":
    main()
