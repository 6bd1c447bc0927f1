"""What is written beside the labels: soft labels and disagreement, the same however a run was cut and killed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.networks.inputs import encode
from napari_medaka_kd.networks.soft import logits, unpack
from napari_medaka_kd.segment.run import segment
from napari_medaka_kd.segment.second_looks import disagree, thinned
from napari_medaka_kd.segment.segmenter import Segmenter
from napari_medaka_kd.settings import NetworkSettings, SegmentSettings
from napari_medaka_kd.volumes.body import Body
from napari_medaka_kd.volumes.growing import open_growing
from napari_medaka_kd.volumes.label_store import (
    open_extra,
    open_extra_channels,
    open_saved_labels,
    open_uncertainty,
)
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume, whole

SCHEMA = LabelSchema.from_ids({3: "eye", 40: "gut"})
FLAT = NetworkSettings(dimensions=2, widths=(4, 6))
DEEP = NetworkSettings(dimensions=3, widths=(4, 6))
SHAPE, LONG = (21, 30, 27), (262, 12, 14)
BODY = Body((slice(2, 19), slice(0, 29), slice(3, 27)), (0.0, 1.0))
LONG_BODY = Body((slice(249, 262), slice(0, 12), slice(2, 14)), (0.0, 1.0))
ALL = SegmentSettings(precision="float32", device="cpu", soft=True, disagreement="dropout", rounds=2)


def scan(shape=SHAPE):
    """Smooth enough to have regions."""
    rng = np.random.default_rng(0)
    coarse = rng.random([side // 3 + 1 for side in shape])
    fine = coarse.repeat(3, 0).repeat(3, 1).repeat(3, 2)[tuple(slice(0, side) for side in shape)]
    return Volume(((fine + rng.normal(0, 0.05, shape)).astype(np.float32),), (10.0, 10.0, 10.0), "fish")


def network_of(looks):
    """One that has opinions: over a scan, the logits of each class have mean 0 and spread 2."""
    network = build(looks, SCHEMA.classes, 0)
    image = torch.from_numpy(encode(scan((20, 28, 28)).read(), whole((20, 28, 28)), BODY, looks))[None]
    with torch.no_grad():
        for _ in range(15):  # statistics for the batch norms
            network.train()(image)
        logits = network.eval()(image).movedim(1, 0).flatten(1)
        stretch = 2 / logits.std(1)
        network.head.weight.mul_(stretch.view(-1, *[1] * (network.head.weight.ndim - 1)))
        network.head.bias.copy_((network.head.bias - logits.mean(1)) * stretch)
    return network


def judge_of(looks, settings=ALL, network=None):
    torch.set_num_threads(1)
    return Segmenter(network or network_of(looks), looks, settings)


def begun(folder):
    """(a scan in a store, a checkpoint, its segmenter)."""
    volume = drain(save_volume(scan(LONG), folder / "fish.ome.zarr"))
    card = Checkpoint(name="teacher", network=FLAT, organs=SCHEMA)
    card = card.save(network_of(FLAT), folder / "teacher")
    return replace(volume, name="fish"), card, card.load(folder / "teacher")


def kept(store):
    soft = open_extra_channels(store, "teacher", "soft")
    return {
        "labels": open_saved_labels(store, "teacher", SCHEMA).volume.read(),
        "uncertainty": open_uncertainty(store, "teacher").read(),
        "disagreement": open_extra(store, "teacher", "disagreement").read(),
        "soft": soft.read_box(whole(soft.shape)),
    }


def test_all_that_is_asked_for_is_written_block_by_block_and_a_killed_run_ends_in_the_same_bytes(tmp_path):
    volume, card, network = begun(tmp_path)
    judge = judge_of(FLAT, network=network)
    answer = judge.ask(volume, LONG_BODY, whole(LONG))
    job = segment(volume, LONG_BODY, card, judge)
    assert [next(job).done, next(job).done] == [0, 1]
    job.close()
    growing = open_growing(volume.source, "teacher")
    assert set(growing.maps) == {"uncertainty", "disagreement"}
    drain(segment(volume, LONG_BODY, card, judge_of(FLAT, network=network), (LONG[0] - 1.0, 0.0, 0.0)))
    found = kept(volume.source)
    for name, values in answer.maps.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    np.testing.assert_array_equal(found["labels"], SCHEMA.to_ids(answer.classes))
    assert open_extra_channels(volume.source, "teacher", "soft").facts["weights"] == card.weights_sha256


@pytest.mark.parametrize("more", [{"soft": True}, {"disagreement": "flips"}, {"disagreement": "dropout"}])
def test_whoever_asks_for_more_begins_anew_and_gets_the_same_labels(tmp_path, more):
    volume, card, network = begun(tmp_path)
    plain = SegmentSettings(precision="float32", device="cpu")
    job = segment(volume, LONG_BODY, card, judge_of(FLAT, plain, network))
    assert [next(job).done, next(job).done] == [0, 1]
    job.close()
    job = segment(volume, LONG_BODY, card, judge_of(FLAT, plain.model_copy(update=more), network))
    assert next(job).done == 0
    labels = drain(job).volume.read()
    expected = judge_of(FLAT, plain, network).ask(volume, LONG_BODY, whole(LONG))
    np.testing.assert_array_equal(labels, SCHEMA.to_ids(expected.classes))
    np.testing.assert_array_equal(open_uncertainty(volume.source, "teacher").read(), expected.doubt)


@pytest.mark.parametrize("looks", [FLAT, DEEP], ids=["2-D", "3-D"])
def test_soft_labels_are_what_the_network_says_and_nothing_outside_the_body(looks):
    network = network_of(looks)
    box = (slice(0, 20), slice(0, 28), slice(0, 24))
    body = replace(BODY, box=box)
    answer = judge_of(looks, network=network).ask(scan((20, 28, 28)), body, whole((20, 28, 28)))
    soft = answer.maps["soft"]
    assert not soft[..., 24:].any()
    image = torch.from_numpy(encode(scan((20, 28, 28)).read(), whole((20, 28, 28)), body, looks))[None]
    with torch.inference_mode():
        said = network(image)[0]
    theirs = (said / 2).log_softmax(0)[..., :24]
    ours = (logits(unpack(torch.from_numpy(soft.copy()))) / 2).log_softmax(0)[..., :24]
    assert float((theirs.exp() * (theirs - ours)).sum(0).mean()) < 3e-3


@pytest.mark.parametrize("way", ["flips", "dropout"])
@pytest.mark.parametrize("looks", [FLAT, DEEP], ids=["2-D", "3-D"])
def test_disagreement_is_only_in_the_body_and_most_where_the_network_is_in_doubt(looks, way):
    answer = judge_of(looks, ALL.model_copy(update={"disagreement": way})).ask(scan(), BODY, whole(SHAPE))
    found = answer.maps["disagreement"].astype(float)
    inside = np.zeros(SHAPE, bool)
    inside[BODY.box] = True
    assert found.max() > 0
    assert not found[~inside].any()
    doubtful = answer.doubt > np.median(answer.doubt[inside])
    assert found[inside & doubtful].mean() > found[inside & ~doubtful].mean()


def test_a_network_that_does_not_mind_mirrors_does_not_disagree_with_them():
    class Blob(torch.nn.Module):
        """Tells bright from dark, and the body's left from its right, voxel by voxel."""

        def __init__(self):
            super().__init__()
            self.convolution = torch.nn.Conv3d(4, 3, 1)
            with torch.no_grad():
                self.convolution.weight.copy_(
                    torch.randn(3, 4, generator=torch.Generator().manual_seed(1)).view(3, 4, 1, 1, 1)
                )

        def forward(self, image):
            return self.convolution(image)

    judge = judge_of(DEEP, ALL.model_copy(update={"disagreement": "flips"}), Blob())
    answer = judge.ask(scan(), BODY, whole(SHAPE))
    assert len(np.unique(answer.classes)) > 1
    assert not answer.maps["disagreement"].any()


def test_dropout_leaves_out_other_channels_in_each_round_and_the_same_ones_each_time():
    looks = DEEP.model_copy(update={"widths": (8, 12)})
    network, image = build(looks, SCHEMA.classes, 0).eval(), torch.rand(1, 4, 12, 12, 12)
    with torch.inference_mode():
        first, again, *others = (thinned(network, number)(image) for number in (0, 0, 1, 2))
        plain = network(image)
    assert torch.equal(first, again)
    assert not any(torch.equal(first, other) for other in (plain, *others))


def test_dropout_of_a_network_without_a_decoder_is_refused():
    with pytest.raises(UserError, match="no decoder"):
        judge_of(DEEP, network=torch.nn.Sequential(torch.nn.Conv3d(4, 3, 1)))


def test_disagreement_is_the_share_of_looks_that_say_something_else_weighed_by_how_sure_they_are():
    classes, sure, torn = np.array([[[1, 1, 1]]]), np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)
    others = [(np.array([[[1, 2, 2]]]), sure), (np.array([[[1, 1, 2]]]), sure), (np.array([[[0, 0, 0]]]), torn)]
    np.testing.assert_array_equal(disagree(classes, sure, others), [[[0, 85, 170]]])
