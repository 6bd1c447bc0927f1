"""How a teacher learns: from labels alone. Also the control that every student is held against."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from .batches import Diet, class_balance
from .fit import fit
from .losses import dice_ce
from .stage import Batch, Learner, Run, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor, nn

    from napari_medaka_kd.job import Job

_EARLY = 8  # part of the steps


def supervise(
    network: nn.Module, name: str, diet: Diet, run: Run, validate: Callable[[], Mapping[str, float]] | None = None
) -> Job[nn.Module]:
    """Train ``network`` on the labelled rows of ``diet``: cross-entropy + Dice.

    Returns what it was after an eighth of the steps, a network that makes the faults of a beginner.
    """
    balance = class_balance(diet.labelled, diet.labelled[0].labels.schema.classes, diet.patches.class_balance)

    def losses(batch: Batch) -> dict[str, Tensor]:
        return dice_ce(network(batch.image), batch.target, batch.weight, balance)

    early, steps = copy.deepcopy(network), run.settings.steps

    def after_step(done: int) -> None:
        if done == -(-steps // _EARLY):
            early.load_state_dict(network.state_dict())

    learners, followers = (Learner(name, network, losses),), {"early": early}
    yield from fit(Stage(name, learners, diet.batches(), steps, followers, after_step, validate), run)
    return early
