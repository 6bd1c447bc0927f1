"""Facts of a label map: plain geometry in µm, the same however the animal is turned and however the map is cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_medaka_kd.quality import facts as module
from napari_medaka_kd.quality.facts import Facts, look_at

MAPS = hnp.arrays(np.int64, (5, 6, 7), elements=st.integers(0, 3), fill=st.just(0))
CUBE = (1.0, 1.0, 1.0)


def box(shape=(12, 12, 12), *parts):
    classes = np.zeros(shape, np.int64)
    for organ, (z, y, x) in parts:
        classes[z, y, x] = organ
    return classes


ONE = (1, (slice(2, 10), slice(2, 10), slice(2, 10)))


def test_volume_and_place_are_in_micrometres():
    seen = look_at(box((12, 12, 12), ONE), (2.0, 3.0, 4.0)).organs[1]
    assert seen.volume == 512 * 24
    assert seen.centre == (12.0, 18.0, 24.0)


def test_a_speck_is_no_piece_and_a_large_crumb_is_one():
    crumbs = box((12, 12, 12), ONE, (1, (slice(11, 12), slice(11, 12), slice(11, 12))))
    assert look_at(crumbs, CUBE).organs[1].pieces == (512.0,)
    crumbs[0, :4, :4] = 1
    assert look_at(crumbs, CUBE).organs[1].pieces == (512.0, 16.0)


def test_enclosed_background_is_a_hole_and_an_enclosed_organ_is_none():
    hollow = box((12, 12, 12), ONE)
    hollow[4:6, 4:6, 4:6] = 0
    hollow[7:9, 7:9, 7:9] = 2
    assert look_at(hollow, CUBE).organs[1].holes == pytest.approx(8 / 496)


def test_the_worst_jump_is_told_by_the_slice_behind_it_in_those_of_the_scan():
    slipped = box((12, 20, 12), ONE)
    slipped[7:] = np.roll(slipped[7:], 9, axis=1)
    seen = look_at(slipped, CUBE, step=4.0).organs[1]
    assert seen.jump_at == 28
    assert seen.jump > 1


def test_an_organ_that_the_scan_cuts_off_does_not_jump_there():
    assert look_at(box((6, 6, 6), (1, (slice(0, 6), slice(1, 4), slice(1, 4)))), CUBE).organs[1].jump == 0


def test_organs_touch_across_a_single_voxel_and_not_across_two():
    for gap, touch in ((0, True), (1, True), (2, False)):
        pair = box((4, 4, 9), (1, (slice(0, 4), slice(0, 4), slice(0, 3))))
        pair[:, :, 3 + gap : 6 + gap] = 2
        assert (look_at(pair, CUBE).contact(1, 2) > 0) == touch


@settings(max_examples=40)
@given(classes=MAPS, axes=st.permutations((0, 1, 2)), flips=st.tuples(*[st.booleans()] * 3))
def test_turning_the_map_with_its_voxels_changes_neither_volumes_nor_contacts(classes, axes, flips):
    sizes = (1.0, 2.0, 3.0)
    turned = np.transpose(classes, axes)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    before, after = look_at(classes, sizes), look_at(turned, tuple(sizes[axis] for axis in axes))
    assert before.organs.keys() == after.organs.keys()
    for organ, seen in before.organs.items():
        assert after.organs[organ].volume == seen.volume
        assert after.organs[organ].pieces == seen.pieces
        assert after.organs[organ].holes == seen.holes
    contacts = {(one, other): share for one, other, share in before.contacts}
    for one, other, share in after.contacts:
        assert contacts.pop((one, other)) == pytest.approx(share)
    assert not contacts


@settings(max_examples=20)
@given(classes=MAPS, thick=st.integers(1, 4))
def test_contacts_do_not_depend_on_how_many_slices_are_compared_at_a_time(classes, thick):
    whole = look_at(classes, CUBE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_THICK", thick)
        assert look_at(classes, CUBE) == whole


@settings(max_examples=30)
@given(classes=MAPS)
def test_facts_come_back_from_json(classes):
    seen = look_at(classes, CUBE)
    assert Facts.model_validate_json(seen.model_dump_json()) == seen
    assert set(seen.organs) == set(np.unique(classes).tolist()) - {0}
