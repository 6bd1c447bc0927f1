"""Writers of verdicts, killed at random moments or all at once on one project: nothing acknowledged is lost.

python benchmarks/verdict_kills.py --kills 1000 --writers 16 --verdicts 5000
python benchmarks/verdict_kills.py --mounts A B --verdicts 2000   two mounts of one network share, as of two machines
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from table import print_table, say_json

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.review import (
    Decision,
    ReviewItem,
    Verdict,
    VerdictLog,
    VerdictReader,
    fold,
    now,
    read_verdicts,
    verify_chain,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 0.2  # seconds that a writer lives at most; a verdict takes some milliseconds


def begin(work: Callable[[Path], None], told: Path) -> int:
    """Do ``work`` in a copy of this process, which notes in ``told`` what was acknowledged to it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work(told)
            code = 0
        except UserError as error:
            (told.with_suffix(".error")).write_text(str(error))
        finally:
            os._exit(code)
    return pid


def write(folder: Path, reviewer: str, stem: str, count: int) -> Callable[[Path], None]:
    """Says ``count`` things, and after each that was acknowledged notes its number, which a kill cannot take back."""

    def work(told: Path) -> None:
        log, handle = VerdictLog(folder, reviewer), os.open(told, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        longest = 0.0
        for number in range(count):
            begun = time.perf_counter()
            log.append(Verdict(ReviewItem(f"{stem}-{number}", 1), Decision.ACCEPTED, reviewer, now(), 1.0))
            longest = max(longest, time.perf_counter() - begun)
            os.write(handle, b"%d\n" % number)
        told.with_suffix(".longest").write_text(str(longest))

    return work


def acknowledged(told: Path, stem: str) -> list[str]:
    """The cases of the verdicts that a writer was told are on the disk."""
    lines = told.read_bytes().splitlines() if told.exists() else []
    return [f"{stem}-{int(line)}" for line in lines]


def kill_writers(kills: int, chance: random.Random) -> dict[str, float]:
    """Two writers at a time, each killed at a random moment and replaced at once; half of them share a log."""
    found = dict.fromkeys(("kills", "acknowledged", "written besides", "lost", "broken chains or folds"), 0.0)
    with tempfile.TemporaryDirectory() as place:
        folder, known = Path(place) / "review", []
        reader, running = VerdictReader(folder), []
        try:
            for number in range(kills + 2):
                if len(running) == 2 or number >= kills:
                    known += kill_next(running)
                    found["kills"] += 1
                    found["broken chains or folds"] += not whole(reader)
                if number % 50 == 0:
                    print(f"{found['kills']:.0f} kills, {len(known)} acknowledged", file=sys.stderr)
                if number < kills:
                    reviewer, stem = chance.choice(("ann", "ann", "bob")), f"w{number}"
                    told = Path(place) / stem
                    pid = begin(write(folder, reviewer, stem, 10**6), told)
                    running.append((time.monotonic() + chance.uniform(0, LONGEST), pid, told, stem))
        finally:  # or they would write for ever
            for _, pid, *_ in running:
                os.kill(pid, signal.SIGKILL)
        kept = Counter(row.item.case for row in read_verdicts(folder))
        found["broken chains or folds"] += not whole(VerdictReader(folder))
        for log in folder.glob("*.sqlite"):
            verify_chain(log)
    found["acknowledged"] = len(known)
    found["lost"] = sum(case not in kept for case in known)
    found["written besides"] = sum(kept.values()) - (len(known) - found["lost"])
    return found


def kill_next(running: list[tuple[float, int, Path, str]]) -> list[str]:
    """Kill the writer whose moment comes first, when it comes; what had been acknowledged to it."""
    running.sort()
    due, pid, told, stem = running.pop(0)
    time.sleep(max(0.0, due - time.monotonic()))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return acknowledged(told, stem)


def whole(reader: VerdictReader) -> bool:
    """Whether all logs can be read, and folded to as many items as there are rows, for each is about another one."""
    try:
        rows = reader.read()
    except UserError as error:
        print(error, file=sys.stderr)
        return False
    return len(fold(rows)) == len(rows)


def write_at_once(writers: int, count: int, names: Callable[[int], str]) -> dict[str, float]:
    """So many writers on one project, ``count`` verdicts each."""
    with tempfile.TemporaryDirectory() as place:
        folder, begun = Path(place) / "review", time.monotonic()
        told = [Path(place) / f"w{number}" for number in range(writers)]
        pids = [begin(write(folder, names(n), f"w{n}", count), told[n]) for n in range(writers)]
        ends = [os.waitpid(pid, 0)[1] for pid in pids]
        seconds = time.monotonic() - begun
        errors = [file.read_text() for file in Path(place).glob("*.error")]
        for error in errors:
            print(error, file=sys.stderr)
        known = [case for n in range(writers) for case in acknowledged(told[n], f"w{n}")]
        rows = read_verdicts(folder)
        kept = Counter(row.item.case for row in rows)
        checked = sum(verify_chain(log) for log in folder.glob("*.sqlite"))
        return {
            "acknowledged": len(known), "lost": sum(case not in kept for case in known),
            "doubled": sum(times > 1 for times in kept.values()), "rows with a whole chain": checked,
            "writers that failed": sum(map(bool, ends)), '"database is locked"': sum("lock" in e for e in errors),
            "verdicts a second": len(known) / seconds,
            "longest wait for one (s)": max((float(f.read_text()) for f in Path(place).glob("*.longest")), default=0.0),
        }  # fmt: skip


def write_and_look(folder: Path, reviewer: str, stem: str, count: int) -> Callable[[Path], None]:
    """As :func:`write`, and after each verdict reads what everybody said."""

    def work(told: Path) -> None:
        log, reader = VerdictLog(folder, reviewer), VerdictReader(folder)
        with told.open("ab", buffering=0) as known:
            for number in range(count):
                log.append(Verdict(ReviewItem(f"{stem}-{number}", 1), Decision.ACCEPTED, reviewer, now(), 1.0))
                known.write(b"%d\n" % number)
                reader.read()

    return work


def write_through(mounts: list[Path], count: int) -> dict[str, float]:
    """A reviewer behind each mount of one share, both at once, each reading the other's log after each verdict."""
    shared = f"review-{os.getpid()}"
    with tempfile.TemporaryDirectory() as place:
        told, begun = [Path(place) / f"w{number}" for number, _ in enumerate(mounts)], time.monotonic()
        works = [write_and_look(mount / shared, f"r{n}", f"w{n}", count) for n, mount in enumerate(mounts)]
        ends = [os.waitpid(pid, 0)[1] for pid in [begin(work, file) for work, file in zip(works, told, strict=True)]]
        seconds = time.monotonic() - begun
        for error in Path(place).glob("*.error"):
            print(error.read_text(), file=sys.stderr)
        known = [case for n, file in enumerate(told) for case in acknowledged(file, f"w{n}")]
    kept = Counter(row.item.case for row in read_verdicts(mounts[0] / shared))
    checked = sum(verify_chain(log) for log in (mounts[0] / shared).glob("*.sqlite"))
    shutil.rmtree(mounts[0] / shared)
    return {
        "acknowledged": len(known), "lost": sum(case not in kept for case in known),
        "doubled": sum(times > 1 for times in kept.values()), "rows with a whole chain": checked,
        "writers that failed": sum(map(bool, ends)), "verdicts a second": len(known) / seconds,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--verdicts", type=int, default=5000, help="by each writer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--mounts", type=Path, nargs="+", help="of one network share; two writers there, nothing else")
    asked = parser.parse_args()
    if asked.mounts:
        found = write_through(asked.mounts, asked.verdicts)
        print_table(tuple(found), [tuple(f"{value:.0f}" for value in found.values())])
        raise SystemExit(1 if found["lost"] + found["doubled"] + found["writers that failed"] else 0)
    killed = kill_writers(asked.kills, random.Random(asked.seed))
    arms = {
        f"{asked.writers} writers, a name each": write_at_once(asked.writers, asked.verdicts, lambda n: f"r{n}"),
        f"{asked.writers} writers, one name": write_at_once(asked.writers, asked.verdicts, lambda _: "ann"),
    }
    if asked.json:
        say_json({"killed": killed, **arms})
    else:
        print_table(tuple(killed), [tuple(f"{value:.0f}" for value in killed.values())])
        head = ("", *next(iter(arms.values())))
        print_table(
            head,
            [
                (arm, *(f"{value:.3g}" if value < 100 else f"{value:.0f}" for value in found.values()))
                for arm, found in arms.items()
            ],
        )
    wrong = killed["lost"] + killed["broken chains or folds"]
    wrong += sum(arm["lost"] + arm["doubled"] + arm["writers that failed"] for arm in arms.values())
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
