"""What the loop makes of a step: a batch in parts is the whole one, and norms remember what it would leave."""

import sys
from dataclasses import replace

import pytest
import torch

from napari_medaka_kd.distil.fit import fit
from napari_medaka_kd.distil.metrics import read_metrics
from napari_medaka_kd.distil.stage import Learner, Stage
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain

STEPS = 4


def norm_and_line():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Conv3d(4, 2, 1), torch.nn.BatchNorm3d(2))


def halves(batches):
    """The batches cut in two: 0 and 1 are the rows of 0."""

    def play(first, every=1):
        for number in range(first, 1000, every):
            whole = next(batches(number // 2))
            rows = slice(0, 2) if number % 2 == 0 else slice(2, 4)
            yield replace(whole, step=number, number=number, image=whole.image[rows])

    return play


def trained(toy, folder, network, batches, steps=STEPS, **more):
    def losses(batch):
        return {"size": network[0](batch.image).square().mean() + 0 * network(batch.image).sum()}

    stage = Stage("lesson", (Learner("pupil", network, losses),), batches, steps)
    return fit(stage, toy.run(folder, steps, 1, **more))


def fours(toy):
    return replace(toy.diet(), patches=toy.patches(toy.FLAT).model_copy(update={"batch": 2})).batches()


def test_a_batch_in_two_parts_moves_weights_and_norms_as_the_whole_one(toy, tmp_path):
    whole, parts = norm_and_line(), norm_and_line()
    drain(trained(toy, tmp_path / "whole", whole, fours(toy)))
    drain(trained(toy, tmp_path / "parts", parts, halves(fours(toy)), accumulate=2))
    for name, wanted in whole.state_dict().items():
        if "running_var" not in name:  # a variance within halves is not that of the whole
            torch.testing.assert_close(parts.state_dict()[name], wanted, rtol=1e-5, atol=1e-6)
    assert not torch.equal(whole[0].weight, norm_and_line()[0].weight)


def test_the_parts_of_a_step_are_batches_of_their_own_and_of_one_step(toy, tmp_path):
    seen = []

    def losses(batch):
        seen.append((batch.step, batch.number, batch.image.clone()))
        return {"size": network.weight.square().sum()}

    network = torch.nn.Linear(1, 1)
    stage = Stage("lesson", (Learner("pupil", network, losses),), toy.diet().batches(), 2)
    drain(fit(stage, toy.run(tmp_path, 2, 1, accumulate=3)))
    assert [(step, number) for step, number, _ in seen] == [(0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (1, 5)]
    assert not torch.equal(seen[0][2], seen[1][2])


@pytest.mark.parametrize("kind", ["supervise", "self_training"])
def test_a_training_in_parts_that_is_cancelled_ends_in_the_same_bits(toy, tmp_path, kind):
    wanted, job = toy.KINDS[kind](tmp_path / "whole", 4, 100, accumulate=2)
    drain(job)
    toy.stop_after_two(toy.KINDS[kind](tmp_path / "stopped", 4, 1, accumulate=2)[1])
    network, job = toy.KINDS[kind](tmp_path / "stopped", 4, 1, accumulate=2)
    assert next(job).done == 2
    drain(job)
    assert toy.alike(network, wanted)


def test_event_files_hold_what_the_metrics_do(toy, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for steps in (2, STEPS):  # interrupted after 2
        for progress in (job := trained(toy, tmp_path, norm_and_line(), fours(toy), tensorboard=True)):
            if progress.done == steps:
                job.close()
                break
    events = EventAccumulator(str(tmp_path / "lesson" / "events")).Reload()
    told = [(event.step, event.value) for event in events.Scalars("pupil_size")]
    rows = read_metrics(tmp_path / "lesson" / "metrics.csv")
    assert [step for step, _ in told] == [1, 2, 3, 4]
    assert [value for _, value in told] == pytest.approx([value for *_, value in rows], rel=1e-4)


def test_event_files_without_tensorboard_are_refused_in_two_sentences(toy, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"needs .*tensorboard.*not installed. .*pip install"):
        drain(trained(toy, tmp_path, norm_and_line(), fours(toy), tensorboard=True))
