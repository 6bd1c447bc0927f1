"""What a network is shown does not depend on where a scan was cut; devices that are not there are named."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.networks.device import choose_device, choose_precision
from napari_medaka_kd.networks.inputs import encode
from napari_medaka_kd.settings import NetworkSettings
from napari_medaka_kd.volumes.body import Body

BODY = Body((slice(2, 12), slice(0, 9), slice(4, 5)), (100.0, 300.0))
SCAN = np.random.default_rng(0).integers(0, 500, (14, 10, 8)).astype(np.uint16)
LOOKS = NetworkSettings()
SIDES = st.tuples(st.integers(0, 6), st.integers(1, 2))


@given(SIDES, SIDES, SIDES)
def test_a_part_is_encoded_as_it_is_within_the_whole(z, y, x):
    whole = encode(SCAN, (slice(0, 14), slice(0, 10), slice(0, 8)), BODY, LOOKS)
    region = tuple(slice(start, start + size) for start, size in (z, y, x))
    np.testing.assert_array_equal(encode(SCAN[region], region, BODY, LOOKS), whole[(slice(None), *region)])


def test_coordinates_are_zero_in_the_middle_of_the_body_and_one_at_its_faces():
    coordinates = encode(SCAN, (slice(0, 14), slice(0, 10), slice(0, 8)), BODY, LOOKS)[1:]
    along = coordinates[0, :, 0, 0]
    assert along[6] == -along[7] == pytest.approx(-0.1)
    assert along[2] == pytest.approx(-0.9)
    assert along[11] == pytest.approx(0.9)
    assert coordinates[1, 0, 4, 0] == 0
    assert coordinates[2, 0, 0, 4] == 0


def test_without_coordinates_only_the_intensities_are_shown():
    looks = LOOKS.model_copy(update={"coordinates": False})
    assert encode(SCAN, (slice(0, 14), slice(0, 10), slice(0, 8)), BODY, looks).shape == (1, *SCAN.shape)


@pytest.mark.parametrize("name", ["cuda:99", "warp", "", "cpu:x"])
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(UserError, match="is not to be had here"):
        choose_device(name)


def test_a_device_that_is_there_is_taken():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")


def test_a_precision_is_taken_at_its_word():
    cpu = torch.device("cpu")
    assert choose_precision("float32", cpu) is torch.float32
    assert choose_precision("bfloat16", cpu) is torch.bfloat16
    assert choose_precision("auto", cpu) in (torch.float32, torch.bfloat16)
