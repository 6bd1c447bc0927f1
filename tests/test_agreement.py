"""Several reviewers: conflicts with both names, and Cohen's kappa that is said only where it means something."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medaka_kd.project import Project
from napari_medaka_kd.review import Agreement, Agreements, Decision, ReviewItem, Standing, Verdict, fold
from napari_medaka_kd.workflow.agreeing import company, compare
from napari_medaka_kd.workflow.curate import status
from napari_medaka_kd.workflow.desk import Desk, Filter

ITEM = ReviewItem("fish-01", 3, (0, 16))
YES, NO, PAINTED, UNSURE = Decision.ACCEPTED, Decision.REJECTED, Decision.CORRECTED, Decision.UNSURE


def said(
    reviewer: str, decision: Decision, item: ReviewItem = ITEM, digest: str = "abc", labels: str = "t.1"
) -> Verdict:
    return Verdict(item, decision, reviewer, at(0), 1.0, (), "t", labels, digest)


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02d}+00:00"


def judged(*verdicts: Verdict) -> Agreements:
    return compare(fold(replace(row, time=at(second)) for second, row in enumerate(verdicts)))


@pytest.mark.parametrize(
    ("cells", "kappa"), [((20, 5, 10, 15), 0.4), ((25, 0, 0, 25), 1.0), ((0, 25, 25, 0), -1.0), ((9, 9, 9, 9), 0.0)]
)
def test_kappa_is_agreement_beyond_chance(cells: tuple[int, int, int, int], kappa: float) -> None:
    found = Agreement("ann", "bob", None, *cells)
    assert found.kappa == pytest.approx(kappa)
    low, high = found.interval
    assert low <= found.kappa <= high
    assert f"kappa {kappa:.2f}" in found.sentence()


@given(st.tuples(*[st.integers(0, 30)] * 4))
def test_kappa_is_that_of_the_formula_and_the_same_for_both(cells: tuple[int, int, int, int]) -> None:
    found, turned = Agreement("a", "b", 1, *cells), Agreement("b", "a", 1, cells[0], cells[2], cells[1], cells[3])
    table = np.array(cells, float).reshape(2, 2)
    if not table.sum() or (by_chance := (table.sum(0) * table.sum(1)).sum() / table.sum() ** 2) == 1:
        assert math.isnan(found.kappa)
    else:
        assert found.kappa == pytest.approx((np.trace(table) / table.sum() - by_chance) / (1 - by_chance))
        assert found.kappa == pytest.approx(turned.kappa)


def test_where_a_kappa_means_nothing_words_say_so() -> None:
    few = Agreement("ann", "bob", None, 2, 1, 0, 3)
    assert few.sentence() == "ann and bob agree on 5 of 6 items: too few for a kappa"
    assert "both accepted all, so there is no kappa" in Agreement("ann", "bob", None, 12, 0, 0, 0).sentence()
    assert "both rejected all" in Agreement("ann", "bob", None, 0, 0, 0, 12).sentence()


def test_who_disagrees_is_named_with_what_they_said() -> None:
    found = judged(said("bob", NO), said("ann", YES))
    (conflict,) = found.conflicts
    assert [(word.reviewer, word.decision) for word in conflict.verdicts] == [("ann", YES), ("bob", NO)]
    assert found.on(ITEM) == conflict.verdicts
    assert found.on(ReviewItem("fish-01", 3, (16, 32))) == ()
    (pair,) = found.between()
    assert (pair.first, pair.second, pair.first_only, pair.items) == ("ann", "bob", 1, 1)


def test_a_conflict_on_an_organ_shows_on_its_slabs() -> None:
    whole = ReviewItem("fish-01", 3)
    found = judged(said("bob", NO, whole), said("ann", YES, whole))
    assert found.on(ITEM)
    assert not found.on(ReviewItem("fish-01", 4, (0, 16)))


@pytest.mark.parametrize(
    ("one", "other", "conflicts", "counted"),
    [
        (said("ann", YES), said("bob", PAINTED), 1, 1),
        (said("ann", NO), said("bob", PAINTED), 0, 1),
        (said("ann", YES), said("bob", UNSURE), 0, 0),
        (said("ann", YES), said("bob", NO, digest="other"), 0, 0),
        (said("ann", YES), said("ann", NO), 0, 0),
        (said("ann", YES, digest=""), said("bob", NO, digest=""), 1, 1),
        (said("ann", YES, digest=""), said("bob", NO, digest="", labels="t.2"), 0, 0),
        (said("ann", YES, digest=""), said("bob", PAINTED, digest="", labels="r.2"), 0, 0),
    ],
)
def test_only_words_on_the_same_labels_are_compared(one: Verdict, other: Verdict, conflicts: int, counted: int) -> None:
    found = judged(one, other)
    assert (len(found.conflicts), sum(pair.items for pair in found.between())) == (conflicts, counted)


def test_the_last_word_of_each_counts_and_none_that_was_taken_back() -> None:
    no, yes = said("bob", NO), said("ann", YES)
    assert judged(no, yes, said("bob", YES)).conflicts == ()
    assert judged(no, yes, said("ann", Decision.UNDONE)).between() == ()


words = st.tuples(
    st.sampled_from(["ann", "bob", "eve"]),
    st.sampled_from([YES, NO, UNSURE, Decision.UNDONE]),
    st.integers(1, 2),
    st.sampled_from(["one", "two"]),
)


@given(st.lists(words, max_size=20), st.integers(0, 20))
def test_what_is_kept_up_to_date_is_what_is_found_anew(rows: list[tuple[str, Decision, int, str]], known: int) -> None:
    verdicts = [
        Verdict(ReviewItem("a", organ), decision, name, at(second), digest=digest)
        for second, (name, decision, organ, digest) in enumerate(rows)
    ]
    standing = Standing(verdicts[:known])
    found = compare(standing)
    for row in verdicts[known:]:
        before = standing.stack(row.item)
        standing.add([row])
        found.take(row.item, before, standing.stack(row.item))
    anew = compare(fold(verdicts))
    assert (found.between(), found.by_organ(), found.conflicts) == (anew.between(), anew.by_organ(), anew.conflicts)


def test_two_desks_see_their_conflict_and_the_project_knows_it(
    make_project: Callable[..., Project], play: Callable[..., Any]
) -> None:
    project = make_project()
    ann = Desk(project, "teacher", "ann")
    item, other = ann.queue()[:2]
    code = (
        "import sys; from pathlib import Path; from napari_medaka_kd.workflow.desk import Desk, ReviewItem\n"
        "from napari_medaka_kd.workflow.curate import open_project\n"
        "desk = Desk(open_project(Path(sys.argv[1])), 'teacher', 'bob')\n"
        f"desk.judge([{item!r}], 'rejected', ['ragged']); desk.judge([{other!r}], 'accepted')"
    )
    assert play(code, project.folder).returncode == 0
    ann.judge([item, other], "accepted")
    assert [word.reviewer for word in ann.proposals[item].disputed] == ["ann", "bob"]
    assert ann.proposals[other].disputed == ()
    assert ann.queue(keep=Filter(show="disputed")) == (item,)
    found = company(project)
    assert "ann accepted, bob rejected (ragged)" in found.text()
    assert found.json()["conflicts"][0]["verdicts"][1]["reviewer"] == "bob"
    now = status(project)
    assert now.conflicts == 1
    assert "ann and bob agree on 1 of 2 items: too few for a kappa" in now.text()
    assert "1 in conflict" in now.text()
    ann.undo()
    assert ann.proposals[item].disputed == ()
    assert status(project).conflicts == 0


def test_nobody_to_agree_with_is_said_in_words(make_project: Callable[..., Project]) -> None:
    assert company(make_project()).text() == "No two reviewers judged the same item of the same label map yet."
