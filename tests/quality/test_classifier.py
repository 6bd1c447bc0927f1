"""The classifier tells good organs from bad, keeps the precision that was asked for, and survives one-sided rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medaka_kd.quality.classifier import (
    Classifier,
    Examples,
    auroc,
    choose_threshold,
    fit_classifier,
    wilson,
)


def examples(rows=400, animals=8, seed=0, noise=1.0):
    """Three features, of which the first tells, with some noise, what is good; the third is the same everywhere."""
    rng = np.random.default_rng(seed)
    good = rng.random(rows) < 0.6
    evidence = np.stack((good + rng.normal(0, noise, rows), rng.normal(3, 9, rows), np.ones(rows)), axis=1)
    return Examples(evidence, good, np.ones(rows), np.arange(rows) % animals)


def first(rows, count):
    return Examples(*(getattr(rows, name)[:count] for name in ("evidence", "good", "weight", "animal")))


@given(
    rows=st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=60),
    wanted=st.floats(0.05, 1),
)
def test_the_threshold_is_the_lowest_that_keeps_the_wanted_precision_on_its_own_rows(rows, wanted):
    answers, good = np.array([a / 6 for a, _ in rows]), np.array([g for _, g in rows])
    threshold = choose_threshold(answers, good, wanted, np.ones(len(answers)))

    def precision(least):
        return good[answers >= least].mean()

    enough = [least for least in np.unique(answers) if precision(least) >= wanted]
    if enough:
        assert threshold == min(enough)
    else:
        assert threshold in answers
        assert threshold >= np.quantile(answers, 0.9, method="lower")


@given(hits=st.integers(0, 50), misses=st.integers(0, 50))
def test_the_interval_holds_the_share_and_lies_between_nothing_and_all(hits, misses):
    low, high = wilson(hits, hits + misses)
    assert 0 <= low <= high <= 1
    if hits + misses:
        assert low - 1e-12 <= hits / (hits + misses) <= high + 1e-12


def test_the_interval_covers_the_truth_about_nineteen_times_in_twenty():
    rng = np.random.default_rng(0)
    for share in (0.5, 0.9):
        intervals = [wilson(int(rng.binomial(40, share)), 40) for _ in range(1000)]
        assert 0.92 < np.mean([low <= share <= high for low, high in intervals]) < 0.98
    assert wilson(9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-3)


def test_it_learns_what_tells_and_says_how_well():
    fitted = fit_classifier(examples(), 0.9)
    assert fitted.examples == 400
    assert fitted.slope[0] > 0.5
    assert abs(fitted.slope[1]) < 0.3
    assert 0.7 < fitted.auroc < 0.85
    assert fitted.precision >= 0.9
    assert fitted.interval[0] < fitted.precision < fitted.interval[1]
    fresh = examples(4000, seed=1)
    accepted = fitted.probability(fresh.evidence) >= fitted.threshold
    assert accepted.mean() > 0.1
    assert fresh.good[accepted].mean() > 0.8


def test_probabilities_are_calibrated():
    fitted, fresh = fit_classifier(examples(2000), 0.9), examples(8000, seed=2)
    answers = fitted.probability(fresh.evidence)
    for low in (0.2, 0.4, 0.6, 0.8):
        bin_ = (answers >= low) & (answers < low + 0.2)
        assert fresh.good[bin_].mean() == pytest.approx(answers[bin_].mean(), abs=0.08)


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("animals", [1, 8])
def test_it_fits_where_all_are_good_or_all_are_bad(good, animals):
    rows = examples(30, animals)
    fitted = fit_classifier(Examples(rows.evidence, np.full(30, good), rows.weight, rows.animal), 0.9)
    answers = fitted.probability(rows.evidence)
    assert np.isfinite(answers).all()
    assert ((answers > 0.5) == good).all()
    assert np.isnan(fitted.auroc)
    assert fitted.precision == (1.0 if good else 0.0)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_it_fits_to_a_handful_of_rows_of_one_animal(count):
    fitted = fit_classifier(first(examples(10, animals=1), count), 0.9)
    assert np.isfinite(fitted.probability(examples().evidence)).all()


def test_the_measure_is_taken_on_animals_that_it_was_not_fitted_to():
    """Features that tell the animal, not the organ: in-fold they would seem to work."""
    rng = np.random.default_rng(0)
    animal = np.repeat(np.arange(20), 4)
    good = rng.random(20)[animal] < 0.5
    rows = Examples(np.eye(20)[animal], good, np.ones(80), animal)
    assert fit_classifier(rows, 0.9).auroc < 0.6


def test_verdicts_outweigh_made_up_rows_where_they_disagree():
    made_up = examples(200)
    against = examples(60, seed=3)
    judged = Examples(against.evidence, ~against.good, np.full(60, 20.0), 100 + against.animal)
    before, after = fit_classifier(made_up, 0.9), fit_classifier(made_up, 0.9, judged)
    assert before.slope[0] > 0 > after.slope[0]
    assert (after.verdicts, after.examples) == (60, 260)


def test_the_precision_is_of_all_rows_by_their_weight():
    made_up, judged = examples(200), examples(40, seed=4)
    heavy = Examples(judged.evidence, judged.good, np.full(40, 5.0), 100 + judged.animal)
    fitted = fit_classifier(made_up, 1e-9, heavy)  # the lowest threshold: all are accepted
    assert fitted.precision == pytest.approx((made_up.good.sum() + 5 * judged.good.sum()) / (200 + 5 * 40))


@pytest.mark.parametrize("count", [20, 40, 80])
def test_verdicts_on_the_worst_alone_do_not_make_it_accept_more(count):
    made_up, fresh = examples(400), examples(1000, seed=5)
    worst = np.argsort(fit_classifier(made_up, 0.9).probability(fresh.evidence))
    judged = Examples(
        fresh.evidence[worst[:count]], fresh.good[worst[:count]], np.full(count, 5.0), np.arange(count) + 100
    )
    fitted, rest = fit_classifier(made_up, 0.9, judged), worst[count:]
    accepted = fitted.probability(fresh.evidence[rest]) >= fitted.threshold
    assert 0.05 < accepted.mean() < 0.6
    assert fresh.good[rest][accepted].mean() > 0.8


def test_a_heavier_row_pulls_harder():
    rows, point = examples(100), np.array([[0.5, 3.0, 1.0]])
    answers = []
    for weight in (0.1, 1.0, 30.0):
        judged = Examples(point, np.array([True]), np.array([weight]), np.array([99]))
        answers.append(float(fit_classifier(rows, 0.9, judged).probability(point)[0]))
    assert answers == sorted(answers)
    assert answers[2] > answers[0] + 0.05


def test_the_area_under_the_curve_is_the_chance_of_the_right_order():
    answers, good = np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, True, False, True])
    assert auroc(answers, good) == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert np.isnan(auroc(answers, np.ones(4, bool)))


def test_it_comes_back_from_json_even_where_a_figure_is_missing():
    rows = examples(30)
    fitted = fit_classifier(Examples(rows.evidence, np.ones(30, bool), rows.weight, rows.animal), 0.9)
    again = Classifier.model_validate_json(fitted.model_dump_json())
    assert np.isnan(again.auroc)
    assert again.model_dump(exclude={"auroc"}) == fitted.model_dump(exclude={"auroc"})


def test_far_away_evidence_gives_no_overflow():
    fitted = fit_classifier(examples(), 0.9)
    assert fitted.probability(np.array([[1e9, 0, 1], [-1e9, 0, 1]])).tolist() == pytest.approx([1, 0])
