"""Shapes between two slices lie between the two, change gradually, and do not depend on the direction."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_medaka_kd.review.interpolate import between

MASKS = hnp.arrays(bool, (9, 7))


def disc(radius, centre=(20, 20)):
    y, x = np.ogrid[:41, :41]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


@given(first=MASKS, last=MASKS, steps=st.integers(1, 6))
def test_what_is_in_both_is_in_all_and_what_is_in_neither_in_none(first, last, steps):
    assume(first.any() and last.any())
    masks = between(first, last, steps)
    assert masks.shape == (steps, 9, 7)
    assert not (masks & ~(first | last)).any()
    assert (masks | ~(first & last)).all()


@given(mask=MASKS, steps=st.integers(0, 4))
def test_between_two_equal_shapes_lies_the_same(mask, steps):
    assert (between(mask, mask, steps) == mask).all()


@given(first=MASKS, last=MASKS, steps=st.integers(1, 6))
def test_it_is_the_same_from_either_end(first, last, steps):
    assert (between(first, last, steps)[::-1] == between(last, first, steps)).all()


def test_a_growing_disc_grows_evenly():
    areas = between(disc(4), disc(16), 5).sum(axis=(1, 2))
    radii = np.sqrt(areas / np.pi)
    assert radii == pytest.approx([6, 8, 10, 12, 14], abs=0.5)


def test_a_disc_that_moves_is_on_its_way():
    middle = between(disc(8, (20, 16)), disc(8, (20, 24)), 1)[0]
    y, x = (inside.mean() for inside in np.nonzero(middle))
    assert (y, x) == pytest.approx((20, 20), abs=0.3)


def test_where_one_slice_is_empty_nothing_is_made_up():
    assert not between(disc(5), disc(5) & False, 3).any()
    with pytest.raises(ValueError, match="pixels"):
        between(disc(5), disc(5)[1:], 3)
