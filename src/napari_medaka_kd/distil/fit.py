"""The one training loop: resumes, steps, checks, saves, reports. Every strategy and every teacher goes through it."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_medaka_kd import processes
from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.networks.device import choose_device, lay_out
from napari_medaka_kd.volumes.atomic import replace_file

from . import together
from .ahead import made_ahead
from .ema import Averages
from .metrics import KNOWN, STOP, STOPPED
from .record import recorded
from .state import Best, kept_state, restore, save_state
from .step import Stepper, constant, one_cycle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medaka_kd.settings import FitSettings

    from .stage import Batch, Run, Stage

SCHEDULES = {"one-cycle": one_cycle, "constant": constant}


def fit(stage: Stage, run: Run) -> Job[None]:
    """Train ``stage`` to its end, from where ``run`` left it.

    Killed between any two steps and called again, it ends in the same weights, bit for bit on a CPU: all that is
    random is drawn from (seed, step), all that is not is saved. Where a file ``stop`` appears in the run's folder, or
    the figure on the labels that it learns from has not risen for as long as the settings' patience, it ends after the
    step, in the weights that did best on these labels. Measured and kept are averaged weights, where they are wanted.

    Under torchrun each process has its share of a step's batches, and all end in the same weights: those of one process
    that has all of them, but for rounding. The first alone saves, measures and hears ``stop``.

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
    training = _Training(stage, run)
    first = training.restore()
    known: dict[str, float] = {}
    yield Progress(stage.name, first, stage.steps)
    with recorded(training.folder, first, run.settings.tensorboard) as tell:
        for step, parts in enumerate(_remaining(stage, first, run.settings), start=first):
            if training.ends_early(step):
                break
            values = training.step(step, parts)
            tell(step + 1, values)
            known = known | values
            training.save(step + 1)
            yield Progress(stage.name, step + 1, stage.steps, known)
    training.end()


class _Training:
    """The networks of a stage on their device, with all that is kept of them between steps."""

    def __init__(self, stage: Stage, run: Run) -> None:
        self.stage, self.run, self.folder = stage, run, run.folder / stage.name
        device = choose_device(together.own_device(run.settings.device))
        self.learners = {learner.name: learner.network for learner in stage.learners}
        networks = self.learners | dict(stage.followers)
        for network in networks.values():
            lay_out(network, device)
        self.stepper = Stepper(tuple(networks.values()), device, run.settings, run.seed)
        self.averages = Averages(self.learners, run.settings.average)
        self.networks = networks | self.averages.networks
        self.optimizers = {name: _optimizer(network, run.settings) for name, network in self.learners.items()}
        self.best = Best(self.folder, self.learners)
        self._early = False

    def restore(self) -> int:
        """How many steps were taken by then."""
        if processes.first():
            (self.folder / STOPPED).unlink(missing_ok=True)
        first = restore(together.told(kept_state(self.folder)), self.networks, self.optimizers)
        together.alike(tuple(self.networks.values()))
        return first

    def ends_early(self, step: int) -> bool:
        """Whether somebody, or the settings' patience, says so after ``step`` steps."""
        settings = self.run.settings
        weary = settings.patience > 0 and self.best.stale(step, settings.patience * settings.validate_every)
        self._early = together.agreed(weary or (self.run.folder / STOP).exists())
        if self._early and processes.first():
            if weary:
                save_state(self.folder, step, self.networks, self.optimizers)
            note = {"step": step, "weights_of_step": self.best.step or step}
            replace_file(self.folder / STOPPED, json.dumps(note).encode())
        return self._early

    def step(self, step: int, parts: tuple[Batch, ...]) -> dict[str, float]:
        """Let each learner take its step, and measure where that is due; losses and figures."""
        settings, values = self.run.settings, dict[str, float]()
        rate = SCHEDULES[settings.schedule](step, self.stage.steps, settings.learning_rate)
        for learner in self.stage.learners:
            values |= self.stepper.take(learner, parts, self.optimizers[learner.name], rate * learner.pace)
        self.averages.follow(step + 1)
        self.stage.after_step(step + 1)
        if self._is_due(step + 1, settings.validate_every):
            values |= self._figures(step + 1)
        return values

    def save(self, done: int) -> None:
        """Where that is due."""
        if processes.first() and self._is_due(done, self.run.settings.save_every):
            save_state(self.folder, done, self.networks, self.optimizers)

    def end(self) -> None:
        """Leave the learners in the weights that are kept."""
        if not (self._early and self.best.take()):
            self.averages.take()
        together.alike(tuple(self.learners.values()))
        for network in self.networks.values():
            network.eval()

    def _figures(self, done: int) -> dict[str, float]:
        if self.stage.validate is None or not processes.first():
            return {}
        with self.averages.in_place(), self.stepper.autocast():
            figures = dict(self.stage.validate())
            self.best.offer(done, figures.get(KNOWN, -1.0))
        return figures

    def _is_due(self, done: int, every: int) -> bool:
        return done % every == 0 or done == self.stage.steps


def _remaining(stage: Stage, first: int, settings: FitSettings) -> Iterator[tuple[Batch, ...]]:
    """The parts of each step that is left, as far as they are this process's: those of all are dealt out by turns."""
    share = together.share_of(settings.accumulate)
    if first == stage.steps:
        return
    numbered = stage.batches(first * settings.accumulate + processes.number(), processes.count())
    batches = made_ahead(islice(numbered, (stage.steps - first) * share))
    for step in range(first, stage.steps):
        yield tuple(replace(part, step=step) for part in islice(batches, share))


def _optimizer(network: nn.Module, settings: FitSettings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
