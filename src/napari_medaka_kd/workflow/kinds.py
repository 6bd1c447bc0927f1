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
    card = card_of(project, checkpoint)
    return card is not None and card.things is not None


def refuse_things(project: Project, checkpoint: str, deed: str) -> None:
    """Refuse ``deed``, which is about organs, where ``checkpoint`` finds things that may overlap.

    Raises
    ------
    UserError
        With both.
    """
    card = card_of(project, checkpoint)
    if card is not None:
        card.require_organs(deed)


def learns_things(strategy: AnyStrategy) -> bool:
    """Whether a student of ``strategy`` finds things that may overlap."""
    return isinstance(strategy, MeanTeacherSettings) and strategy.instances


def card_of(project: Project, checkpoint: str) -> Checkpoint | None:
    """The card of ``checkpoint``; ``None`` where there is none, or it is damaged."""
    if checkpoint in project.checkpoints:
        with suppress(UserError):
            return Checkpoint.open(project.checkpoint(checkpoint))
    return None
