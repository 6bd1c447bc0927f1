"""Verdicts: what stands, what is looked at next, and that a log loses nothing it has acknowledged."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.review import (
    Decision,
    Order,
    ReviewItem,
    Verdict,
    VerdictLog,
    VerdictReader,
    Verdicts,
    arrange,
    decision_for,
    fold,
    now,
    queue,
    read_verdicts,
    verdict_for,
    verify_chain,
)
from napari_medaka_kd.review.rows import row_text
from napari_medaka_kd.review.snapshot import SNAPSHOT
from napari_medaka_kd.review.table import Table
from napari_medaka_kd.review.verdict import by_time, write_time

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
WRITER = """
import sys
from pathlib import Path
from napari_medaka_kd.review import Decision, ReviewItem, Verdict, VerdictLog, now
log = VerdictLog(Path(sys.argv[1]), sys.argv[2])
for number in range(int(sys.argv[4])):
    log.append(Verdict(ReviewItem(f"{sys.argv[3]}-{number}"), Decision.ACCEPTED, sys.argv[2], now()))
    print(number, flush=True)
"""


def at(second: float) -> str:
    return write_time(EPOCH + timedelta(seconds=second))


def verdict(
    item: ReviewItem, decision: Decision = Decision.ACCEPTED, second: float = 0, reviewer: str = "ann"
) -> Verdict:
    return Verdict(item, decision, reviewer, at(second))


def start_writer(folder: Path, reviewer: str, stem: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), reviewer, stem, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


slabs = st.none() | st.sampled_from([(0, 8), (8, 16)])
items = st.builds(ReviewItem, st.sampled_from(["a", "b"]), st.integers(0, 2), slabs)
verdicts = st.builds(
    Verdict,
    items,
    st.sampled_from(Decision),
    st.sampled_from(["ann", "bob"]),
    st.integers(0, 9).map(at),
    checkpoint=st.sampled_from(["", "teacher"]),
)
standing = st.sampled_from([decision for decision in Decision if decision is not Decision.UNDONE])


@given(st.lists(verdicts, max_size=20), st.randoms(use_true_random=False))
def test_folding_does_not_depend_on_the_order_of_reading(given_verdicts: list[Verdict], random: object) -> None:
    shuffled = list(given_verdicts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fold(shuffled) == fold(given_verdicts)


@given(st.lists(verdicts, max_size=20), items, standing)
def test_an_undo_restores_what_stood_before(before: list[Verdict], item: ReviewItem, decision: Decision) -> None:
    done = verdict(item, decision, 100)
    undone = verdict(item, Decision.UNDONE, 101)
    assert fold([*before, done])[item] == done
    assert fold([*before, done, undone]) == fold(before)


@given(st.lists(verdicts, max_size=20))
def test_an_undo_is_never_what_stands(given_verdicts: list[Verdict]) -> None:
    folded = fold(given_verdicts)
    assert all(one.decision is not Decision.UNDONE and one.item == item for item, one in folded.items())


@given(st.lists(verdicts, max_size=20))
def test_folding_for_a_checkpoint_looks_at_its_verdicts_alone(given_verdicts: list[Verdict]) -> None:
    own = [one for one in given_verdicts if one.checkpoint == "teacher"]
    assert fold(given_verdicts, "teacher") == fold(own)


def test_an_undo_of_one_item_leaves_the_others() -> None:
    organ, animal = ReviewItem("a", 1), ReviewItem("a")
    folded = fold([verdict(organ), verdict(animal, second=1), verdict(organ, Decision.UNDONE, 2)])
    assert list(folded) == [animal]


def test_verdicts_in_other_time_zones_are_ordered_by_the_instant() -> None:
    item = ReviewItem("a")
    early = Verdict(item, Decision.ACCEPTED, "ann", "2026-01-01T12:00:00+09:00")
    late = Verdict(item, Decision.REJECTED, "bob", "2026-01-01T04:00:00Z")
    assert fold([late, early])[item] == late


@given(st.permutations(range(4)), st.lists(standing, min_size=4, max_size=4))
def test_the_finer_verdict_overrides_the_coarser_whenever_it_was_given(
    times: list[int], decisions: list[Decision]
) -> None:
    slab = (0, 8)
    finest_first = [ReviewItem("a", 1, slab), ReviewItem("a", 1), ReviewItem("a", 0, slab), ReviewItem("a")]
    given_verdicts = [verdict(*row) for row in zip(finest_first, decisions, times, strict=True)]
    for skipped in range(4):
        folded = fold(given_verdicts[skipped:])
        assert decision_for(folded, finest_first[0]) == decisions[skipped]
    assert decision_for(fold(given_verdicts), ReviewItem("a", 2, (8, 16))) == decisions[3]
    assert decision_for(fold(given_verdicts), ReviewItem("b", 1, slab)) is None


slices = st.tuples(st.integers(0, 6), st.integers(1, 6)).map(lambda pair: (pair[0], pair[0] + pair[1]))
ranged = st.builds(ReviewItem, st.sampled_from("ab"), st.integers(0, 2), st.none() | slices)


@given(st.lists(st.tuples(ranged, standing), max_size=12), ranged)
def test_the_finest_verdict_that_covers_an_item_holds(
    said: list[tuple[ReviewItem, Decision]], item: ReviewItem
) -> None:
    rows = [verdict(judged, decision, second) for second, (judged, decision) in enumerate(said)]

    def covers(row: Verdict) -> bool:
        wide = row.item
        every = set(range(*(item.slab or (0, 99))))
        inside = wide.slab is None or (item.slab is not None and every <= set(range(*wide.slab)))
        return wide.case == item.case and wide.organ in (0, item.organ) and inside

    def rank(row: Verdict) -> tuple[bool, int, float]:
        length = 99 if row.item.slab is None else row.item.slab[1] - row.item.slab[0]
        return row.item.organ != item.organ, length, -row.instant.timestamp()

    expected = min(filter(covers, rows), key=rank, default=None)
    folded = fold(rows)
    assert verdict_for(folded, item) == expected
    assert verdict_for(dict(folded), item) == expected
    assert decision_for(folded, item) == (expected and expected.decision)


def test_a_word_on_some_slices_holds_for_every_slab_within_and_none_across() -> None:
    folded = fold([verdict(ReviewItem("a", 1, (0, 20)), Decision.REJECTED)])
    assert decision_for(folded, ReviewItem("a", 1, (8, 16))) is Decision.REJECTED
    assert decision_for(folded, ReviewItem("a", 1, (16, 24))) is None
    assert decision_for(folded, ReviewItem("a", 1)) is None
    assert decision_for(folded, ReviewItem("a", 2, (8, 16))) is None


@given(st.permutations([ReviewItem(case, organ, slab) for case in "ab" for organ in (0, 1) for slab in (None, (0, 8))]))
def test_items_are_ordered_with_the_whole_before_its_slabs(shuffled: list[ReviewItem]) -> None:
    assert [(item.case, item.organ, item.slab) for item in sorted(shuffled)] == [
        (case, organ, slab) for case in "ab" for organ in (0, 1) for slab in (None, (0, 8))
    ]


scores = st.dictionaries(
    st.builds(ReviewItem, st.sampled_from("abc"), st.integers(1, 6)), st.floats(0, 1) | st.just(math.nan), max_size=15
)
orders = st.sampled_from(["worst", "informative", "mixed", "organ", "animal", "random"])


@given(scores, orders, st.integers(0, 5), st.floats(0, 1))
def test_the_queue_holds_every_pending_item_once(
    of: dict[ReviewItem, float], order: Order, seed: int, share: float
) -> None:
    folded = fold([verdict(item) for item in list(of)[::3]])
    chosen = queue(of, folded, order, seed, share)
    assert sorted(chosen) == sorted(set(of) - set(folded))
    assert queue(dict(reversed(of.items())), folded, order, seed, share) == chosen


@given(scores.filter(bool), orders, st.integers(0, 5), st.floats(0, 1))
def test_judging_the_first_leaves_the_rest_of_the_queue(
    of: dict[ReviewItem, float], order: Order, seed: int, share: float
) -> None:
    first, *rest = queue(of, {}, order, seed, share)
    assert queue(of, fold([verdict(first)]), order, seed, share) == tuple(rest)


def test_the_queue_is_sorted_as_asked() -> None:
    a, b, c, d = (ReviewItem("x", organ) for organ in range(1, 5))
    of = {a: 0.9, b: 0.1, c: 0.45, d: math.nan}
    assert queue(of, {}, "worst", 0, 0) == (d, b, c, a)
    assert queue(of, {}, "informative", 0, 0) == (d, c, a, b)
    assert queue(of, {}, "mixed", 0, 0) == (d, c, b, a)


def test_organs_and_animals_stay_together_with_the_worst_first_in_each() -> None:
    of = {ReviewItem(case, organ): score for case, organ, score in [("a", 1, 0.9), ("a", 2, 0.2), ("b", 1, 0.3)]}
    of[ReviewItem("b", 2)] = math.nan
    by_organ, by_animal = (queue(of, {}, order, 0, 0) for order in ("organ", "animal"))
    assert [(item.organ, item.case) for item in by_organ] == [(1, "b"), (1, "a"), (2, "b"), (2, "a")]
    assert [(item.case, item.organ) for item in by_animal] == [("a", 2), ("a", 1), ("b", 2), ("b", 1)]


@given(scores, orders, st.integers(0, 5), st.randoms(use_true_random=False))
def test_any_part_of_the_items_can_be_arranged(of: dict[ReviewItem, float], order: Order, seed: int, dice: Any) -> None:
    wanted = set(dice.sample(sorted(of), dice.randint(0, len(of))))
    assert sorted(arrange(of, wanted, order, seed)) == sorted(wanted)


def test_a_share_of_the_queue_is_drawn_at_random() -> None:
    of = {ReviewItem("x", organ): organ / 1000 for organ in range(1, 1001)}
    chosen = queue(of, {}, "worst", 3, 0.1)[:500]
    drawn = [item for place, item in enumerate(chosen) if item.organ > place + 60]
    assert 20 < len(drawn) < 80
    assert queue(of, {}, "worst", 4, 0.1)[:500] != chosen


def test_a_verdict_comes_back_as_it_was_appended(tmp_path: Path) -> None:
    given_verdict = Verdict(
        ReviewItem("fish-1", 3, (0, 32)), Decision.CORRECTED, "Jürgen", now(), 2.5, ("spill 🐟", "hole"), "t", "t.2"
    )
    assert VerdictLog(tmp_path / "review", "Jürgen").append(given_verdict) == given_verdict
    assert read_verdicts(tmp_path / "review") == (given_verdict,)


def test_no_folder_means_no_verdicts(tmp_path: Path) -> None:
    assert read_verdicts(tmp_path / "review") == ()
    assert not (tmp_path / "review").exists()


def test_all_reviewers_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    rows = [verdict(ReviewItem(str(n)), second=n, reviewer="ann" if n % 2 else "bob") for n in range(6)]
    for row in rows:
        VerdictLog(tmp_path, row.reviewer).append(row)
    assert [row.item for row in read_verdicts(tmp_path)] == [row.item for row in rows]


def test_a_clock_that_goes_back_does_not_reorder_a_log(tmp_path: Path) -> None:
    log, item = VerdictLog(tmp_path, "ann"), ReviewItem("a")
    log.append(verdict(item, Decision.ACCEPTED, 10))
    log.append(verdict(item, Decision.REJECTED, 5))
    log.append(verdict(item, Decision.UNDONE, 5))
    log.append(verdict(item, Decision.UNSURE, 5))
    assert [row.decision for row in read_verdicts(tmp_path)] == ["accepted", "rejected", "undone", "unsure"]
    assert fold(read_verdicts(tmp_path))[item].decision is Decision.UNSURE


@pytest.mark.parametrize("name", ["", "../ann", "a/b", ".ann", "ann.", "ann ", "x" * 64, "ann\n"])
def test_a_reviewer_whose_name_cannot_name_a_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot be called"):
        VerdictLog(tmp_path, name)


@pytest.mark.parametrize(("time", "seconds"), [("2026-01-01T00:00:00", 0), ("then", 0), (at(0), math.nan), (at(0), -1)])
def test_a_verdict_without_an_instant_or_a_duration_is_a_bug(time: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=r"time|isoformat"):
        Verdict(ReviewItem("a"), Decision.ACCEPTED, "ann", time, seconds)


def test_a_verdict_goes_into_its_reviewers_log_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not belong"):
        VerdictLog(tmp_path, "bob").append(verdict(ReviewItem("a"), reviewer="ann"))


def fill(folder: Path, count: int = 4) -> Path:
    log = VerdictLog(folder, "ann")
    for number in range(count):
        log.append(verdict(ReviewItem("a", number), second=number))
    return log.path


@pytest.mark.parametrize(
    "change", ["UPDATE verdicts SET verdict = '{}'", "DELETE FROM verdicts", "REPLACE INTO verdicts VALUES (1, '', '')"]
)
def test_other_programs_can_not_change_what_is_written(tmp_path: Path, change: str) -> None:
    path = fill(tmp_path)
    database = sqlite3.connect(path)
    database.execute("PRAGMA recursive_triggers = ON")  # else REPLACE would not ask
    with pytest.raises(sqlite3.IntegrityError, match="only ever appended"):
        database.execute(change)
    database.close()
    assert verify_chain(path) == 4


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE verdicts SET verdict = replace(verdict, 'accepted', 'rejected') WHERE row = 2",
        "DELETE FROM verdicts WHERE row = 2",
        "DELETE FROM verdicts WHERE row = 1",
        "UPDATE verdicts SET row = row + 10 WHERE row = 4",
        "UPDATE verdicts SET hash = 'x' WHERE row = 4",
        "INSERT INTO verdicts SELECT 5, verdict, hash FROM verdicts WHERE row = 4",
    ],
)
def test_a_changed_row_breaks_the_chain(tmp_path: Path, change: str) -> None:
    path = fill(tmp_path)
    database = sqlite3.connect(path)
    database.executescript(f"DROP TRIGGER no_update; DROP TRIGGER no_delete; {change};")
    database.close()
    with pytest.raises(UserError, match=r"row \d is not what was written"):
        verify_chain(path)
    with pytest.raises(UserError, match="damaged"):
        read_verdicts(tmp_path)


def test_a_log_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    path = fill(tmp_path)
    path.write_bytes(b"x" * 8192)
    for use in (lambda: read_verdicts(tmp_path), lambda: fill(tmp_path)):
        with pytest.raises(UserError, match="damaged"):
            use()


def test_a_log_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = fill(tmp_path)
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 2")
    database.close()
    with pytest.raises(UserError, match=r"format 2.*Update"):
        verify_chain(path)


def test_an_empty_log_and_macos_leftovers_hold_no_verdicts(tmp_path: Path) -> None:
    (tmp_path / "ann.sqlite").write_bytes(b"")
    (tmp_path / "._ann.sqlite").write_bytes(b"mac")
    assert read_verdicts(tmp_path) == ()
    assert len(fill(tmp_path).read_bytes()) > 0
    assert len(read_verdicts(tmp_path)) == 4


def test_a_log_that_is_not_there_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no log"):
        verify_chain(tmp_path / "ann.sqlite")


@pytest.mark.parametrize("names", [["ann"] * 4, ["ann", "bob", "eve", "zoe"]])
def test_processes_that_append_at_once_lose_nothing(tmp_path: Path, names: list[str]) -> None:
    writers = [start_writer(tmp_path, name, stem, 50) for name, stem in zip(names, "abcd", strict=True)]
    for writer in writers:
        writer.communicate()
    assert [writer.returncode for writer in writers] == [0] * 4
    found = [row.item.case for row in read_verdicts(tmp_path)]
    assert sorted(found) == sorted(f"{stem}-{number}" for stem in "abcd" for number in range(50))
    for stem in "abcd":
        own = [case for case in found if case.startswith(stem)]
        assert own == [f"{stem}-{number}" for number in range(50)]
    assert sum(map(verify_chain, tmp_path.glob("*.sqlite"))) == 200


def test_a_kill_at_any_moment_loses_no_acknowledged_verdict(tmp_path: Path) -> None:
    acknowledged = []
    beside = start_writer(tmp_path, "ann", "beside", 10_000)
    for kill in range(8):
        writer = start_writer(tmp_path, "ann", f"kill{kill}", 10_000)
        assert writer.stdout is not None
        acknowledged += [f"kill{kill}-{int(writer.stdout.readline())}" for _ in range(kill + 1)]
        writer.kill()
        acknowledged += [f"kill{kill}-{int(line)}" for line in writer.communicate()[0].splitlines()]
        assert writer.returncode == -9
    beside.kill()
    acknowledged += [f"beside-{int(line)}" for line in beside.communicate()[0].splitlines()]
    found = [row.item.case for row in read_verdicts(tmp_path)]
    assert set(acknowledged) <= set(found)
    assert len(found) - len(acknowledged) <= 9  # written, but killed before saying so
    assert verify_chain(tmp_path / "ann.sqlite") == len(found)


def test_a_full_disk_is_one_sentence_and_the_log_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fill(tmp_path)
    connect = sqlite3.connect

    def connect_to_full_disk(*args: object, **options: object) -> sqlite3.Connection:
        database = connect(*args, **options)  # type: ignore[call-overload]
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {pages}")
        return database  # type: ignore[no-any-return]

    monkeypatch.setattr(sqlite3, "connect", connect_to_full_disk)
    large = replace(verdict(ReviewItem("a"), second=9), reasons=("x" * 100_000,))
    with pytest.raises(UserError, match=r"full.*Check free space"):
        VerdictLog(tmp_path, "ann").append(large)
    monkeypatch.undo()
    assert verify_chain(path) == 4


def test_what_is_said_at_once_shares_a_gesture_and_is_taken_back_under_later_words_of_others(tmp_path: Path) -> None:
    ann, bob = VerdictLog(tmp_path, "ann"), VerdictLog(tmp_path, "bob")
    items = [ReviewItem("a", organ) for organ in (1, 2)]
    alone = ann.append(verdict(ReviewItem("b"), second=0))
    both = ann.append_all([verdict(item, Decision.ACCEPTED, 1) for item in items])
    bob.append(verdict(items[0], Decision.REJECTED, 2, "bob"))
    assert [row.gesture for row in (alone, *both)] == [1, 2, 2]
    folded = fold(read_verdicts(tmp_path))
    assert folded.last_gesture("ann") == both
    ann.append_all([replace(row, decision=Decision.UNDONE, time=at(9)) for row in both])
    folded = fold(read_verdicts(tmp_path))
    assert {item: row.reviewer for item, row in folded.items()} == {ReviewItem("b"): "ann", items[0]: "bob"}
    assert folded.last_gesture("ann") == (alone,)
    assert folded.last_gesture("eve") == ()


def test_a_later_row_of_a_gesture_replaces_the_former_where_it_stood(tmp_path: Path) -> None:
    log, item = VerdictLog(tmp_path, "ann"), ReviewItem("a", 1)
    said = log.append(verdict(item, Decision.REJECTED, 1))
    VerdictLog(tmp_path, "bob").append(verdict(item, Decision.ACCEPTED, 2, "bob"))
    log.append(replace(said, reasons=("ragged",), time=at(3)))
    folded = fold(read_verdicts(tmp_path))
    assert folded[item].reviewer == "bob"
    assert folded.last_gesture("ann")[0].reasons == ("ragged",)


def test_a_gesture_is_written_wholly_or_not_at_all(tmp_path: Path) -> None:
    log = VerdictLog(tmp_path, "ann")
    log.append(verdict(ReviewItem("a")))
    for number in range(12):
        code = WRITER.replace("log.append(", "log.append_all([").replace("now()))", "now())] * 50)")
        command = [sys.executable, "-c", code, str(tmp_path), "ann", f"kill{number}", "10000"]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        assert [writer.stdout.readline() for _ in range(number % 4 + 1)][-1] == f"{number % 4}\n"
        writer.kill()
        writer.communicate()
    assert verify_chain(log.path) % 50 == 1


def test_a_reader_sees_what_other_processes_append_and_reads_nothing_twice(tmp_path: Path) -> None:
    reader = VerdictReader(tmp_path)
    assert reader.read() == ()
    writers = [start_writer(tmp_path, name, name, 40) for name in ("ann", "bob")]
    seen, fresh = reader.read(), 0
    while any(writer.poll() is None for writer in writers):
        found = reader.read()
        new = found.since(seen)
        assert new is not None
        fresh, seen = fresh + len(new), found
        assert fresh == len(seen)
    for writer in writers:
        writer.communicate()
    assert reader.read() == read_verdicts(tmp_path)
    assert len(reader.read()) == 80
    assert reader.read() is reader.read()


@given(st.lists(st.tuples(st.sampled_from(["ann", "bob"]), st.integers(0, 9)), max_size=12))
def test_reading_bit_by_bit_gives_what_reading_at_once_does(rows: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        reader = VerdictReader(Path(folder))
        for reviewer, second in rows:
            VerdictLog(Path(folder), reviewer).append(
                verdict(ReviewItem("a", second), second=second, reviewer=reviewer)
            )
            assert reader.read() == read_verdicts(Path(folder))


def test_a_log_that_was_quiet_is_not_opened_again_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path)
    reader, clock = VerdictReader(tmp_path), [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    opened = []
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **more: opened.append(given) or connect(*given, **more))  # type: ignore[func-returns-value]
    for second in (0, 1, 3, 4, 5, 6):
        clock[0] = second
        reader.read()
    assert len(opened) == 3
    VerdictLog(tmp_path, "ann").append(verdict(ReviewItem("b")))
    assert len(reader.read()) == 5


def test_a_log_that_was_exchanged_or_removed_is_noticed(tmp_path: Path) -> None:
    reader, path = VerdictReader(tmp_path), fill(tmp_path)
    VerdictLog(tmp_path, "bob").append(verdict(ReviewItem("b"), reviewer="bob"))
    assert len(reader.read()) == 5
    path.unlink()
    assert [row.reviewer for row in reader.read()] == ["bob"]
    fill(tmp_path, 2)
    assert len(reader.read()) == 3
    other = fill(tmp_path / "other", 6)
    database = sqlite3.connect(other)
    database.executescript("DROP TRIGGER no_delete; DELETE FROM verdicts;")
    database.close()
    VerdictLog(other.parent, "ann").append(verdict(ReviewItem("z")))
    other.replace(path)
    assert sorted(row.item.case for row in reader.read()) == ["b", "z"]


def test_damage_in_one_log_does_not_make_a_reader_forget_the_others(tmp_path: Path) -> None:
    reader, path = VerdictReader(tmp_path), fill(tmp_path)
    broken = tmp_path / "zoe.sqlite"
    broken.write_bytes(b"x" * 8192)
    for _ in range(2):
        with pytest.raises(UserError, match="damaged"):
            reader.read()
    broken.unlink()
    assert reader.read() == read_verdicts(tmp_path)
    assert len(reader.read()) == verify_chain(path) == 4


again = st.builds(
    lambda said, gesture: replace(said, gesture=gesture), verdicts, st.sampled_from([0, 0, 1, 2, 3])
)  # undone, amended and given again, without and with a gesture
logs = st.lists(again, max_size=25, unique_by=lambda row: (row.reviewer, row.time))  # as a log has them


def in_columns(rows: list[Verdict]) -> Verdicts:
    table = Table()
    table.add([row_text(row) for row in rows])
    return Verdicts(table)


@given(st.lists(again, max_size=25), st.sampled_from([None, "", "teacher", "nobody"]))
def test_folding_in_bulk_gives_what_folding_one_by_one_does(rows: list[Verdict], checkpoint: str | None) -> None:
    assert fold(in_columns(rows), checkpoint) == fold(rows, checkpoint)


@given(logs, st.sampled_from([None, "teacher"]))
def test_a_bulk_answers_all_that_is_asked_of_a_standing(rows: list[Verdict], checkpoint: str | None) -> None:
    one_by_one, bulk = fold(rows, checkpoint), fold(in_columns(rows), checkpoint)
    assert len(bulk) == len(list(bulk)) == len(one_by_one)
    for name in ("ann", "bob", "eve"):
        assert sorted(bulk.last_gesture(name), key=by_time) == sorted(one_by_one.last_gesture(name), key=by_time)
        assert list(bulk.latest_of(name)) == list(one_by_one.latest_of(name))
    for decision in Decision:
        assert sorted(bulk.said(decision), key=by_time) == sorted(one_by_one.said(decision), key=by_time)
    for item in {row.item for row in rows}:
        for asked in (item, ReviewItem(item.case, 1, (2, 6)), ReviewItem(item.case)):
            assert bulk.covering(asked) == one_by_one.covering(asked)


@given(logs, st.integers(0, 25))
def test_what_is_added_to_a_bulk_counts_as_if_it_had_been_there(rows: list[Verdict], known: int) -> None:
    grown, whole = fold(in_columns(rows[:known])), fold(rows)
    for row in rows[known:]:
        grown.add([row])
    assert grown == whole
    assert len(grown) == len(whole)
    for name in ("ann", "bob"):
        assert sorted(grown.last_gesture(name), key=by_time) == sorted(whole.last_gesture(name), key=by_time)
        assert list(grown.latest_of(name)) == list(whole.latest_of(name))
    assert sorted(grown.said(Decision.ACCEPTED), key=by_time) == sorted(whole.said(Decision.ACCEPTED), key=by_time)


@given(st.lists(again, max_size=12))
def test_verdicts_in_columns_come_back_in_the_order_of_their_time(rows: list[Verdict]) -> None:
    assert in_columns(rows) == sorted(rows, key=by_time)


anything = st.builds(
    Verdict,
    st.builds(ReviewItem, st.text(max_size=9) | st.just('a"{}'), st.integers(0, 9), slabs),
    st.sampled_from(Decision),
    st.text(max_size=9),
    st.integers(0, 9).map(at),
    st.floats(0, 1e9),
    st.lists(st.text(max_size=20) | st.just('", "gesture": 7, "item": {}, "seconds": 1, "time": "'), max_size=2).map(
        tuple
    ),
    st.text(max_size=9),
    gesture=st.integers(0, 2**40),
)


@given(st.lists(anything, max_size=5), st.booleans())
def test_any_words_survive_a_log_also_one_that_is_written_otherwise(rows: list[Verdict], otherwise: bool) -> None:
    texts = [row_text(row) for row in rows]
    table = Table()
    table.add([json.dumps(json.loads(text), separators=(",", ":")) for text in texts] if otherwise else texts)
    assert [row_text(row) for row in Verdicts(table)] == [row_text(row) for row in sorted(rows, key=by_time)]


def test_rows_of_before_there_were_digests_are_still_read() -> None:
    text = json.loads(row_text(verdict(ReviewItem("a", 1, (0, 8)))))
    del text["digest"], text["gesture"]
    table = Table()
    table.add([json.dumps(text)])
    assert [(row.digest, row.gesture) for row in Verdicts(table)] == [("", 0)]


def many(folder: Path, count: int) -> VerdictLog:
    log = VerdictLog(folder, "ann")
    log.append_all([verdict(ReviewItem(f"fish-{n % 7}", n % 50, (n, n + 1)), second=n) for n in range(count)])
    return log


def test_a_snapshot_of_many_rows_gives_what_the_logs_do(tmp_path: Path) -> None:
    log = many(tmp_path, 2500)
    read = read_verdicts(tmp_path)
    log.append(verdict(ReviewItem("fish-1", 1, (1, 2)), Decision.REJECTED, 9999))
    again = read_verdicts(tmp_path)
    assert len(again) == 2501
    assert again[:2500] == tuple(read)
    assert fold(again)[ReviewItem("fish-1", 1, (1, 2))].decision is Decision.REJECTED


def test_what_is_in_a_snapshot_is_not_read_again_but_a_check_of_the_chain_reads_all(tmp_path: Path) -> None:
    log = many(tmp_path, 2500)
    read = tuple(read_verdicts(tmp_path))
    database = sqlite3.connect(log.path)
    database.executescript("DROP TRIGGER no_update; UPDATE verdicts SET verdict = '{}' WHERE row = 7;")
    database.close()
    assert read_verdicts(tmp_path) == read
    with pytest.raises(UserError, match="row 7 is not what was written"):
        verify_chain(log.path)
    (tmp_path / SNAPSHOT).unlink()
    with pytest.raises(UserError, match="row 7 is not what was written"):
        read_verdicts(tmp_path)


def test_few_rows_leave_no_snapshot(tmp_path: Path) -> None:
    fill(tmp_path)
    read_verdicts(tmp_path)
    assert not (tmp_path / SNAPSHOT).exists()


def test_a_snapshot_of_another_log_is_not_believed(tmp_path: Path) -> None:
    many(tmp_path / "one", 2500)
    many(tmp_path / "other", 2400)
    read_verdicts(tmp_path / "one")
    shutil.copy(tmp_path / "one" / SNAPSHOT, tmp_path / "other" / SNAPSHOT)
    assert len(read_verdicts(tmp_path / "other")) == 2400


@settings(max_examples=15)
@given(st.integers(0, 2**16), st.integers(0, 255))
def test_a_damaged_snapshot_is_made_again(many_rows: Path, place: int, byte: int) -> None:
    kept = many_rows / SNAPSHOT
    whole = bytearray(kept.read_bytes())
    whole[place % len(whole)] = byte
    kept.write_bytes(whole[: place * 3] if byte % 2 else whole)
    assert len(read_verdicts(many_rows)) == 2500
    assert len(read_verdicts(many_rows)) == 2500


@pytest.fixture(scope="module")
def many_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    many(folder, 2500)
    read_verdicts(folder)
    return folder
