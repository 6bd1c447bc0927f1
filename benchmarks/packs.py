"""Review packs: how large against the scans that they are cut from, and how long to make, open and merge.

.venv/bin/python benchmarks/packs.py --shape 512 256 256 --items 40
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from table import print_table, say_json

from napari_medaka_kd.demo_settings import PhantomSettings
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import Project, add_case, create_project
from napari_medaka_kd.quality.quality import QualityScore
from napari_medaka_kd.quality.record import Record, save_record
from napari_medaka_kd.review import read_verdicts
from napari_medaka_kd.volumes.label_extras import Extra
from napari_medaka_kd.volumes.label_store import begin_labels
from napari_medaka_kd.volumes.phantom import MEDAKA, phantom_animal
from napari_medaka_kd.workflow.desk import Desk
from napari_medaka_kd.workflow.merge import merge
from napari_medaka_kd.workflow.pack import Wanted, pack
from napari_medaka_kd.workflow.unpack import unpack

SLAB = 32
#: By name: which share of the items, and MB that the file may have; 0: the usual.
WAYS = {
    "all items": (1.0, 0.0),
    "all, at most 10 MB": (1.0, 10.0),
    "all, at most 2 MB": (1.0, 2.0),
    "an eighth": (0.125, 0.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 256, 256))
    parser.add_argument("--items", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = make(Path(folder) / "fish", tuple(asked.shape))
        store = project.case("fish").store
        scan = size_of(store) - size_of(store / "labels")
        units = len(Desk(project, "teacher").proposals)
        found = [measure(project, name, asked.items, scan) for name in WAYS]
    if asked.json:
        say_json({"scan_mb": scan / 1e6, "raw_mb": 2 * np.prod(asked.shape) / 1e6, "proposed": units, "ways": found})
        return
    print(f"The scan takes {scan / 1e6:.1f} MB on the disk, {2 * np.prod(asked.shape) / 1e6:.1f} MB as numbers.")
    print(f"{units} items are proposed.\n")
    times = ("pack", "open", "send", "merge")
    rows = [
        (
            f["way"], str(f["items"]), f"{f['mb']:.1f}", f"{f['share']:.0%}", str(f["voxels"]), f"{f['back_kb']:.0f}",
            *(f"{f[name]:.2f}" for name in times),
        )
        for f in found
    ]  # fmt: skip
    head = ("pack", "items", "MB", "of the scan", "voxels (× the scan's)", "verdicts (kB)")
    print_table((*head, "to make (s)", "to open (s)", "to send back (s)", "to merge (s)"), rows)


def make(folder: Path, shape: tuple[int, int, int]) -> Project:
    """One made-up fish, the truth shifted by two voxels as what was proposed, and a score for each organ and slab."""
    project = create_project(folder, "fish", MEDAKA)
    animal = phantom_animal(PhantomSettings(shape=shape, voxel_size=25_600 / shape[0], animal=1, scan=1))
    case = drain(add_case(project, animal.volume, None, "fish", False))
    labels = np.roll(animal.labels.volume.read(), 2, axis=2)
    doubt = np.where(labels > 0, np.random.default_rng(0).integers(0, 200, shape, np.uint8), 0).astype(np.uint8)
    begun = begin_labels(case.store, "teacher", MEDAKA, "shifted", extras=(Extra("uncertainty"),))
    for index, block in enumerate(begun.blocks):
        begun.write(index, labels[block], {"uncertainty": doubt[block]})
    drain(begun.commit())
    slabs = [(first, min(first + SLAB, shape[0])) for first in range(0, shape[0], SLAB)]
    units = [(int(organ), slab) for slab in slabs for organ in np.unique(labels[slice(*slab)]) if organ]
    draw = np.random.default_rng(1).random(len(units))
    scores = tuple(QualityScore(o, s, float(p), (), ("made up",)) for (o, s), p in zip(units, draw, strict=True))
    save_record(Record("teacher", "teacher.1", SLAB, 0.5, scores), case.folder, MEDAKA)
    return project


def measure(project: Project, name: str, items: int, scan: int) -> dict[str, Any]:
    """One pack's way: made, opened, judged wholly, sent back, merged."""
    share, limit = WAYS[name]
    items, usual = round(share * items), Wanted().limit
    folder = project.folder.parent
    file, back = folder / f"{items}-{limit}.pack.zip", folder / f"{items}-{limit}-back.zip"
    wanted = Wanted(items=items, limit=round(limit * 1e6) or usual)
    making, made = timed(lambda: drain(pack(project, file, wanted)))
    opening, there = timed(lambda: drain(unpack(file)))
    desk = Desk(there, "teacher", "ada")
    for item in desk.queue():
        desk.judge([item], "accepted", seconds=1)
    sending, answer = timed(lambda: drain(pack(there, back, Wanted())))
    before = len(read_verdicts(project.review_folder))
    merging, _ = timed(lambda: drain(merge(project, back)))
    gained = len(read_verdicts(project.review_folder)) - before
    if (made.items, gained) != (items, items):
        raise SystemExit(f"{made.items} items were packed, {gained} verdicts came home, {items} were asked for")
    for log in project.review_folder.glob("*.sqlite"):  # the next way packs the same items
        log.unlink()
    times = {"pack": making, "open": opening, "send": sending, "merge": merging}
    facts = {"mb": made.size / 1e6, "share": made.size / scan, "voxels": made.coarser, "back_kb": answer.size / 1e3}
    return {"way": name, "items": items, **facts, **times}


def timed(deed: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = deed()
    return time.perf_counter() - begun, result


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    main()
