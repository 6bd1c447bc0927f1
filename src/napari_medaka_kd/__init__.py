"""Review a teacher network's organs in micro-CT, press one button, get a better student."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_medaka_kd.project import open_project as open_project
    from napari_medaka_kd.volumes.open import open_volume as open_volume

__all__ = ["open_project", "open_volume"]

_ROOMS = {"open_project": "napari_medaka_kd.project", "open_volume": "napari_medaka_kd.volumes.open"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: importing the package costs nothing."""
    if name == "__version__":
        return version("napari-medaka-kd")
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name]), name)
