"""What segmenting will take, before it is begun: tiles counted as a run counts them, prices kept, cases left alone."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from napari_medaka_kd.background import aside
from napari_medaka_kd.cli import app
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Progress, drain
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.project import open_project
from napari_medaka_kd.segment.cut import Cut
from napari_medaka_kd.segment.kept import FILE
from napari_medaka_kd.segment.price import FEW, Prices, Written, forecast, in_bytes, in_time, load_of
from napari_medaka_kd.segment.run import segment as segment_volume
from napari_medaka_kd.segment.segmenter import Segmenter
from napari_medaka_kd.settings import NetworkSettings, SegmentSettings
from napari_medaka_kd.volumes.body import Body
from napari_medaka_kd.volumes.body_mask import BodyMask
from napari_medaka_kd.volumes.label_store import generation
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.store_array import CACHE_BYTES
from napari_medaka_kd.volumes.volume import Volume, whole
from napari_medaka_kd.workflow import forecast as ahead
from napari_medaka_kd.workflow.propose import segment

LOOKS = NetworkSettings(dimensions=2, widths=(4, 8))
QUICK = SegmentSettings(precision="float32", device="cpu")
ORGANS = LabelSchema.from_ids({3: "eye", 40: "gut"})
CUT = Cut((160, 160, 160), (16, 16, 16), (4, 4, 4))
PRICES = Prices(
    cut=CUT,
    computes="an abacus",
    start=4.0,
    ready=1.0,
    pace=1e-6,
    animal=Written(2e-8, 1e-8, 0.5),
    air=Written(1e-8, 1e-8, 0.001),
    alone=True,
    memory=400_000_000,
    for_tile=200_000_000,
    for_block=100_000_000,
    largest=160**3,
    block=256**3,
)
PLENTY = ahead.Machine(disk=10**12, memory=10**12)


@pytest.fixture
def project(make_project):
    """Two animals without labels by the checkpoint ``new``."""
    made = make_project(unlabelled=2, labelled=0, held_out=0)
    card = Checkpoint(name="new", network=LOOKS, organs=made.schema)
    card.save(build(LOOKS, made.schema.classes, 0), made.checkpoint("new"))
    return open_project(made.folder)


class Asked:
    """Command lines carried out here and now, in this process, and remembered."""

    def __init__(self):
        self.lines = []

    def __call__(self, doing, argv):
        self.lines.append(list(argv))
        began = time.time()
        yield Progress(doing, 0, 0)
        result = CliRunner().invoke(app, [*argv, "--json"])
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout) | {"began": began, "ended": time.time()}


class NeverAsked:
    def __call__(self, doing, argv):
        raise AssertionError(f"{argv} was asked")


def empty(shape, dtype=np.uint16):
    """A scan of any size that takes no memory."""
    return Volume((np.broadcast_to(np.zeros((), dtype), shape),), (10.0, 10.0, 10.0))


def filled(shape):
    return Body(whole(shape), (0.0, 1.0))


def files_of(project):
    return {file: file.stat().st_mtime_ns for file in (project.folder / "cases").rglob("*")}


class Counting(Segmenter):
    """Notes what it is shown."""

    def answer(self, volume, body, tile, image):
        self.shown.append(image[0].size)
        return super().answer(volume, body, tile, image)


def test_the_tiles_forecast_are_the_tiles_that_a_run_computes(tmp_path):
    torch.set_num_threads(1)
    shape = (262, 30, 41)  # two blocks
    scan = np.random.default_rng(0).random(shape, np.float32)
    volume = drain(save_volume(Volume((scan,), (10.0, 10.0, 10.0), "fish"), tmp_path / "fish.ome.zarr"))
    mask = BodyMask(np.zeros((8, 2, 3), bool), shape)
    mask.coarse[3:, 1, :2] = True
    body = Body((slice(7, 261), slice(0, 30), slice(2, 41)), (0.0, 1.0), mask)
    card = Checkpoint(name="new", network=LOOKS, organs=ORGANS).save(build(LOOKS, 3, 0), tmp_path / "new")
    judge = Counting(card.load(tmp_path / "new"), LOOKS, QUICK.model_copy(update={"tile": (16, 24, 24)}))
    judge.shown = []
    load = load_of(volume, body, ORGANS, judge.cut)
    drain(segment_volume(volume, body, card, judge))
    assert (load.tiles, load.read, load.largest) == (len(judge.shown), sum(judge.shown), max(judge.shown))
    assert load.blocks == 2
    assert 0 < load.tiles < len(judge.cut.tiles(shape, filled(shape), whole(shape)))  # air is left out


def test_a_volume_twice_as_long_takes_twice_as_much():
    once, twice = (
        forecast("fish", load_of(empty(shape), filled(shape), ORGANS, CUT), PRICES)
        for shape in ((512, 256, 256), (1024, 256, 256))
    )
    assert twice.seconds == pytest.approx(2 * once.seconds, rel=0.1)
    assert twice.disk == pytest.approx(2 * once.disk, rel=0.1)
    assert once.memory < twice.memory < 2 * once.memory  # the cache grows, the tiles do not


def test_memory_does_not_grow_beyond_the_cache_however_large_the_scan():
    shape = (4096, 2048, 2048)
    found = forecast("fish", load_of(empty(shape), filled(shape), ORGANS, CUT), PRICES)
    assert found.memory <= PRICES.memory + PRICES.for_tile + PRICES.for_block + CACHE_BYTES


def test_air_costs_less_than_an_animal():
    shape = (512, 256, 256)
    thin = Body((slice(0, 512), slice(64, 192), slice(64, 192)), (0.0, 1.0))
    airy, full = (forecast("fish", load_of(empty(shape), body, ORGANS, CUT), PRICES) for body in (thin, filled(shape)))
    assert airy.seconds < 0.6 * full.seconds
    assert airy.disk < 0.3 * full.disk


def test_without_a_processor_to_spare_writing_takes_its_own_time():
    shape = (512, 256, 256)
    load = load_of(empty(shape), filled(shape), ORGANS, CUT)
    beside, after = (forecast("fish", load, replace(PRICES, alone=alone)).seconds for alone in (True, False))
    assert after - beside == pytest.approx(load.animal * PRICES.animal.beside * (1 - 1 / load.blocks))


def test_too_little_disk_or_memory_is_said_with_both_figures():
    shape = (512, 256, 256)
    found = ahead.Outlook(
        "new", (forecast("fish", load_of(empty(shape), filled(shape), ORGANS, CUT), PRICES),), 4.0, ""
    )
    assert found.warnings(PLENTY) == ()
    (disk,) = found.warnings(replace(PLENTY, disk=30_000_000))
    assert "30 MB free" in disk
    assert in_bytes(found.total.room) in disk
    (memory,) = found.warnings(replace(PLENTY, memory=500_000_000))
    assert "500 MB of memory are free" in memory
    assert found.text(PLENTY).count("\n") == 1


def test_what_measuring_had_to_change_is_said():
    found = ahead.Outlook("new", (), 0.0, "", "tiles of 8 × 8 × 8 voxels: memory was short")
    assert found.warnings(PLENTY) == ("Tiles of 8 × 8 × 8 voxels: memory was short.",)


def test_nothing_is_written_into_the_cases_and_nothing_is_left_beside_them(project):
    before, beside = files_of(project), set(project.folder.iterdir())
    found = drain(ahead.forecast(project, "new", QUICK, Asked()))
    assert files_of(project) == before
    assert set(project.folder.iterdir()) == beside
    assert [one.case for one in found.cases] == ["fish-00", "fish-01"]
    assert all(min(one.seconds, one.memory, one.disk) > 0 for one in found.cases)
    assert found.total.seconds == pytest.approx(found.start + sum(one.seconds for one in found.cases))
    assert found.computes == "torch float32 (cpu)"


def test_prices_are_measured_once_for_all_cases_of_a_kind_and_kept(project):
    asked = Asked()
    first = drain(ahead.forecast(project, "new", QUICK, asked))
    assert len(asked.lines) == 2  # the halo was chosen first
    assert drain(ahead.forecast(project, "new", QUICK, NeverAsked())) == first
    glance = ahead.at_a_glance(project, "new", project.case("fish-01"), QUICK)
    assert glance.cases == first.cases[1:]
    other = QUICK.model_copy(update={"tile": (16, 24, 24)})
    assert ahead.at_a_glance(project, "new", project.case("fish-01"), other) is None
    drain(ahead.forecast(project, "new", other, asked, ("fish-01",)))
    assert "tile=[16, 24, 24]" in asked.lines[-1]
    ahead.forget(project, "new", QUICK)
    assert ahead.at_a_glance(project, "new", project.case("fish-01"), QUICK) is None
    assert ahead.at_a_glance(project, "new", project.case("fish-01"), other) is not None


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"%s": {"few": {"prices": {"pace": -1}}}}', '{"%s": 3}'])
def test_damaged_prices_are_none(project, damage):
    card = Checkpoint.open(project.checkpoint("new"))
    known = ahead.kept(project.checkpoint("new"), card.weights_sha256, QUICK).known
    (project.checkpoint("new") / FILE).write_text(damage.replace("%s", known))
    assert ahead.at_a_glance(project, "new", project.case("fish-01"), QUICK) is None


def test_what_is_kept_beside_the_labels_counts(project):
    more = QUICK.model_copy(update={"soft": True, "disagreement": "flips"})
    plain, found = (drain(ahead.forecast(project, "new", each, Asked(), ("fish-01",))).total for each in (QUICK, more))
    assert found.room > plain.room
    drain(segment(project, "new", more, ("fish-01",)))
    case = project.case("fish-01")
    labels = case.store / "labels" / generation(case.store, "new")
    files = [file for name in ("soft", "disagreement") for file in (labels / name).rglob("*") if file.is_file()]
    assert found.disk - plain.disk == pytest.approx(sum(file.stat().st_size for file in files), rel=0.5)


def test_the_pace_of_a_whole_run_stands_for_that_of_a_few_tiles(project):
    folder = project.checkpoint("new")
    purse = ahead.kept(folder, Checkpoint.open(folder).weights_sha256, QUICK)
    drain(segment(project, "new", QUICK, ("fish-00",)))
    assert purse.prices() == {}  # without prices of all else a pace is of no use
    slow = replace(PRICES, pace=0.5, computes="torch float32 (cpu)")
    purse.keep(FEW, slow)
    assert purse.prices()[FEW] == slow
    drain(segment(project, "new", QUICK, ("fish-00",)))
    assert 0 < purse.prices()[FEW].pace < 0.1


def test_a_forecast_measures_in_a_process_of_its_own(project):
    drain(ahead.forecast(project, "new", QUICK, Asked()))  # chooses the halo
    ahead.forget(project, "new", QUICK)
    reports = []
    found = drain(ahead.forecast(project, "new", QUICK, aside), reports.append)
    assert 0.1 < found.start < 60
    assert 50_000_000 < found.total.memory < 5_000_000_000
    assert reports[0].doing


def test_what_goes_wrong_aside_is_told_in_its_own_words(project):
    argv = ["forecast", str(project.folder), "--checkpoint", "nobody"]
    with pytest.raises(UserError, match="There is no checkpoint"):
        drain(aside("measure", argv))


def test_the_verb_says_it_to_people_and_to_machines_wherever_they_stand(project, monkeypatch):
    monkeypatch.chdir(project.folder.parent)
    words = ["forecast", project.folder.name, "--checkpoint", "new"]
    text = CliRunner().invoke(app, words)
    assert text.exit_code == 0, text.stderr
    assert "fish-00: about " in text.stdout
    assert "In all, with the start" in text.stdout
    said = json.loads(CliRunner().invoke(app, [*words, "--case", "fish-01", "--json"]).stdout)
    assert [one["case"] for one in said["cases"]] == ["fish-01"]
    assert said["total"]["disk"] == said["cases"][0]["disk"]


def test_where_all_is_segmented_it_says_so(project):
    drain(segment(project, "new", QUICK))
    found = drain(ahead.forecast(project, "new", QUICK, NeverAsked()))
    assert "nothing is to be segmented" in found.text(PLENTY)


class Cramped(torch.nn.Module):
    """A network on a machine whose memory takes few voxels at a time."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        if image[0, 0].numel() > 2_000:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.network(image)


def test_that_memory_was_short_is_still_said_in_the_last_report(project, monkeypatch):
    drain(segment(project, "new", QUICK, ("fish-00",)))  # how far it must look is known from then on
    load = Checkpoint.load
    monkeypatch.setattr(Checkpoint, "load", lambda card, folder: Cramped(load(card, folder)))
    reports = []
    drain(segment(project, "new", QUICK, ("fish-00",)), reports.append)
    assert "memory was short" in reports[-1].said


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (42, "42 s"), (240, "4 min"), (5000, "83 min"), (12_600, "3.5 h")]
)
def test_times_are_said_as_people_say_them(seconds, words):
    assert in_time(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"), [(1200, "0.1 MB"), (3_140_000, "3.1 MB"), (85e6, "85 MB"), (1.24e9, "1.2 GB")]
)
def test_sizes_are_said_as_people_say_them(size, words):
    assert in_bytes(size) == words
