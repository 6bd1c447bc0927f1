"""What a strategy needs of a project, and what of it is missing; without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medaka_kd.project import Project
    from napari_medaka_kd.settings import AnyStrategy


@dataclass(frozen=True)
class Census:
    """What a project holds, held-out animals aside.

    Attributes
    ----------
    labelled, unlabelled
        How many animals have a person's labels, and how many have none.
    checkpoints
        How many networks there are.
    """

    labelled: int
    unlabelled: int
    checkpoints: int


def census(project: Project) -> Census:
    """Count what ``project`` holds."""
    cases = [case for case in project.cases if not case.held_out]
    labelled = sum(case.labelled for case in cases)
    return Census(labelled, len(cases) - labelled, len(project.checkpoints))


def missing(strategy: AnyStrategy, found: Census) -> str:
    """What a project that holds ``found`` lacks for ``strategy``, in a sentence; empty where it lacks nothing."""
    return _NEEDS[strategy.name](found)


def _labels(found: Census) -> str:
    return "" if found.labelled else "no animal has labels. Add one with its label map."


def _proposals(found: Census) -> str:
    if not found.checkpoints:
        return "there is no teacher yet. Train one, and let it propose organs."
    return (
        "" if found.unlabelled else "every animal has labels. Add scans without labels for the teacher to propose on."
    )


def _scans(found: Census) -> str:
    return "" if found.unlabelled else "every animal has labels. Add scans without labels to learn from."


_NEEDS: dict[str, Callable[[Census], str]] = {
    "self_training": lambda found: _labels(found) or _proposals(found),
    "shape_intensity": _labels,
    "mean_teacher": lambda found: _labels(found) or _scans(found),
}
