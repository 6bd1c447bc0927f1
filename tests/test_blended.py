"""Blending on a rolling slab gives what blending the whole volume at once gives, however it is cut."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.networks.foreign import ForeignSettings
from napari_medaka_kd.networks.inputs import encode, rescaled
from napari_medaka_kd.networks.soft import STEPS, logits, unpack
from napari_medaka_kd.segment import blended
from napari_medaka_kd.segment.blended import BlendedSegmenter, importance, make_segmenter, starts
from napari_medaka_kd.segment.run import segment
from napari_medaka_kd.settings import SegmentSettings
from napari_medaka_kd.volumes.body import Body
from napari_medaka_kd.volumes.body_mask import BodyMask
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume, whole

SIZES = st.tuples(*[st.integers(5, 30)] * 3)
WINDOWS = st.tuples(*[st.sampled_from((4, 7, 8, 12))] * 3)


class Normaliser(nn.Module):
    """Three classes by intensity, normalised over the tile."""

    classes = 3

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.mix = nn.Conv3d(1, 3, 3, padding=1)

    def forward(self, image):
        return 3 * self.mix((image - image.mean()) / (image.std() + 1e-3))


def looks_of(window, dimensions=3):
    return ForeignSettings(
        architecture="torchscript", dimensions=dimensions, classes=(0, 1, 2), tile_statistics=True, window=window
    )


def segmenter(window, dimensions=3, **more):
    torch.set_num_threads(1)
    knobs = SegmentSettings(device="cpu", precision="float32", **more)
    judge = make_segmenter(Normaliser(), looks_of(window, dimensions), knobs)
    assert isinstance(judge, BlendedSegmenter)
    return judge


def noise(shape):
    return Volume((np.random.default_rng(0).random(shape).astype(np.float32),), (1.0, 1.0, 1.0), "noise")


def at_once(judge, volume, body):
    """The mean probability (classes, z, y, x) with all of the volume in memory."""
    window = judge.tile
    total = np.zeros((4, *(size + side for size, side in zip(volume.shape, window, strict=True))))
    grid = [starts(b, w, 0.5, n) for b, w, n in zip(body.box, window, volume.shape, strict=True)]
    for corner in itertools.product(*grid):
        box = tuple(slice(at, at + side) for at, side in zip(corner, window, strict=True))
        votes = judge.probabilities(volume, body, box)
        total[(slice(0, 3), *box)] += votes * judge.weights
        total[(3, *box)] += judge.weights
    return total[:3, : volume.shape[0], : volume.shape[1], : volume.shape[2]]


@settings(max_examples=25)
@given(SIZES, WINDOWS, st.integers(3, 30), st.booleans())
def test_any_cut_into_blocks_gives_the_labels_of_the_whole_at_once(shape, window, side, together):
    judge, volume, body = segmenter(window), noise(shape), Body(whole(shape), (0.0, 1.0))
    total = at_once(judge, volume, body)
    blocks = [
        tuple(slice(at, min(at + side, size)) for at, size in zip(corner, shape, strict=True))
        for corner in itertools.product(*(range(0, size, side) for size in shape))
    ]
    judge.fits = lambda body: together
    found = np.zeros(shape, int)
    for number, answer in judge.answers(volume, body, list(enumerate(blocks))):
        found[blocks[number]] = answer.classes
    expected = total.argmax(axis=0)
    top = np.sort(total, axis=0)
    torn = top[-1] - top[-2] < 1e-5 * top[-1]
    assert not ((found != expected) & ~torn).any()


def test_it_agrees_with_monai():
    from monai.inferers.utils import sliding_window_inference

    shape, window = (20, 30, 27), (8, 12, 12)
    judge, volume, body = segmenter(window), noise(shape), Body(whole(shape), (0.0, 1.0))
    image = torch.from_numpy(encode(volume.read(), whole(shape), body, judge.looks))[None]
    with torch.inference_mode():
        theirs = sliding_window_inference(
            image, window, 1, lambda part: judge.network(part).softmax(1), overlap=0.5, mode="gaussian"
        )
    answer = judge.ask(volume, body, whole(shape))
    assert (answer.classes != theirs[0].argmax(0).numpy()).mean() < 1e-4
    doubt = 255 * (1 - theirs[0].max(0).values.numpy())
    assert np.abs(answer.doubt - doubt).max() <= 0.51


def test_only_the_body_is_said_anything_of_and_windows_of_air_are_not_read():
    shape = (24, 24, 24)
    mask = BodyMask(np.zeros((3, 3, 3), bool), shape)
    mask.coarse[1, 1, 1] = True
    plain, masked = Body(whole(shape), (0.0, 1.0)), Body(whole(shape), (0.0, 1.0), mask)
    judge, volume = segmenter((8, 8, 8)), noise(shape)
    everything = judge.ask(volume, plain, whole(shape))
    answer = judge.ask(volume, masked, whole(shape))
    inside = masked.inside(whole(shape))
    np.testing.assert_array_equal(answer.classes[inside], everything.classes[inside])
    assert not answer.classes[~inside].any()
    assert not answer.doubt[~inside].any()


def test_soft_labels_are_of_the_blended_votes_and_nothing_outside_the_body():
    shape = (20, 22, 24)
    body = Body((slice(2, 18), slice(3, 22), slice(0, 24)), (0.0, 1.0))
    judge, volume = segmenter((8, 8, 8), soft=True), noise(shape)
    answer = judge.ask(volume, body, whole(shape))
    inside = np.zeros(shape, bool)
    inside[body.box] = True
    soft = answer.maps["soft"]
    assert soft.shape == (3, *shape)
    assert not soft[:, ~inside].any()
    assert (np.take_along_axis(soft, answer.classes[None].astype(int), 0)[0][inside] == STEPS).all()
    sure = logits(unpack(torch.from_numpy(soft))).softmax(0).max(0).values.numpy()
    assert np.abs((1 - sure) * 255 - answer.doubt)[inside].mean() < 10
    np.testing.assert_array_equal(answer.doubt, segmenter((8, 8, 8)).ask(volume, body, whole(shape)).doubt)


@pytest.mark.parametrize("way", ["flips", "dropout"])
def test_blended_windows_are_not_looked_at_again(way):
    with pytest.raises(UserError, match="not looked at again"):
        segmenter((8, 8, 8), disagreement=way)


def test_slices_of_a_flat_network_are_blended_in_their_plane():
    judge = segmenter((1, 8, 8), dimensions=2)
    assert judge.tile == (8, 8, 8)
    assert judge.ask(noise((11, 20, 20)), Body(whole((11, 20, 20)), (0.0, 1.0)), whole((11, 20, 20))).classes.any()


@given(st.integers(0, 9), st.integers(1, 40), st.integers(0, 9), st.integers(1, 20))
def test_windows_cover_the_body_and_stay_in_the_volume_where_they_can(start, length, after, window):
    size = start + length + after
    found = starts(slice(start, start + length), window, 0.5, size)
    covered = {at + step for at in found for step in range(window)}
    assert set(range(start, start + length)) <= covered
    assert all(at >= 0 and (at + window <= size or window > size or at == 0) for at in found)


def test_the_middle_of_a_window_weighs_most_and_its_corners_a_little():
    weights = importance((8, 9, 10))
    assert np.unravel_index(weights.argmax(), weights.shape)[1] == 4
    assert weights.min() == pytest.approx(1e-3)


def test_labels_are_written_with_a_warning_and_a_stopped_run_goes_on(tmp_path):
    shape = (300, 10, 12)
    volume = drain(save_volume(noise(shape), tmp_path / "fish.ome.zarr"))
    schema = LabelSchema.from_names(["eye", "gut"])
    card = Checkpoint(name="foreign", network=looks_of((16, 8, 8)), organs=schema, weights_sha256="0" * 64)
    body = Body(whole(shape), (0.0, 1.0))
    job = segment(volume, body, card, segmenter((16, 8, 8)))
    said = [next(job), next(job)]
    assert "depend on the window size" in said[1].doing
    job.close()
    job = segment(volume, body, card, segmenter((16, 8, 8)))
    assert next(job).done == 1
    labels = drain(job).volume.read()
    expected = segmenter((16, 8, 8)).ask(volume, body, whole(shape)).classes
    np.testing.assert_array_equal(labels, expected)


def test_where_a_slab_is_too_large_columns_of_blocks_are_taken(monkeypatch):
    judge, body = segmenter((8, 8, 8)), Body(whole((20, 20, 20)), (0.0, 1.0))
    assert judge.fits(body)
    monkeypatch.setattr(blended.psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    assert not judge.fits(body)


@pytest.mark.parametrize(("scale", "low", "high"), [("zscore", 3.0, 5.0), ("unit", 1.0, 5.0), ("none", 0.0, 1.0)])
def test_other_scales_are_those_of_the_whole_scan(scale, low, high):
    values = np.full((8, 8, 8), 1.0, np.float32)
    values[:, :, ::2] = 5.0
    volume, body = Volume((values,), (1.0, 1.0, 1.0)), Body(whole((8, 8, 8)), (1.0, 4.0))
    looks = looks_of(None).model_copy(update={"scale": scale})
    seen = rescaled(body, volume, looks)
    assert seen.window == pytest.approx((low, high))
    part = (slice(0, 2), slice(0, 2), slice(0, 1))
    assert encode(volume.read(part), part, seen, looks) == pytest.approx((5.0 - low) / (high - low))


def test_a_patch_of_a_network_with_such_norms_is_not_cut_but_blended_everywhere():
    judge = segmenter((8, 8, 8))
    shape = (20, 22, 24)
    volume, body = noise(shape), Body((slice(2, 18), slice(3, 22), slice(0, 24)), (0.0, 1.0))
    everything = judge.ask(volume, body, whole(shape))
    region = (slice(5, 9), slice(1, 13), slice(20, 24))
    part = judge.ask(volume, body, region)
    assert (part.classes != everything.classes[region]).sum() <= 1
