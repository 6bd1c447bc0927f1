"""A million verdicts: how long folding, appending and the next of the queue take, beside two plainer ways to keep them.

python benchmarks/verdicts.py --verdicts 1000000 [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import statistics
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from table import print_table, say_json

from napari_medaka_kd.review import (
    Decision,
    ReviewItem,
    Standing,
    Verdict,
    VerdictLog,
    VerdictReader,
    arrange,
    fold,
    now,
)
from napari_medaka_kd.review.snapshot import SNAPSHOT
from napari_medaka_kd.review.verdict import write_time

if TYPE_CHECKING:
    from collections.abc import Callable

REVIEWERS = ("ann", "bob")
SAID = [Decision.ACCEPTED] * 6 + [Decision.REJECTED] * 3 + [Decision.UNSURE]
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
ORGANS, SLABS, SLICES = 12, 20, 16
LABELS = "0123456789abcdef" * 4  # stands for a digest
BATCH = 1000


def say_all(count: int, chance: random.Random) -> list[list[Verdict]]:
    """Rows of two reviewers in batches, as the dock writes them: one in fifty is taken back, one in twenty amended."""
    cases, batches, given = max(1, count // 1000), [], 0
    while given < count:
        reviewer, rows = REVIEWERS[len(batches) % 2], []
        for number in range(given, min(given + BATCH, count)):
            kind = chance.random()
            if rows and kind < 0.07:
                old = rows[-1]
                said = Decision.UNDONE if kind < 0.02 else Decision.REJECTED
                row = Verdict(old.item, said, reviewer, at(number), 0.0, ("ragged",), "teacher", old.labels, LABELS)
                rows.append(with_gesture(row, old.gesture))
                continue
            first = SLICES * chance.randrange(SLABS)
            item = ReviewItem(f"fish-{chance.randrange(cases):04d}", chance.randint(1, ORGANS), (first, first + SLICES))
            seconds = round(chance.uniform(1, 20), 3)
            row = Verdict(item, chance.choice(SAID), reviewer, at(number), seconds, (), "teacher", "teacher.1", LABELS)
            rows.append(with_gesture(row, number + 1))
        batches.append(rows)
        given += len(rows)
    return batches


def at(second: int) -> str:
    return write_time(EPOCH + timedelta(seconds=second))


def with_gesture(row: Verdict, gesture: int) -> Verdict:
    object.__setattr__(row, "gesture", gesture)
    return row


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def middle(work: Callable[[], object], rounds: int) -> float:
    return statistics.median(seconds(work) for _ in range(rounds))


def folding(work: Callable[[], object], rounds: int) -> dict[str, float]:
    """By the clock, and of the processor, which other programs do not lengthen as much."""
    begun = time.process_time()
    found = {"fold s": middle(work, rounds)}
    return found | {"fold, processor s": (time.process_time() - begun) / rounds}


def ours(folder: Path, batches: list[list[Verdict]], rounds: int) -> dict[str, float]:
    for rows in batches:
        VerdictLog(folder, rows[0].reviewer).append_all(rows)
    first = seconds(lambda: fold(VerdictReader(folder).read(), "teacher"))
    found = folding(lambda: fold(VerdictReader(folder).read(), "teacher"), rounds) | {"first fold s": first}
    found["snapshot MB"] = sum(file.stat().st_size for file in folder.glob(SNAPSHOT)) / 1e6
    found["disk MB"] = sum(file.stat().st_size for file in folder.glob("*.sqlite")) / 1e6
    reader, log = VerdictReader(folder), VerdictLog(folder, "ann")
    standing, before = fold(reader.read(), "teacher"), reader.read()
    scores = {item: (hash(item) % 1000) / 1000 for item in fresh_items()}
    spoken, asked, seen = [], [], []
    for item in list(scores)[:50]:
        row = Verdict(item, Decision.ACCEPTED, "ann", now(), 3.0, (), "teacher", "teacher.1", LABELS)
        spoken.append(seconds(lambda row=row: log.append(row)))
        begun = time.perf_counter()
        later = reader.read()
        standing.add(later.since(before) or ())
        before = later
        seen.append(time.perf_counter() - begun)
        asked.append(seconds(lambda: next_of(scores, standing)))
    return found | {
        "append ms": 1000 * statistics.median(spoken), "append, worst ms": 1000 * max(spoken),
        "take in ms": 1000 * statistics.median(seen), "next 20 ms": 1000 * statistics.median(asked),
    }  # fmt: skip


def fresh_items(cases: int = 10) -> list[ReviewItem]:
    """Proposals for ten animals that nobody has seen: 2 400 of them."""
    return [
        ReviewItem(f"new-{case:02d}", organ + 1, (SLICES * slab, SLICES * (slab + 1)))
        for case in range(cases) for organ in range(ORGANS) for slab in range(SLABS)
    ]  # fmt: skip


def next_of(scores: dict[ReviewItem, float], standing: Standing) -> tuple[ReviewItem, ...]:
    wanted = {item for item in scores if standing.covering(item) is None}
    return arrange(scores, wanted)[:20]


def json_lines(folder: Path, batches: list[list[Verdict]], rounds: int) -> dict[str, float]:
    """One file with a line a verdict, read whole and folded in plain Python; appended to with an fsync."""
    path = folder / "verdicts.jsonl"
    with path.open("w") as file:
        for rows in batches:
            file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)

    def fold_lines() -> dict[object, object]:
        standing: dict[object, object] = {}
        with path.open() as file:
            for row in map(json.loads, file):
                item = row["item"]
                key = (item["case"], item["organ"], tuple(item["slab"]))
                if row["decision"] == "undone":
                    standing.pop(key, None)
                else:
                    standing[key] = row
        return standing

    def append() -> None:
        with path.open("a") as file:
            file.write(json.dumps(asdict(batches[0][0])) + "\n")
            file.flush()
            os.fsync(file.fileno())

    return folding(fold_lines, rounds) | {"append ms": 1000 * middle(append, 50)}


def group_by(folder: Path, batches: list[list[Verdict]], rounds: int) -> dict[str, float]:
    """A table with a column a field and an index; what stands is asked of SQLite: the last row of each item."""
    database = sqlite3.connect(folder / "verdicts.sqlite", isolation_level=None)
    database.execute(
        "CREATE TABLE said (place INTEGER PRIMARY KEY, case_ TEXT, organ, first, decision, reviewer, time)"
    )
    database.execute("CREATE INDEX item ON said (case_, organ, first)")
    insert = "INSERT INTO said VALUES (NULL, ?, ?, ?, ?, ?, ?)"

    def values(row: Verdict) -> tuple[object, ...]:
        first = row.item.slab[0] if row.item.slab else -1
        return (row.item.case, row.item.organ, first, row.decision, row.reviewer, row.time)

    database.execute("BEGIN")
    for rows in batches:
        database.executemany(insert, map(values, rows))
    database.execute("COMMIT")
    database.execute("PRAGMA synchronous = EXTRA")
    ask = "SELECT case_, organ, first, decision, max(place) FROM said GROUP BY case_, organ, first"
    found = folding(lambda: [row for row in database.execute(ask) if row[3] != "undone"], rounds) | {
        "append ms": 1000 * middle(lambda: database.execute(insert, values(batches[0][0])), 50),
    }
    database.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verdicts", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    batches = say_all(asked.verdicts, random.Random(asked.seed))
    arms = {}
    for name, arm in (
        ("ours", ours), ("JSON lines, folded in Python", json_lines), ("SQLite, GROUP BY", group_by),
    ):  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            arms[name] = arm(Path(folder), batches, asked.rounds)
    if asked.json:
        say_json(arms)
        return
    print_table(("", *arms), [(key, *(_figure(arm.get(key)) for arm in arms.values())) for key in arms["ours"]])


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    main()
