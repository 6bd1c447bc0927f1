"""Segmenting: the same answer however a volume is cut, nothing outside the body, a killed run goes on where it was."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tensorstore
import torch
from scipy.ndimage import gaussian_filter

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.build import build, network_reach
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.networks.inputs import encode
from napari_medaka_kd.segment.pipeline import CACHE
from napari_medaka_kd.segment.run import segment
from napari_medaka_kd.segment.segmenter import Segmenter, members
from napari_medaka_kd.settings import NetworkSettings, SegmentSettings
from napari_medaka_kd.volumes.body import Body
from napari_medaka_kd.volumes.body_mask import BodyMask
from napari_medaka_kd.volumes.growing import open_growing
from napari_medaka_kd.volumes.label_store import label_names, open_saved_labels, open_uncertainty
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.open import open_volume
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.store_array import own_cache
from napari_medaka_kd.volumes.volume import Volume, whole

SCHEMA = LabelSchema.from_ids({3: "eye", 40: "gut"})
FLAT = NetworkSettings(dimensions=2, widths=(4, 6))
DEEP = NetworkSettings(dimensions=3, widths=(4, 6))
SHAPE = (21, 30, 27)
BODY = Body((slice(2, 19), slice(0, 29), slice(3, 27)), (0.0, 1.0))


def scan(shape=SHAPE):
    """Smooth enough to have regions."""
    rng = np.random.default_rng(0)
    coarse = rng.random([side // 3 + 1 for side in shape])
    fine = coarse.repeat(3, 0).repeat(3, 1).repeat(3, 2)[tuple(slice(0, side) for side in shape)]
    return Volume(((fine + rng.normal(0, 0.05, shape)).astype(np.float32),), (10.0, 10.0, 10.0), "fish")


def network_of(looks, seed=0):
    """One that has opinions: over a scan, the logits of each class have mean 0 and spread 2."""
    network = build(looks, SCHEMA.classes, seed)
    image = torch.from_numpy(encode(scan((20, 28, 28)).read(), whole((20, 28, 28)), BODY, looks))[None]
    with torch.no_grad():
        for member in members(network):
            for _ in range(30):  # statistics for the batch norms
                member.train()(image)
            logits = member.eval()(image).movedim(1, 0).flatten(1)  # (classes, voxels)
            stretch = 2 / logits.std(1)
            member.head.weight.mul_(stretch.view(-1, *[1] * (member.head.weight.ndim - 1)))
            member.head.bias.copy_((member.head.bias - logits.mean(1)) * stretch)
    return network


def segmenter(looks, tile=None, network=None):
    torch.set_num_threads(1)
    settings = SegmentSettings(tile=tile, precision="float32", device="cpu")
    return Segmenter(network or network_of(looks), looks, settings)


def trained():
    """A slice-wise network of three levels that tells three shades apart."""
    looks, size = FLAT.model_copy(update={"widths": (4, 6, 8), "coordinates": False}), whole((24, 32, 32))
    network = build(looks, SCHEMA.classes, 0).train()
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for step in range(50):
        image, classes = shades((24, 32, 32), step % 5)
        logits = network(torch.from_numpy(encode(image, size, Body(size, (0.0, 1.0)), looks))[None])
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(classes)[None]).backward()
        optimizer.step()
    return looks, network


def shades(shape, seed):
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.random(shape), 3)
    classes = np.digitize((smooth - smooth.mean()) / smooth.std(), [-0.5, 0.7])
    return (np.array([0.2, 0.5, 0.8])[classes] + rng.normal(0, 0.08, shape)).astype(np.float32), classes


def test_with_the_usual_halo_even_the_smallest_tiles_change_few_labels_of_a_trained_network():
    looks, network = trained()
    shape = (10, 64, 60)
    image, truth = shades(shape, 99)
    volume, body = Volume((image,), (1.0, 1.0, 1.0)), Body(whole(shape), (0.0, 1.0))
    at_once = segmenter(looks, (99, 99, 99), network).ask(volume, body, whole(shape))
    assert (at_once.classes == truth).mean() > 0.75
    for tile in ((1, 36, 36), (7, 40, 48)):
        cut = segmenter(looks, tile, network).ask(volume, body, whole(shape))
        assert (cut.classes != at_once.classes).mean() < 0.005  # every voxel is near a seam here
        assert np.abs(cut.doubt.astype(int) - at_once.doubt).mean() < 5


@pytest.mark.parametrize(("looks", "tile"), [(FLAT, (3, 26, 26)), (DEEP, (26, 26, 26))])
def test_with_a_halo_as_wide_as_the_reach_a_cut_leaves_no_trace(looks, tile):
    at_once = segmenter(looks, (64, 64, 64)).ask(scan(), BODY, whole(SHAPE))
    patient = segmenter(looks, tile)
    patient.halo = network_reach(looks)
    cut = patient.ask(scan(), BODY, whole(SHAPE))
    assert np.abs(cut.doubt.astype(int) - at_once.doubt).max() <= 1  # rounding
    assert (cut.classes != at_once.classes).sum() <= 1


@pytest.mark.parametrize("looks", [FLAT, DEEP], ids=["2-D", "3-D"])
def test_a_region_is_answered_as_it_is_within_the_whole(looks):
    patient = segmenter(looks, (64, 64, 64))
    patient.halo = network_reach(looks)
    everything = patient.ask(scan(), BODY, whole(SHAPE))
    for region in ((slice(3, 9), slice(11, 30), slice(0, 7)), (slice(18, 21), slice(5, 6), slice(20, 27))):
        part = patient.ask(scan(), BODY, region)
        assert (part.classes != everything.classes[region]).sum() <= 1
        assert np.abs(part.doubt.astype(int) - everything.doubt[region]).max() <= 1


@pytest.mark.parametrize("looks", [FLAT, DEEP], ids=["2-D", "3-D"])
def test_outside_the_body_all_is_background_and_sure(looks):
    answer = segmenter(looks).ask(scan(), BODY, whole(SHAPE))
    inside = np.zeros(SHAPE, bool)
    inside[BODY.box] = True
    assert not answer.classes[~inside].any()
    assert not answer.doubt[~inside].any()
    assert answer.classes[inside].any()


class Unreadable:
    shape, dtype = SHAPE, np.dtype(np.float32)

    def __getitem__(self, region):
        raise AssertionError(f"{region} was read")


def test_a_region_outside_the_body_is_not_even_read():
    volume = Volume((Unreadable(),), (1.0, 1.0, 1.0))
    answer = segmenter(DEEP).ask(volume, BODY, (slice(0, 2), slice(0, 30), slice(0, 27)))
    assert answer.classes.shape == answer.doubt.shape == (2, 30, 27)
    assert not answer.classes.any()


def test_an_ensemble_answers_by_mean_probability_and_doubts_where_members_differ():
    looks = FLAT.model_copy(update={"members": 3})
    network = network_of(looks)
    answer = segmenter(looks, (64, 64, 64), network).ask(scan(), Body(whole(SHAPE), (0.0, 1.0)), whole(SHAPE))
    alone = [segmenter(FLAT, (64, 64, 64), member) for member in members(network)]
    whole_body = Body(whole(SHAPE), (0.0, 1.0))
    votes = []
    for one in alone:
        each = one.ask(scan(), whole_body, whole(SHAPE))
        sure = 1 - each.doubt / 255
        votes.append(np.where(each.classes == answer.classes, sure, np.nan))
    agree = ~np.isnan(votes).any(axis=0)
    assert 0.05 < agree.mean() < 0.999
    np.testing.assert_allclose(answer.doubt[agree], 255 * (1 - np.mean(votes, axis=0)[agree]), atol=1.5)
    assert answer.doubt[~agree].mean() > answer.doubt[agree].mean()
    assert list(members(network)) == list(network.members)
    assert list(members(network.members[0])) == [network.members[0]]


def test_a_scan_thinner_than_the_stride_is_answered():
    flat = scan((1, 7, 5))
    answer = segmenter(DEEP).ask(flat, Body(whole(flat.shape), (0.0, 1.0)), whole(flat.shape))
    assert answer.classes.shape == (1, 7, 5)


LONG = (262, 12, 14)  # two blocks
LONG_BODY = Body((slice(249, 262), slice(0, 12), slice(2, 14)), (0.0, 1.0))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segment")
    return drain(save_volume(scan(LONG), folder / "fish.ome.zarr"))


@pytest.fixture
def fresh(store, tmp_path):
    """(the volume in a store of the test's own, the store, a checkpoint, its segmenter)."""
    folder = tmp_path / "fish.ome.zarr"
    shutil.copytree(store.source, folder)
    card = Checkpoint(name="teacher", network=FLAT, organs=SCHEMA)
    card = card.save(network_of(FLAT), tmp_path / "teacher")
    return replace(store, source=folder), folder, card, segmenter(FLAT, None, card.load(tmp_path / "teacher"))


def test_labels_and_their_uncertainty_are_written(fresh):
    volume, folder, card, judge = fresh
    reports = []
    labels = drain(segment(volume, LONG_BODY, card, judge), reports.append)
    answer = judge.ask(volume, LONG_BODY, whole(LONG))
    np.testing.assert_array_equal(labels.volume.read(), SCHEMA.to_ids(answer.classes))
    np.testing.assert_array_equal(open_uncertainty(folder, "teacher").read(), answer.doubt)
    assert set(np.unique(labels.volume.read())) == {0, 3, 40}
    assert label_names(folder) == ("teacher",)
    shares = [report.done / report.total for report in reports if report.doing.startswith("segment")]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)


def bytes_read():
    """By this process, of files that tensorstore opened."""
    metrics = tensorstore.experimental_collect_matching_metrics("/tensorstore/kvstore/file/bytes_read")
    return sum(value["value"] for metric in metrics for value in metric["values"])


def test_each_chunk_of_the_scan_is_read_about_once_however_small_the_tiles(tmp_path):
    noise = np.random.default_rng(0).integers(0, 4000, (96, 96, 128)).astype(np.uint16)
    drain(save_volume(Volume((noise,), (5.0, 5.0, 5.0), "fish"), tmp_path / "fish.ome.zarr"))
    stored = sum(file.stat().st_size for file in (tmp_path / "fish.ome.zarr" / "0").rglob("*") if file.is_file())
    with own_cache(CACHE):
        volume = open_volume(tmp_path / "fish.ome.zarr")
    card = Checkpoint(name="teacher", network=DEEP, organs=SCHEMA).save(network_of(DEEP), tmp_path / "teacher")
    before = bytes_read()
    job = segment(volume, Body(whole(volume.shape), (0.0, 4000.0)), card, segmenter(DEEP, (40, 40, 40)))
    next(progress for progress in job if progress.doing.startswith("Completing"))  # now its own labels are read
    assert stored > noise.nbytes / 2
    assert 0.99 * stored <= bytes_read() - before <= 1.25 * stored


def test_a_cancelled_run_goes_on_where_it_was_and_ends_in_the_same_labels(fresh, tmp_path):
    volume, folder, card, judge = fresh
    other = tmp_path / "undisturbed.ome.zarr"
    shutil.copytree(folder, other)
    drain(segment(open_volume(other), LONG_BODY, card, judge))
    job = segment(volume, LONG_BODY, card, judge)
    assert [next(job).done, next(job).done] == [0, 1]  # the first block is written
    job.close()
    assert label_names(folder) == ()
    job = segment(volume, LONG_BODY, card, judge)
    first = next(job)
    assert (first.done, first.total) == (1, 2)
    drain(job)
    labels = [open_saved_labels(place, "teacher", SCHEMA).volume.read() for place in (folder, other)]
    doubt = [open_uncertainty(place, "teacher").read() for place in (folder, other)]
    np.testing.assert_array_equal(*labels)
    np.testing.assert_array_equal(*doubt)


def test_another_checkpoint_of_the_name_begins_anew(fresh, tmp_path):
    volume, _, card, judge = fresh
    job = segment(volume, LONG_BODY, card, judge)
    assert [next(job).done, next(job).done] == [0, 1]
    job.close()
    better = card.save(network_of(FLAT, seed=1), tmp_path / "teacher")
    judge = segmenter(FLAT, None, better.load(tmp_path / "teacher"))
    job = segment(volume, LONG_BODY, better, judge)
    assert next(job).done == 0
    labels = drain(job)
    expected = SCHEMA.to_ids(judge.ask(volume, LONG_BODY, whole(LONG)).classes)
    np.testing.assert_array_equal(labels.volume.read(), expected)


def test_other_tiles_or_another_body_are_not_mixed_with_what_was_begun(fresh):
    volume, _, card, judge = fresh
    for body, other in (
        (Body(LONG_BODY.box, (0.0, 2.0)), judge),
        (LONG_BODY, segmenter(FLAT, (2, 16, 16), judge.network)),
    ):
        job = segment(volume, LONG_BODY, card, judge)
        assert [next(job).done, next(job).done] == [0, 1]
        job.close()
        job = segment(volume, body, card, other)
        assert next(job).done == 0
        job.close()


@pytest.mark.parametrize(("first", "order"), [(None, [0, 1]), ((0, 3, 3), [0, 1]), ((261, 11, 0), [1, 0])])
def test_the_blocks_nearest_to_a_voxel_come_first_and_the_labels_are_the_same(fresh, first, order):
    volume, folder, card, judge = fresh
    job, came = segment(volume, LONG_BODY, card, judge, first), []
    for report in job:
        growing = open_growing(folder, "teacher")
        came += sorted(growing.finished - set(came)) if growing else []
        assert report.doing != "segment fish" or report.total == 2
    assert came == order
    expected = SCHEMA.to_ids(judge.ask(volume, LONG_BODY, whole(LONG)).classes)
    np.testing.assert_array_equal(open_saved_labels(folder, "teacher", SCHEMA).volume.read(), expected)


def test_each_block_says_how_fast_it_was(fresh):
    volume, _, card, judge = fresh
    told = [report for report in segment(volume, LONG_BODY, card, judge) if report.doing.startswith("segment")]
    assert "voxels/s" not in told[0].values
    assert all(report.values["voxels/s"] > 0 for report in told[1:])


class Cramped(torch.nn.Module):
    """A network on a machine whose memory takes so many voxels at a time."""

    def __init__(self, network, most, error):
        super().__init__()
        self.network, self.most, self.error = network, most, error

    def forward(self, image):
        if image[0, 0].numel() > self.most:
            raise self.error
        return self.network(image)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
    ids=["GPU", "CPU"],
)
@pytest.mark.parametrize("looks", [FLAT, DEEP], ids=["2-D", "3-D"])
def test_where_memory_is_short_tiles_shrink_and_the_labels_stay(looks, error):
    network = network_of(looks)
    plenty = segmenter(looks, (64, 64, 64), network)
    expected = plenty.ask(scan(), BODY, whole(SHAPE))
    judge = segmenter(looks, (64, 64, 64), Cramped(network, 3000 if looks is FLAT else 22**3, error))
    judge.halo = plenty.halo = network_reach(looks)
    found = judge.ask(scan(), BODY, whole(SHAPE))
    assert np.count_nonzero(found.classes != expected.classes) <= 2
    assert "memory was short" in judge.said
    assert np.prod(judge.tile) < 64**3


def test_where_memory_does_not_suffice_at_all_one_sentence_says_so():
    judge = segmenter(DEEP, (64, 64, 64), Cramped(network_of(DEEP), 10, torch.OutOfMemoryError("CUDA")))
    with pytest.raises(UserError, match="does not even suffice"):
        judge.ask(scan(), BODY, whole(SHAPE))


def test_other_errors_are_no_lack_of_memory():
    judge = segmenter(DEEP, None, Cramped(network_of(DEEP), 10, RuntimeError("mat1 and mat2 shapes")))
    with pytest.raises(RuntimeError, match="mat1"):
        judge.ask(scan(), BODY, whole(SHAPE))


def test_who_looks_elsewhere_meanwhile_gets_those_blocks_next(tmp_path):
    shape = (530, 12, 14)  # three blocks
    volume = drain(save_volume(scan(shape), tmp_path / "fish.ome.zarr"))
    card = Checkpoint(name="teacher", network=FLAT, organs=SCHEMA)
    card = card.save(network_of(FLAT), tmp_path / "teacher")
    judge = segmenter(FLAT, (260, 32, 32), card.load(tmp_path / "teacher"))
    body, job, came = Body(whole(shape), (0.0, 1.0)), None, []
    job = segment(volume, body, card, judge, (0.0, 6.0, 6.0))
    for _ in job:
        growing = open_growing(volume.source, "teacher")
        if growing is not None:
            growing.look_at((529.0, 6.0, 6.0))
            came += sorted(growing.finished - set(came))
    assert came[-1] != 2
    assert not list(volume.source.rglob(".look.json"))


def test_labels_do_not_depend_on_the_tiles_where_air_is_left_out():
    mask = BodyMask(np.zeros((3, 5, 5), bool), SHAPE)
    mask.coarse[1:, 1:4, 2] = True
    body = Body(BODY.box, BODY.window, mask)
    judge = segmenter(DEEP)
    judge.halo = network_reach(DEEP)
    found = []
    for tile in ((64, 64, 64), (26, 26, 26)):
        judge.tile = tile
        found.append(judge.ask(scan(), body, whole(SHAPE)))
    assert np.count_nonzero(found[0].classes != found[1].classes) <= 1
    assert found[0].classes.any()
    assert not found[0].classes[~mask.inside(whole(SHAPE))].any()


def test_another_precision_begins_its_own_ledger(fresh):
    volume, folder, card, judge = fresh
    job = segment(volume, LONG_BODY, card, judge)
    assert [next(job).done, next(job).done] == [0, 1]
    job.close()
    other = Segmenter(card.load(folder.parent / "teacher"), FLAT, SegmentSettings(precision="bfloat16", device="cpu"))
    assert (judge.computes, other.computes) == ("torch float32 (cpu)", "torch bfloat16 (cpu)")
    assert next(segment(volume, LONG_BODY, card, other)).done == 0


def test_little_work_is_not_worth_a_choice_much_is_and_it_is_kept(tmp_path):
    judge = segmenter(FLAT)
    judge.settings = judge.settings.model_copy(update={"precision": "auto"})
    judge.use_backend(scan(), BODY, tmp_path)
    assert not (tmp_path / "backend.json").exists()
    judge.use_backend(scan(), BODY, tmp_path, volumes=1_000_000)
    (choice,) = json.loads((tmp_path / "backend.json").read_text()).values()
    judge.use_backend(scan(), BODY, tmp_path)
    assert judge.backend.name == choice["name"]


def test_a_back_end_that_is_not_here_is_refused_with_those_that_are():
    judge = segmenter(FLAT)
    judge.settings = judge.settings.model_copy(update={"backend": "abacus"})
    with pytest.raises(UserError, match="torch float32"):
        judge.use_backend(scan(), BODY, None)
