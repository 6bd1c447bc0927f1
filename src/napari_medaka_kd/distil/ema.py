"""Networks that follow others: each of their weights is a moving average of another's."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def keep_share(steps: int, most: float) -> float:
    """How much of itself a teacher keeps after the ``steps``-th step: min(1 − 1/(steps + 1), most).

    Until ``most`` is reached the teacher is the plain mean of the student's weights so far, the first included.
    """
    return min(1 - 1 / (steps + 1), most)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, steps: int, most: float = 0.99) -> None:
    """``teacher ← k·teacher + (1 − k)·student``, k as :func:`keep_share` says, in place.

    The statistics of batch norm are averaged too, counters are copied.

    Parameters
    ----------
    teacher, student
        Of the same architecture.
    steps
        Steps that the student has taken, from 1 on.
    most
        See :func:`keep_share`.
    """
    own = teacher.state_dict()
    for name, theirs in student.state_dict().items():
        if theirs.is_floating_point():
            own[name].lerp_(theirs, 1 - keep_share(steps, most))
        else:
            own[name].copy_(theirs)


class Averages:
    """The moving averages of learners, to be kept in their stead; none where ``most`` is 0.

    Parameters
    ----------
    learners
        By name, on their device.
    most
        See :func:`keep_share`.

    Attributes
    ----------
    networks
        The averages, by names of their own.
    """

    def __init__(self, learners: Mapping[str, nn.Module], most: float) -> None:
        self._most = most
        followed = learners if most else {}
        self._pairs = [(net, copy.deepcopy(net).requires_grad_(requires_grad=False)) for net in followed.values()]
        self.networks = {f"{name}, averaged": mean for name, (_, mean) in zip(followed, self._pairs, strict=True)}

    def follow(self, steps: int) -> None:
        """Take in the learners' weights after their ``steps``-th step."""
        for learner, mean in self._pairs:
            follow(mean, learner, steps, self._most)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While this lasts the learners have the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def take(self) -> None:
        """Give the learners the averaged weights for good."""
        for learner, mean in self._pairs:
            learner.load_state_dict(mean.state_dict())

    @torch.no_grad()
    def _swap(self) -> None:
        for learner, mean in self._pairs:
            theirs = mean.state_dict()
            for name, tensor in learner.state_dict().items():
                own = tensor.clone()
                tensor.copy_(theirs[name])
                theirs[name].copy_(own)
