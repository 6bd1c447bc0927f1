"""The one training loop: resumes, steps, checks, saves, reports. Every strategy and every teacher goes through it."""

from __future__ import annotations

import itertools
import json
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.networks.device import choose_device, choose_precision
from napari_medaka_kd.volumes.atomic import replace_file

from .metrics import FILE, KNOWN, STOP, STOPPED, Metrics
from .state import Best, restore, save_state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_medaka_kd.settings import FitSettings

    from .stage import Batch, Learner, Run, Stage


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
    device = choose_device(run.settings.device)
    precision = choose_precision(run.settings.precision, device)
    networks = {learner.name: learner.network for learner in stage.learners} | dict(stage.followers)
    for network in networks.values():
        network.to(device)
    optimizers = {learner.name: _optimizer(learner.network, run.settings) for learner in stage.learners}
    folder = run.folder / stage.name
    first = restore(folder, networks, optimizers)
    known: dict[str, float] = {}
    best = Best(folder, {learner.name: learner.network for learner in stage.learners})
    (folder / STOPPED).unlink(missing_ok=True)
    yield Progress(stage.name, first, stage.steps)
    with Metrics(folder / FILE, first) as metrics:
        for batch in _remaining(stage, first):
            if (run.folder / STOP).exists():
                _take_best(folder, batch.step, best)
                break
            torch.manual_seed(run.seed * 1_000_003 + batch.step)  # dropout and its like: a function of the step too
            values: dict[str, float] = {}
            rate = one_cycle(batch.step, stage.steps, run.settings.learning_rate)
            for learner in stage.learners:
                learner.network.train()
                with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                    losses = learner.losses(batch.to(device))
                values |= _step(learner, losses, optimizers[learner.name], rate * learner.pace, run.settings.clip)
            done = batch.step + 1
            stage.after_step(done)
            if stage.validate and (done % run.settings.validate_every == 0 or done == stage.steps):
                with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                    values |= stage.validate()
                best.offer(done, values.get(KNOWN, -1.0))
            metrics.write(done, values)
            known = known | values
            if done % run.settings.save_every == 0 or done == stage.steps:
                save_state(folder, done, networks, optimizers)
            yield Progress(stage.name, done, stage.steps, known)
    for network in networks.values():
        network.eval()


def _take_best(folder: Path, step: int, best: Best) -> None:
    """End early: the best weights so far, and a note of which they are."""
    best.take()
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / STOPPED, json.dumps({"step": step, "weights_of_step": best.step or step}).encode())


def one_cycle(step: int, steps: int, peak: float) -> float:
    """The learning rate: up linearly over a tenth of the steps, then down a cosine to a hundredth of ``peak``."""
    warm = max(1, steps // 10)
    if step < warm:
        return peak * (step + 1) / warm
    along = (step - warm) / max(1, steps - warm)
    return peak * (0.01 + 0.99 * (1 + math.cos(math.pi * along)) / 2)


def _remaining(stage: Stage, first: int) -> Iterator[Batch]:
    return itertools.islice(stage.batches(first), stage.steps - first) if first < stage.steps else iter(())


def _optimizer(network: nn.Module, settings: FitSettings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)


def _step(
    learner: Learner, losses: dict[str, Tensor], optimizer: torch.optim.Optimizer, rate: float, clip: float
) -> dict[str, float]:
    values = {f"{learner.name} {name}": float(loss.detach()) for name, loss in losses.items()}
    for name, value in values.items():
        if not math.isfinite(value):
            raise UserError(f"The loss {name!r} became {value}.", f"Train with a lower rate than {rate:.2g}.")
    optimizer.zero_grad(set_to_none=True)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(learner.network.parameters(), clip)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return values
