"""Things pasted over each other: what changes in a patch, and what is cut out of scans."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medaka_kd.distil.instance_batches import InstanceSource
from napari_medaka_kd.distil.pasting import Cutting, Pasting, cut_out, loose
from napari_medaka_kd.settings import AugmentSettings
from napari_medaka_kd.volumes.body import Body
from napari_medaka_kd.volumes.instances import from_stack, to_layers
from napari_medaka_kd.volumes.volume import Volume, whole

PATCHES = {"2-D": (1, 24, 20), "3-D": (10, 12, 14)}
TURNED = AugmentSettings(flips=(True, True, True), rotation=180)


def ball(shape, middle, radius):
    grid = np.indices(shape)
    return sum((axis - place) ** 2 for axis, place in zip(grid, middle, strict=True)) <= radius**2


def cutting(rng, radius=3):
    mask = ball((2 * radius + 1,) * 3, (radius,) * 3, radius)
    return Cutting((mask * rng.uniform(0.2, 0.5)).astype(np.float32), mask)


def patch_of(rng, shape):
    """A noisy ground with three balls on it, two layers deep."""
    masks = [ball(shape, [rng.integers(side) for side in shape], 3) for _ in range(3)]
    image = (0.1 + rng.normal(0, 0.01, (1, *shape)) + 0.4 * sum(masks)).astype(np.float32)
    first, second, third = (np.where(mask, number, 0) for number, mask in enumerate(masks, 1))
    return image, np.stack((np.where(first > 0, first, third), second)).astype(np.int64)


def things_in(layers):
    return {int(which): (layers == which).any(axis=0) for which in np.unique(layers) if which}


@pytest.mark.parametrize("kind", PATCHES)
@given(seed=st.integers(0, 2**32 - 1))
def test_ground_that_nothing_is_pasted_on_stays_and_no_old_thing_does(kind, seed):
    rng = np.random.default_rng(seed)
    image, layers = patch_of(rng, PATCHES[kind])
    kept = image.copy()
    seen, ids = Pasting((cutting(rng), cutting(rng, 2)), 1.0, TURNED).onto(image, layers, rng)
    old, new = layers.any(axis=0), ids.any(axis=0)
    assert np.array_equal(seen[0][~old & ~new], image[0][~old & ~new])
    assert np.array_equal(image, kept)
    assert set(np.unique(seen[0][~new])) <= set(np.unique(image[0][~old]))
    assert (seen[0][new] > np.min(image[0][~old])).all()
    assert 1 <= len(things_in(ids)) <= len(things_in(layers))


@given(seed=st.integers(0, 2**32 - 1))
def test_no_thing_hides_half_of_another(seed):
    rng = np.random.default_rng(seed)
    made = (cutting(rng), cutting(rng, 2))
    things = things_in(Pasting(made, 1.0, TURNED).onto(*patch_of(rng, PATCHES["2-D"]), rng)[1])
    for which, mask in things.items():
        for other in things.keys() - {which}:
            both = np.count_nonzero(mask & things[other])
            assert both <= 0.5 * min(np.count_nonzero(mask), np.count_nonzero(things[other]))


def test_coordinates_stay_and_a_patch_full_of_things_too():
    rng = np.random.default_rng(0)
    image, layers = patch_of(rng, PATCHES["3-D"])
    placed = np.concatenate((image, rng.random((3, *PATCHES["3-D"]), np.float32)))
    pasting = Pasting((cutting(rng),), 1.0, TURNED)
    assert np.array_equal(pasting.onto(placed, layers, rng)[0][1:], placed[1:])
    assert pasting.onto(placed, np.ones_like(layers), rng)[0] is placed


def test_as_many_patches_get_things_as_their_share_says():
    rng = np.random.default_rng(0)
    image, layers = patch_of(rng, PATCHES["2-D"])
    for share in (0.0, 0.3, 1.0):
        pasting = Pasting((cutting(rng),), share, TURNED)
        changed = [pasting.onto(image, layers, rng)[0] is not image for _ in range(400)]
        assert np.mean(changed) == pytest.approx(share, abs=0.07)
    assert Pasting((), 1.0, TURNED).onto(image, layers, rng)[1] is layers


def test_a_thing_is_turned_no_further_than_the_scans_are():
    mask = np.zeros((1, 5, 5), bool)
    mask[0, 1:4, 1], mask[0, 3, 1:3] = True, True  # an L is another one in each of its eight positions
    still = AugmentSettings(flips=(False, False, False), rotation=15)
    blank = np.zeros((1, 1, 40, 40), np.float32), np.zeros((1, 1, 40, 40), np.int64)
    for augment, wanted in ((still, 1), (TURNED, 8)):
        rng, seen = np.random.default_rng(1), set()
        for _ in range(300):
            _, ids = Pasting((Cutting(mask.astype(np.float32), mask),), 1.0, augment).onto(*blank, rng)
            for other in things_in(ids).values():
                box = other[0][np.ix_(other[0].any(axis=1), other[0].any(axis=0))]
                if box.sum() == mask.sum():  # not cut at the edge
                    seen.add((box.shape, box.tobytes()))
        assert len(seen) == wanted


def scan_of(masks, ground=100.0):
    """A scan in which things add 50 each to an uneven ground, and its layers."""
    rising = ground + np.linspace(0, 20, masks.shape[-1])
    image = (rising + 50.0 * masks.sum(axis=0)).astype(np.float32)
    things = from_stack(masks)
    body = Body(whole(masks.shape[1:]), (0.0, 200.0))
    return InstanceSource("scan", Volume((image,), (1.0,) * 3), body, to_layers(things, image.shape)), things


def test_what_is_cut_out_is_how_much_brighter_it_is_than_what_lies_about_it():
    shape = (1, 20, 60)
    source, things = scan_of(np.stack([ball(shape, (0, 10, x), 4) for x in (10, 50)]))
    made = cut_out([(source, things)], 0)
    assert len(made) == 2
    for each in made:
        assert each.mask.sum() == things[0].size
        assert each.light[each.mask] == pytest.approx(50 / 200, abs=0.02)
        assert not each.light[~each.mask].any()


def test_what_overlaps_or_reaches_the_edge_is_not_loose():
    shape = (1, 20, 60)
    masks = np.stack([ball(shape, (0, 10, x), 4) for x in (2, 15, 20, 50)])
    _, things = scan_of(masks)
    assert loose(things, shape) == (things[3],)
    assert loose((), shape) == ()


def test_a_thing_without_any_ground_is_left_out():
    shape = (1, 12, 12)
    source, things = scan_of(np.stack([np.ones(shape, bool), ball(shape, (0, 6, 6), 3)]))
    assert cut_out([(source, things)], 0) == ()
