"""Soft labels in bytes: close to what was said, whatever was said, and the same from every back end."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medaka_kd.networks.backends.foreign_backend import ForeignBackend
from napari_medaka_kd.networks.backends.table import available, make
from napari_medaka_kd.networks.backends.verdict import Verdict
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.cone import cone
from napari_medaka_kd.networks.soft import STEPS, logits, pack, unpack
from napari_medaka_kd.settings import NetworkSettings
from napari_medaka_kd.volumes.volume import whole

TILE = (16, 16, 16)


def packed(answer):
    probabilities = answer.softmax(0)
    return pack(probabilities, probabilities.max(0).values)


def divergence(truth, kept, temperature):
    """Mean KL, nat."""
    theirs, ours = ((each / temperature).log_softmax(0) for each in (truth, logits(unpack(kept))))
    return float((theirs.exp() * (theirs - ours)).sum(0).mean())


@settings(max_examples=40)
@given(st.integers(2, 40), st.floats(0.5, 30), st.integers(0, 99))
def test_soft_labels_are_near_what_was_said_however_sure_it_was(classes, loudness, seed):
    answer = torch.randn(classes, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) * loudness
    assert divergence(answer, packed(answer), 2) < 1e-3 * classes


def test_of_eight_classes_not_one_voxel_in_a_thousand_is_told_wrongly():
    answer = torch.randn(8, 16, 16, 16, generator=torch.Generator().manual_seed(0)) * 6
    kept = logits(unpack(packed(answer)))
    clear = answer.topk(2, 0).values
    clear = clear[0] - clear[1] > 0.5
    assert (kept.argmax(0) == answer.argmax(0))[clear].float().mean() > 0.999
    assert divergence(answer, packed(answer), 2) <= 3e-3


def test_where_nothing_was_kept_it_is_background():
    said = logits(unpack(torch.zeros(5, 2, 2, 2, dtype=torch.uint8))).softmax(0)
    assert said[0].min() > 0.999


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", ["torch float32", "openvino float32", "torch bfloat16"])
def test_a_back_end_says_the_same_classes_and_doubt_and_soft_labels_beside_them(name, dimensions):
    looks = NetworkSettings(dimensions=dimensions, widths=(4, 6), members=2)
    network = build(looks, 3, 0).eval()
    image = np.random.default_rng(0).random((4, *TILE), np.float32)
    inner = (slice(4, 12), slice(2, 14), slice(0, 16))
    if name not in available(network, looks, torch.device("cpu")):
        pytest.skip("not here")
    plain, more = (make(name, network, looks, TILE, soft)(image, inner) for soft in (False, True))
    assert len(plain) == 2
    np.testing.assert_array_equal(plain[0], more[0])
    np.testing.assert_array_equal(plain[1], more[1])
    assert more[2].dtype == np.uint8
    assert more[2].shape == (3, *plain[0].shape)
    np.testing.assert_array_equal(np.take_along_axis(more[2], more[0][None].astype(int), 0), STEPS)
    with torch.inference_mode():
        needed = cone(inner, TILE, Verdict(network).levels).tolist()
        probabilities = Verdict(network).probabilities(torch.from_numpy(image)[None], needed)[0]
    assert divergence(probabilities.log(), torch.from_numpy(more[2]), 2) < 3e-3


def test_the_whole_tile_may_be_the_core():
    looks = NetworkSettings(dimensions=3, widths=(4, 6))
    classes, _, soft = make("torch float32", build(looks, 4, 0), looks, TILE, soft=True)(
        np.zeros((4, *TILE), np.float32), whole(TILE)
    )
    assert soft.shape == (4, *classes.shape)


def test_a_network_from_elsewhere_says_the_same_and_soft_labels_beside_it():
    network = torch.nn.Conv3d(1, 3, 1)
    network.classes = 3
    image = np.random.default_rng(0).random((1, *TILE), np.float32)
    inner = (slice(4, 12), slice(2, 14), slice(0, 16))
    plain, more = (ForeignBackend(network, torch.float32, soft)(image, inner) for soft in (False, True))
    assert [len(plain), len(more)] == [2, 3]
    for one, other in zip(plain, more, strict=False):
        np.testing.assert_array_equal(one, other)
    said = ForeignBackend(network, torch.float32).probabilities(image)[(slice(None), *inner)]
    assert divergence(said.log(), torch.from_numpy(more[2]), 2) < 3e-3
