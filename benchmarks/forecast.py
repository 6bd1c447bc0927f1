"""What ``forecast`` says of made-up scans, and what segmenting them then takes: time, memory at its peak, disk.

python benchmarks/forecast.py --rounds 3 --widths 8 16 32

Each forecast and each run is a process of its own, in turns. Memory is the highest resident size that Linux noted.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from table import print_table, say_json

from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.project import Project, add_case, create_project
from napari_medaka_kd.settings import NetworkSettings
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.volume import Volume

ORGANS = LabelSchema.from_names(["brain", "eye", "heart", "liver", "gut"])
#: Shape and the half axes of the animal in it, as shares of the scan: the last one is mostly air.
SCANS = {
    "long": ((256, 128, 128), (0.9, 0.7, 0.7)),
    "cube": ((256, 256, 256), (0.9, 0.8, 0.8)),
    "airy": ((384, 256, 256), (0.9, 0.25, 0.2)),
}


def make(project: Project, name: str) -> None:
    """An animal with smooth parts, and noise as a scanner makes it; uint16."""
    shape, axes = SCANS[name]
    rng = np.random.default_rng(0)
    z, y, x = np.ogrid[tuple(slice(-1, 1, side * 1j) for side in shape)]
    body = (z / axes[0]) ** 2 + (y / axes[1]) ** 2 + (x / axes[2]) ** 2 < 1
    parts = gaussian_filter(rng.standard_normal([side // 8 for side in shape], np.float32), 1.5)
    parts = parts.repeat(8, 0).repeat(8, 1).repeat(8, 2)
    scan = 8_000 + body * (8_000 + 15_000 * parts) + 1_000 * rng.standard_normal(shape, np.float32)
    drain(
        add_case(
            project,
            Volume((scan.clip(0, 65535).astype(np.uint16),), (10.0, 10.0, 10.0), name),
            None,
            name,
            held_out=False,
        )
    )


def teach(project: Project, looks: NetworkSettings) -> None:
    """A network that was taught nothing, but calls organs all about the body alike often, in smooth pieces."""
    torch.manual_seed(0)
    network = build(looks, ORGANS.classes, 0)
    with torch.no_grad():
        for _ in range(5):
            network.train()(gaussian_noise(looks))
        logits = network.eval()(gaussian_noise(looks)).movedim(1, 0).flatten(1)
        network.head.bias -= logits.mean(1)  # type: ignore[operator]
    Checkpoint(name="teacher", network=looks, organs=ORGANS).save(network, project.checkpoint("teacher"))


def gaussian_noise(looks: NetworkSettings) -> torch.Tensor:
    rng = np.random.default_rng(1)
    channels = 4 if looks.coordinates else 1
    return torch.from_numpy(gaussian_filter(rng.random((1, channels, 32, 64, 64), np.float32), (0, 0, 2, 2, 2)))


def kd(*words: str) -> dict[str, object]:
    """Call medaka-kd; its line of JSON."""
    command = [sys.executable, "-W", "ignore", "-m", "napari_medaka_kd", *words, "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.splitlines()[-1])


def run(*words: str) -> dict[str, float]:
    """Call medaka-kd: seconds by the clock and of processors, and the bytes of memory that it held at most."""
    command = [sys.executable, "-W", "ignore", "-m", "napari_medaka_kd", *words, "--json"]
    begun, peak = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
        while child.poll() is None:
            peak = max(peak, noted(child.pid))
            time.sleep(0.02)
    seconds = time.perf_counter() - begun
    assert child.returncode == 0, words
    return {"seconds": seconds, "memory": peak}


def noted(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
    except OSError:
        return 0


def in_use(folder: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*"))


def one_round(project: Project, name: str, looks: list[str]) -> dict[str, dict[str, float]]:
    """What was forecast, and what was then measured."""
    words = [str(project.folder), "--checkpoint", "teacher", "--case", name, *looks]
    begun = time.perf_counter()
    said = kd("forecast", *words, "--again")
    took = time.perf_counter() - begun
    before = os.times()
    found = run("segment", *words)
    after = os.times()
    found["cpu"] = after.children_user + after.children_system - before.children_user - before.children_system
    labels = project.case(name).store / "labels"
    found["disk"] = in_use(labels)
    shutil.rmtree(labels)
    total = {**said["total"], "took": took}  # type: ignore[dict-item]
    return {"said": total, "found": found}


def ratio(rounds: list[dict[str, dict[str, float]]], what: str) -> str:
    """Forecast by measured: its median, and the lowest and highest of the rounds."""
    each = sorted(one["said"][what] / one["found"][what] for one in rounds)
    return f"{median(each):.2f} ({each[0]:.2f}…{each[-1]:.2f})"


def row(name: str, rounds: list[dict[str, dict[str, float]]]) -> list[str]:
    def middle(kind: str, what: str) -> float:
        return median(one[kind][what] for one in rounds)

    return [
        name,
        f"{middle('said', 'seconds'):.1f}",
        f"{middle('found', 'seconds'):.1f} ({middle('found', 'cpu'):.1f})",
        ratio(rounds, "seconds"),
        f"{middle('found', 'memory') / 1e6:.0f}",
        ratio(rounds, "memory"),
        f"{middle('found', 'disk') / 1e6:.1f}",
        ratio(rounds, "disk"),
        f"{middle('said', 'took'):.1f}",
    ]


HEAD = (
    "scan",
    "forecast (s)",
    "took (s; of processors)",
    "forecast / took",
    "memory (MB)",
    "forecast / held",
    "disk (MB)",
    "forecast / written",
    "to forecast (s)",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dimensions", type=int, default=3, choices=(2, 3))
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--scans", nargs="+", default=list(SCANS), choices=list(SCANS))
    parser.add_argument("--set", dest="turns", action="append", default=[], help="as of medaka-kd segment")
    parser.add_argument("--folder", type=Path, help="to work in; else a temporary one")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    turns = [word for turn in asked.turns for word in ("--set", turn)]
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        project = create_project(Path(folder) / "forecast", "forecast", ORGANS)
        teach(project, NetworkSettings(dimensions=asked.dimensions, widths=tuple(asked.widths)))
        for name in asked.scans:
            make(project, name)
        found = {name: [one_round(project, name, turns) for _ in range(asked.rounds)] for name in asked.scans}
    if asked.json:
        say_json(found)
    else:
        print_table(HEAD, [row(name, rounds) for name, rounds in found.items()])


if __name__ == "__main__":
    main()
