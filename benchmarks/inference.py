"""Segmenting, zarr to labels and doubt, against the usual sliding windows: time, memory, and what the cut changed.

Run: ``python benchmarks/inference.py --folder FOLDER``; ``--scene fish`` for a whole fish. FOLDER keeps scans and
network, so that each is made once. Each way runs in a process of its own, with the same weights and number of threads.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from table import print_table, say_json

from napari_medaka_kd.demo_settings import PhantomSettings
from napari_medaka_kd.job import drain
from napari_medaka_kd.settings import FitSettings, NetworkSettings, PatchSettings, TrainSettings
from napari_medaka_kd.volumes.body import Body, find_body
from napari_medaka_kd.volumes.open import open_volume
from napari_medaka_kd.volumes.phantom import MEDAKA, phantom_animal
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume, whole

if TYPE_CHECKING:
    from inference_ways import Scene

    from napari_medaka_kd.volumes.volume import Region

FISH = (1024, 512, 512)  # voxels of 25 µm
FILLED = (slice(300, 556), slice(128, 384), slice(128, 384))  # of a fish; no part of it is taken for air
SLAB = 128  # slices of the fish that a way which reads air is run on: its time does not depend on where they lie
TRUTH = "whole volume at once"
ROOF = "the network alone"
PEER, PEER16 = "MONAI, overlap 0.5", "MONAI, overlap 0.5, bfloat16"


def fish(number: int) -> PhantomSettings:
    return PhantomSettings(shape=FISH, voxel_size=25.0, animal=number, scan=number)


def prepare(folder: Path) -> None:
    """Two fish, a part of one that is all body, and a network that learned from the other."""
    from napari_medaka_kd.project import add_case, create_project, open_project
    from napari_medaka_kd.workflow.teach import train

    known = (folder / "project").is_dir()
    project = open_project(folder / "project") if known else create_project(folder / "project", "fish", MEDAKA)
    if not project.cases:
        made = phantom_animal(fish(1))
        drain(add_case(project, made.volume, made.labels, "labelled", held_out=False))
    if not (folder / "fish.ome.zarr").exists():
        drain(save_volume(phantom_animal(fish(2)).volume, folder / "fish.ome.zarr"))
    if not (folder / "filled.ome.zarr").exists():
        scan = open_volume(folder / "fish.ome.zarr")
        drain(save_volume(Volume((scan.read(FILLED),), scan.voxel_size, "filled"), folder / "filled.ome.zarr"))
        slab: Region = (slice(448, 448 + SLAB), *whole(FISH)[1:])
        drain(save_volume(Volume((scan.read(slab),), scan.voxel_size, "slab"), folder / "slab.ome.zarr"))
    if not project.checkpoint("teacher").exists():
        settings = TrainSettings(
            network=NetworkSettings(dimensions=3),
            patches=PatchSettings(patch=(48, 48, 48), batch=2),
            fit=FitSettings(steps=300),
        )
        drain(train(project, "teacher", settings))


def scene_of(folder: Path, name: str, way: str) -> Scene:
    from inference_ways import Scene

    target = folder / "answers" / name / way.replace(" ", "-").replace(",", "")
    source = folder / f"{name}.ome.zarr"
    body = find_body(open_volume(folder / "fish.ome.zarr"))
    if name != "fish":
        shape = open_volume(source).shape
        body = Body(whole(shape), body.window)
    return Scene(source, body, folder / "project" / "checkpoints" / "teacher", target)


def run_here(folder: Path, name: str, way: str) -> dict[str, Any]:
    """One way, in this process: its seconds, its processor's seconds, and its peak of memory."""
    import torch
    from inference_ways import WAYS

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    scene = scene_of(folder, name, way)
    shutil.rmtree(scene.target, ignore_errors=True)
    if way.startswith("medaka-kd"):  # labels lie in the store of their scan
        shutil.copytree(scene.scan, scene.target / "scan.ome.zarr")
        scene = replace(scene, scan=scene.target / "scan.ome.zarr")
    else:
        scene.target.mkdir(parents=True)
    facts = WAYS[way](scene)
    before, run, network = _peak(), facts.pop("run"), facts.pop("network", None)
    voxels = facts.pop("voxels", 0) or math.prod(open_volume(scene.scan).shape)
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return facts | {
        "cpu": time.process_time() - cpu,
        "network": network() if network else None,
        "seconds": time.perf_counter() - wall,
        "peak": _peak(),
        "before": before,
        "voxels": voxels,
    }


def in_a_process(folder: Path, name: str, way: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--folder", str(folder), "--scene", name, "--here", way]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{way}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def answer_of(folder: Path, name: str, way: str) -> Any:
    """The labels that a way wrote."""
    import zarr

    target = scene_of(folder, name, way).target
    store = target / "scan.ome.zarr"
    if store.is_dir():
        return open_volume(next(store.glob("labels/teacher*/zarr.json")).parent).read()
    return np.asarray(zarr.open_array(target / "labels", mode="r")[:])


def held_against(found: Any, truth: Any) -> tuple[float, float]:
    """(share of voxels that differ, the largest loss of Dice of any organ to the truth)."""
    organs = [organ for organ in np.unique(truth) if organ]
    dice = [2 * np.sum((found == o) & (truth == o)) / (np.sum(found == o) + np.sum(truth == o)) for o in organs]
    return float(np.mean(found != truth)), float(1 - min(dice, default=1.0))


def compare(folder: Path, name: str, ways: list[str], repeats: int, as_json: bool) -> None:
    """A table of the ways; those that come one after the other are run by turns."""
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for turn in range(repeats):
        for way in ways:
            if turn == 0 or way != TRUTH:
                runs[way].append(in_a_process(folder, _scene_for(name, way), way))
                print(f"{way}: {runs[way][-1]}", file=sys.stderr)
    truth = answer_of(folder, name, TRUTH) if TRUTH in ways else None
    rows = []
    cost = {way: median(run["cpu"] / run["voxels"] for run in found) for way, found in runs.items()}
    for way, found in runs.items():
        compared = truth is not None and way != ROOF
        differ, lost = held_against(answer_of(folder, name, way), truth) if compared else (math.nan,) * 2
        rows.append(
            [
                way,
                found[0]["computes"],
                f"{1e-6 / cost[way]:.2f}",
                *(f"{cost[peer] / cost[way]:.1f}" if peer in cost else "" for peer in (PEER, PEER16)),
                f"{100 * cost[ROOF] / cost[way]:.0f}" if ROOF in cost else "",
                f"{median(run['peak'] for run in found) / 2**20:.0f}",
                f"{100 * (1 - found[0]['network'] / found[0]['cpu']):.0f}" if found[0]["network"] else "",
                "" if math.isnan(differ) else f"{differ:.1e}",
                "" if math.isnan(lost) else f"{lost:.4f}",
            ]
        )
    if as_json:
        say_json(runs)
        return
    head = [
        "way",
        "computed by",
        "million voxels per CPU second",
        "× MONAI 0.5",
        "× MONAI 0.5, bfloat16",
        "% of the network alone",
        "peak, MiB",
        "% not the network",
    ]
    print_table([*head, "voxels that differ", "Dice lost by the worst organ"], rows)


def _scene_for(name: str, way: str) -> str:
    """A way that reads air as well takes as long for any slice of the fish: some of them will do."""
    return "slab" if name == "fish" and not way.startswith("medaka-kd") else name


def _peak() -> int:
    """The most memory this process ever had, bytes (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise SystemExit("This benchmark needs Linux.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="keeps what is made once")
    parser.add_argument("--scene", choices=["filled", "fish", "slab"], default="filled")
    parser.add_argument("--ways", nargs="+", help="some of the ways, by name")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--here", metavar="WAY", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    from inference_ways import WAYS

    if given.here:
        print(json.dumps(run_here(given.folder, given.scene, given.here)))
        return
    prepare(given.folder)
    ways = given.ways or [way for way in WAYS if given.scene == "filled" or way != TRUTH]
    compare(given.folder, given.scene, ways, given.repeats, given.json)


if __name__ == "__main__":
    main()
