"""A training is watched at fixed places: figures, a preview, the best weights, a stop; it learns nothing from it."""

import json
import shutil

import numpy as np
import pytest
import torch

from napari_medaka_kd.distil.batches import Diet
from napari_medaka_kd.distil.lesson import Lesson
from napari_medaka_kd.distil.metrics import KNOWN, ORGAN, PREVIEW, STOP, STOPPED, TEACHER, MetricsReader, read_metrics
from napari_medaka_kd.distil.run import distil
from napari_medaka_kd.distil.stage import Run
from napari_medaka_kd.distil.state import BEST, Best
from napari_medaka_kd.distil.teacher import supervise
from napari_medaka_kd.distil.watch import Watch, draw_places
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.settings import AugmentSettings, DistilSettings, FitSettings, SelfTrainingSettings

STEPS = 6


class Oracle(torch.nn.Module):
    """Tells the toy's organs by their brightness; ``blind`` ones see background everywhere."""

    def __init__(self, blind=False):
        super().__init__()
        self.blind = torch.nn.Parameter(torch.tensor(float(blind)))

    def forward(self, image):
        grey = image[:, :1]
        middles = torch.tensor([0.1, 0.5, 0.9])[:, None, None, None]
        near = -(grey - middles).abs()
        return near if not self.blind else torch.cat([torch.ones_like(grey), torch.zeros_like(near[:, 1:])], dim=1)


def watch_of(toy, looks, watched=(20,), teacher=None):
    seen = draw_places([toy.source(number) for number in watched], toy.patches(looks), looks, 0)
    return Watch(toy.SCHEMA, seen, draw_places([toy.source(1)], toy.patches(looks), looks, 0), teacher)


def run(folder, steps=STEPS, validate_every=2, save_every=100):
    more = {"validate_every": validate_every, "precision": "float32", "device": "cpu"}
    return Run(folder, FitSettings(steps=steps, save_every=save_every, **more), seed=4)


def teach(toy, folder, watched=True, **how):
    """(network, job) of a teacher's training."""
    network, played = build(toy.DEEP, toy.SCHEMA.classes, seed=3), run(folder, **how)
    watch = watch_of(toy, toy.DEEP)
    validate = (lambda: watch.figures(network, folder / "teacher")) if watched else None
    return network, supervise(network, "teacher", toy.diet(toy.DEEP, unlabelled=0), played, validate)


def learn(toy, folder, watched=True, **how):
    """(network, job) of a student's training."""
    network, master = (build(toy.FLAT, toy.SCHEMA.classes, seed=seed) for seed in (3, 8))
    watch = watch_of(toy, toy.FLAT, teacher=master) if watched else None
    lesson = Lesson((toy.source(1),), (toy.source(10),), network, master, toy.FLAT, watch)
    played = run(folder, **how)
    settings = DistilSettings(
        patches=toy.patches(toy.FLAT), fit=played.settings, strategy=SelfTrainingSettings(unlabelled=2)
    )
    return network, distil(settings, lesson, played)


@pytest.mark.parametrize("watched", [1, 2, 3, 5, 7, 30])
def test_there_are_few_places_and_they_are_the_same_each_time(toy, watched):
    sources = [toy.source(number) for number in range(watched)]
    one, same, other = (draw_places(sources, toy.patches(toy.FLAT), toy.FLAT, seed) for seed in (0, 0, 1))
    assert min(watched, 24) <= len(one.image) <= min(24, 8 * watched)
    torch.testing.assert_close(one.image, same.image, rtol=0, atol=0)
    assert torch.equal(one.truth, same.truth)
    assert not torch.equal(one.truth, other.truth)
    assert one.image.shape[2:] == one.truth.shape[1:] == one.grey.shape[1:]


def test_without_an_animal_there_are_no_places(toy):
    assert draw_places([], toy.patches(toy.FLAT), toy.FLAT, 0) is None


@pytest.mark.parametrize("looks", ["FLAT", "DEEP"])
def test_who_knows_all_has_an_iou_of_one_and_who_is_blind_of_nought(toy, tmp_path, looks):
    watch = watch_of(toy, getattr(toy, looks), teacher=Oracle())
    knowing, blind = (watch.figures(Oracle(blind), tmp_path) for blind in (False, True))
    names = [f"{ORGAN}eye", f"{ORGAN}gut", f"{TEACHER}eye", f"{TEACHER}gut", KNOWN]
    assert sorted(knowing) == sorted(blind) == sorted(names)
    assert all(knowing[name] > 0.97 for name in names)
    assert [blind[f"{ORGAN}eye"], blind[f"{ORGAN}gut"], blind[KNOWN]] == [0, 0, 0]
    assert blind[f"{TEACHER}gut"] == knowing[f"{TEACHER}gut"]


def test_without_held_out_animals_the_known_labels_alone_are_measured(toy, tmp_path):
    assert list(watch_of(toy, toy.FLAT, watched=()).figures(Oracle(), tmp_path)) == [KNOWN]
    assert not (tmp_path / PREVIEW).exists()


def test_the_preview_shows_organ_ids_and_the_scan(toy, tmp_path):
    watch = watch_of(toy, toy.FLAT, teacher=Oracle(blind=True))
    watch.figures(Oracle(), tmp_path)
    with np.load(tmp_path / PREVIEW, allow_pickle=False) as planes:
        assert sorted(planes) == ["image", "student", "teacher", "truth"]
        assert planes["image"].dtype == np.uint8
        assert {planes[name].shape for name in planes} == {(16, 16)}
        assert set(np.unique(planes["truth"])) <= {0, 2, 7}
        assert (planes["student"] == planes["truth"]).mean() > 0.95
        assert planes["truth"].any()
        assert not planes["teacher"].any()
        brightness = planes["image"][planes["truth"] > 0].mean() - planes["image"][planes["truth"] == 0].mean()
    assert brightness > 50


@pytest.mark.parametrize("play", [teach, learn])
def test_a_training_that_is_watched_ends_in_the_same_bits(toy, tmp_path, play):
    networks = []
    for watched in (False, True):
        network, job = play(toy, tmp_path / str(watched), watched)
        drain(job)
        networks.append(network)
    assert toy.alike(*networks)
    assert not networks[1].training


@pytest.mark.parametrize("play", [teach, learn])
def test_a_watched_training_cancelled_after_any_step_ends_in_the_same_bits_and_figures(toy, tmp_path, play):
    whole, job = play(toy, tmp_path / "whole")
    drain(job)
    rows = [read_metrics(file) for file in (tmp_path / "whole").glob("*/metrics.csv")]
    for step in range(STEPS):
        folder = tmp_path / str(step)
        for report in (job := play(toy, folder, save_every=2)[1]):
            if report.done == step:
                job.close()
                break
        network, job = play(toy, folder, save_every=2)
        drain(job)
        assert toy.alike(network, whole)
        assert [read_metrics(file) for file in folder.glob("*/metrics.csv")] == rows


def test_the_figures_of_the_watch_are_in_the_metrics(toy, tmp_path):
    drain(learn(toy, tmp_path, validate_every=4)[1])
    rows = read_metrics(tmp_path / "student" / "metrics.csv")
    for figure in (f"{ORGAN}eye", f"{TEACHER}eye", KNOWN):
        assert [step for step, name, _ in rows if name == figure] == [4, STEPS]


@pytest.mark.parametrize("play", [teach, learn])
def test_a_stopped_training_takes_the_weights_that_did_best_on_known_labels(toy, tmp_path, play):
    network, job = play(toy, tmp_path, steps=40, validate_every=3)
    for report in job:
        if report.done == 20:
            (tmp_path / STOP).touch()
    assert report.done == 20
    (folder,) = (file.parent for file in tmp_path.glob(f"*/{STOPPED}"))
    said = json.loads((folder / STOPPED).read_text())
    known = {step: value for step, name, value in read_metrics(folder / "metrics.csv") if name == KNOWN}
    assert said["step"] == 20
    assert known[said["weights_of_step"]] == max(known.values())
    assert not network.training
    best, again = Best(folder, {}), build(toy.DEEP if play is teach else toy.FLAT, toy.SCHEMA.classes, seed=0)
    assert best.step == said["weights_of_step"]
    Best(folder, {folder.name: again}).take()
    assert toy.alike(again, network)


def test_a_training_stopped_before_it_was_measured_keeps_the_weights_it_has(toy, tmp_path):
    network, job = teach(toy, tmp_path, validate_every=100)
    for report in job:
        if report.done == 3:
            held = {key: value.clone() for key, value in network.state_dict().items()}
            (tmp_path / STOP).touch()
    assert not (tmp_path / "teacher" / BEST).exists()
    assert json.loads((tmp_path / "teacher" / STOPPED).read_text()) == {"step": 3, "weights_of_step": 3}
    assert all(torch.equal(value, held[key]) for key, value in network.state_dict().items())


def test_a_training_that_was_stopped_and_is_then_wanted_goes_on_to_its_end(toy, tmp_path):
    whole, job = teach(toy, tmp_path / "whole")
    drain(job)
    folder = tmp_path / "stopped"
    for report in teach(toy, folder, save_every=1)[1]:
        if report.done == 3:
            (folder / STOP).touch()
    (folder / STOP).unlink()
    network, job = teach(toy, folder, save_every=1)
    drain(job)
    assert toy.alike(network, whole)
    assert not (folder / "teacher" / STOPPED).exists()


def test_only_better_weights_replace_the_best(toy, tmp_path):
    network = torch.nn.Linear(1, 1)
    best = Best(tmp_path, {"pupil": network})
    for step, figure, kept in ((1, 0.3, 1), (2, 0.2, 1), (3, 0.5, 3), (4, 0.5, 3)):
        with torch.no_grad():
            network.weight.fill_(step)
        best.offer(step, figure)
        assert best.step == kept
    found = Best(tmp_path, {"pupil": network})
    assert (found.step, found.figure) == (3, 0.5)
    found.take()
    assert float(network.weight.detach()) == 3


def test_metrics_are_followed_as_they_are_written_and_when_a_training_resumes(toy, tmp_path):
    file = tmp_path / "teacher" / "metrics.csv"
    reader = MetricsReader(file)
    assert reader.read() == {}
    for report in (job := teach(toy, tmp_path, save_every=2)[1]):
        if report.done:
            assert [step for step, _ in reader.read()["teacher Dice"]] == list(range(1, report.done + 1))
        if report.done == 5:
            job.close()
            break
    job = teach(toy, tmp_path, save_every=2)[1]
    assert next(job).done == 4
    for report in job:
        assert [step for step, _ in reader.read()["teacher Dice"]] == list(range(1, report.done + 1))
    assert MetricsReader(file).read() == reader.read()
    assert sum(map(len, reader.read().values())) == len(read_metrics(file))
    shutil.rmtree(tmp_path / "teacher")
    assert reader.read() == {}


def test_a_row_that_is_being_written_is_read_when_it_is_whole(tmp_path):
    file = tmp_path / "metrics.csv"
    reader = MetricsReader(file)
    file.write_text("step,figure,value\n1,loss,0.5\n2,lo")
    assert reader.read() == {"loss": ((1, 0.5),)}
    with file.open("a") as stream:
        stream.write("ss,0.25\n")
    assert reader.read() == {"loss": ((1, 0.5), (2, 0.25))}


def test_what_is_watched_is_not_bent(toy):
    still, wild = (
        Diet((toy.source(1),), (), 0, toy.patches(toy.FLAT), bend, toy.FLAT, 0)
        for bend in (toy.STILL, AugmentSettings(noise=1.0))
    )
    one, other = (draw_places(diet.labelled, diet.patches, diet.network, diet.seed) for diet in (still, wild))
    assert torch.equal(one.image, other.image)
