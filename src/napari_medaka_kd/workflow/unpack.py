"""unpack: a review pack that somebody sent becomes a project to review in; every file of it is judged before."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import InvalidVolume, UserError
from napari_medaka_kd.project import Project, open_project
from napari_medaka_kd.quality.record import FILE as SCORES
from napari_medaka_kd.quality.record import open_record
from napari_medaka_kd.review.mirror import read_foreign_log
from napari_medaka_kd.volumes.archive import is_archive, open_archive
from napari_medaka_kd.volumes.gate import refusing
from napari_medaka_kd.volumes.label_store import generation
from napari_medaka_kd.volumes.save import appearing

from .pack_card import CARD, PackCard, parse_card, read_card

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_medaka_kd.job import Job
    from napari_medaka_kd.volumes.archive import Archive

#: What a pack may hold. No tasks, no weights, no settings: nothing that could make a window or a verb do anything.
_KNOWN = re.compile(
    r"pack\.json|project\.toml|zarr\.json|review/[^/]+\.sqlite|"
    r"cases/(zarr\.json|[^/]+/(zarr\.json|case\.json|quality\.json|volume\.ome\.zarr/.+))"
)
_MOST_TEXT = 32 * 2**20  # bytes of a file of JSON or TOML
_REMEDY = "Ask whoever sent it to make the pack again."


def unpack(file: Path, folder: Path | None = None) -> Job[Project]:
    """The project of the pack ``file``, unpacked into ``folder``; beside it, by its name, where none is given.

    A folder in which this very pack was unpacked before is opened as it is, with all the verdicts in it.

    Raises
    ------
    UserError
        If the folder holds anything else, or the file no more than what a reviewer sends back.
    InvalidVolume
        If the file is no pack, is damaged, or holds anything that a pack has not.
    """
    folder = folder or folder_of(file)
    with open_archive(file) as archive:
        card = read_packed_card(archive)
        if folder.exists():
            return _again(folder, card)
        if not any(name.startswith("cases/") for name in archive.sizes):
            raise UserError(
                f"{str(file)!r} holds verdicts, and nothing to review.",
                "Bring them home: medaka-kd merge.",
            )
        with appearing(folder, sum(archive.sizes.values())) as partial:
            partial.mkdir()
            yield from archive.unpack(partial, archive.sizes)
            with refusing(str(file), _REMEDY):
                _check(partial, card)
    return open_project(folder)


def folder_of(file: Path) -> Path:
    """Where a pack is unpacked if nobody says: beside it."""
    name = re.sub(r"(\.pack)?\.zip$", "", file.name, flags=re.IGNORECASE)
    return file.with_name(name if name != file.name else f"{file.name}.pack")


def read_packed_card(archive: Archive) -> PackCard:
    """The card of a pack that nobody has unpacked; all names in it are known to be a pack's.

    Raises
    ------
    InvalidVolume
        If it is no pack.
    """
    name = str(archive.path)
    if CARD not in archive.sizes:
        raise InvalidVolume(f"{name!r} is no review pack.", "Give a file that medaka-kd pack has made.")
    _check_names(archive.sizes, name)
    return parse_card(archive.read(CARD), name)


def is_pack_file(path: Path) -> bool:
    """Whether ``path`` may be a pack that is not unpacked; looks at its name and its first bytes."""
    return path.suffix.lower() == ".zip" and is_archive(path)


def _check_names(sizes: Mapping[str, int], name: str) -> None:
    for inside, size in sizes.items():
        if not _KNOWN.fullmatch(inside):
            raise InvalidVolume(f"{name!r} holds {inside!r}, which no pack has.", _REMEDY)
        if Path(inside).suffix in (".json", ".toml") and size > _MOST_TEXT:
            raise InvalidVolume(f"{inside!r} in {name!r} is larger than any of ours.", _REMEDY)


def _again(folder: Path, card: PackCard) -> Project:
    there = read_card(folder) if folder.is_dir() else None
    if there is None or there.id != card.id:
        raise UserError(f"{str(folder)!r} is there already, and is not this pack.", "Unpack it into another folder.")
    return open_project(folder)


def _check(folder: Path, card: PackCard) -> None:
    """Open all that will be opened later, once: whatever is wrong is told now."""
    project = open_project(folder)
    cases = {case.id: case for case in project.cases}
    if set(cases) != set(card.cases):
        raise ValueError(f"it speaks of {sorted(card.cases)} and holds {sorted(cases)}")
    for case_id, frame in card.cases.items():
        case = cases[case_id]
        if case.volume.shape != frame.shape or generation(case.store, card.checkpoint) != frame.packed:
            raise ValueError(f"case {case_id!r} is not what it says")
        _ = case.body
        case.labels(card.checkpoint)
        if (case.folder / SCORES).is_file():
            open_record(case.folder, case.schema)
    for log in project.review_folder.glob("*.sqlite"):
        read_foreign_log(log)


def unpack_answer(archive: Archive, folder: Path) -> Job[None]:
    """Write the logs of a pack alone into ``folder``, which is empty."""
    names = [name for name in archive.sizes if name.startswith("review/")]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield from archive.unpack(folder, names)
