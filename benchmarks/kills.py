"""Segmenting, killed at random moments hundreds of times: no block lost or doubled, the labels those of a run in peace.

python benchmarks/kills.py --kills 200 --worker-kills 20
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from table import print_table, say_json

from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.project import Project, add_case, create_project
from napari_medaka_kd.segment.cluster import Cluster, connect
from napari_medaka_kd.segment.cohort import Scan, segment_cohort
from napari_medaka_kd.settings import NetworkSettings, SegmentSettings
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.volume import Volume
from napari_medaka_kd.workflow.propose import segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOOKS = NetworkSettings(dimensions=2, widths=(4, 8), coordinates=False)
SCHEMA = LabelSchema.from_ids({3: "eye", 40: "gut"})
SETTINGS = SegmentSettings(precision="float32", device="cpu")
BLOCKS = 12
SHAPE = (256 * BLOCKS, 24, 24)
NAME = "teacher"


def make_project(folder: Path) -> Project:
    """An animal of noise, and a network whose random weights tell three things apart in it."""
    project = create_project(folder / "project", "kills", SCHEMA)
    scan = np.random.default_rng(0).random(SHAPE, np.float32)
    drain(add_case(project, Volume((scan,), (10.0, 10.0, 10.0)), None, "fish", False))
    network = build(LOOKS, SCHEMA.classes, 0).eval()
    with torch.no_grad():
        logits = network(torch.rand(1, 1, 8, 24, 24)).movedim(1, 0).flatten(1)  # (classes, voxels)
        network.head.weight.div_(logits.std(1).view(-1, 1, 1, 1))
        network.head.bias.copy_((network.head.bias - logits.mean(1)) / logits.std(1))
    Checkpoint(name=NAME, network=LOOKS, organs=SCHEMA).save(network, project.checkpoint(NAME))
    return project


def begin(work: "Callable[[], object]") -> int:
    """Do ``work`` in a copy of this process, which has imported all and computed nothing yet."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return pid


def ended(pid: int, seconds: float) -> bool:
    """Whether it ends by itself within so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert status == 0, f"a run failed: {status}"
            return True
        time.sleep(0.001)
    return False


def kill_until_done(project: Project, seconds: float, chance: random.Random) -> "Iterator[int]":
    """Segment, killed again and again at a moment between 0 and ``seconds``; how many blocks were noted each time."""
    while True:
        pid = begin(lambda: drain(segment(project, NAME, SETTINGS, ("fish",))))
        if ended(pid, chance.uniform(0, seconds)):
            return
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        yield blocks_noted(project)


def blocks_noted(project: Project) -> int:
    ledgers = (project.case("fish").store / "labels").glob(f"{NAME}.*/.ledger")
    return sum(max(0, ledger.read_bytes().count(b"\n") - 1) for ledger in ledgers)


def label_files(project: Project) -> dict[str, bytes]:
    """The one generation of the label map, byte by byte, by place; its number and its ledger left out."""
    (folder,) = (project.case("fish").store / "labels").glob(f"{NAME}.*")
    files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
    return {name: file.read_bytes().replace(folder.name.encode(), b"") for name, file in files.items()}


def doubled_or_lost(files: dict[str, bytes]) -> int:
    """Blocks that are not noted exactly once."""
    notes = Counter(json.loads(line)["block"] for line in files[".ledger"].splitlines()[1:])
    return sum(notes[number] != 1 for number in range(BLOCKS)) + sum(number >= BLOCKS for number in notes)


def forget(project: Project) -> None:
    shutil.rmtree(project.case("fish").store / "labels")


def kill_processes(project: Project, kills: int, chance: random.Random) -> dict[str, float]:
    """Segmenting in one process, until it was killed so often."""
    begun = time.monotonic()
    pid = begin(lambda: drain(segment(project, NAME, SETTINGS, ("fish",))))
    assert ended(pid, 600)
    seconds = time.monotonic() - begun
    peace = label_files(project)
    found = nothing_found() | {"seconds of a run": seconds}
    while found["kills"] < kills:
        forget(project)
        for blocks in kill_until_done(project, seconds, chance):
            found["kills"] += 1
            found["amid the blocks"] += 0 < blocks < BLOCKS
        note(found, project, peace)
    return found


def nothing_found() -> dict[str, float]:
    names = ("kills", "amid the blocks", "runs", "wrong blocks", "runs with other labels", "seconds of a run")
    return dict.fromkeys(names, 0.0)


def note(found: dict[str, float], project: Project, peace: dict[str, bytes]) -> None:
    files = label_files(project)
    found["runs"] += 1
    print(f"{found['kills']:.0f} kills in {found['runs']:.0f} runs", file=sys.stderr)
    found["wrong blocks"] += doubled_or_lost(files)
    other = sorted(name for name in files.keys() | peace.keys() if files.get(name) != peace.get(name))
    found["runs with other labels"] += other not in ([], [".ledger"])  # whose lines come in another order
    if other not in ([], [".ledger"]):
        print(
            f"other than in peace: {other}, {[name for name in other if name not in peace]} too many", file=sys.stderr
        )


def kill_workers(project: Project, kills: int, chance: random.Random) -> dict[str, float]:
    """Segmenting on two workers, each run with one of them killed at a random moment of it."""
    peace = label_files(project)
    found = nothing_found()
    with connect("local:2", "cpu") as cluster:
        spread(project, cluster, 10**9)  # which is also waiting for torch
        begun = time.monotonic()
        spread(project, cluster, 10**9)
        found["seconds of a run"] = time.monotonic() - begun
        while found["kills"] < kills:
            killed = spread(project, cluster, chance.randrange(1, BLOCKS))
            found["kills"] += killed
            found["amid the blocks"] += killed
            note(found, project, peace)
    return found


def spread(project: Project, cluster: Cluster, moment: int) -> int:
    """Segment anew, and kill a worker when ``moment`` blocks are noted; how many were killed."""
    forget(project)
    case, killed = project.case("fish"), 0
    for report in segment_cohort([Scan(case.volume, case.body)], project.checkpoint(NAME), SETTINGS, cluster):
        if report.doing.startswith("segment") and moment <= report.done < report.total and not killed:
            os.kill(cluster.result(cluster.submit(os.getpid)), signal.SIGKILL)
            killed = 1
    return killed


@contextmanager
def temporary_project() -> "Iterator[Project]":
    with tempfile.TemporaryDirectory() as folder:
        pid = begin(lambda: make_project(Path(folder)))
        assert ended(pid, 600)
        yield Project(Path(folder) / "project", "kills", SCHEMA)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--worker-kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    chance = random.Random(asked.seed)
    with temporary_project() as project:
        arms = {"one process": kill_processes(project, asked.kills, chance)}
        if asked.worker_kills:
            arms["two workers on this machine"] = kill_workers(project, asked.worker_kills, chance)
    if asked.json:
        say_json(arms)
    else:
        head = ("segmenting in", *next(iter(arms.values())))
        print_table(head, [(arm, *(f"{value:.3g}" for value in found.values())) for arm, found in arms.items()])
    if any(found["wrong blocks"] or found["runs with other labels"] for found in arms.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
