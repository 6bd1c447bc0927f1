"""The review desk: what is proposed, what comes next, and that one gesture is one word on disk, whoever else speaks."""

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import Project, add_case, create_project
from napari_medaka_kd.quality.record import FILE, open_record, save_record
from napari_medaka_kd.review import Decision, Verdict, VerdictLog, now, read_verdicts
from napari_medaka_kd.volumes.label_extras import Extra
from napari_medaka_kd.volumes.label_store import begin_labels
from napari_medaka_kd.volumes.phantom import MEDAKA
from napari_medaka_kd.volumes.volume import Volume
from napari_medaka_kd.workflow.correct import begin_correction, commit_correction
from napari_medaka_kd.workflow.curate import Word, verdict
from napari_medaka_kd.workflow.desk import Desk, Filter, ReviewItem

SLABS = ((0, 16), (16, 32), (32, 48))


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    return make_project()


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One animal that nobody scored."""
    project = create_project(tmp_path_factory.mktemp("desk") / "toy", "toy", MEDAKA)
    scan = Volume((np.ones((48, 32, 32), np.uint8),), (1, 1, 1))
    drain(add_case(project, scan, None, "toy", False))
    propose_anew(project, "toy", 1)
    return project


@pytest.fixture
def desk(project: Project) -> Desk:
    return Desk(project, "teacher", "ann")


def propose_anew(project: Project, case_id: str, organ: int) -> None:
    """A newer label map of the case with one organ alone."""
    case = project.case(case_id)
    begun = begin_labels(case.store, "teacher", project.schema, "another", extras=(Extra("uncertainty"),))
    labels = np.zeros((48, 32, 32), np.uint8)
    labels[8:24, 8:16, 8:16] = organ
    begun.write(0, labels, {"uncertainty": np.zeros_like(labels)})
    drain(begun.commit())


def test_the_unlabelled_animals_scored_units_are_under_review(project: Project, desk: Desk) -> None:
    assert desk.cases == ("fish-01", "fish-02")
    record = open_record(project.case("fish-01").folder, project.schema)
    found = {(i.organ, i.slab): p.score for i, p in desk.proposals.items() if i.case == "fish-01"}
    assert found == {(unit.organ, unit.slab): unit.score for unit in record.scores}
    assert list(desk.proposals) == sorted(desk.proposals)
    assert all(p.reasons == ("it is a toy",) and p.decision is None for p in desk.proposals.values())


def test_where_nothing_is_proposed_nobody_can_sit_down(project: Project, make_project: Callable[..., Project]) -> None:
    with pytest.raises(UserError, match=r"Nothing is proposed by 'other'.*segment"):
        Desk(project, "other")
    with pytest.raises(UserError, match="Nothing is proposed"):
        Desk(make_project(unlabelled=0, name="none"), "teacher")
    with pytest.raises(UserError, match="Nothing is proposed"):
        Desk(create_project(project.folder.parent / "empty", "empty", MEDAKA), "teacher")


def test_an_animal_without_scores_is_judged_organ_by_organ(project: Project) -> None:
    (project.case("fish-01").folder / FILE).unlink()
    present = np.unique(project.case("fish-01").labels("teacher").volume.read())[1:]
    desk = Desk(project, "teacher", "ann")
    found = {item: p for item, p in desk.proposals.items() if item.case == "fish-01"}
    assert list(found) == [ReviewItem("fish-01", int(organ)) for organ in present]
    assert all(math.isnan(p.score) for p in found.values())
    assert desk.queue("worst", Filter(case="fish-01"))
    grid = desk.grid("fish-01")
    assert grid.slabs == ((0, 48),)
    assert grid.proposed[:, 0].tolist() == [organ in present for organ in project.schema.ids]


def test_scores_of_a_former_label_map_do_not_count(project: Project, desk: Desk) -> None:
    propose_anew(project, "fish-01", 3)
    desk.reload()
    assert [item for item in desk.proposals if item.case == "fish-01"] == [ReviewItem("fish-01", 3)]
    (given_verdict,) = desk.judge([ReviewItem("fish-01", 3)], "accepted")
    assert given_verdict.labels == "teacher.2"


def test_a_verdict_is_on_the_disk_when_the_call_returns(project: Project, desk: Desk) -> None:
    item = desk.queue()[0]
    (written,) = desk.judge([item], "rejected", ["ragged"], 3.5)
    assert read_verdicts(project.review_folder) == (written,)
    assert (written.reviewer, written.checkpoint, written.labels) == ("ann", "teacher", "teacher.1")
    assert (written.decision, written.reasons, written.seconds) == ("rejected", ("ragged",), 3.5)
    proposal = desk.proposals[item]
    assert (proposal.decision, proposal.reviewer, proposal.verdict_reasons) == ("rejected", "ann", ("ragged",))
    assert item not in desk.queue()


def test_a_verdict_names_what_was_judged_and_equal_labels_have_equal_names(project: Project, desk: Desk) -> None:
    item, other = (next(i for i in desk.proposals if i.case == case) for case in desk.cases)
    (first,), (second,) = desk.judge([item], "accepted"), desk.judge([other], "accepted")
    by_command = verdict(project, Word("accepted", item.case, reviewer="bob"))
    assert len(first.digest) == 64
    assert first.digest == by_command.digest != second.digest
    organ = item.organ
    propose_anew(project, item.case, organ)
    desk.reload()
    (third,) = desk.judge([ReviewItem(item.case, organ)], "accepted")
    propose_anew(project, item.case, organ)
    desk.reload()
    (fourth,) = desk.judge([ReviewItem(item.case, organ)], "accepted")
    assert (third.labels, fourth.labels) == ("teacher.2", "teacher.3")
    assert first.digest != third.digest == fourth.digest


def test_what_people_painted_is_part_of_what_is_judged_where_it_lies(project: Project, desk: Desk) -> None:
    case = "fish-01"
    slab, far = (next(i for i in desk.proposals if i.case == case and i.slab == at) for at in (SLABS[0], SLABS[2]))
    (before,), (other,) = desk.judge([slab], "accepted"), desk.judge([far], "accepted")
    correction = begin_correction(project, slab, "teacher", "bob")
    painted = correction.labels.copy()
    painted[0, :2, :2] = slab.organ
    assert correction.record(painted)
    (said, *_) = drain(commit_correction(project, correction))
    assert said.digest == before.digest
    (after,), (same,) = desk.judge([slab], "accepted"), desk.judge([far], "accepted")
    assert after.digest != before.digest
    assert same.digest == other.digest


def test_one_gesture_covers_a_slice_a_slab_an_organ_or_an_animal(desk: Desk) -> None:
    case = "fish-01"
    organ = next(item.organ for item in desk.proposals if item.slab == SLABS[1])
    other = ReviewItem("fish-02", organ, SLABS[1])
    before = desk.proposals.get(other)
    desk.judge([ReviewItem(case, organ, (3, 4))], "accepted")
    assert desk.tally().done == 0
    desk.judge([ReviewItem(case)], "accepted")
    assert {p.decision for i, p in desk.proposals.items() if i.case == case} == {Decision.ACCEPTED}
    desk.judge([ReviewItem(case, organ)], "unsure")
    assert {i.organ for i, p in desk.proposals.items() if p.decision == Decision.UNSURE} == {organ}
    desk.judge([ReviewItem(case, organ, (16, 48))], "rejected")
    judged = {i.slab for i, p in desk.proposals.items() if p.decision == Decision.REJECTED}
    assert judged == {i.slab for i in desk.proposals if i.case == case and i.organ == organ} - {SLABS[0]}
    assert desk.proposals.get(other) == before


def test_undo_takes_back_gestures_one_by_one_also_in_a_later_session(project: Project, desk: Desk) -> None:
    a, b, c, d = desk.queue()[:4]
    desk.judge([a], "accepted")
    desk.judge([b, c], "rejected", seconds=4)
    desk.judge([d], "unsure")
    assert desk.undo() == (d,)
    later = Desk(project, "teacher", "ann")
    assert set(later.undo()) == {b, c}
    assert [later.proposals[item].decision for item in (a, b, c, d)] == ["accepted", None, None, None]
    assert later.undo() == (a,)
    assert later.undo() == ()
    assert desk.refresh()
    assert {p.decision for p in desk.proposals.values()} == {None}


def test_undo_leaves_what_others_said_and_what_was_said_of_another_checkpoint(project: Project, desk: Desk) -> None:
    a, b = desk.queue()[:2]
    desk.judge([a], "accepted")
    bob = Desk(project, "teacher", "bob")
    bob.judge([a, b], "rejected")
    VerdictLog(project.review_folder, "ann").append(Verdict(b, Decision.ACCEPTED, "ann", now(), checkpoint="other"))
    assert desk.undo() == (a,)
    assert desk.undo() == ()
    assert [desk.proposals[item].reviewer for item in (a, b)] == ["bob", "bob"]


def test_reasons_can_be_changed_as_long_as_they_are_of_the_last_gesture(project: Project, desk: Desk) -> None:
    a, b = desk.queue()[:2]
    desk.amend(["nobody said anything"])
    desk.judge([a, b], "rejected")
    desk.amend(["ragged"])
    desk.amend(["ragged", "spills over"])
    rows = len(read_verdicts(project.review_folder))
    desk.amend(["ragged", "spills over"])
    assert len(read_verdicts(project.review_folder)) == rows == 6
    assert {desk.proposals[item].verdict_reasons for item in (a, b)} == {("ragged", "spills over")}
    assert desk.tally().mine_today == 2
    assert set(desk.undo()) == {a, b}
    assert desk.proposals[a].decision is None


words = st.one_of(
    st.tuples(st.sampled_from(["accepted", "rejected", "unsure"]), st.integers(0, 60), st.integers(1, 3)),
    st.tuples(st.just("undo"), st.just(0), st.just(0)),
)


@settings(max_examples=25)
@given(said=st.lists(st.tuples(st.sampled_from(["ann", "bob"]), words), max_size=8))
def test_a_desk_that_follows_sees_what_a_fresh_one_does(
    toy: Project, said: list[tuple[str, tuple[str, int, int]]]
) -> None:
    for log in toy.review_folder.glob("*"):
        log.unlink()
    desks = {name: Desk(toy, "teacher", name) for name in ("ann", "bob")}
    pool = [*desks["ann"].proposals, ReviewItem("toy"), ReviewItem("toy", 1), ReviewItem("toy", 0, (0, 20))]
    for name, (word, start, many) in said:
        desks[name].grid("toy")
        if word == "undo":
            desks[name].undo()
        else:
            desks[name].judge([pool[(start + step) % len(pool)] for step in range(many)], word)
    fresh = Desk(toy, "teacher", "eve")
    for desk in desks.values():
        desk.refresh()
        assert repr(desk.proposals) == repr(fresh.proposals)
        assert repr(desk.grid("toy")) == repr(fresh.grid("toy"))


def test_the_same_item_twice_in_a_gesture_is_one_word(desk: Desk) -> None:
    item = desk.queue()[0]
    assert len(desk.judge([item, item], "accepted")) == 1


@pytest.mark.parametrize(
    ("item", "decision", "complaint"),
    [
        (ReviewItem("fish-01", 3, (40, 49)), "accepted", "slices 0 to 47"),
        (ReviewItem("fish-01", 3, (4, 4)), "accepted", "slices 0 to 47"),
        (ReviewItem("fish-01", 99), "accepted", "no organ 99"),
        (ReviewItem("held-out-03", 3), "accepted", "no proposals by 'teacher' to judge"),
        (ReviewItem("nobody"), "accepted", "Under review are: fish-01, fish-02"),
        (ReviewItem("fish-01"), "perfect", "'perfect' is no verdict"),
        (ReviewItem("fish-01"), "undone", "'undone' is no verdict"),
    ],
)
def test_what_cannot_be_judged_is_refused_and_nothing_written(
    project: Project, desk: Desk, item: ReviewItem, decision: str, complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        desk.judge([desk.queue()[0], item], decision)
    assert read_verdicts(project.review_folder) == ()


def test_nothing_cannot_be_judged(desk: Desk) -> None:
    with pytest.raises(UserError, match="nothing to judge"):
        desk.judge([], "accepted")


def test_the_queue_is_filtered_by_organ_animal_and_state(desk: Desk) -> None:
    a, b, c = desk.queue("worst")[:3]
    desk.judge([a], "accepted")
    desk.judge([b], "unsure")
    everything = set(desk.proposals)
    assert set(desk.queue("mixed", Filter(show="all"))) == everything
    assert desk.queue("mixed", Filter(show="judged")) == (a,)
    assert desk.queue("mixed", Filter(show="flagged")) == (b,)
    assert set(desk.queue()) == everything - {a, b}
    assert {item.case for item in desk.queue(keep=Filter(case="fish-02"))} == {"fish-02"}
    assert {item.organ for item in desk.queue(keep=Filter(organ=c.organ, show="all"))} == {c.organ}


def test_judging_the_first_leaves_the_rest_of_the_queue(desk: Desk) -> None:
    for order in ("mixed", "worst", "organ", "animal"):
        first, *rest = desk.queue(order)
        assert desk.upcoming(3, order) == (first, *rest[:2])
        desk.judge([first], "accepted")
        assert list(desk.queue(order)) == rest


def test_what_is_pinned_comes_first_even_if_judged_until_it_is_judged_again(desk: Desk) -> None:
    first, *_, last = desk.queue("worst")
    desk.judge([last], "accepted")
    assert desk.pin([last, ReviewItem("held-out-03", 1)]) == (last,)
    desk.pin([first])
    assert desk.queue("worst", Filter(organ=first.organ))[:2] == (first, last)
    assert len(set(desk.queue("worst"))) == len(desk.queue("worst"))
    desk.judge([last], "rejected")
    assert last not in desk.queue("worst")
    assert desk.queue("worst")[0] == first


def test_that_an_item_was_drawn_at_random_is_written_into_its_row(project: Project, desk: Desk) -> None:
    assert desk.judge(desk.queue("worst", Filter(case="fish-02"))[:1], "accepted")[0].drawn == ""
    queue = desk.queue("worst")
    (first,), (second,), both = (desk.judge(items, "accepted") for items in (queue[:1], queue[1:2], queue[2:4]))
    assert (first.drawn, second.drawn, {row.drawn for row in both}) == ("random", "", {""})
    assert [row.drawn for row in read_verdicts(project.review_folder)] == ["", "random", "", "", ""]
    assert desk.course.stop().draws == Desk(project, "teacher", "bob").course.stop().draws == 1


def test_a_correction_of_a_random_item_is_noted_as_drawn(project: Project, desk: Desk) -> None:
    item = desk.queue()[0]
    correction = begin_correction(project, item, "teacher", "ann")
    painted = correction.labels.copy()
    painted[:, :3, :3] = item.organ
    correction.record(painted)
    written = drain(commit_correction(project, correction, 1.0, desk.course.why((item,))))
    assert [(row.item, row.drawn) for row in written if row.drawn] == [(item, "random")]
    assert desk.refresh()
    assert (desk.course.stop().draws, desk.course.past.sample().good.any()) == (1, False)


def test_what_comes_again_looks_as_if_nobody_had_judged_it_until_it_is_judged(project: Project) -> None:
    (project.folder / "settings.toml").write_text("[review]\nrepeats = 0.5\n")
    desk = Desk(project, "teacher", "ann")
    first, *others = list(desk.proposals)[:4]
    for item in (first, *others * 15):
        if desk.course.again is None:
            desk.judge([item], "accepted")
    assert desk.course.again == first
    again, before = desk.course.again, desk.tally()
    assert desk.proposals[again].decision is None
    assert desk.queue()[:2].index(again) == min(1, len(desk.queue()) - 1)
    assert before.done == len({row.item for row in read_verdicts(project.review_folder)})
    (row,) = desk.judge([again], "rejected")
    assert (row.drawn, desk.proposals[again].decision, desk.tally().done) == ("repeat", "rejected", before.done)
    assert "same in 0 of 1" in desk.course.consistency().sentence()
    assert Desk(project, "teacher", "ann").course.consistency() == desk.course.consistency()
    assert Desk(project, "teacher", "bob").proposals[again].decision == "rejected"


def test_what_others_say_is_seen_and_only_what_is_new_counts_as_a_change(
    project: Project, desk: Desk, play: Callable[..., Any]
) -> None:
    assert not desk.refresh()
    item = desk.queue()[0]
    code = (
        "import sys; from pathlib import Path; from napari_medaka_kd.workflow.desk import Desk, ReviewItem\n"
        "from napari_medaka_kd.workflow.curate import open_project\n"
        f"Desk(open_project(Path(sys.argv[1])), 'teacher', 'bob').judge([{item!r}], 'rejected')"
    )
    assert play(code, project.folder).returncode == 0
    assert desk.refresh()
    assert desk.proposals[item].reviewer == "bob"
    assert not desk.refresh()
    other = Verdict(item, Decision.ACCEPTED, "eve", now(), checkpoint="somebody")
    VerdictLog(project.review_folder, "eve").append(other)
    assert not desk.refresh()


def test_a_verdict_by_command_line_on_any_slices_is_seen(project: Project, desk: Desk) -> None:
    item = desk.queue()[0]
    assert item.slab is not None
    wide = (max(0, item.slab[0] - 3), item.slab[1])
    said = verdict(project, Word("accepted", item.case, str(item.organ), wide, reviewer="bob"))
    assert said.item.slab == wide
    assert desk.refresh()
    assert desk.proposals[item].decision == "accepted"


def test_a_log_from_before_that_arrives_late_is_folded_in_its_time(project: Project, desk: Desk) -> None:
    item = desk.queue()[0]
    early = Verdict(item, Decision.REJECTED, "bob", "2020-01-01T00:00:00+00:00", checkpoint="teacher")
    desk.judge([item], "accepted")
    VerdictLog(project.review_folder, "bob").append(early)
    assert desk.refresh()
    assert desk.proposals[item].reviewer == "ann"
    desk.undo()
    assert desk.proposals[item].reviewer == "bob"


def test_the_tally_counts_states_and_pace(project: Project, desk: Desk) -> None:
    total = len(desk.proposals)
    first = desk.tally()
    assert (first.done, first.flagged, first.left, first.seconds_left) == (0, 0, total, None)
    for item, decision, seconds in zip(
        desk.queue(), ["accepted", "rejected", "unsure"], [2.0, 4.0, 60.0], strict=False
    ):
        desk.judge([item], decision, seconds=seconds)
    tally = desk.tally()
    assert (tally.done, tally.flagged, tally.left, tally.mine_today) == (2, 1, total - 3, 3)
    assert tally.seconds_each == 4.0
    assert tally.seconds_left == 4.0 * (total - 3)
    old = Verdict(desk.queue()[0], Decision.ACCEPTED, "ann", "2020-01-01T00:00:00+00:00", checkpoint="teacher")
    VerdictLog(project.review_folder / "elsewhere", "ann").append(old)
    (project.review_folder / "elsewhere" / "ann.sqlite").replace(project.review_folder / "ann.sqlite")
    assert desk.refresh()
    assert (desk.tally().done, desk.tally().mine_today) == (1, 0)


def test_the_grid_shows_scores_and_verdicts_of_one_animal(project: Project, desk: Desk) -> None:
    chosen = next(item for item in desk.proposals if item.case == "fish-01")
    desk.judge([ReviewItem("fish-01")], "accepted")
    desk.judge([chosen], "rejected")
    grid = desk.grid("fish-01")
    assert (grid.organs, grid.slabs) == (project.schema.ids, SLABS)
    for row, organ in enumerate(grid.organs):
        for column, slab in enumerate(grid.slabs):
            known = desk.proposals.get(ReviewItem("fish-01", organ, slab))
            assert grid.proposed[row, column] == (known is not None)
            assert grid.decision[row, column] == (str(known.decision) if known else "")
            assert math.isnan(grid.score[row, column]) if known is None else grid.score[row, column] == known.score
    assert (grid.decision == "rejected").sum() == 1
    with pytest.raises(UserError, match="no proposals"):
        desk.grid("held-out-03")


def test_an_organ_that_the_teacher_missed_shows_the_word_on_it(project: Project) -> None:
    case = project.case("fish-01")
    record = open_record(case.folder, case.schema)
    fewer = tuple(unit for unit in record.scores if unit.organ != 3)
    save_record(replace(record, scores=fewer), case.folder, case.schema)
    desk = Desk(project, "teacher", "ann")
    desk.judge([ReviewItem("fish-01", 3, SLABS[1])], "corrected")
    grid = desk.grid("fish-01")
    row = grid.organs.index(3)
    assert grid.decision[row].tolist() == ["", "corrected", ""]
    assert not grid.proposed[row].any()


def test_reviewing_loads_no_torch() -> None:
    code = "import sys; from napari_medaka_kd.workflow import desk, look, readiness; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
