"""Which modality a student is for and which one helps it; without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_medaka_kd.settings import MutualSettings


@dataclass(frozen=True)
class Roles:
    """The modality that a student is for, and the one that helps it."""

    target: str
    assistant: str


def roles(settings: MutualSettings, labelled: Mapping[str, int]) -> Roles:
    """Who plays which part: as ``settings`` say, else the modality with fewer labelled animals is the target.

    Parameters
    ----------
    labelled
        How many labelled animals each modality has; those without a modality count for nothing.

    Raises
    ------
    UserError
        If these are not two modalities with labels, or nobody says which is which.
    """
    if lack := unclear(settings, labelled):
        raise UserError(f"The strategy 'mutual' cannot be played: {lack}", "See: medaka-kd status.")
    found = sorted((name for name, count in labelled.items() if name and count), key=lambda name: labelled[name])
    target = settings.target or next(name for name in found if name != settings.assistant)
    return Roles(target, settings.assistant or next(name for name in reversed(found) if name != target))


def unclear(settings: MutualSettings, labelled: Mapping[str, int]) -> str:
    """Why the parts cannot be given out, in sentences; empty where they can."""
    found = {name: count for name, count in labelled.items() if name and count}
    has = ", ".join(f"{name} ({count})" for name, count in sorted(found.items())) or "none"
    named = [name for name in (settings.target, settings.assistant) if name]
    for name in named:
        if name not in found:
            return f"no labelled animal is of the modality {name!r}; there is: {has}."
    if len(found) < 2:
        return f"it needs labelled animals of two modalities; there is: {has}. Name them: medaka-kd modality."
    if len(named) == 2:
        return "" if named[0] != named[1] else f"target and assistant are both {named[0]!r}. Name two."
    if len(found) > 2:
        return f"there are more than two modalities: {has}. Set strategy.target and strategy.assistant."
    if not named and len(set(found.values())) == 1:
        return f"both modalities have as many labelled animals: {has}. Set strategy.target."
    return ""
