"""The process that meets the spoiled volumes: a line of JSON when it begins one, and one when that has ended."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
from mutations import CANARY, spoil

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.volumes.label_store import label_names, open_saved_labels
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.open import open_labels, open_volume

if TYPE_CHECKING:
    from napari_medaka_kd.volumes.volume import LazyArray, Region, Volume

SCHEMA = LabelSchema.from_ids({number: f"organ {number}" for number in range(1, 60)})
BOX = 64  # voxels along an axis that are read from either end
#: What no reader has any business to do, by the names of Python's audit events.
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.", "pickle.find_class")


class Watch:
    """Notes what Python is asked to do while an input is read."""

    def __init__(self, outside: Path) -> None:
        self.seen: list[str] = []
        self.on = False
        self._outside = str(outside)
        sys.addaudithook(self._note)

    def _note(self, event: str, given: tuple[Any, ...]) -> None:
        if self.on and (event.startswith(FORBIDDEN) or (event == "open" and self._leads_out(given[0]))):
            self.seen.append(f"{event} {given!r}"[:200])

    def _leads_out(self, path: object) -> bool:
        return isinstance(path, str) and os.path.abspath(path).startswith(self._outside)


def main() -> None:
    folder, job = Path(sys.argv[1]), json.loads(sys.argv[2])
    watch = Watch(folder / "secret")
    for number in range(len(job["formats"])):  # so that what is imported once counts for no input
        read_through(folder / "valid" / str(number) / job["names"][number], Random(0), secret=99)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + job["address space"],) * 2)
    for number in job["numbers"]:
        signal.alarm(job["seconds"])
        meet(folder, watch, job, number)
        signal.alarm(0)


def meet(folder: Path, watch: Watch, job: dict[str, Any], number: int) -> None:
    rng = Random(f"{job['seed']} {number}")
    turn, row = divmod(number, len(job["formats"]))
    begun: dict[str, Any] = {"number": number, "format": job["formats"][row]}
    shutil.rmtree(folder / "in", ignore_errors=True)
    shutil.copytree(folder / "valid" / str(row), folder / "in" / str(row))
    path = folder / "in" / str(row) / job["names"][row]
    begun["how"] = spoil(rng, path, folder / "secret" / str(row) / job["names"][row], turn)
    tell(begun)
    watch.seen.clear()
    before, start = reset_peak(), time.monotonic()
    watch.on = True
    limit_files(job["file"])
    outcome, words = read_or_refuse(path, rng, job["secret"])
    limit_files(resource.RLIM_INFINITY)
    watch.on = False
    taken = max(0, peak() - before)
    if (folder / CANARY).exists() or watch.seen:
        outcome, words = "ran or reached out", "; ".join(watch.seen)
    elif outcome in ("array", "refused") and taken > job["budget"]:
        outcome = "memory"
    tell(begun | {"outcome": outcome, "words": words, "seconds": time.monotonic() - start, "bytes": taken})


def limit_files(size: int) -> None:
    """Nothing longer than ``size`` bytes can be written."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def read_or_refuse(path: Path, rng: Random, secret: int) -> tuple[str, str]:
    try:
        return read_through(path, rng, secret), ""
    except UserError as refusal:
        return ("refused" if is_plain(str(refusal)) else "not plain"), str(refusal)
    except Exception:
        return "traceback", traceback.format_exc()[-1500:]


def read_through(path: Path, rng: Random, secret: int) -> str:
    """Open and read either end of each level; "array", or what is wrong with it."""
    given = (1.0, 2.0, 3.0) if rng.random() < 0.4 else None
    if (path / "labels").is_dir():
        volumes = [open_volume(path, given)]
        volumes += [open_saved_labels(path, name, SCHEMA).volume for name in label_names(path)]
    elif rng.random() < 0.2:
        volumes = [open_labels(path, SCHEMA, given).volume]
    else:
        volumes = [open_volume(path, given)]
    found = [outcome for volume in volumes for outcome in read_ends(volume, secret) if outcome != "array"]
    return found[0] if found else "array"


def read_ends(volume: Volume, secret: int) -> list[str]:
    outcomes = []
    for number, level in enumerate(volume.levels):
        for box in ends(level):
            block = volume.read(box, number)
            right = isinstance(block, np.ndarray) and block.shape == tuple(side.stop - side.start for side in box)
            outcomes.append("array" if right and block.dtype == level.dtype else "not what was asked for")
            if right and np.mean(block == secret) > 0.5:
                outcomes.append("read what lies outside")
    return outcomes


def ends(level: LazyArray) -> list[Region]:
    z, y, x = level.shape
    first = (slice(0, min(z, BOX)), slice(0, min(y, BOX)), slice(0, min(x, BOX)))
    return [first, (slice(max(0, z - BOX), z), slice(max(0, y - BOX), y), slice(max(0, x - BOX), x))]


def is_plain(words: str) -> bool:
    """One or two sentences in a line: no dump, nothing of a library's insides."""
    inside = ("Traceback", "tensorstore_spec", "source locations", "site-packages", "<class")
    return len(words) <= 900 and words.isprintable() and words.endswith(".") and not any(map(words.count, inside))


def reset_peak() -> int:
    """Forget the largest resident size so far; the present one, bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found.group(1)) * 1024 if found else 0


def tell(ending: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(ending) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
