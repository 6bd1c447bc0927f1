"""Leaks from the held-out animals: one scan under two ids, a teacher that learned from one of them."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medaka_kd.volumes.open import open_volume

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from napari_medaka_kd.project import Case, Project


def find_leaks(project: Project, trained_on: Collection[str] = ()) -> tuple[str, ...]:
    """A sentence for each way in which a held-out animal is not held out.

    The same scan is known by its shape and its coarsest level; another scan of the same animal is not noticed.

    Parameters
    ----------
    trained_on
        Ids of the cases that the teacher learned from.
    """
    cases = project.cases
    if not any(case.held_out for case in cases):
        return ()
    seen = [case.id for case in cases if case.held_out and case.id in trained_on]
    told = [f"The teacher learned from {name!r}, which is held out: it cannot be tested on it." for name in seen]
    alike = sorted(cases, key=_fingerprint)
    groups = [list(group) for _, group in groupby(alike, key=_fingerprint)]
    return (*told, *(_sentence(group) for group in groups if {case.held_out for case in group} == {True, False}))


def _sentence(group: Sequence[Case]) -> str:
    names = {held: ", ".join(repr(case.id) for case in group if case.held_out is held) for held in (True, False)}
    return f"Held-out {names[True]} is the same scan as {names[False]}, which is learned from: its test says nothing."


def _fingerprint(case: Case) -> str:
    state = case.folder.stat()
    return _hash(str(case.store), (state.st_ino, state.st_mtime_ns))


@lru_cache(maxsize=4096)
def _hash(store: str, _: tuple[int, int]) -> str:
    """Of a scan, which is never changed once it is added; reads some 64³ voxels."""
    volume = open_volume(Path(store))
    coarsest = volume.read(level=len(volume.levels) - 1)
    return hashlib.sha256(repr((volume.shape, str(volume.dtype))).encode() + coarsest.tobytes()).hexdigest()
