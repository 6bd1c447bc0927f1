"""Past runs: what verbs left in run folders, the newest first, and whether it still holds."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from napari_medaka_kd.volumes.label_store import generation, label_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from napari_medaka_kd.project import Case, Project

T = TypeVar("T")
_TIME = len("20260101T000000Z")


def newest(project: Project, pattern: str, take: Callable[[Any, Path], T | None]) -> T | None:
    """What ``take`` makes of the newest JSON file that it can read and does not refuse; ``None`` where there is none.

    Parameters
    ----------
    pattern
        Of the files below ``runs``: ``*-evaluate*/evaluation.json``.
    take
        Given the file's content and its path; ``None`` refuses it.
    """
    for file in sorted((project.folder / "runs").glob(pattern), key=_age, reverse=True):
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
            found = take(json.loads(file.read_text("utf-8")), file)
            if found is not None:
                return found
    return None


def made_from(case: Case, names: Iterable[str]) -> str:
    """The generations of the label maps ``names`` of ``case`` as they are now: ``teacher.2 reviewed.1``."""
    known = label_names(case.store)
    return " ".join(generation(case.store, name) for name in names if name in known)


def changed(cases: Iterable[Case], names: Sequence[str], then: Mapping[str, str]) -> tuple[str, ...]:
    """Ids of the ``cases`` whose label maps are others than :func:`made_from` said ``then``, new cases included."""
    return tuple(case.id for case in cases if made_from(case, names) != then.get(case.id))


def _age(file: Path) -> tuple[str, int]:
    """Runs of the same second are told apart by their files."""
    return file.parent.name[:_TIME], file.stat().st_mtime_ns
