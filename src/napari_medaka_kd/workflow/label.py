"""label: organs of an animal that is in the project already: drawn since, or taken from a label map and taken back."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.project import MANUAL, REVIEWED
from napari_medaka_kd.volumes.label_list import split_name
from napari_medaka_kd.volumes.label_store import fingerprint, generation, remove_labels, save_labels, write_labels
from napari_medaka_kd.volumes.open import open_labels

from .anatomy import facts_of
from .correct import corrected_labels
from .corrected import as_facts, corrections

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medaka_kd.job import Job
    from napari_medaka_kd.project import Case, Project

_TAKEN = "taken from "


def label_from_file(project: Project, case_id: str, file: Path) -> Job[Case]:
    """Give the animal the labels in ``file``, organ ids on its scan's grid, as :data:`MANUAL`.

    Raises
    ------
    UserError, InvalidVolume
        If it has labels already; if the file cannot be read, has another shape, or an id that the project lacks.
    """
    case = _unlabelled(project, case_id)
    yield from save_labels(open_labels(file, project.schema, case.volume.voxel_size), case.store, MANUAL)
    return _looked_at(case)


def label_from(project: Project, case_id: str, name: str) -> Job[Case]:
    """Make label map ``name`` of the animal, with what people corrected laid over, a person's labels: all is right now.

    Memory does not grow with the scan. Interrupted and called again, it goes on where it stopped.

    Raises
    ------
    UserError
        If the animal has labels already, or no such label map, or is held out: its labels would be what ``name`` is
        judged by.
    """
    case = _unlabelled(project, case_id)
    if case.held_out:
        raise UserError(
            f"{case_id!r} is held out: networks are judged by its labels, which are to be drawn without them.",
            "Give it labels from a file.",
        )
    if name == REVIEWED or name not in case.label_names:
        known = ", ".join(known for known in case.label_names if known != REVIEWED) or "none"
        raise UserError(f"Case {case_id!r} has no label map {name!r} to take.", f"It has: {known}.")
    labels = corrected_labels(project, case, name)
    said = as_facts(corrections(project).get(case_id, ()))
    digest = hashlib.sha256(repr(said).encode()).hexdigest()
    made_from = f"{_TAKEN}{generation(case.store, name)} {digest}"
    yield from write_labels(labels, case.store, MANUAL, made_from, f"take the labels of {case_id}")
    return _looked_at(case)


def taken_from(case: Case) -> str:
    """The label map that the animal's labels were taken from; empty where a person drew them, or it has none."""
    said = fingerprint(case.store, MANUAL) if case.labelled else ""
    return split_name(said.removeprefix(_TAKEN).split()[0])[0] if said.startswith(_TAKEN) else ""


def take_back(project: Project, case_id: str) -> Case:
    """Let the animal be without labels again, if these were taken from a label map.

    Raises
    ------
    UserError
        If they were not: what a person drew is not thrown away.
    """
    case = project.case(case_id)
    if not taken_from(case):
        raise UserError(
            f"The labels of {case_id!r} were not taken from a label map, so they are not taken back.",
            "Take back those that were.",
        )
    remove_labels(case.store, MANUAL)
    return case


def _unlabelled(project: Project, case_id: str) -> Case:
    case = project.case(case_id)
    if not case.labelled:
        return case
    if name := taken_from(case):
        raise UserError(
            f"Case {case_id!r} has labels already, taken from {name!r}.",
            f"Take them back first: medaka-kd label PROJECT {case_id} --take-back.",
        )
    raise UserError(f"Case {case_id!r} has labels already.", "Add the scan once more, under another name.")


def _looked_at(case: Case) -> Case:
    """``case``, of whose labels is kept what they show."""
    facts_of(case)
    return case
