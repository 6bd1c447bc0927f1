"""The critic at work: a small network that learns, from examples, what an acceptable organ looks like on its image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.networks.critic import Critic

from .evidence import Reading, Unit, overlaps, slabs

if TYPE_CHECKING:
    from collections.abc import Sequence

#: (z, y, x) on which a review unit is shown to the critic.
GRID = (8, 32, 32)


@dataclass(frozen=True)
class View:
    """One slab of one label map as the critic sees it.

    Attributes
    ----------
    image, classes
        ``GRID`` float32 and uint16.
    good
        (organs,) float32: 1 acceptable, 0 not, NaN where the organ is absent or not judged.
    """

    image: npt.NDArray[np.float32]
    classes: npt.NDArray[np.uint16]
    good: npt.NDArray[np.float32]


def look(reading: Reading, slab: int) -> dict[tuple[int, int], View]:
    """The slabs of ``reading``, as the critic sees them, unjudged."""
    views = {}
    for first, last in slabs(len(reading.classes), slab):
        sides = (slice(first, last), reading.body.box[1], reading.body.box[2])
        z, y, x = (np.linspace(s.start, s.stop - 1, n).round().astype(int) for s, n in zip(sides, GRID, strict=True))
        grid = np.ix_(z, y, x)
        classes = reading.classes[grid].astype(np.uint16)
        views[first, last] = View(reading.image[grid], classes, np.empty(0, np.float32))
    return views


def judged_views(reading: Reading, truth: npt.NDArray[np.int64], slab: int, organs: int, good_iou: float) -> list[View]:
    """The slabs of ``reading``, judged by their overlap with ``truth``."""
    ious = overlaps(reading.classes, truth, slab)
    views = []
    for (first, last), view in look(reading, slab).items():
        good = np.full(organs, np.nan, np.float32)
        for organ in range(1, organs + 1):
            if (organ, first, last) in ious:
                good[organ - 1] = ious[organ, first, last] >= good_iou
        views.append(View(view.image, view.classes, good))
    return views


def train_critic(views: Sequence[View], organs: int, steps: int, seed: int) -> Job[Critic]:
    """Train a critic for ``organs`` organs on judged views: binary cross-entropy over the organs that are present."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        critic = Critic(organs)
    optimizer = torch.optim.AdamW(critic.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=max(2, steps))
    rng = np.random.default_rng((seed, 1))
    for step in range(steps):
        chosen = [views[number] for number in rng.integers(len(views), size=16)]
        image, labels, good = _batch(chosen, organs)
        image = image * float(rng.uniform(0.8, 1.2)) + torch.from_numpy(rng.normal(0, 0.03, image.shape)).float()
        logits = critic.train()(image, labels)
        known = ~good.isnan()
        losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, good.nan_to_num(), reduction="none")
        loss = (losses * known).sum() / known.sum().clamp_min(1)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        yield Progress("train the critic", step + 1, steps, {"critic": float(loss.detach())})
    return critic.eval()


@torch.inference_mode()
def criticise(critic: Critic, reading: Reading, slab: int, organs: int) -> dict[Unit, float]:
    """The critic's logit of each organ in each slab; large is good."""
    views = look(reading, slab)
    image, labels, _ = _batch(list(views.values()), organs)
    logits = critic(image, labels).numpy()
    return {
        (organ, first, last): float(row[organ - 1])
        for (first, last), row in zip(views, logits, strict=True)
        for organ in range(1, organs + 1)
    }


def _batch(views: Sequence[View], organs: int) -> tuple[Tensor, Tensor, Tensor]:
    image = torch.from_numpy(np.stack([view.image for view in views]))[:, None]
    classes = torch.from_numpy(np.stack([view.classes for view in views]).astype(np.int64))
    labels = torch.nn.functional.one_hot(classes, organs + 1).movedim(-1, 1).float()
    good = torch.from_numpy(np.stack([view.good for view in views])) if views[0].good.size else torch.empty(0)
    return image, labels, good
