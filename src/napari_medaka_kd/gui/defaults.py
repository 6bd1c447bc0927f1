"""Defaults: what the project's own settings.toml says, as it stands now."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from psygnal import Signal

from napari_medaka_kd.settings import Settings
from napari_medaka_kd.turns import FILE, project_knobs

from .spoken import spoken

if TYPE_CHECKING:
    from pathlib import Path

S = TypeVar("S", bound=Settings)


class Defaults:
    """What the project's own ``settings.toml`` says; ``changed`` tells that somebody wrote it anew."""

    changed = Signal()
    went_wrong = Signal(str)

    def __init__(self) -> None:
        self._project: Path | None = None
        self._written = 0

    def follow(self, project: Path | None) -> None:
        """Read that project's file from now on."""
        self._project, self._written = project, _written(project)

    @spoken
    def of(self, verb: str, kind: type[S]) -> S:
        """The project's own settings of a verb; ``None`` where the file cannot be read, which is told."""
        return kind() if self._project is None else project_knobs(kind, self._project, verb)

    def listen(self) -> None:
        """Notice that the file was written."""
        written = _written(self._project)
        if written != self._written:
            self._written = written
            self.changed.emit()


def _written(project: Path | None) -> int:
    """When, in ns; 0 where there is no file."""
    try:
        return 0 if project is None else (project / FILE).stat().st_mtime_ns
    except OSError:
        return 0
