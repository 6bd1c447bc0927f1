"""The animals of a project in a line each: what is there of them, and how much of it was reviewed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.project import MANUAL, REVIEWED
from napari_medaka_kd.quality.record import FILE
from napari_medaka_kd.volumes.labels import LabelSchema

from .outline import outline

if TYPE_CHECKING:
    from napari_medaka_kd.project import Case, Project


@dataclass(frozen=True)
class CaseLine:
    """An animal at a glance.

    Attributes
    ----------
    state
        In a few words: labelled, held out, proposed, scored, corrected; and its modality where it was named.
    organs, of
        How many of the project's organs the label map in use shows, and how many the project has.
    detail
        Its size, how it was scanned, and all its label maps.
    """

    case: str
    state: str
    organs: int
    of: int
    detail: str


def herd(project: Project, checkpoint: str = "") -> tuple[CaseLine, ...]:
    """A line for each case; ``checkpoint`` names the proposals in use."""
    return tuple(_line(case, checkpoint) for case in project.cases)


def segmented(project: Project, checkpoint: str) -> tuple[int, int]:
    """How many animals have proposals by ``checkpoint``, and how many animals there are."""
    cases = project.cases
    return sum(case.has(checkpoint) for case in cases), len(cases)


def proposers(project: Project) -> tuple[str, ...]:
    """Whose label maps are there, people's aside, then the other checkpoints."""
    made = {name for case in project.cases for name in (*case.label_names, *case.instance_names)}
    names = {*made, *project.checkpoints} - {MANUAL, REVIEWED}
    return tuple(sorted(names, key=lambda name: (name not in made, name)))


def name_organs(text: str) -> LabelSchema:
    """Organs from what a person typed: names with commas or one a line, or ``id = name`` one a line.

    Raises
    ------
    UserError
        If there is none, one is named twice, or an id is no number.
    """
    parts = [part.strip() for line in text.splitlines() for part in line.split(",") if part.strip()]
    try:
        if any("=" in part for part in parts):
            pairs = [part.partition("=") for part in parts]
            return LabelSchema.from_ids({int(number): name.strip(" '\"") for number, _, name in pairs})
        schema = LabelSchema.from_names(parts)
    except ValueError as error:
        raise UserError(
            f"These organs cannot be used: {error}.", "Write each name once, or lines like: 1 = brain."
        ) from error
    if not schema.organs:
        raise UserError("A project needs organs.", "Name at least one.")
    return schema


def _line(case: Case, checkpoint: str) -> CaseLine:
    names = case.label_names
    used = next((name for name in (MANUAL, checkpoint) if name in names), "")
    organs = len(outline(case, used).organs) if used else 0
    volume = case.volume
    size = " × ".join(map(str, volume.shape))
    kind = f"modality: {case.modality}; " if case.modality else ""
    things = case.instance_names
    detail = f"{size} voxels (z, y, x) of {volume.voxel_size[0]:.3g} µm; {kind}labels: {', '.join(names) or 'none'}"
    detail += f"; things that overlap: {', '.join(things)}" if things else ""
    return CaseLine(case.id, _state(case, (*names, *things), checkpoint), organs, len(case.schema.organs), detail)


def _state(case: Case, names: tuple[str, ...], checkpoint: str) -> str:
    words = ["held out"] if case.held_out else []
    if MANUAL in names:
        words.append("labelled")
    elif REVIEWED in names:
        words.append("corrected")
    elif checkpoint in names:
        words.append("scored" if (case.folder / FILE).is_file() else "proposed")
    else:
        words.append("new")
    return ", ".join((*words, case.modality) if case.modality else words)
