"""Faults made on purpose do what they say and nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_medaka_kd.quality import corrupt as faults

SEEDS = st.integers(0, 10_000)


def organs():
    """Three organs that touch, of 192, 96 and 1 voxels."""
    classes = np.zeros((10, 12, 12), np.int64)
    classes[2:8, 2:10, 2:6] = 1
    classes[2:8, 4:8, 6:10] = 2
    classes[9, 11, 11] = 3
    return classes


@pytest.mark.parametrize("fault", faults.CORRUPTIONS)
@settings(max_examples=25)
@given(seed=SEEDS, organ=st.integers(1, 3))
def test_a_fault_never_makes_an_organ_that_was_not_there_and_leaves_its_input_alone(fault, seed, organ):
    classes = organs()
    damaged = fault(classes, organ, np.random.default_rng(seed))
    np.testing.assert_array_equal(classes, organs())
    assert damaged.shape == classes.shape
    assert set(np.unique(damaged)) <= {0, 1, 2, 3}


@pytest.mark.parametrize("fault", [faults.erode, faults.lose_part, faults.punch])
@settings(max_examples=25)
@given(seed=SEEDS, organ=st.integers(1, 3))
def test_what_takes_away_gives_the_background_and_only_of_its_organ(fault, seed, organ):
    classes = organs()
    damaged = fault(classes, organ, np.random.default_rng(seed))
    changed = damaged != classes
    assert (classes[changed] == organ).all()
    assert (damaged[changed] == 0).all()


@pytest.mark.parametrize("fault", [faults.dilate, faults.spill])
@settings(max_examples=25)
@given(seed=SEEDS, organ=st.integers(1, 3))
def test_what_adds_adds_only_its_organ_and_keeps_all_of_it(fault, seed, organ):
    classes = organs()
    damaged = fault(classes, organ, np.random.default_rng(seed))
    assert (damaged[damaged != classes] == organ).all()
    assert (damaged[classes == organ] == organ).all()
    assert ndimage.label(damaged == organ, np.ones((3, 3, 3)))[1] == 1


@settings(max_examples=25)
@given(seed=SEEDS)
def test_a_shift_keeps_the_shape_of_what_stays_in_the_scan(seed):
    classes = np.zeros((20, 20, 20), np.int64)
    classes[7:13, 7:12, 8:12] = 1
    classes[8, 8, 9] = 0
    moved = faults.shift(classes, 1, np.random.default_rng(seed)) == 1
    box, before = ndimage.find_objects(moved.astype(int))[0], ndimage.find_objects(classes)[0]
    np.testing.assert_array_equal(moved[box], classes[before] == 1)
    for now, then in zip(box, before, strict=True):
        assert abs(now.start - then.start) <= (then.stop - then.start) * 0.35 + 0.5


@settings(max_examples=25)
@given(seed=SEEDS)
def test_a_swap_gives_a_part_to_another_organ_that_is_there(seed):
    classes = organs()
    damaged = faults.swap(classes, 1, np.random.default_rng(seed))
    changed = damaged != classes
    assert (classes[changed] == 1).all()
    assert set(np.unique(damaged[changed])) <= {2, 3}
    assert len(np.unique(damaged[changed])) <= 1


def test_a_swap_without_another_organ_loses_a_part():
    alone = (organs() == 1).astype(np.int64)
    damaged = faults.swap(alone, 1, np.random.default_rng(0))
    assert 0 < damaged.sum() < alone.sum()


@settings(max_examples=200)
@given(seed=SEEDS)
def test_corrupting_survives_an_organ_that_its_neighbour_has_grown_over(seed):
    classes = np.zeros((6, 6, 6), np.int64)
    classes[2:5, 2:5, 2:5] = 1
    classes[3, 3, 5] = 2
    damaged = faults.corrupt(classes, np.random.default_rng(seed), share=1.0)
    assert set(np.unique(damaged)) <= {0, 1, 2}


def test_corrupting_hits_about_the_share_that_was_asked_for_and_nothing_at_zero():
    classes = organs()
    np.testing.assert_array_equal(faults.corrupt(classes, np.random.default_rng(0), share=0.0), classes)
    hit = [(faults.corrupt(classes, np.random.default_rng(s), 0.4)[classes == 1] != 1).any() for s in range(100)]
    assert 0.2 < np.mean(hit) < 0.8  # of its own or of its neighbour's fault


def test_a_scan_without_organs_has_no_faults():
    empty = np.zeros((3, 3, 3), np.int64)
    np.testing.assert_array_equal(faults.corrupt(empty, np.random.default_rng(0), 1.0), empty)
