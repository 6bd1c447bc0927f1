"""What the quality classifier is held against: other ways to guess which proposed organs are good, without verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_medaka_kd.networks.build import network_stride
from napari_medaka_kd.networks.critic import Critic
from napari_medaka_kd.networks.inputs import encode
from napari_medaka_kd.quality.critic import look
from napari_medaka_kd.quality.evidence import Reading, Unit, overlaps
from napari_medaka_kd.quality.learn import make_example
from napari_medaka_kd.segment.second_looks import thinned
from napari_medaka_kd.volumes.volume import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    from torch import nn

    from napari_medaka_kd.quality.learn import Labelled, Predict
    from napari_medaka_kd.settings import NetworkSettings, QualitySettings

ROUNDS = 8  # of dropout


@dataclass(frozen=True)
class Proposed:
    """A proposal with the scan it is about; the whole of both in memory."""

    image: npt.NDArray[Any]
    reading: Reading
    slab: int

    def each(self, value: Callable[[npt.NDArray[np.bool_], Unit], float]) -> dict[Unit, float]:
        """``value`` of each unit's mask in its slab."""
        units = overlaps(self.reading.classes, self.reading.classes, self.slab)
        return {unit: value(self.reading.classes[unit[1] : unit[2]] == unit[0], unit) for unit in units}


def softmax(network: nn.Module, looks: NetworkSettings, proposed: Proposed) -> dict[str, dict[Unit, float]]:
    """Mean of the largest probability, and of the entropy (its negative), in each unit."""
    shares = _probabilities(network, looks, proposed)
    top = shares.amax(0).numpy()
    entropy = -(shares * shares.clamp_min(1e-9).log()).sum(0).numpy()
    return {
        "max softmax": proposed.each(lambda mask, unit: float(top[unit[1] : unit[2]][mask].mean())),
        "mean entropy": proposed.each(lambda mask, unit: -float(entropy[unit[1] : unit[2]][mask].mean())),
    }


def dropout(network: nn.Module, looks: NetworkSettings, proposed: Proposed) -> dict[Unit, float]:
    """How well the proposal overlaps with what networks without a part of their channels say, organ by organ.

    The structure-wise measure of Roy et al. (NeuroImage 2019): the mean IoU over the rounds.
    """
    rounds = []
    for number in range(ROUNDS):
        again = _probabilities(thinned(network, number), looks, proposed).argmax(0).numpy()
        rounds.append(overlaps(proposed.reading.classes, again, proposed.slab))
    return {unit: float(np.mean([found[unit] for found in rounds])) for unit in rounds[0]}


class Regression:
    """A network that sees image and mask and says the IoU of each organ, as SegQC and its like do.

    It has the critic's layers and lessons, twice as many of them as the critic, since no classifier needs the rest.
    """

    def __init__(self, animals: Sequence[Labelled], predict: Predict, organs: int, settings: QualitySettings) -> None:
        self.organs, self.slab = organs, settings.slab
        lessons: list[tuple[Any, npt.NDArray[np.float32]]] = []
        for copy in range(settings.copies):
            for number, animal in enumerate(animals):
                made = make_example(animal, number, copy, predict, settings)
                ious = overlaps(made.reading.classes, made.truth, self.slab)
                for (first, last), view in look(made.reading, self.slab).items():
                    row = [ious.get((organ, first, last), np.nan) for organ in range(1, organs + 1)]
                    lessons.append((view, np.array(row, np.float32)))
        self.critic = self._trained(lessons, settings)

    @torch.inference_mode()
    def __call__(self, proposed: Proposed) -> dict[Unit, float]:
        views = look(proposed.reading, self.slab)
        said = torch.sigmoid(self.critic(*self._batch(list(views.values())))).numpy()
        rows = dict(zip(views, said, strict=True))
        return proposed.each(lambda _, unit: float(rows[unit[1:]][unit[0] - 1]))

    def _trained(self, lessons: list[tuple[Any, npt.NDArray[np.float32]]], settings: QualitySettings) -> Critic:
        torch.manual_seed(settings.seed)
        critic, rng = Critic(self.organs), np.random.default_rng((settings.seed, 1))
        optimizer = torch.optim.AdamW(critic.parameters(), lr=3e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=settings.critic_steps)
        for _ in range(settings.critic_steps):
            chosen = [lessons[place] for place in rng.integers(len(lessons), size=16)]
            truth = torch.from_numpy(np.stack([row for _, row in chosen]))
            said = torch.sigmoid(critic(*self._batch([view for view, _ in chosen])))
            loss = (said - truth.nan_to_num()).square()[~truth.isnan()].mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        return critic.eval()

    def _batch(self, views: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        image = torch.from_numpy(np.stack([view.image for view in views]))[:, None]
        classes = torch.from_numpy(np.stack([view.classes for view in views]).astype(np.int64))
        return image, torch.nn.functional.one_hot(classes, self.organs + 1).movedim(-1, 1).float()


@torch.inference_mode()
def _probabilities(network: nn.Module, looks: NetworkSettings, proposed: Proposed) -> torch.Tensor:
    """(classes, z, y, x) of the whole scan at once."""
    shape = proposed.reading.classes.shape
    z, y, x = shape
    seen = encode(proposed.image, whole((z, y, x)), proposed.reading.body, looks)
    missing = [(0, -side % step) for side, step in zip(shape, network_stride(looks), strict=True)]
    image = torch.from_numpy(np.pad(seen, [(0, 0), *missing], mode="edge"))[None]
    logits: torch.Tensor = network.eval()(image)[0, :, :z, :y, :x]
    return logits.softmax(0)
