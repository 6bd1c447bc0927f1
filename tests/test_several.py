"""Several devices: the labels of one, bit for bit, each block answered once."""

import threading

import numpy as np
import pytest

from napari_medaka_kd.networks.build import build
from napari_medaka_kd.segment.pipeline import answers
from napari_medaka_kd.segment.segmenter import Segmenter
from napari_medaka_kd.segment.several import answers_of_several, assemble, other_devices
from napari_medaka_kd.settings import NetworkSettings, SegmentSettings
from napari_medaka_kd.volumes.body import Body
from napari_medaka_kd.volumes.tiles import block_grid
from napari_medaka_kd.volumes.volume import Volume, whole

LOOKS = NetworkSettings(dimensions=2, widths=(4, 6))
SHAPE = (40, 24, 26)
BODY = Body(whole(SHAPE), (0.0, 1.0))
SCAN = Volume((np.random.default_rng(0).random(SHAPE, np.float32),), (1.0, 1.0, 1.0))
BLOCKS = tuple(enumerate(block_grid(SHAPE, (8, 12, 26))))


def lead(backend="auto", **more):
    settings = SegmentSettings(precision="float32", device="cpu", backend=backend, **more)
    segmenter = Segmenter(build(LOOKS, 4, 0), LOOKS, settings, (0, 8, 8))
    segmenter.use_backend(SCAN, BODY, None)
    return segmenter


@pytest.mark.parametrize("more", [{}, {"soft": True, "disagreement": "dropout", "rounds": 1}])
@pytest.mark.parametrize("backend", ["auto", "torch float32"])
def test_two_devices_answer_each_block_once_and_as_one_does(backend, more):
    first = lead(backend, **more)
    alone = dict(answers(first, SCAN, BODY, BLOCKS))
    team = assemble(first, ("cpu",))
    assert [each.computes for each in team] == [first.computes] * 2
    found = list(answers_of_several(team, SCAN, BODY, BLOCKS))
    assert sorted(number for number, _ in found) == list(range(len(BLOCKS)))
    for number, answer in found:
        np.testing.assert_array_equal(answer.classes, alone[number].classes)
        assert answer.maps.keys() == alone[number].maps.keys()
        for name, values in answer.maps.items():
            np.testing.assert_array_equal(values, alone[number].maps[name])


def test_both_devices_are_at_work():
    team, seen = assemble(lead(), ("cpu",)), set()
    both = threading.Barrier(2, timeout=30)

    class Met(Volume):
        def read(self, region=None, level=0):
            if len(seen) < 2:
                seen.add(threading.get_ident())
                both.wait()
            return super().read(region, level)

    scan = Met(SCAN.levels, SCAN.voxel_size)
    assert len(list(answers_of_several(team, scan, BODY, BLOCKS))) == len(BLOCKS)
    assert len(seen) == 2


def test_what_goes_wrong_on_one_device_ends_all_and_is_raised():
    class Broken(Volume):
        def read(self, region=None, level=0):
            raise ValueError("a bad disk")

    before = threading.active_count()
    with pytest.raises(ValueError, match="a bad disk"):
        list(answers_of_several(assemble(lead(), ("cpu",)), Broken(SCAN.levels, SCAN.voxel_size), BODY, BLOCKS))
    assert threading.active_count() == before


def test_whoever_stops_listening_leaves_no_thread():
    before = threading.active_count()
    found = answers_of_several(assemble(lead(), ("cpu", "cpu")), SCAN, BODY, iter(BLOCKS))
    next(found)
    found.close()
    assert threading.active_count() == before


def test_other_gpus_are_taken_only_where_the_choice_was_left_to_us():
    assert other_devices("cpu") == other_devices("cuda") == ()
    assert all(name.startswith("cuda:") and name != "cuda:0" for name in other_devices("auto"))


def test_a_team_keeps_what_its_lead_was_told():
    first = replace_tile(lead(), (8, 24, 24))
    (_, second) = assemble(first, ("cpu",))
    assert (second.tile, second.halo, second.precision) == (first.tile, first.halo, first.precision)
    assert second.network is not first.network


def replace_tile(segmenter, tile):
    segmenter.tile = tile
    return segmenter
