"""The stop rule: random draws are fair and noted, the estimate is honest, promises hold, repeats are silent."""

import itertools
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medaka_kd.quality.fair import Sample, acceptable_share
from napari_medaka_kd.quality.promise import prove
from napari_medaka_kd.quality.stop import StopRule, stop_rule
from napari_medaka_kd.review import Decision, Order, Ranking, ReviewItem, Rhythm, Standing, Verdict, draw_lots, pace
from napari_medaka_kd.settings import ReviewSettings
from napari_medaka_kd.workflow.consistency import consistency
from napari_medaka_kd.workflow.course import Course
from napari_medaka_kd.workflow.looks import SOON, Again, Looks

START = datetime(2026, 1, 1, tzinfo=UTC)
ORDERS: tuple[Order, ...] = ("mixed", "worst", "informative", "organ", "animal", "random")
orders = st.sampled_from(ORDERS)


def made_up(count: int, seed: int = 0) -> tuple[list[ReviewItem], np.ndarray]:
    items = [ReviewItem(f"fish-{number // 6:03d}", 1 + number % 6) for number in range(count)]
    return items, np.random.default_rng(seed).random(count)


def ranked(count: int, seed: int = 0, features: int = 3) -> Ranking:
    items, scores = made_up(count, seed)
    evidence = np.random.default_rng(seed + 1).normal(size=(count, features)) if features else None
    return Ranking(dict(zip(items, scores.tolist(), strict=True)), evidence, f"test {seed}")


def walked(ranking: Ranking, seen: np.ndarray, order: Order, rhythm: Rhythm) -> list[tuple[int, bool]]:
    return list(ranking.walk(~seen, seen, order, rhythm))


class Reviewer:
    """One who says what is good, item by item, in the order of the queue."""

    def __init__(self, ranking: Ranking, good: np.ndarray, order: Order = "mixed", **asked: float) -> None:
        self.good, self.order = good, order
        self.course = Course(ranking, ReviewSettings(**asked), Looks("ann", "teacher"))
        self.standing = Standing((), "teacher")
        self.said: list[Verdict] = []

    def look(self, times: int) -> None:
        for _ in range(times):
            open_ = np.isinf(self.course.past.turn)
            item = self.course.again or next(self.course.walk(open_, self.order, whole=True, drawing=True), None)
            if item is None:
                return
            place = self.course.ranking.place(item)
            self.say([item], "accepted" if self.good[place] else "rejected")

    def look_ahead(self, count: int) -> None:
        """As a window does, which arranges its queue now and then."""
        walk = self.course.walk(np.isinf(self.course.past.turn), self.order, whole=True, drawing=True)
        for item in list(itertools.islice(walk, count)):
            self.say([item], "accepted" if self.good[self.course.ranking.place(item)] else "rejected")

    def say(self, items: list[ReviewItem], word: str, why: str | None = None) -> None:
        gesture, why = len(self.said) + 1, self.course.why(items) if why is None else why
        time = START + timedelta(seconds=gesture)
        rows = [
            Verdict(item, Decision(word), "ann", time.isoformat(), checkpoint="teacher", gesture=gesture, drawn=why)
            for item in items
        ]
        self.take(rows)

    def undo(self) -> None:
        time = (START + timedelta(seconds=len(self.said) + 1)).isoformat()
        self.take([replace(self.said[-1], decision=Decision.UNDONE, time=time)])

    def take(self, rows: list[Verdict]) -> None:
        self.said += rows
        self.standing.add(rows)
        self.course.take(rows)
        for row in rows:
            self.course.past.note(row.item, self.standing)
        self.course.ask_again(self.standing, {item.case: "" for item in self.course.ranking.items})


# ---- orders ------------------------------------------------------------------------------------------------------


@given(st.integers(0, 60), orders, st.integers(0, 9), st.integers(0, 12), st.randoms(use_true_random=False))
def test_a_queue_holds_all_that_is_open_once_and_looking_at_the_first_leaves_the_rest(count, order, seed, since, dice):
    ranking, seen = ranked(count, seed), np.array([dice.random() < 0.3 for _ in range(count)], bool)
    rhythm = Rhythm(pace(order, 0.1), since)
    found = walked(ranking, seen, order, rhythm)
    assert sorted(place for place, _ in found) == np.flatnonzero(~seen).tolist()
    if found:
        (first, drawn), *rest = found
        seen[first] = True
        assert walked(ranking, seen, order, rhythm.after(drawn)) == rest


def test_what_is_informative_stays_so_beyond_one_block_of_similar_uncertainty():
    ranking, seen, rhythm = ranked(700), np.zeros(700, bool), Rhythm(10, 0)
    for _ in range(3):
        (first, drawn), *rest = walked(ranking, seen, "informative", rhythm)
        seen[first], rhythm = True, rhythm.after(drawn)
        assert walked(ranking, seen, "informative", rhythm) == rest


@given(orders, st.floats(0.1, 1), st.integers(0, 12), st.integers(1, 120))
def test_in_every_stretch_of_every_order_at_least_the_asked_share_is_drawn_at_random(order, share, since, count):
    ranking = ranked(count)
    every = pace(order, share)
    drawn = [drawn for _, drawn in walked(ranking, np.zeros(count, bool), order, Rhythm(every, since))]
    assert every <= 1 / share + 1e-6
    assert all(any(drawn[at : at + every]) for at in range(count - every + 1))


@given(st.integers(2, 60), orders, st.integers(0, 9))
def test_what_is_drawn_at_random_is_the_open_item_of_the_lowest_lot_whatever_its_score(count, order, seed):
    ranking = ranked(count, seed)
    lots, seen = draw_lots(ranking.items, ranking.seed), np.zeros(count, bool)
    for place, drawn in walked(ranking, seen, order, Rhythm(pace(order, 0.1), 99)):
        assert not drawn or lots[place] == lots[~seen].min()
        seen[place] = True


def test_lots_are_of_the_item_and_the_seed_alone_and_evenly_distributed():
    items, _ = made_up(3000)
    lots = draw_lots(items, "a")
    np.testing.assert_array_equal(draw_lots(items[::-1], "a")[::-1], lots)
    assert (draw_lots(items, "b") != lots).all()
    assert abs(lots.astype(float).mean() / 2**64 - 0.5) < 0.02
    assert len(draw_lots([], "a")) == 0


def test_the_informative_order_avoids_what_is_like_the_items_before():
    items, _ = made_up(40)
    evidence = np.repeat([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], 10, axis=0)
    ranking = Ranking(dict.fromkeys(items, 0.5), evidence)
    first = [place for place, _ in walked(ranking, np.zeros(40, bool), "informative", Rhythm(0, 0))[:4]]
    assert {place // 10 for place in first} == {0, 1, 2, 3}
    seen = np.arange(40) < 10
    following = [place for place, _ in walked(ranking, seen, "informative", Rhythm(0, 0))[:3]]
    assert {place // 10 for place in following} == {1, 2, 3}


# ---- the estimate ------------------------------------------------------------------------------------------------


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    count = draw(st.integers(1, 80))
    dice = np.random.default_rng(draw(st.integers(0, 10**6)))
    seen, unscored = dice.random(count) < draw(st.floats(0, 1)), dice.random(count) < draw(st.sampled_from([0, 0.3, 1]))
    turn = np.where(seen, dice.permutation(count).astype(float), np.inf)
    good, drawn = dice.random(count) < draw(st.floats(0, 1)), dice.random(count) < draw(st.floats(0, 1))
    scores = np.round(dice.random(count), draw(st.sampled_from([0, 1, 9])))  # tied or not
    return Sample(np.where(unscored, np.nan, scores), turn, good & seen, drawn & seen)


@given(samples(), st.floats(0.5, 0.99))
def test_whatever_was_reviewed_the_rule_answers_in_bounds_and_in_words(sample: Sample, wanted: float) -> None:
    rule = stop_rule(sample, wanted, 0.2)
    assert rule.sentence()
    assert rule.brief()
    assert rule.details()
    assert (rule.share is None) == (not sample.left or not sample.draws)
    if rule.share is not None:
        assert 0 <= rule.share.low <= rule.share.value <= rule.share.high <= 1
        assert rule.moves >= 0
    assert 0 <= rule.promise.accepted <= sample.left
    assert rule.settled or sample.left
    assert set(rule.json()) > {"left", "share", "promise", "settled"}


def plain(draws: int, good: int, left: int, scored: bool = True) -> Sample:
    """So many random verdicts and nothing else; the scores do not tell."""
    count = draws + left
    dice = np.random.default_rng(0)
    turn = np.where(np.arange(count) < draws, np.arange(count, dtype=float), np.inf)
    scores = dice.random(count) if scored else np.full(count, np.nan)
    found = np.append(dice.permutation(draws) < good, np.zeros(left, bool))
    return Sample(scores, turn, found, turn < np.inf)


@given(st.integers(1, 60), st.integers(0, 500))
def test_more_good_verdicts_never_lower_the_share(draws: int, left: int) -> None:
    found = [acceptable_share(plain(draws, good, left, scored=False)) for good in (0, draws // 2, draws)]
    if left:
        assert all(
            a is not None and b is not None and a.high <= b.high and a.low <= b.low
            for a, b in itertools.pairwise(found)
        )


def test_without_scores_and_with_random_verdicts_alone_it_is_the_usual_estimate() -> None:
    found = acceptable_share(plain(50, 40, 10**6, scored=False))
    assert found is not None
    assert found.value == pytest.approx(0.8, abs=1e-3)
    assert (found.low, found.high) == pytest.approx((0.67, 0.89), abs=0.01)  # Wilson's of 40 in 50


def test_the_interval_narrows_to_what_two_shares_of_a_finite_whole_allow() -> None:
    wide, narrow = (acceptable_share(plain(50, 40, left, scored=False)) for left in (10**6, 50))
    assert wide is not None
    assert narrow is not None
    assert narrow.variance == pytest.approx(2 * wide.variance, rel=0.1)  # σ²(1/n + 1/N) where it was σ²/n


def test_what_was_reviewed_for_its_low_score_does_not_speak_of_the_rest() -> None:
    """Half is bad and seen; all random verdicts but those on it are good."""
    items, _ = made_up(400)
    scores = dict(zip(items, np.linspace(0, 1, 400).tolist(), strict=True))
    reviewer = Reviewer(Ranking(scores), np.arange(400) >= 200, "worst", repeats=0)
    reviewer.look(230)
    rule = reviewer.course.stop()
    assert rule.share is not None
    assert rule.share.high > 0.95
    naive = np.mean([row.decision == "accepted" for row in reviewer.said])
    assert naive < 0.2


# ---- corner cases ------------------------------------------------------------------------------------------------


def rule_of(sample: Sample, wanted: float = 0.9) -> StopRule:
    return stop_rule(sample, wanted, 0.2)


def test_the_sentence_says_what_is_missing() -> None:
    assert rule_of(plain(0, 0, 7)).sentence().startswith("Nothing is known of the 7 unreviewed yet")
    assert rule_of(plain(7, 7, 0)).sentence() == "Everything is reviewed."
    assert "they have no scores" in rule_of(plain(20, 20, 50, scored=False)).sentence()
    assert "too few random verdicts" in rule_of(plain(3, 1, 500)).sentence()
    few, none = rule_of(plain(20, 20, 500)), rule_of(plain(100, 0, 500))
    assert f"{few.promise.needed} more random verdicts, all good, would allow it" in few.sentence()
    assert "of no part of them it is in sight" in none.sentence()
    assert (few.settled, none.settled, none.brief().endswith("enough reviewed")) == (False, True, True)
    assert f"{few.promise.needed} more" in few.brief()
    assert "2 verdicts more and all is reviewed" in rule_of(plain(8, 4, 2)).sentence()
    assert "little" in rule_of(plain(400, 390, 5000)).sentence()


def test_all_good_is_accepted_once_there_are_enough_and_all_bad_never() -> None:
    assert prove(plain(20, 20, 1000), 0.9).threshold is None
    proven = prove(plain(100, 100, 1000), 0.9)
    assert proven.threshold is not None
    assert proven.accepted == 1000
    assert prove(plain(500, 0, 1000), 0.9).threshold is None
    assert prove(plain(500, 449, 10**5), 0.9).threshold is None


@settings(max_examples=25)
@given(st.integers(0, 200), st.integers(0, 200), st.floats(0.6, 0.97))
def test_a_bad_verdict_in_place_of_a_good_one_never_lets_more_be_accepted(good: int, bad: int, wanted: float) -> None:
    better, worse = plain(good + bad, good, 600), plain(good + bad, max(0, good - 5), 600)
    assert prove(better, wanted).accepted >= prove(worse, wanted).accepted


def test_of_telling_scores_only_the_upper_part_is_accepted() -> None:
    dice = np.random.default_rng(5)
    scores = dice.random(2000)
    turn = np.where(np.arange(2000) < 400, np.arange(2000.0), np.inf)
    good = (scores > 0.4) & (turn < np.inf)
    proven = prove(Sample(scores, turn, good, turn < np.inf), 0.9)
    assert proven.threshold is not None
    assert 0.3 < proven.threshold < 0.55
    assert proven.accepted == (scores[400:] >= proven.threshold).sum()


# ---- random draws and repeats are noted --------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_a_reviewer_who_follows_the_queue_has_the_asked_share_noted_as_random(order: Order) -> None:
    reviewer = Reviewer(ranked(300), np.ones(300, bool), order, repeats=0)
    reviewer.look(100)
    drawn = [row.drawn for row in reviewer.said]
    assert drawn.count("random") == {"mixed": 20, "random": 100}.get(order, 10)
    assert reviewer.course.past.sample().draws == drawn.count("random")


def test_an_item_that_is_picked_by_hand_or_with_others_or_from_a_part_is_no_random_draw() -> None:
    reviewer = Reviewer(ranked(60), np.ones(60, bool), "worst")
    open_ = np.ones(60, bool)
    first, second = itertools.islice(reviewer.course.walk(open_, "worst", whole=True, drawing=True), 2)
    assert reviewer.course.why([first]) == "random"
    assert reviewer.course.why([second]) == ""
    assert reviewer.course.why([first, second]) == ""
    list(reviewer.course.walk(open_, "worst", whole=False, drawing=True))
    assert reviewer.course.why([first]) == ""


def test_a_random_draw_that_is_taken_back_is_due_again() -> None:
    reviewer = Reviewer(ranked(60), np.ones(60, bool), "worst")
    reviewer.look(1)
    first = reviewer.said[0].item
    reviewer.undo()
    assert reviewer.course.past.sample().draws == 0
    reviewer.look(2)
    assert [row.drawn for row in reviewer.said[2:]] == ["random", ""]
    assert reviewer.said[2].item == first


def test_a_word_on_a_whole_animal_is_no_draw_but_counts_as_reviewed() -> None:
    reviewer = Reviewer(ranked(60), np.ones(60, bool), "worst")
    for item in reviewer.course.ranking.items[:6]:
        reviewer.standing.add(
            [Verdict(ReviewItem(item.case), Decision.ACCEPTED, "bob", START.isoformat(), checkpoint="teacher")]
        )
        reviewer.course.past.note(item, reviewer.standing)
    sample = reviewer.course.past.sample()
    assert (sample.left, sample.draws, int(sample.good.sum())) == (54, 0, 6)


@given(st.sampled_from([0.05, 0.1, 0.5]), st.integers(0, 3))
def test_repeats_come_late_seldom_once_and_only_of_what_was_judged_alone(share: float, seed: int) -> None:
    reviewer = Reviewer(ranked(200, seed), np.arange(200) % 2 > 0, "mixed", repeats=share)
    reviewer.look(150)
    last: dict[ReviewItem, int] = {}
    for number, row in enumerate(reviewer.said):
        if row.drawn == "repeat":
            assert number - last[row.item] >= SOON
        else:
            assert row.item not in last
        last[row.item] = number
    repeats = [row.item for row in reviewer.said if row.drawn == "repeat"]
    assert len(repeats) == len(set(repeats))
    assert 0 < len(repeats) <= share * 150 + 1
    assert reviewer.course.consistency().same == reviewer.course.consistency().asked == len(repeats)


def test_nothing_is_repeated_where_that_is_switched_off() -> None:
    reviewer = Reviewer(ranked(200), np.ones(200, bool), repeats=0)
    reviewer.look(150)
    assert not any(row.drawn == "repeat" for row in reviewer.said)
    assert reviewer.course.consistency().sentence() == ""


def test_another_word_on_a_repeat_stands_and_counts_against_the_reviewer_until_it_is_taken_back() -> None:
    reviewer = Reviewer(ranked(200), np.ones(200, bool), repeats=0.5)
    while reviewer.course.again is None:
        reviewer.look(1)
    again = reviewer.course.again
    reviewer.say([again], "rejected")
    assert reviewer.standing[again].decision is Decision.REJECTED
    assert reviewer.course.looks.repeated == (Again(again, Decision.ACCEPTED, Decision.REJECTED),)
    reviewer.undo()
    assert reviewer.standing[again].decision is Decision.ACCEPTED
    assert reviewer.course.looks.repeated == ()


def test_consistency_is_the_share_of_the_same_words_and_what_is_beyond_chance() -> None:
    yes, no, item = Decision.ACCEPTED, Decision.REJECTED, ReviewItem("a")
    pairs = (
        [Again(item, yes, yes)] * 20
        + [Again(item, yes, no)] * 5
        + [Again(item, no, yes)] * 10
        + [Again(item, no, no)] * 15
    )
    found = consistency(pairs)
    assert (found.asked, found.same) == (50, 35)
    assert found.kappa == pytest.approx(0.4)  # the example of Cohen's kappa everyone uses
    assert found.interval[0] < 0.7 < found.interval[1]
    assert "35 of 50" in found.sentence()
    assert math.isnan(consistency([Again(item, yes, yes)]).kappa)
    assert consistency([]).details() == ""


# ---- the whole way -----------------------------------------------------------------------------------------------


def test_the_interval_covers_and_the_promise_holds_in_simulated_reviews() -> None:
    """Allowed are as many failures as a rule that keeps its word would have in all but one of 10 000 such tests."""
    covered = held = 0
    sessions = 60
    for number in range(sessions):
        dice = np.random.default_rng(number)
        count = int(dice.integers(150, 400))
        ranking = ranked(count, number, 0)
        good = dice.random(count) < (0.3 + 0.7 * ranking.scores if number % 2 else 0.85)
        reviewer = Reviewer(ranking, good, ORDERS[number % len(ORDERS)], repeats=0)
        for _ in range(6):
            reviewer.look_ahead(20)
        rule, open_ = reviewer.course.stop(), np.isinf(reviewer.course.past.turn)
        assert rule.share is not None
        covered += rule.share.low - 1e-9 <= good[open_].mean() <= rule.share.high + 1e-9
        least = rule.promise.threshold
        held += least is None or good[open_ & (ranking.scores >= least)].mean() >= 0.9
    assert covered >= 49
    assert held >= 48
