"""How a training stands is read from its folder, without torch, while it runs; stopped, it keeps its best."""

import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from napari_medaka_kd.distil.metrics import KNOWN, ORGAN, PREVIEW, TEACHER, Metrics
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.checkpoint import EARLY, Checkpoint
from napari_medaka_kd.project import open_project
from napari_medaka_kd.settings import (
    DistilSettings,
    FitSettings,
    NetworkSettings,
    PatchSettings,
    SelfTrainingSettings,
    TrainSettings,
)
from napari_medaka_kd.workflow.rounds import distil
from napari_medaka_kd.workflow.teach import distil_once, train
from napari_medaka_kd.workflow.training import read_training, stop_training, too_short, trainings

PATCHES = PatchSettings(patch=(1, 16, 16), batch=2)
LOOKS = NetworkSettings(dimensions=2, widths=(4, 8))


def knobs(members=1, **fit):
    looks = LOOKS.model_copy(update={"members": members})
    plain = {"steps": 12, "validate_every": 3, "save_every": 4, "precision": "float32", "device": "cpu"}
    return TrainSettings(network=looks, patches=PATCHES, fit=FitSettings(**(plain | fit)))


def learning(**strategy):
    return DistilSettings(patches=PATCHES, fit=knobs().fit, strategy=SelfTrainingSettings(unlabelled=2, **strategy))


@pytest.fixture
def project(make_project):
    return make_project()


@pytest.fixture
def taught(project):
    """With a teacher of the name of the proposals that are there."""
    drain(train(project, "teacher", knobs(steps=3)))
    return open_project(project.folder)


def stop_at(project, job, name, step, stage):
    """Play ``job`` to its end, and have it stop after ``step`` of ``stage``; the steps that were taken, by stage."""
    taken = {}
    for report in job:
        if report.values:
            taken[report.doing] = report.done
        if (report.doing, report.done) == (stage, step):
            stop_training(project, name)
    return taken


def write_figures(project, run, rows, stage="student"):
    """``rows`` of (step, figures) as a training leaves them."""
    folder = project.folder / "runs" / run / stage
    with Metrics(folder / "metrics.csv", 0) as metrics:
        for step, figures in rows:
            metrics.write(step, figures)
    return folder


def test_nothing_is_told_of_what_was_never_trained(project):
    assert trainings(project) == ()
    assert read_training(project, "train-nobody") is None


def test_a_teacher_is_followed_while_it_learns(project):
    seen = []
    for report in train(project, "fresh", knobs()):
        if report.done and report.values:
            training = read_training(project, "train-fresh")
            seen.append((training.step, len(training.known)))
            assert (training.run, training.stage, training.steps) == ("train-fresh", "fresh-0", 12)
            assert set(training.losses) == {"cross-entropy", "Dice"}
            assert [step for step, _ in training.losses["Dice"]] == list(range(1, report.done + 1))
    assert seen == [(step, step // 3) for step in range(1, 13)]
    assert trainings(project) == ("train-fresh",)
    assert training.teacher == {}
    assert set(training.ious) <= set(project.schema.names)
    assert training.ious
    assert {step for curve in training.ious.values() for step, _ in curve} == {3, 6, 9, 12}


def test_a_student_is_held_against_its_teacher_on_the_same_places(taught):
    drain(distil_once(taught, "student", "teacher", learning()))
    training = read_training(taught, "distil-student")
    assert trainings(taught) == ("distil-student", "train-teacher")
    assert set(training.teacher) == set(training.ious)
    assert [step for step, _ in training.mean] == [3, 6, 9, 12]
    assert 0 <= training.mean[-1][1] <= 1
    assert "points against the teacher" in training.sentence
    preview = training.preview
    assert preview.step == 12
    assert set(preview.maps) == {"truth", "teacher", "student"}
    assert {plane.shape for plane in preview.maps.values()} == {preview.image.shape}
    assert set(np.unique(preview.maps["truth"])) <= {0, *taught.schema.ids}
    assert training == read_training(taught, "distil-student")


def test_the_held_out_animal_is_only_looked_at(taught, make_project):
    """With and without it the student ends in the same weights."""
    drain(distil_once(taught, "student", "teacher", learning()))
    other = make_project(held_out=0, name="alone")
    shutil.copytree(taught.checkpoint("teacher"), other.checkpoint("teacher"))
    other = open_project(other.folder)
    drain(distil_once(other, "student", "teacher", learning()))
    cards = [Checkpoint.open(place.checkpoint("student")) for place in (taught, other)]
    assert cards[0].weights_sha256 == cards[1].weights_sha256
    assert "held-out-03" not in cards[0].trained_on
    assert read_training(other, "distil-student").ious == {}
    assert len(read_training(other, "distil-student").known) == 4


def test_a_stopped_student_is_kept_and_its_history_says_so(taught):
    taken = stop_at(taught, distil_once(taught, "student", "teacher", learning()), "student", 7, "student")
    assert taken["student"] == 7
    card = Checkpoint.open(taught.checkpoint("student"))
    note = card.history["stopped"]["student"]
    assert note["step"] == 7
    known = dict(read_training(taught, "distil-student").known)
    assert known[note["weights_of_step"]] == max(known.values())
    card.load(taught.checkpoint("student"))


def test_a_training_that_is_not_stopped_has_no_word_of_it_in_its_history(taught):
    assert "stopped" not in Checkpoint.open(taught.checkpoint("teacher")).history


def test_a_stopped_ensemble_does_without_the_members_that_never_began(project):
    taken = stop_at(project, train(project, "crowd", knobs(members=3)), "crowd", 7, "crowd-1")
    assert taken == {"crowd-0": 12, "crowd-1": 7}
    card = Checkpoint.open(project.checkpoint("crowd"))
    assert card.network.members == 2
    assert len(card.left_out) == 2
    assert set(card.history["stopped"]) == {"crowd-1"}
    assert len(card.load(project.checkpoint("crowd")).members) == 2


def test_an_ensemble_stopped_in_its_first_member_is_one_network(project):
    assert stop_at(project, train(project, "one", knobs(members=2)), "one", 4, "one-0") == {"one-0": 4}
    assert Checkpoint.open(project.checkpoint("one")).network == LOOKS


def test_after_a_stop_the_same_command_goes_on_if_the_checkpoint_is_thrown_away(project):
    stop_at(project, train(project, "again", knobs()), "again", 7, "again-0")
    shutil.rmtree(project.checkpoint("again"))
    taken = [report.done for report in train(project, "again", knobs()) if report.doing == "again-0"]
    assert taken == [4, *range(5, 13)]
    assert "stopped" not in Checkpoint.open(project.checkpoint("again")).history


def test_of_several_rounds_the_one_under_way_is_stopped(taught):
    job = distil(taught, "student", "teacher", learning(rounds=2))
    for report in job:
        if (report.doing, report.done) == ("student", 5):
            stop_training(taught, "student")
            assert (taught.folder / "runs" / "distil-student-1" / "stop").exists()
            break
    for report in job:
        assert report.doing != "student"
        if "student-1" in taught.checkpoints:
            break
    job.close()
    assert Checkpoint.open(taught.checkpoint("student-1")).history["stopped"]["student"]["step"] == 5


@pytest.mark.parametrize("name", ["teacher", "nobody", "../teacher", "*"])
def test_what_is_not_under_way_cannot_be_stopped(taught, name):
    with pytest.raises(UserError):
        stop_training(taught, name)
    assert not list((taught.folder / "runs").rglob("stop"))


@pytest.mark.parametrize(
    ("values", "trend"),
    [
        ([0.1], "unknown"),
        ([0.1, 0.2, 0.3], "unknown"),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "improving"),
        ([0.1, 0.4, 0.6, 0.65, 0.66, 0.661, 0.66, 0.661], "flat"),
        ([0.6, 0.6, 0.6, 0.5, 0.4, 0.3], "flat"),
    ],
)
def test_the_trend_is_told_once_there_is_enough_to_tell_it_by(project, values, trend):
    rows = [(10 * step, {f"{ORGAN}brain": value, f"{ORGAN}heart": value}) for step, value in enumerate(values, 1)]
    write_figures(project, "distil-x", rows)
    training = read_training(project, "distil-x")
    assert training.trend == trend
    assert training.sentence.startswith(f"distil-x: step {10 * len(values)} of ")


def test_the_known_labels_show_the_trend_where_nothing_is_held_out(project):
    write_figures(project, "train-x", [(step, {KNOWN: step / 10}) for step in range(1, 9)])
    assert read_training(project, "train-x").trend == "improving"


@pytest.mark.parametrize(
    ("steps", "known", "said"), [(4, 0.55, True), (4, 0.85, False), (9, 0.55, False), (4, None, False)]
)
def test_a_training_that_ended_before_it_had_learned_its_labels_says_so(project, steps, known, said):
    folder = write_figures(project, "train-x", [(4, {"x Dice": 0.5} | ({} if known is None else {KNOWN: known}))])
    (folder.parent / "asked.json").write_text(json.dumps({"settings": {"fit": {"steps": steps}}}))
    words = too_short(project, "train-x")
    assert len(words) == said
    assert all("55%" in each and "more than 4 steps" in each for each in words)
    assert all(each in read_training(project, "train-x").sentence for each in words)
    assert too_short(project, "train-nothing") == []


def test_what_is_torn_or_damaged_is_left_out(project):
    folder = write_figures(project, "train-x", [(1, {"student Dice": 0.5})])
    with (folder / "metrics.csv").open("a") as file:
        file.write("2,student Di")
    (folder / PREVIEW).write_bytes(b"no preview")
    training = read_training(project, "train-x")
    assert training.losses == {"Dice": ((1, 0.5),)}
    assert training.preview is None


def test_five_thousand_rows_are_read_again_in_a_few_milliseconds(project):
    figures = {"student labels": 1.0, "student pseudo-labels": 0.5, "student distillation": 0.25}
    watched = {f"{kind}{organ}": 0.5 for kind in (ORGAN, TEACHER) for organ in project.schema.names}
    rows = [(step, figures | (watched if step % 20 == 0 else {})) for step in range(1, 1201)]
    write_figures(project, "distil-x", rows)
    taken = []
    for _ in range(10):
        start = time.perf_counter()
        training = read_training(project, "distil-x")
        taken.append(time.perf_counter() - start)
    assert sum(map(len, training.losses.values())) == 3600
    assert min(taken) < 10e-3


def test_steps_are_those_that_were_asked_for(project):
    folder = write_figures(project, "distil-x", [(3, {"student Dice": 0.5})])
    assert read_training(project, "distil-x").steps == 3
    asked = {"settings": {"fit": {"steps": 90}}}
    (folder.parent / "asked.json").write_text(json.dumps(asked))
    assert read_training(project, "distil-x").steps == 90


def test_following_a_training_loads_no_torch():
    code = "import sys, napari_medaka_kd.workflow.training; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_teacher_keeps_what_it_was_early_whenever_its_training_was_interrupted(project):
    whole, broken = knobs(members=2), knobs(members=2, save_every=1)
    drain(train(project, "whole", whole))
    job = train(project, "broken", broken)
    next(report for report in job if (report.doing, report.done) == ("broken-1", 1))
    job.close()
    drain(train(project, "broken", broken))
    one, other = (project.checkpoint(name) for name in ("whole", "broken"))
    early = Checkpoint.open(one / EARLY)
    assert early.left_out == Checkpoint.open(one).left_out
    mine, theirs, late = (Checkpoint.open(at).load(at).state_dict() for at in (one / EARLY, other / EARLY, one))
    assert all((mine[key] == theirs[key]).all() for key in mine)
    assert any((mine[key] != late[key]).any() for key in mine)
