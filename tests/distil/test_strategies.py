"""What every strategy shows that learns from scans and labels alone: it learns, and a death changes no bit."""

import sys

import numpy as np
import pytest
import torch

from napari_medaka_kd.distil.run import STRATEGIES
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.inputs import encode
from napari_medaka_kd.settings import AugmentSettings, strategies

EASY = AugmentSettings(rotation=5, scaling=0, gamma=0.1, contrast=0.05, brightness=0.02, noise=0.02, blur=0)
STUDIES = [name for name, (_, kind) in strategies().items() if not kind.from_proposals]
STEPS, SAVE_EVERY = 4, 3


def accuracy(network, toy, seed):
    """Balanced over the classes, on an animal that nobody trained on."""
    animal = toy.source(seed)
    classes = torch.from_numpy(toy.SCHEMA.to_classes(animal.labels.volume.read()))
    scan = encode(animal.image.read(), tuple(slice(0, side) for side in toy.SHAPE), animal.body, toy.FLAT)
    with torch.inference_mode():
        answer = network.eval()(torch.from_numpy(scan)[None])[0].argmax(0)
    return float(np.mean([float((answer[classes == number] == number).float().mean()) for number in range(3)]))


@pytest.fixture(scope="module")
def uninterrupted(toy, tmp_path_factory):
    """By strategy, the student that nobody disturbed, and how many reports its training made."""
    found = {}
    for name in STUDIES:
        student, job = toy.KINDS[name](tmp_path_factory.mktemp(name), STEPS, 100)
        reports = []
        drain(job, reports.append)
        found[name] = student, len(reports)
    return found


def test_every_strategy_has_settings_a_title_and_a_player(toy):
    assert strategies().keys() == STRATEGIES.keys()
    assert set(toy.STUDIES) == set(STUDIES)
    for name, (title, kind) in strategies().items():
        assert title
        assert kind().name == name


@pytest.mark.parametrize("name", STUDIES)
def test_a_student_learns_to_tell_the_organs_apart(toy, tmp_path, name):
    student, job = toy.KINDS[name](tmp_path, 250, 1000, augment=EASY)
    before = accuracy(student, toy, 30)
    drain(job)
    assert accuracy(student, toy, 30) > max(0.75, before + 0.3)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_cancelled_after_any_report_ends_in_the_same_bits(toy, uninterrupted, tmp_path, name):
    undisturbed, reports = uninterrupted[name]
    for stop in range(1, reports):
        folder = tmp_path / str(stop)
        job = toy.KINDS[name](folder, STEPS, SAVE_EVERY)[1]
        for _ in range(stop):
            next(job)
        job.close()
        student, job = toy.KINDS[name](folder, STEPS, SAVE_EVERY)
        drain(job)
        assert toy.alike(student, undisturbed)
        assert not student.training


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_that_is_killed_ends_in_the_same_bits(toy, killed, uninterrupted, tmp_path, name):
    assert killed(name, tmp_path, 1, "fsync", 5, STEPS) == -9
    student, job = toy.KINDS[name](tmp_path, STEPS, 1)
    drain(job)
    assert toy.alike(student, uninterrupted[name][0])
