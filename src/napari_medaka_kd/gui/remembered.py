"""What a window remembers from one time to the next: recent projects, and where each was left."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import platformdirs

_NAME = "napari-medaka-kd"
_KEPT = 12  # projects


class Remembered:
    """A small JSON file in the user's configuration folder; lost or damaged, nothing but comfort is lost.

    Parameters
    ----------
    file
        Another place than the usual one, or the one that ``MEDAKA_KD_STATE`` names.
    """

    def __init__(self, file: Path | None = None) -> None:
        usual = platformdirs.user_config_path(_NAME, appauthor=False) / "remembered.json"
        self.file = file or Path(os.environ.get("MEDAKA_KD_STATE", usual))

    @property
    def sample(self) -> Path:
        """Where the project of made-up fish lies."""
        return self.file.parent / "sample-project"

    def projects(self) -> tuple[Path, ...]:
        """Folders of projects, the last one first; those that are gone are left out."""
        return tuple(Path(folder) for folder in self._read() if (Path(folder) / "project.toml").is_file())

    def recall(self, project: Path) -> dict[str, Any]:
        """Where ``project`` was left; empty if it was never open."""
        place = self._read().get(str(project.resolve()), {})
        return place if isinstance(place, dict) else {}

    def keep(self, project: Path, place: dict[str, Any]) -> None:
        """Note where ``project`` is left; a disk that takes nothing is no reason to stop."""
        key, known = str(project.resolve()), self._read()
        known.pop(key, None)
        newest = dict([(key, place), *known.items()][:_KEPT])
        partial = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(newest, indent=1), "utf-8")
            partial.replace(self.file)
        except OSError:
            partial.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self.file.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}
