"""What kind of thing a checkpoint finds, organs or things that may overlap: the one place where that is asked."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.settings import MeanTeacherSettings

if TYPE_CHECKING:
    from napari_medaka_kd.project import Project
    from napari_medaka_kd.settings import AnyStrategy


def finds_things(project: Project, checkpoint: str) -> bool:
    """Whether ``checkpoint`` finds things that may overlap; not where there is none, or its card is damaged."""
    with suppress(UserError):
        return checkpoint in project.checkpoints and Checkpoint.open(project.checkpoint(checkpoint)).things is not None
    return False


def refuse_things(project: Project, checkpoint: str, deed: str) -> None:
    """Refuse ``deed``, which is about organs, where ``checkpoint`` finds things that may overlap.

    Raises
    ------
    UserError
        With both.
    """
    if finds_things(project, checkpoint):
        Checkpoint.open(project.checkpoint(checkpoint)).require_organs(deed)


def learns_things(strategy: AnyStrategy) -> bool:
    """Whether a student of ``strategy`` finds things that may overlap."""
    return isinstance(strategy, MeanTeacherSettings) and strategy.instances
