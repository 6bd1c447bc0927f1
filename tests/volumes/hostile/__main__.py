"""Spoiled volumes, by the thousand, through every reader: ``python tests/volumes/hostile --inputs 2000``.

Each must end in an array or in one plain sentence. Anything else fails, and is named so that it can be had again:
``--only 137``. Inputs run in a child process with its memory and time bounded, so that a crash is one finding.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

from samples import FORMATS, SECRET, voxels

import napari_medaka_kd

#: What an input may take: bytes of memory beyond what the process held before, bytes of address space, seconds, and
#: bytes in a file that is written.
LIMITS = {"budget": 256 * 2**20, "address space": 4 * 2**30, "seconds": 20, "file": 64 * 2**20}
FINE = ("array", "refused")


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--inputs", type=int, default=2000)
    words.add_argument("--only", type=int, default=None, help="one input, by its number")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--json", action="store_true", help="end with one line for machines")
    given = words.parse_args()
    numbers = list(range(given.inputs)) if given.only is None else [given.only]
    with tempfile.TemporaryDirectory() as folder:
        names = write_samples(Path(folder).resolve())
        job = {"formats": list(FORMATS), "names": names, "seed": given.seed, "numbers": numbers, "secret": SECRET}
        endings = run_all(Path(folder).resolve(), job | LIMITS)
    failures = [ending for ending in endings if ending["outcome"] not in FINE]
    report(endings, failures, sys.stderr if given.json else sys.stdout)
    if given.json:
        sys.stdout.write(json.dumps(summary(endings) | {"failures": failures}))
    return 1 if failures else 0


def write_samples(folder: Path) -> list[str]:
    """Each format twice, in ``valid/<row>`` and, with voxels that nobody may see, in ``secret/<row>``; their names."""
    names = []
    for number, write in enumerate(FORMATS.values()):
        for kind in ("secret", "valid"):
            place = folder / kind / str(number)
            place.mkdir(parents=True)
            name = write(place, voxels(secret=kind == "secret")).name
        names.append(name)
    return names


def run_all(folder: Path, job: dict[str, Any]) -> list[dict[str, Any]]:
    """How each input ended; the child is started again after an input that ended it."""
    endings: list[dict[str, Any]] = []
    while len(endings) < len(job["numbers"]):
        endings += run_child(folder, job | {"numbers": job["numbers"][len(endings) :]})
    return endings


def run_child(folder: Path, job: dict[str, Any]) -> list[dict[str, Any]]:
    """What a child says of the inputs that it came to; the one that ended it is the last."""
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("child.py").resolve()), str(folder)]
    source = str(Path(napari_medaka_kd.__file__).resolve().parents[1])
    more = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "PYTHONPATH": source}
    with tempfile.TemporaryFile("w+") as told:
        done = subprocess.run(
            [*command, json.dumps(job)],
            check=False,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=told,
            text=True,
            env=os.environ | more,
        )
        told.seek(0)
        words = told.read()[-1500:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    endings = [line for line in lines if "outcome" in line]
    if len(lines) == 2 * len(endings) and len(endings) < len(job["numbers"]):
        raise SystemExit(f"The child could not work ({done.returncode}):\n{words}")
    if len(lines) > 2 * len(endings):
        outcome = "hang" if done.returncode == -signal.SIGALRM else f"crash {done.returncode}"
        endings.append(lines[-1] | {"outcome": outcome, "words": words, "seconds": 0.0, "bytes": 0})
    return endings


def summary(endings: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "inputs": len(endings),
        "outcomes": Counter(ending["outcome"] for ending in endings),
        "most bytes": max(ending["bytes"] for ending in endings),
        "most seconds": max(ending["seconds"] for ending in endings),
    }


def report(endings: list[dict[str, Any]], failures: list[dict[str, Any]], out: TextIO) -> None:
    """A table by format, the extremes, and each failure."""
    for name in FORMATS:
        counts = Counter(ending["outcome"] for ending in endings if ending["format"] == name)
        out.write(f"{name:32} " + ", ".join(f"{many} {what}" for what, many in sorted(counts.items())) + "\n")
    for key, unit, scale in (("bytes", "MiB", 2**20), ("seconds", "s", 1)):
        worst = sorted(endings, key=lambda ending: float(ending[key]), reverse=True)[:3]
        shown = ", ".join(
            f"{one[key] / scale:.2f} {unit} (#{one['number']} {one['format']}, {one['how']})" for one in worst
        )
        out.write(f"most {key}: {shown}\n")
    for failure in failures[:40]:
        told = "#{number} {format}, {how}: {outcome}\n    {words}\n".format(**failure)
        out.write(told)
    out.write(f"{len(endings)} inputs, {len(failures)} failures\n")


if __name__ == "__main__":
    sys.exit(main())
