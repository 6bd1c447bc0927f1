"""The halo of a checkpoint is measured once, and with it a cut leaves no trace."""

import json

import numpy as np
import pytest
import torch

from napari_medaka_kd.networks.build import build, network_reach
from napari_medaka_kd.segment.halo import find_halo, measure_halo
from napari_medaka_kd.segment.segmenter import Segmenter
from napari_medaka_kd.settings import NetworkSettings, SegmentSettings
from napari_medaka_kd.volumes.body import Body
from napari_medaka_kd.volumes.volume import Volume, whole

SHAPE = (40, 120, 112)
DEEP = NetworkSettings(dimensions=3, widths=(4, 6), coordinates=False)
FLAT = NetworkSettings(dimensions=2, widths=(4, 6, 8), coordinates=False)


@pytest.fixture
def volume():
    return Volume((np.random.default_rng(0).random(SHAPE).astype(np.float32),), (1.0, 1.0, 1.0), "noise")


def segmenter(looks, seed=0):
    torch.set_num_threads(1)
    settings = SegmentSettings(precision="float32", device="cpu", tile=None)
    return Segmenter(build(looks, 3, seed), looks, settings)


@pytest.mark.parametrize("looks", [FLAT, DEEP], ids=["2-D", "3-D"])
def test_with_the_measured_halo_one_voxel_in_a_hundred_thousand_differs_from_the_whole(volume, looks):
    judge, body = segmenter(looks), Body(whole(SHAPE), (0.0, 1.0))
    halo = measure_halo(judge, volume, body)
    assert all(0 <= side <= reach for side, reach in zip(halo, network_reach(looks), strict=True))
    judge.tile = (999, 999, 999)
    at_once = judge.ask(volume, body, whole(SHAPE)).classes
    judge.use_halo(halo)
    z, y, x = (2 * side + 8 * step for side, step in zip(halo, judge.stride, strict=True))
    judge.tile = (z, y, x)
    assert len(judge.tiles(SHAPE, body, whole(SHAPE))) > 8
    cut = judge.ask(volume, body, whole(SHAPE)).classes
    assert np.count_nonzero(cut != at_once) <= 1e-4 * cut.size  # all is near a seam


def test_a_network_that_looks_at_a_voxel_alone_needs_one_stride(volume):
    judge, body = segmenter(FLAT), Body(whole(SHAPE), (0.0, 1.0))
    with torch.no_grad():
        for layer in judge.network.modules():
            if isinstance(layer, torch.nn.Conv2d) and layer.kernel_size == (3, 3):
                middle = layer.weight[:, :, 1:2, 1:2].clone()
                layer.weight.zero_()
                layer.weight[:, :, 1:2, 1:2] = middle
    assert measure_halo(judge, volume, body) == (0, 4, 4)


def test_it_is_kept_with_the_weights_it_was_measured_for(volume, tmp_path):
    body = Body(whole(SHAPE), (0.0, 1.0))
    halo = find_halo(segmenter(FLAT), volume, body, tmp_path, "abc")
    (tmp_path / "halo.json").write_text(json.dumps({"weights": "abc", "halo": [0, 8, 12]}))
    assert find_halo(segmenter(FLAT), volume, body, tmp_path, "abc") == (0, 8, 12)
    assert find_halo(segmenter(FLAT), volume, body, tmp_path, "other") == halo
    (tmp_path / "halo.json").write_text("{")
    assert find_halo(segmenter(FLAT), volume, body, tmp_path, "abc") == halo
