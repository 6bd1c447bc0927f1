"""AJI and average precision, against sets of voxels on tiny examples."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from napari_medaka_kd.instance_scores import aggregated_jaccard, average_precision, mean_average_precision
from napari_medaka_kd.volumes.instances import instance

LINE = 12


@st.composite
def lines(draw):
    """Stretches of a line of voxels, with scores that differ."""
    count = draw(st.integers(0, 4))
    ends = [sorted(draw(st.lists(st.integers(0, LINE), min_size=2, max_size=2, unique=True))) for _ in range(count)]
    scores = draw(st.lists(st.floats(0, 1), min_size=count, max_size=count, unique=True))
    return [thing(range(*end), score) for end, score in zip(ends, scores, strict=True)]


def thing(voxels, score=1.0):
    mask = np.zeros((1, 1, LINE), bool)
    mask[0, 0, list(voxels)] = True
    return instance(mask, (0, 0, 0), score)


def voxels(one):
    return set((np.nonzero(one.mask[0, 0])[0] + one.box[2].start).tolist())


def jaccard(one, other):
    return len(one & other) / len(one | other)


def slow_aji(truth, found):
    truth, found = [voxels(each) for each in truth], [voxels(each) for each in found]
    above = below = 0
    used = set()
    for mine in truth:
        best = max(range(len(found)), key=lambda place: jaccard(mine, found[place]), default=None)
        if best is None or not mine & found[best]:
            below += len(mine)
        else:
            used.add(best)
            above, below = above + len(mine & found[best]), below + len(mine | found[best])
    below += sum(len(found[place]) for place in range(len(found)) if place not in used)
    return above / below if below else 1.0


def slow_ap(images, likeness):
    """For each number of hits in turn, the best precision of all lists that are long enough to have so many."""
    ranked = sorted((each.score, image, place) for image, (_, found) in enumerate(images) for place, each in enumerate(found))  # noqa: E501  # fmt: skip
    total = sum(len(truth) for truth, _ in images)
    taken, right = set(), []
    for _, image, place in reversed(ranked):
        truth, found = images[image]
        free = [k for k in range(len(truth)) if (image, k) not in taken]
        best = max(free, key=lambda k: jaccard(voxels(truth[k]), voxels(found[place])), default=None)
        hit = best is not None and jaccard(voxels(truth[best]), voxels(found[place])) >= likeness
        right.append(hit)
        if hit:
            taken.add((image, best))
    area = 0.0
    for hits in range(1, sum(right) + 1):
        longs = [length for length in range(1, len(right) + 1) if sum(right[:length]) >= hits]
        area += max(sum(right[:length]) / length for length in longs) / total
    return area


@given(lines(), lines())
@settings(max_examples=100, deadline=None)
def test_aji_is_that_of_sets(truth, found):
    assert aggregated_jaccard(truth, found) == pytest.approx(slow_aji(truth, found))


@given(st.lists(st.tuples(lines(), lines()), min_size=1, max_size=2), st.sampled_from([0.3, 0.5, 0.75]))
@settings(max_examples=100, deadline=None)
def test_average_precision_is_that_of_sets(images, likeness):
    scores = [each.score for _, found in images for each in found]
    assume(len(set(scores)) == len(scores))
    if any(truth for truth, _ in images):
        assert average_precision(images, likeness) == pytest.approx(slow_ap(images, likeness))
    else:
        assert np.isnan(average_precision(images, likeness))


def test_what_is_found_as_it_is_scores_one():
    things = [thing(range(5), 0.9), thing(range(3, 9), 0.4)]
    assert aggregated_jaccard(things, things) == 1
    assert mean_average_precision([(things, things)]) == 1


def test_nothing_found_scores_nothing_and_of_nothing_there_is_nothing_to_find():
    things = [thing(range(5))]
    assert aggregated_jaccard(things, []) == 0
    assert average_precision([(things, [])]) == 0
    assert aggregated_jaccard([], things) == 0
    assert aggregated_jaccard([], []) == 1


def test_a_double_costs_precision_only_where_it_is_surer_than_a_right_one():
    truth = [thing(range(4)), thing(range(6, 10))]
    first, double, second = thing(range(4), 0.9), thing(range(4), 0.5), thing(range(6, 10), 0.7)
    assert average_precision([(truth, [first, double, second])]) == 1
    double = thing(range(4), 0.8)
    assert average_precision([(truth, [first, double, second])]) == pytest.approx((1 + 2 / 3) / 2)
