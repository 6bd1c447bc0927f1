"""How a teacher learns: from labels alone. Also the control that every student is held against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .batches import Diet, class_balance
from .fit import fit
from .losses import dice_ce
from .stage import Batch, Learner, Run, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor, nn

    from napari_medaka_kd.job import Job


def supervise(
    network: nn.Module, name: str, diet: Diet, run: Run, validate: Callable[[], Mapping[str, float]] | None = None
) -> Job[None]:
    """Train ``network`` on the labelled rows of ``diet``: cross-entropy + Dice."""
    balance = class_balance(diet.labelled, diet.labelled[0].labels.schema.classes, diet.patches.class_balance)

    def losses(batch: Batch) -> dict[str, Tensor]:
        return dice_ce(network(batch.image), batch.target, batch.weight, balance)

    stage = Stage(name, (Learner(name, network, losses),), diet.batches(), run.settings.steps, validate=validate)
    yield from fit(stage, run)
