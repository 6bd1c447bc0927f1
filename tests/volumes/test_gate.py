"""The gate refuses what cannot be a scan or a label map, in one plain sentence and one kind of error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medaka_kd.errors import InvalidVolume
from napari_medaka_kd.volumes.gate import check_header, check_ids, check_intensities, refusing
from napari_medaka_kd.volumes.labels import LabelSchema

FINE = ((4, 5, 6), np.uint8, (1.0, 1.0, 1.0), "fish.tif")


def test_an_ordinary_header_passes():
    check_header(*FINE)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (0, (5, 6), "is a 2-D image of 5 x 6 pixels"),
        (0, (1, 5, 6), "is a 2-D image"),
        (0, (3, 4, 5, 6), "has 4 axes"),
        (0, (0, 5, 6), "claims to hold 0 x 5 x 6 voxels"),
        (0, (2**20, 2**20, 2), "claims to hold"),
        (1, np.dtype(object), "'object'"),
        (1, "c8", "complex64"),
        (1, "U4", "U4"),
        (1, "M8[s]", "datetime64"),
        (1, "no such type", "cannot be read"),
        (2, (1.0, np.nan, 1.0), "1 x nan x 1 µm"),
        (2, (1.0, 0.0, 1.0), "1 x 0 x 1 µm"),
        (2, (1.0, 1.0, -2.0), "1 x 1 x -2 µm"),
        (2, (np.inf, 1.0, 1.0), "inf"),
        (2, (1.0, 1.0), "1 x 1 µm"),
    ],
)
def test_a_bad_header_is_refused_with_the_value_quoted(place, value, words):
    header = list(FINE)
    header[place] = value
    with pytest.raises(InvalidVolume) as refusal:
        check_header(*header)
    assert words in refusal.value.message
    assert "fish.tif" in refusal.value.message
    assert refusal.value.remedy.endswith(".")


@given(st.tuples(*[st.integers(-5, 2**40)] * 3), st.tuples(*[st.floats()] * 3))
def test_a_header_is_fine_or_invalid_and_nothing_else(shape, size):
    try:
        check_header(shape, "u1", size, "a")
    except InvalidVolume:
        return
    assert min(shape) > 0
    assert min(size) > 0
    assert np.isfinite(size).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_a_block_with_intensities_that_are_no_numbers_is_refused_with_their_count(bad, dtype):
    block = np.zeros((3, 4, 5), dtype)
    check_intensities(block)
    block[1, 2, :3] = bad
    block[0, 0, 0] = np.inf
    with pytest.raises(InvalidVolume, match=r"4 in one block"):
        check_intensities(block)


def test_huge_but_finite_intensities_pass():
    check_intensities(np.full((4, 4, 4), 1e308))
    check_intensities(np.full((4, 4, 4), 2**60))


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "u8", "f4", "f8"])
def test_ids_that_name_no_organ_are_quoted(dtype):
    schema = LabelSchema.from_ids({2: "eye", 5: "gut"})
    check_ids(np.array([[[0, 2, 5]]], dtype), schema)
    check_ids(np.zeros((0, 1, 1), dtype), schema)
    with pytest.raises(InvalidVolume, match=r"no organ: 3, 7\.") as refusal:
        check_ids(np.array([[[0, 3, 7, 5]]], dtype), schema)
    assert "2, 5" in refusal.value.remedy


def test_many_unknown_ids_are_not_all_listed():
    with pytest.raises(InvalidVolume, match=r": 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, …\."):
        check_ids(np.arange(200, dtype="u1"), LabelSchema.from_names(["eye"]))


@pytest.mark.parametrize("value", [-1, 70_000, 2**40])
def test_ids_beyond_any_schema_are_quoted(value):
    with pytest.raises(InvalidVolume, match=f"{value:g}".replace("+", r"\+")):
        check_ids(np.array([value]), LabelSchema.from_names(["eye"]))


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError(), MemoryError(), ZeroDivisionError("by zero")])
def test_whatever_a_parser_throws_becomes_one_refusal(error):
    with pytest.raises(InvalidVolume, match=r"'a\.nii' cannot be read") as refusal, refusing("a.nii"):
        raise error
    assert refusal.value.__cause__ is error
