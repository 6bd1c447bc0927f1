"""Batch, Learner, Stage, Run: what a strategy says, and the loop plays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from napari_medaka_kd.settings import FitSettings


@dataclass(frozen=True)
class Batch:
    """What one step learns from. The first ``labelled`` rows hold a person's labels, the others pseudo-labels.

    Attributes
    ----------
    image
        (B, C, Z, Y, X) float32: the student's view, bent and cut-mixed.
    target
        (B, Z, Y, X) int64 classes; ``IGNORE`` where nothing is known.
    weight
        (B, Z, Y, X) float32: trust in the target.
    clean
        Like ``image``, in the same geometry but with the intensities as scanned and nothing pasted: the teacher's view.
    donor, pasted
        (B,) int64 and (B, 1, Z, Y, X) bool: which row's voxels were pasted into which place.
    animal
        (B,) int64: which of the labelled animals a row is of, or which of the others.
    soft
        By row, the teacher's logits (classes, Z, Y, X) float32 in the geometry of ``clean``, up to a constant a voxel;
        for the rows of animals whose soft labels were kept.
    beside
        Batches of other animals for the same step, by name.
    twin
        Like ``clean``, but where a row's animal imitates another one, of that one; ``None`` where none does.
    number
        Which of all batches it is. As ``step``, where a step has one batch; what is drawn for it is drawn from this.
    """

    step: int
    labelled: int
    image: Tensor
    target: Tensor
    weight: Tensor
    clean: Tensor
    donor: Tensor
    pasted: Tensor
    animal: Tensor
    soft: Mapping[int, Tensor] = field(default_factory=dict)
    beside: Mapping[str, Batch] = field(default_factory=dict)
    twin: Tensor | None = None
    number: int = 0

    def to(self, device: torch.device) -> Batch:
        """This batch on ``device``."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        soft = {row: logits.to(device) for row, logits in self.soft.items()}
        beside = {name: batch.to(device) for name, batch in self.beside.items()}
        return replace(self, soft=soft, beside=beside, **moved)

    def rest(self) -> Batch:
        """The rows after the labelled ones, as a batch of their own: pieces are exchanged among them alone."""
        rows: dict[str, Any] = {
            name: value[self.labelled :] for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        soft = {row - self.labelled: logits for row, logits in self.soft.items() if row >= self.labelled}
        return replace(self, **rows | {"labelled": 0, "donor": rows["donor"] - self.labelled, "soft": soft})

    def mixed(self, answers: Tensor) -> Tensor:
        """``answers`` to the clean rows, (B, C, Z, Y, X), cut and pasted as the image was."""
        return torch.where(self.pasted, answers[self.donor], answers)


@dataclass(frozen=True)
class Learner:
    """A network that is trained, and what it is trained by: named terms whose sum is minimised.

    Attributes
    ----------
    losses
        The terms of a batch, of the same names for every batch.
    pace
        Its learning rate, as a share of the training's.
    """

    name: str
    network: nn.Module
    losses: Callable[[Batch], dict[str, Tensor]]
    pace: float = 1.0


class Batches(Protocol):
    """Makes batches, each a function of its number alone."""

    def __call__(self, first: int, every: int = 1) -> Iterator[Batch]:
        """Those numbered ``first``, ``first + every``, ``first + 2 · every``, …, each also as its ``step``."""


def nothing(_: int) -> None:
    """Do nothing after a step."""


@dataclass(frozen=True)
class Stage:
    """One training from a start to an end.

    Attributes
    ----------
    batches
        ``batches(first, every)`` yields those numbered ``first``, ``first + every``, …; the same ones each time.
    followers
        Networks that no gradient moves but that must be saved with the rest (an EMA teacher).
    after_step
        Called with the number of the step just taken.
    validate
        Named figures to report now and then, larger is better for none in particular.
    """

    name: str
    learners: tuple[Learner, ...]
    batches: Batches
    steps: int
    followers: Mapping[str, nn.Module] = field(default_factory=dict)
    after_step: Callable[[int], None] = nothing
    validate: Callable[[], Mapping[str, float]] | None = None


@dataclass(frozen=True)
class Run:
    """Where a training keeps its state, and how it is carried out."""

    folder: Path
    settings: FitSettings
    seed: int
