"""The body is found in clear and in hopeless scans, and intensities become finite whatever they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medaka_kd.errors import InvalidVolume
from napari_medaka_kd.volumes.body import Body, find_body, normalise
from napari_medaka_kd.volumes.body_mask import BodyMask, open_mask
from napari_medaka_kd.volumes.volume import Volume, whole


def volume_of(array, levels=()):
    return Volume((array, *levels), (1.0, 1.0, 1.0))


def scan(bone=False):
    """An ellipsoid of tissue in air, 96 x 64 x 64, with its truth."""
    z, y, x = np.ogrid[:96, :64, :64]
    body = ((z - 48) / 36) ** 2 + ((y - 30) / 15) ** 2 + ((x - 34) / 12) ** 2 < 1
    values = np.where(body, 1000.0, 100.0)
    if bone:
        values[((z - 48) / 30) ** 2 + ((y - 26) / 3) ** 2 + ((x - 34) / 3) ** 2 < 1] = 6000.0
    return (values + np.random.default_rng(0).normal(0, 40, body.shape)).astype(np.float32), body


@pytest.mark.parametrize("bone", [False, True])
def test_the_box_holds_the_whole_body_and_little_more(bone):
    values, body = scan(bone)
    found = find_body(volume_of(values))
    assert body[found.box].sum() == body.sum()
    assert all(side.stop - side.start <= limit for side, limit in zip(found.box, (86, 42, 36), strict=True))


def test_the_window_spans_the_tissue_without_the_air():
    values, _ = scan()
    low, high = find_body(volume_of(values)).window
    assert 400 < low < 950
    assert 1050 < high < 1200


def test_the_box_is_in_voxels_of_the_finest_level():
    values, body = scan()
    fine = np.repeat(np.repeat(np.repeat(values, 2, 0), 2, 1), 2, 2)
    found = find_body(volume_of(fine, (values,)))
    assert body.repeat(2, 0).repeat(2, 1).repeat(2, 2)[found.box].sum() == 8 * body.sum()
    assert found.box[2].stop <= 128


@pytest.mark.parametrize("value", [0, 7, -3.5, 1e30])
def test_a_constant_scan_is_all_body_with_a_window(value):
    found = find_body(volume_of(np.full((10, 11, 12), value, np.float32)))
    assert found.box == whole((10, 11, 12))
    assert found.window[1] > found.window[0] or value == 1e30


def test_a_speck_of_metal_is_no_body():
    values = np.random.default_rng(0).normal(100, 5, (64, 64, 64)).astype(np.float32)
    values[3:5, 3:5, 3:5] = 1e5
    assert find_body(volume_of(values)).box == whole((64, 64, 64))


def test_a_body_survives_json():
    body = Body((slice(1, 2), slice(3, 4), slice(5, 6)), (0.5, 7.0))
    assert Body.from_json(body.to_json()) == body


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(width=32), min_size=1, max_size=8),
    st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e6)).map(lambda pair: (pair[0], pair[0] + pair[1])),
)
def test_normalised_intensities_are_always_finite_and_clipped(values, window):
    with np.errstate(all="ignore"):
        scaled = normalise(np.array(values, np.float32), window)
    assert scaled.dtype == np.float32
    assert np.isfinite(scaled).all()
    assert scaled.min() >= -0.25
    assert scaled.max() <= 1.25


def test_the_window_becomes_zero_to_one():
    np.testing.assert_allclose(normalise(np.array([10, 15, 20], np.uint8), (10.0, 20.0)), [0, 0.5, 1])


def test_the_mask_holds_the_whole_body_with_its_limbs_and_half_of_the_scan_is_air():
    values, body = scan()
    body[44:52, 28:34, 40:60] = True
    values[body] += 900 * (values[body] < 500)
    found = find_body(volume_of(values))
    assert found.mask.coarse[body].all()
    assert found.mask.coarse.mean() < 0.4
    assert body[found.box].sum() == body.sum()


@settings(max_examples=60)
@given(st.data())
def test_no_part_of_the_body_is_ever_taken_for_air(data):
    coarse_shape = data.draw(st.tuples(*[st.integers(1, 5)] * 3))
    shape = tuple(count * data.draw(st.integers(1, 7)) + data.draw(st.integers(0, 3)) for count in coarse_shape)
    mask = BodyMask(np.random.default_rng(data.draw(st.integers(0, 99))).random(coarse_shape) < 0.3, shape)
    region = tuple(
        slice(start, data.draw(st.integers(start + 1, size)))
        for size in shape
        for start in [data.draw(st.integers(0, size - 1))]
    )
    at = [np.arange(size) * count // size for size, count in zip(shape, coarse_shape, strict=True)]
    truth = np.argwhere(mask.coarse[np.ix_(*at)][region])
    found = mask.trim(region)
    assert (found is None) == (not len(truth))
    if found is not None:
        first = [side.start for side in region]
        np.testing.assert_array_equal([side.start for side in found], truth.min(0) + first)
        np.testing.assert_array_equal([side.stop for side in found], truth.max(0) + 1 + first)
    np.testing.assert_array_equal(mask.inside(region), mask.coarse[np.ix_(*at)][region])


def test_drawn_voxels_lie_in_the_body_wherever_it_is():
    values, body = scan()
    found = find_body(volume_of(values))
    random = np.random.default_rng(0)
    drawn = np.array([found.draw(random) for _ in range(2000)])
    assert found.mask.coarse[tuple(drawn.T)].all()
    assert 0.6 < body[tuple(drawn.T)].mean() < 1
    assert (drawn.max(0) - drawn.min(0) > (60, 25, 20)).all()


def test_a_mask_comes_back_from_the_disk_and_a_damaged_one_is_refused(tmp_path):
    mask = find_body(volume_of(scan()[0])).mask
    mask.save(tmp_path / "body.npz")
    again = open_mask(tmp_path / "body.npz")
    np.testing.assert_array_equal(again.coarse, mask.coarse)
    assert again.shape == mask.shape
    assert open_mask(tmp_path / "none.npz") is None
    (tmp_path / "body.npz").write_bytes((tmp_path / "body.npz").read_bytes()[:100])
    with pytest.raises(InvalidVolume, match="cannot be read"):
        open_mask(tmp_path / "body.npz")
    np.savez(tmp_path / "evil.npz", bits=np.array([{}], object), coarse=[1, 1, 1], shape=[1, 1, 1])
    with pytest.raises(InvalidVolume, match="pickle"):
        open_mask(tmp_path / "evil.npz")


def test_a_crop_out_of_an_animal_has_no_air_and_is_all_body():
    rng = np.random.default_rng(0)
    tissue = np.where(rng.random((8, 8, 8)) < 0.5, 400, 900).repeat(5, 0).repeat(5, 1).repeat(5, 2)
    crop = Volume(((tissue + rng.normal(0, 30, tissue.shape)).astype(np.float32),), (1.0, 1.0, 1.0))
    body = find_body(crop)
    assert body.box == whole(crop.shape)
    assert body.mask is None
    low, high = body.window
    assert low < 450
    assert high > 850
