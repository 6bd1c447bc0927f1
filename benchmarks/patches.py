"""How many random patches a second a training can read from OME-Zarr on the disk: ours, and other libraries.

python benchmarks/patches.py --edge 512 --rounds 3 --seconds 20

Each arm and round is a process of its own, in turns. TorchIO is needed for its rows: pip install torchio
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from patch_readers import READERS, SCHEMA
from table import print_table, say_json

from napari_medaka_kd.job import drain
from napari_medaka_kd.volumes.label_store import save_labels
from napari_medaka_kd.volumes.labels import LabelMap
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume

MIB = 2**20
BASE = "zarr-python"


def make(folder: Path, edge: int, number: int) -> None:
    """A made-up animal: a long body with eight organs in it, and noise as a scanner makes it; uint16."""
    rng = np.random.default_rng(number)
    z, y, x = np.ogrid[-1 : 1 : edge * 1j, -1 : 1 : edge * 1j, -1 : 1 : edge * 1j]
    body = (z / 0.9) ** 2 + (y / 0.5) ** 2 + (x / 0.45) ** 2 < 1
    ids = np.zeros((edge, edge, edge), np.uint8)
    for organ in SCHEMA.ids:
        middle, radius = rng.uniform((-0.6, -0.25, -0.2), (0.6, 0.25, 0.2)), rng.uniform(0.04, 0.2)
        at = [axis - place for axis, place in zip((z, y, x), middle, strict=True)]
        ids[at[0] ** 2 + at[1] ** 2 + at[2] ** 2 < radius**2] = organ
    scan = np.empty(ids.shape, np.uint16)
    grey = np.array([0, *range(1_000, 9_000, 1_000)], np.float32)
    for start in range(0, edge, 32):
        part = slice(start, start + 32)
        tissue = 12_000 + 8_000 * body[part] + grey[ids[part]]
        scan[part] = tissue + 1_500 * rng.standard_normal(tissue.shape, dtype=np.float32)
    store = folder / f"{number}.ome.zarr"
    drain(save_volume(Volume((scan,), (5.0, 5.0, 5.0), f"{number}"), store))
    drain(save_labels(LabelMap(Volume((ids,), (5.0, 5.0, 5.0), f"{number}"), SCHEMA), store, "manual"))


def play(name: str, asked: argparse.Namespace) -> dict[str, float]:
    """One arm for one round: patches a second after the first two visits' worth, and what it took to get there."""
    begun = time.perf_counter()
    patches = READERS[name](asked.folder, asked.patch, asked.budget * MIB)
    next(patches)
    ready = time.perf_counter() - begun
    for _ in range(15):
        next(patches)
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < asked.seconds:
        next(patches)
        count += 1
    return {"rate": count / (time.perf_counter() - begun), "ready": ready}


def in_a_process(name: str, folder: Path, asked: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", __file__, "--arm", name, "--folder", str(folder)]
    command += [f"--{key}={getattr(asked, key)}" for key in ("patch", "budget", "seconds")]
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            time.sleep(0.5)  # first: as it begins, it still holds what its parent holds
            peak = max(peak, memory(process.pid))
        assert process.stdout is not None
        found: dict[str, float] = json.loads(process.stdout.read().splitlines()[-1])
    return found | {"peak": peak / MIB}


def memory(process: int) -> int:
    """Bytes that a process and its children hold at the moment; what they share counts once."""
    try:
        parent = psutil.Process(process)
        return sum(each.memory_full_info().pss for each in (parent, *parent.children(recursive=True)))
    except (psutil.Error, AttributeError):
        return 0


def compare(asked: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in asked.arms or READERS}
    with tempfile.TemporaryDirectory() as made:
        for number in range(asked.volumes):
            make(Path(made), asked.edge, number)
        for number in range(asked.rounds):
            for name in found if number % 2 == 0 else reversed(found):
                found[name].append(in_a_process(name, Path(made), asked))
                print(f"round {number + 1}, {name}: {found[name][-1]}", file=sys.stderr)
    return found


def rounded(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 20 else f"{rate:.1f}"


def rows(found: dict[str, list[dict[str, float]]]) -> list[tuple[str, ...]]:
    base = statistics.median(each["rate"] for each in found[BASE]) if BASE in found else float("nan")
    shown = []
    for name, each in found.items():
        rates = [one["rate"] for one in each]
        middle = statistics.median(rates)
        ready, peak = (statistics.median(one[key] for one in each) for key in ("ready", "peak"))
        spread = f"{rounded(middle)} ({rounded(min(rates))}…{rounded(max(rates))})"
        shown.append((name, spread, f"{middle / base:.2g}", f"{ready:.1f}", f"{peak:.0f}"))
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=int, default=512, help="of a volume, voxels")
    parser.add_argument("--volumes", type=int, default=3)
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--budget", type=int, default=1024, help="MiB for what is kept in memory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each arm in each round")
    parser.add_argument("--arms", nargs="*", choices=list(READERS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.arm:
        say_json(play(asked.arm, asked))
        return
    found = compare(asked)
    if asked.json:
        say_json(found)
        return
    head = ("reader", "patches a second, median (worst…best)", "× zarr-python", "first patch after (s)")
    print_table((*head, "memory at its peak (MiB)"), rows(found))


if __name__ == "__main__":
    main()
