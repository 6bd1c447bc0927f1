"""Preferences: what napari's Preferences window keeps for this plugin, with defaults where napari cannot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_medaka_kd.workflow.desk import Order


@dataclass(frozen=True)
class Preferences:
    """See ``contributions.configurations`` in ``napari.yaml``; the defaults there and here are the same.

    Attributes
    ----------
    reviewer
        Under which name verdicts are kept; empty: the login.
    order
        In which order a new project's queue begins.
    ghost
        How much of the neighbouring organs shows, 0 … 1.
    views
        Whether the two other views open with the dock.
    """

    reviewer: str = ""
    order: Order = "mixed"
    ghost: float = 0.15
    views: bool = True


def read_preferences() -> Preferences:
    """What the user has set; napari before 0.9 keeps no plugin's preferences, so these are the defaults there."""
    try:
        from napari.settings import get_plugin_settings

        page = get_plugin_settings("napari-medaka-kd").review
    except (ImportError, KeyError, AttributeError):
        return Preferences()
    return Preferences(
        **{name: getattr(page, name) for name in Preferences.__dataclass_fields__ if hasattr(page, name)}
    )
