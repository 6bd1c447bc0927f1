"""A teacher that follows its student: each of its weights is a moving average of the student's."""

from __future__ import annotations

import torch
from torch import nn


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
