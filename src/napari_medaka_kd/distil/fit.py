"""The one training loop: resumes, steps, checks, saves, reports. Every strategy and every teacher goes through it."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.networks.device import choose_device
from napari_medaka_kd.volumes.atomic import replace_file

from .metrics import FILE, KNOWN, STOP, STOPPED, Metrics
from .state import Best, restore, save_state
from .step import Stepper, one_cycle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_medaka_kd.settings import FitSettings

    from .stage import Batch, Run, Stage


def fit(stage: Stage, run: Run) -> Job[None]:
    """Train ``stage`` to its end, from where ``run`` left it.

    Killed between any two steps and called again, it ends in the same weights, bit for bit on a CPU: all that is
    random is drawn from (seed, step), all that is not is saved. Where a file ``stop`` appears in the run's folder, it
    ends after the step, in the weights that did best on the labels that it learns from.

    Parameters
    ----------
    stage
        What to train; its networks are changed in place and left in evaluation mode.
    run
        Where to save to, and how to train.

    Raises
    ------
    UserError
        If a loss is not finite; names the term.
    """
    settings, device = run.settings, choose_device(run.settings.device)
    networks = {learner.name: learner.network for learner in stage.learners} | dict(stage.followers)
    for network in networks.values():
        network.to(device)
    optimizers = {learner.name: _optimizer(learner.network, settings) for learner in stage.learners}
    stepper = Stepper(tuple(networks.values()), device, settings, run.seed)
    folder = run.folder / stage.name
    first = restore(folder, networks, optimizers)
    known: dict[str, float] = {}
    best = Best(folder, {learner.name: learner.network for learner in stage.learners})
    (folder / STOPPED).unlink(missing_ok=True)
    yield Progress(stage.name, first, stage.steps)
    with Metrics(folder / FILE, first) as metrics:
        for step, parts in enumerate(_remaining(stage, first, settings), start=first):
            if (run.folder / STOP).exists():
                _take_best(folder, step, best)
                break
            values: dict[str, float] = {}
            rate = one_cycle(step, stage.steps, settings.learning_rate)
            for learner in stage.learners:
                values |= stepper.take(learner, parts, optimizers[learner.name], rate * learner.pace)
            done = step + 1
            stage.after_step(done)
            if stage.validate and (done % settings.validate_every == 0 or done == stage.steps):
                with stepper.autocast():
                    values |= stage.validate()
                best.offer(done, values.get(KNOWN, -1.0))
            metrics.write(done, values)
            known = known | values
            if done % settings.save_every == 0 or done == stage.steps:
                save_state(folder, done, networks, optimizers)
            yield Progress(stage.name, done, stage.steps, known)
    for network in networks.values():
        network.eval()


def _take_best(folder: Path, step: int, best: Best) -> None:
    """End early: the best weights so far, and a note of which they are."""
    best.take()
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / STOPPED, json.dumps({"step": step, "weights_of_step": best.step or step}).encode())


def _remaining(stage: Stage, first: int, settings: FitSettings) -> Iterator[tuple[Batch, ...]]:
    """The parts of each step that is left."""
    batches = stage.batches(first * settings.accumulate) if first < stage.steps else iter(())
    for step in range(first, stage.steps):
        yield tuple(replace(part, step=step) for part in islice(batches, settings.accumulate))


def _optimizer(network: nn.Module, settings: FitSettings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
