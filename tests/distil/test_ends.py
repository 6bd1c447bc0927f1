"""How a training ends: in the average of its weights, or early in the best ones; interrupted or not, the same."""

import json

import pytest
import torch

from napari_medaka_kd.distil.ema import follow
from napari_medaka_kd.distil.fit import fit
from napari_medaka_kd.distil.metrics import KNOWN, STOPPED, read_metrics
from napari_medaka_kd.distil.stage import Learner, Stage
from napari_medaka_kd.distil.state import STATE
from napari_medaka_kd.distil.step import constant
from napari_medaka_kd.job import drain

STEPS = 12


def line(weight=0.0):
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(network.weight, weight)
    return network


def lesson(toy, folder, network, validate=None, told=None, **more):
    """One that moves the weight by about the learning rate a step."""

    def losses(_):
        return {"slope": network.weight.sum()}

    def remember(done):
        if told is not None:
            told[done] = network.weight.item()

    learner = Learner("pupil", network, losses)
    stage = Stage("lesson", (learner,), toy.diet().batches(), STEPS, after_step=remember, validate=validate)
    return fit(stage, toy.run(folder, STEPS, 5, validate_every=2, **more))


def figures(network, of):
    """What a measurement says, by the steps taken, and which weights it saw."""
    seen = []

    def validate():
        seen.append(network.weight.item())
        return {KNOWN: of[2 * len(seen)]}

    return validate, seen


def test_the_moving_average_is_kept_and_measured(toy, tmp_path):
    network, told = line(), {}
    validate, seen = figures(network, dict.fromkeys(range(2, STEPS + 1, 2), 0.5))
    drain(lesson(toy, tmp_path, network, validate, told, average=0.6))
    mean, means = line(), {}
    for step, weight in told.items():
        follow(mean, line(weight), step, 0.6)
        means[step] = mean.weight.item()
    assert network.weight.item() == pytest.approx(means[STEPS], rel=1e-5)
    assert seen == pytest.approx([means[step] for step in range(2, STEPS + 1, 2)], rel=1e-5)
    assert network.weight.item() > told[STEPS]  # the learner itself is ahead, downhill


@pytest.mark.parametrize("kind", ["self_training", "mean_teacher"])
def test_a_training_with_an_average_that_is_cancelled_ends_in_the_same_bits(toy, tmp_path, kind):
    wanted, job = toy.KINDS[kind](tmp_path / "whole", 4, 100, average=0.9)
    drain(job)
    toy.stop_after_two(toy.KINDS[kind](tmp_path / "stopped", 4, 1, average=0.9)[1])
    network, job = toy.KINDS[kind](tmp_path / "stopped", 4, 1, average=0.9)
    drain(job)
    assert toy.alike(network, wanted)
    again, job = toy.KINDS[kind](tmp_path / "stopped", 4, 1, average=0.9)
    drain(job)
    assert toy.alike(again, wanted)  # finished, it still gives the average


RISING_TO_4 = {2: 0.1, 4: 0.5, 6: 0.3, 8: 0.5, 10: 0.4, 12: 0.4}


def test_a_training_without_a_gain_ends_in_the_best_weights(toy, tmp_path):
    network, told = line(), {}
    drain(lesson(toy, tmp_path, network, figures(network, RISING_TO_4)[0], told, patience=2))
    assert max(told) == 8
    assert network.weight.item() == pytest.approx(told[4])
    assert json.loads((tmp_path / "lesson" / STOPPED).read_text()) == {"step": 8, "weights_of_step": 4}


@pytest.mark.parametrize("killed_at", [3, 5, 7, 8])
def test_patience_survives_an_interruption_at_any_step(toy, tmp_path, killed_at):
    def play():
        network = line()
        taken = {}

        def validate():
            return {KNOWN: RISING_TO_4[2 + 2 * ((max(taken, default=0) - 1) // 2)]}

        return network, taken, lesson(toy, tmp_path, network, validate, taken, patience=2)

    for progress in (job := play()[2]):
        if progress.done == killed_at:
            job.close()
            break
    network, taken, job = play()
    drain(job)
    assert max(taken, default=8) == 8
    assert json.loads((tmp_path / "lesson" / STOPPED).read_text()) == {"step": 8, "weights_of_step": 4}
    kept = network.weight.item()
    state = (tmp_path / "lesson" / STATE).read_bytes()
    network, taken, job = play()
    drain(job)
    assert not taken  # it had ended, and is not gone on with
    assert network.weight.item() == kept
    assert (tmp_path / "lesson" / STATE).read_bytes() == state


def test_patience_without_a_measurement_changes_nothing(toy, tmp_path):
    network = line()
    drain(lesson(toy, tmp_path, network, patience=1))
    rows = read_metrics(tmp_path / "lesson" / "metrics.csv")
    assert max(step for step, *_ in rows) == STEPS


def test_a_constant_rate_rises_over_a_tenth_and_stays():
    assert [constant(step, 20, 1.0) for step in (0, 1, 2, 19)] == [0.5, 1.0, 1.0, 1.0]
    assert constant(0, 1, 1.0) == 1.0
