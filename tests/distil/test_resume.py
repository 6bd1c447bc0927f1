"""A training may be killed between any two steps, or while it saves: it ends in the same bits."""

import sys
from pathlib import Path

import pytest
import torch

from napari_medaka_kd.distil.fit import fit
from napari_medaka_kd.distil.metrics import read_metrics
from napari_medaka_kd.distil.stage import Learner, Run, Stage
from napari_medaka_kd.distil.state import STATE
from napari_medaka_kd.distil.step import one_cycle
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.settings import FitSettings

STEPS = 6
KINDS = ["supervise", "self_training"]


@pytest.fixture(scope="module")
def uninterrupted(toy, tmp_path_factory):
    """By kind, the network of a training that nobody disturbed."""
    networks = {}
    for kind, play in toy.KINDS.items():
        networks[kind], job = play(tmp_path_factory.mktemp(kind), STEPS, 100)
        drain(job)
    return networks


def stop_after(job, step):
    for progress in job:
        if progress.done == step:
            job.close()
            return


@pytest.mark.parametrize("save_every", [1, 2, 4, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_cancelled_after_any_step_ends_in_the_same_bits(toy, uninterrupted, tmp_path, kind, save_every):
    for step in range(STEPS + 1):
        folder = tmp_path / str(step)
        stop_after(toy.KINDS[kind](folder, STEPS, save_every)[1], step)
        network, job = toy.KINDS[kind](folder, STEPS, save_every)
        first = next(job)
        assert first.done == (STEPS if step == STEPS else step // save_every * save_every)
        drain(job)
        assert toy.alike(network, uninterrupted[kind])
        assert not network.training


def test_a_training_cancelled_again_and_again_ends_in_the_same_bits(toy, uninterrupted, tmp_path):
    for step in range(1, STEPS):
        stop_after(toy.learn(tmp_path, STEPS, 1)[1], step)
    network, job = toy.learn(tmp_path, STEPS, 1)
    drain(job)
    assert toy.alike(network, uninterrupted["self_training"])


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize(
    "death",
    # Two fsyncs a save: of the file and of its folder. The third is in the middle of the second save.
    [("supervise", "step", 3), ("self_training", "fsync", 3)],
)
def test_a_training_that_is_killed_ends_in_the_same_bits(toy, killed, uninterrupted, tmp_path, death):
    kind, event, number = death
    assert killed(kind, tmp_path, 2, event, number) == -9
    network, job = toy.KINDS[kind](tmp_path, STEPS, 2)
    assert next(job).done == 2
    drain(job)
    assert toy.alike(network, uninterrupted[kind])


def test_a_training_that_is_finished_is_not_played_again(toy, tmp_path):
    drain(toy.learn(tmp_path, STEPS, 100)[1])
    kept = (tmp_path / "student" / STATE).read_bytes()
    network, job = toy.learn(tmp_path, STEPS, 100)
    assert [progress.done for progress in job] == [STEPS]
    assert (tmp_path / "student" / STATE).read_bytes() == kept
    assert not network.training


def test_metrics_list_every_step_once_although_some_were_taken_twice(toy, tmp_path):
    stop_after(toy.learn(tmp_path, STEPS, 2)[1], 5)
    drain(toy.learn(tmp_path, STEPS, 2)[1])
    rows = read_metrics(tmp_path / "student" / "metrics.csv")
    taken = [step for step, figure, _ in rows if figure == "student distillation"]
    assert taken == list(range(1, STEPS + 1))


def test_a_torn_last_row_of_the_metrics_is_left_out(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,figure,value\n1,loss,0.5\n2,lo")
    assert read_metrics(tmp_path / "metrics.csv") == [(1, "loss", 0.5)]
    assert read_metrics(tmp_path / "nothing.csv") == []


def one_learner(toy, folder, losses, **more):
    network = torch.nn.Linear(1, 1)
    settings = FitSettings(steps=5, save_every=2, validate_every=2, precision="float32", device="cpu")
    learner = Learner("pupil", network, lambda batch: losses(network, batch))
    stage = Stage("lesson", (learner,), toy.diet().batches(), 5, **more)
    return network, fit(stage, Run(Path(folder), settings, 0))


def test_a_loss_that_is_not_finite_is_named_and_changes_nothing(toy, tmp_path):
    def losses(network, batch):
        fine = network.weight.sum()
        return {"fine": fine, "wild": fine * (float("inf") if batch.step == 3 else 1.0)}

    network, job = one_learner(toy, tmp_path, losses)
    with pytest.raises(UserError, match=r"'pupil wild' became -?inf"):
        drain(job)
    assert torch.isfinite(network.weight).all()
    assert next(one_learner(toy, tmp_path, losses)[1]).done == 2


def test_followers_are_resumed_with_the_learners_and_validation_is_reported(toy, tmp_path):
    def losses(network, _):
        return {"size": network.weight.square().sum()}

    def play(follower, told):
        def follow(done):
            with torch.no_grad():
                follower.weight += done

        more = {"followers": {"mean": follower}, "after_step": follow, "validate": lambda: {"IoU": 0.5}}
        network, job = one_learner(toy, tmp_path, losses, **more)
        for progress in job:
            told.append(progress)
            if len(told) == 4:  # after step 3, saved at 2
                job.close()
        return network

    first, second, told = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1), []
    start = float(first.weight.detach())
    play(first, told)
    play(second, told)
    assert float(second.weight.detach()) == pytest.approx(start + 1 + 2 + 3 + 4 + 5)
    assert [(report.done, "IoU" in report.values) for report in told[:4]] == [
        (0, False),
        (1, False),
        (2, True),
        (3, True),
    ]
    assert told[-1].done == 5
    assert told[-1].values["IoU"] == 0.5


def test_the_learning_rate_rises_over_a_tenth_and_falls_to_a_hundredth():
    rates = [one_cycle(step, 100, 1.0) for step in range(100)]
    assert max(rates) == pytest.approx(1.0)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0.01 <= rates[-1] < 0.011
    assert one_cycle(0, 1, 1.0) == 1.0


def test_each_learner_goes_at_its_own_pace(toy, tmp_path):
    """By one step of AdamW, whose length is the learning rate whatever the gradient."""
    networks = [torch.nn.Linear(1, 1, bias=False) for _ in range(2)]
    for network in networks:
        torch.nn.init.constant_(network.weight, 0.0)

    def learner(name, network, pace):
        return Learner(name, network, lambda _: {"slope": network.weight.sum()}, pace)

    learners = learner("slow", networks[0], 0.25), learner("fast", networks[1], 1.0)
    drain(fit(Stage("pair", learners, toy.diet().batches(), 1), toy.run(tmp_path, 1, 1)))
    slow, fast = (network.weight.item() for network in networks)
    assert slow == pytest.approx(0.25 * fast, rel=1e-4)
    assert fast < 0
