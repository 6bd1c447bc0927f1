"""merge: the verdicts that were given in a review pack come home, as they were said and about what they were said."""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medaka_kd.errors import InvalidVolume, UserError
from napari_medaka_kd.job import Progress, drain
from napari_medaka_kd.review import ALL_ORGANS, Decision, ReviewItem, Standing, Verdict, read_verdicts
from napari_medaka_kd.review.mirror import GESTURES, mirror, read_foreign_log
from napari_medaka_kd.volumes.archive import open_archive
from napari_medaka_kd.volumes.label_store import generation, label_names

from .pack_card import is_pack, read_card
from .pack_crop import scan_identity
from .unpack import read_packed_card, unpack_answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from napari_medaka_kd.job import Job
    from napari_medaka_kd.project import Project
    from napari_medaka_kd.volumes.labels import LabelSchema

    from .pack_card import PackCard, PackedCase

_SHOWN = 20  # conflicts that are written out


@dataclass(frozen=True)
class Conflict:
    """Two people of another mind.

    Attributes
    ----------
    item
        What both words are about.
    reviewer, decision
        Who said what in the pack.
    other, otherwise
        Who said what in the project.
    """

    item: ReviewItem
    reviewer: str
    decision: Decision
    other: str
    otherwise: Decision


@dataclass(frozen=True)
class Merged:
    """What a merge brought.

    Attributes
    ----------
    verdicts
        How many rows of whom are new; also those that take something back.
    known
        How many were there already.
    conflicts
        Where others in the project say otherwise.
    moved_on
        (animal, the label map that was judged, the one there is now), where they differ.
    organs
        Names by id.
    """

    verdicts: dict[str, int]
    known: int
    conflicts: tuple[Conflict, ...]
    moved_on: tuple[tuple[str, str, str], ...]
    organs: dict[int, str]

    def text(self) -> str:
        """In sentences, the conflicts with both names."""
        lines = [self.said()]
        for case, judged, now in self.moved_on:
            lines.append(f"{case}: judged was {judged}, by now there is {now}. The verdicts stay with {judged}.")
        lines += [self._worded(conflict) for conflict in self.conflicts[:_SHOWN]]
        more = len(self.conflicts) - _SHOWN
        return "\n".join([*lines, *([f"… and {more} more conflicts."] if more > 0 else [])])

    def said(self) -> str:
        """In a line."""
        who = ", ".join(f"{count} of {reviewer}" for reviewer, count in self.verdicts.items() if count)
        known = f", {self.known} known already" if self.known else ""
        conflicts = f"; {len(self.conflicts)} in conflict" if self.conflicts else ""
        return f"Merged: {who or 'no new verdicts'}{known}{conflicts}."

    def json(self) -> dict[str, Any]:
        return asdict(self) | {"conflicts": [asdict(conflict) for conflict in self.conflicts]}

    def _worded(self, conflict: Conflict) -> str:
        item = conflict.item
        organ = "all organs" if item.organ == ALL_ORGANS else self.organs[item.organ]
        where = "" if item.slab is None else f", z {item.slab[0]}-{item.slab[1] - 1}"
        return (
            f"{item.case}, {organ}{where}: {conflict.reviewer} says {conflict.decision}, "
            f"{conflict.other} says {conflict.otherwise}."
        )


def merge(project: Project, source: Path) -> Job[Merged]:
    """Bring home the verdicts of the pack ``source``, a file or a folder; merged again, it adds what is new.

    Each log of the pack gets a log of its own in ``review/``, row for row, with its times; slabs are those of the scan,
    label maps those that were packed. A stop or a kill leaves whole logs, and the next merge the rest.

    Raises
    ------
    UserError
        If it is of another project, or holds what this version cannot bring home.
    InvalidVolume
        If it is no pack, or damaged.
    """
    if is_pack(project):
        raise UserError(f"{str(project.folder)!r} is a pack itself.", "Name the project that packs were made from.")
    yield Progress(f"Reading {source.name}", 0, 0)
    with _reading(source) as (card, folder):
        _check_origin(project, card, source)
        logs = [(log.stem, read_foreign_log(log)) for log in sorted(folder.glob("[!.]*.sqlite"))]
    homes = [(name, _bring_home(said, card, project.schema)) for name, said in logs if said]
    fresh: list[Verdict] = []
    for done, (name, said) in enumerate(homes):
        yield Progress(f"Merging the verdicts of {name}", done, len(homes))
        fresh += mirror(project.review_folder, _origin(card, said), said)
    counts = {name: sum(verdict.reviewer == name for verdict in fresh) for name, _ in homes}
    known = sum(len(said) for _, said in homes) - len(fresh)
    organs = {organ.id: organ.name for organ in project.schema.organs}
    given = [verdict for _, said in homes for verdict in said]
    found = _conflicts(read_verdicts(project.review_folder), given, card.checkpoint)
    merged = Merged(counts, known, found, _moved_on(project, card), organs)
    yield Progress("Merged", 1, 1, said=merged.text())
    return merged


@contextmanager
def _reading(source: Path) -> Iterator[tuple[PackCard, Path]]:
    """The card of a pack, and a folder that holds its logs."""
    if source.is_dir():
        card = read_card(source)
        if card is None:
            raise UserError(f"{str(source)!r} is no review pack.", "Give the file or the folder of a pack.")
        yield card, source / "review"
        return
    if not source.is_file():
        raise UserError(f"There is no {str(source)!r}.", "Check the path.")
    with tempfile.TemporaryDirectory(prefix="medaka-kd-") as place, open_archive(source) as archive:
        card = read_packed_card(archive)
        drain(unpack_answer(archive, Path(place) / "answer"))
        yield card, Path(place) / "answer" / "review"


def _check_origin(project: Project, card: PackCard, source: Path) -> None:
    cases = {case.id: case for case in project.cases}
    for case_id, frame in card.cases.items():
        if case_id not in cases or scan_identity(cases[case_id]) != frame.scan:
            raise UserError(
                f"{source.name!r} was packed from another project: its animal {case_id!r} is not of {project.name!r}.",
                f"Merge it into {card.project!r}, which it was made from.",
            )


def _bring_home(said: Sequence[Verdict], card: PackCard, schema: LabelSchema) -> tuple[Verdict, ...]:
    """The verdicts of one log, in the words of the project."""
    first = _gesture_base(card, said[0])
    return tuple(_translate(verdict, card, schema, first) for verdict in said)


def _translate(verdict: Verdict, card: PackCard, schema: LabelSchema, first: int) -> Verdict:
    item, frame = verdict.item, card.cases.get(verdict.item.case)
    if frame is None or item.organ not in (ALL_ORGANS, *schema.ids) or verdict.checkpoint != card.checkpoint:
        raise InvalidVolume(f"{verdict.reviewer!r} judges what the pack does not hold: {item}.", "Pack it anew.")
    if verdict.labels != frame.packed:
        raise UserError(
            f"{verdict.reviewer!r} painted in the pack ({verdict.labels}), which this version cannot merge.",
            "Update napari-medaka-kd, or have it corrected in the project.",
        )
    try:
        home = replace(item, slab=frame.back(item.slab))
    except ValueError as error:
        raise InvalidVolume(
            f"{verdict.reviewer!r} judges slices of {item.case!r}: {error}.", "Pack it anew."
        ) from error
    told = {"item": home, "labels": frame.labels, **_about_the_whole(verdict, frame)}
    return replace(verdict, **told, gesture=verdict.gesture and first + verdict.gesture)


def _about_the_whole(verdict: Verdict, frame: PackedCase) -> dict[str, Any]:
    """What a desk says of a verdict that in a pack is true of the pack alone, put right, where verdicts say it.

    The label map's hash is that of what was packed, not of the crop; and what a pack drew at random, it drew from what
    somebody had chosen.
    """
    drawn = getattr(verdict, "drawn", "")
    right = {"digest": frame.digest, "drawn": "" if drawn == "random" else drawn}
    return {name: value for name, value in right.items() if name in {field.name for field in fields(Verdict)}}


def _origin(card: PackCard, said: Sequence[Verdict]) -> str:
    """Tells the log that ``said`` is from every other: two machines may have a log of one pack and one reviewer."""
    begun = f"{card.id}\n{said[0].reviewer}\n{said[0].time}"
    return hashlib.sha256(begun.encode()).hexdigest()[:12]


def _gesture_base(card: PackCard, first: Verdict) -> int:
    """Gestures of a merged log are numbered apart from those of every other."""
    return (int(_origin(card, (first,))[:8], 16) + 1) * GESTURES


def _moved_on(project: Project, card: PackCard) -> tuple[tuple[str, str, str], ...]:
    found = []
    for case_id, frame in sorted(card.cases.items()):
        store = project.case(case_id).store
        there = generation(store, card.checkpoint) if card.checkpoint in label_names(store) else "none"
        if there != frame.labels:
            found.append((case_id, frame.labels, there))
    return tuple(found)


def _conflicts(verdicts: Iterable[Verdict], given: Sequence[Verdict], checkpoint: str) -> tuple[Conflict, ...]:
    """Where what stands of ``given`` and another's word on the same, or on a part of it, differ; unsure is neither."""
    by_name: dict[str, list[Verdict]] = {}
    cases = {verdict.item.case for verdict in given}
    for verdict in (verdict for verdict in verdicts if verdict.item.case in cases):
        by_name.setdefault(verdict.reviewer, []).append(verdict)
    standing = {name: Standing(said, checkpoint) for name, said in by_name.items()}
    merged = {(verdict.reviewer, verdict.time) for verdict in given}
    found: dict[tuple[ReviewItem, str, str], Conflict] = {}
    for name in {verdict.reviewer for verdict in given}:
        for other in sorted(standing.keys() - {name}):
            for item in {*standing[name], *standing[other]}:
                ours, theirs = standing[name].covering(item), standing[other].covering(item)
                if ours and theirs and (ours.reviewer, ours.time) in merged and _differ(ours.decision, theirs.decision):
                    found[(item, name, other)] = Conflict(item, name, ours.decision, other, theirs.decision)
    return tuple(found[key] for key in sorted(found))


def _differ(one: Decision, other: Decision) -> bool:
    return one != other and Decision.UNSURE not in (one, other)
