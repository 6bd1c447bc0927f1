"""Things that overlap: stacks, layers and back, without losing a voxel; doubles; memory by region."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medaka_kd.volumes.instances import (
    Instance,
    from_layers,
    from_stack,
    instance,
    layer_numbers,
    likeness,
    overlap,
    shared,
    to_layers,
    without_doubles,
)

SHAPE = (3, 6, 7)
EVERYWHERE = (slice(None), slice(None), slice(None))


@st.composite
def stacks(draw):
    """A few boxes, which often overlap."""
    masks = np.zeros((draw(st.integers(0, 6)), *SHAPE), bool)
    for mask in masks:
        first = [draw(st.integers(0, side - 1)) for side in SHAPE]
        sides = [draw(st.integers(1, 4)) for _ in SHAPE]
        mask[tuple(slice(a, a + b) for a, b in zip(first, sides, strict=True))] = True
    return masks


def painted(things):
    masks = np.zeros((len(things), *SHAPE), bool)
    for mask, thing in zip(masks, things, strict=True):
        mask[thing.box] = thing.mask
    return masks


@given(stacks())
@settings(max_examples=60, deadline=None)
def test_layers_keep_every_voxel_of_things_that_overlap(masks):
    things = from_stack(masks)
    layers = [layer[EVERYWHERE] for layer in to_layers(things, SHAPE)]
    np.testing.assert_array_equal(painted(from_layers(layers)), masks)
    np.testing.assert_array_equal(painted(things), masks)
    assert sum(int((layer > 0).sum()) for layer in layers) == int(masks.sum())


@given(stacks())
@settings(max_examples=40, deadline=None)
def test_overlap_and_likeness_are_those_of_the_voxels(masks):
    things = from_stack(masks)
    for mine, one in zip(masks, things, strict=True):
        for theirs, other in zip(masks, things, strict=True):
            assert overlap(one, other) == (mine & theirs).sum()
            assert likeness(one, other) == pytest.approx((mine & theirs).sum() / (mine | theirs).sum())


@given(stacks())
@settings(max_examples=60, deadline=None)
def test_what_a_thing_shares_are_the_voxels_of_it_that_any_other_holds(masks):
    both = masks & (masks.sum(axis=0) > 1)
    assert shared(from_stack(masks)) == tuple(both.sum(axis=(1, 2, 3)))


@given(stacks(), st.integers(0, 2), st.integers(0, 5), st.integers(0, 6))
@settings(max_examples=40, deadline=None)
def test_a_region_of_a_layer_is_that_of_the_whole(masks, z, y, x):
    region = (slice(z, 3), slice(y, y + 2), slice(0, x))
    for layer in to_layers(from_stack(masks), SHAPE):
        np.testing.assert_array_equal(layer[region], layer[EVERYWHERE][region])


def test_things_apart_share_a_layer_and_a_label_map_is_one_layer():
    ids = np.zeros(SHAPE, np.uint8)
    ids[:, :3], ids[:, 4:] = 9, 2
    things = from_layers([ids])
    assert layer_numbers(things) == (0, 0)
    assert len(to_layers(things, SHAPE)) == 1
    assert len(to_layers((), SHAPE)) == 1


def test_an_id_in_two_layers_is_one_thing():
    lower, upper = np.zeros((2, *SHAPE), np.uint8)
    lower[:, :2], upper[:, 2:4] = 5, 5
    (thing,) = from_layers([lower, upper])
    assert thing.size == 3 * 4 * 7


def test_of_two_that_are_alike_the_surer_stays():
    mask = np.ones((1, 4, 4), bool)
    half = mask.copy()
    half[:, 2:] = False
    made = [instance(mask, (0, 0, 0), 0.5), instance(mask, (0, 1, 0), 0.9), instance(half, (0, 0, 0), 0.8)]
    assert [each.score for each in without_doubles(made, 0.5)] == [0.9, 0.8]
    assert [each.score for each in without_doubles(made, 0.7)] == [0.9, 0.8, 0.5]


def test_nothing_is_no_thing_and_too_many_are_refused():
    assert instance(np.zeros((2, 2, 2), bool)) is None
    dot = Instance((slice(0, 1),) * 3, np.ones((1, 1, 1), bool))
    with pytest.raises(ValueError, match="65536 things"):
        to_layers([dot] * 65_536, (1, 1, 1))
