"""correct: begin a crop, or go on with it; make it labels in one step with the verdict that says so; or give it up.

Where a commit is killed, it either has not happened and every stroke is still there, or it has happened wholly: the
verdict is the moment. What follows it (:func:`settle`) is made up for by whoever looks next.
"""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Progress
from napari_medaka_kd.project import REVIEWED
from napari_medaka_kd.review import ALL_ORGANS, Decision, ReviewItem, Verdict, VerdictLog, now, read_verdicts
from napari_medaka_kd.review.journal import (
    MOST_VOXELS,
    Begun,
    begin_journal,
    open_journal,
    read_journal,
    remove_journal,
)
from napari_medaka_kd.volumes.atomic import locked, replace_file, sync_folder
from napari_medaka_kd.volumes.label_patch import Patch, list_patch, prepare_patch
from napari_medaka_kd.volumes.label_store import generation, label_names
from napari_medaka_kd.volumes.tiles import block_grid
from napari_medaka_kd.volumes.volume import extent, hull, within

from .corrected import lay_over
from .correction import Correction
from .crop import crop_region
from .judged import judged
from .pack_card import refuse_in_pack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_medaka_kd.job import Job
    from napari_medaka_kd.project import Case, Project
    from napari_medaka_kd.volumes.labels import LabelMap
    from napari_medaka_kd.volumes.volume import Region

__all__ = [
    "Correction",
    "abandon_correction",
    "begin_correction",
    "commit_correction",
    "corrected_labels",
    "open_corrections",
    "settle",
]

_BLOCK = (256, 256, 256)  # voxels that are compared at once
_LOCK = ".reviewing"  # beside the label maps of a case: one commit at a time


def begin_correction(
    project: Project, item: ReviewItem, checkpoint: str, reviewer: str, margin: int = 24
) -> Correction:
    """Open a crop around ``item`` for painting, with the strokes of an earlier correction of it that was not committed.

    Strokes are laid over the labels as they are now, also where those changed since: what was painted is a person's
    word. The crop spans the item's slices (or those of the organ) and the organ's box with ``margin`` voxels around.

    Raises
    ------
    UserError
        If the project is a review pack, the item, the label map or the reviewer is not known, the crop has more than
        64 Mi voxels, this correction is open in another window, or the disk takes no journal.
    """
    refuse_in_pack(project)
    case = project.case(item.case)
    _require(case, item)
    path = _journal_path(project, item, checkpoint, reviewer)
    labels = corrected_labels(project, case, checkpoint)
    journal = open_journal(path)
    if journal is None:
        region = crop_region(case, labels, item, margin)
        if math.prod(extent(region)) > MOST_VOXELS:
            raise UserError(
                f"The crop around it would have {math.prod(extent(region)) / 2**20:.0f} Mi voxels, more than "
                f"{MOST_VOXELS // 2**20}.",
                "Correct it slab by slab.",
            )
        made_from = generation(case.store, checkpoint)
        with _saying():
            journal = begin_journal(path, Begun(item, checkpoint, made_from, region, reviewer))
    crop = labels.volume.read(journal.begun.region)
    return Correction(journal, crop, case.schema, case.volume.voxel_size)


def open_corrections(project: Project, reviewer: str) -> tuple[ReviewItem, ...]:
    """What ``reviewer`` began to correct, painted in, and neither committed nor gave up."""
    settle(project)
    read = [read_journal(path) for path in sorted(_journals(project, reviewer).glob("*.journal"))]
    return tuple(sorted({found[0].item for found in read if found is not None and found[1]}))


def commit_correction(
    project: Project, correction: Correction, seconds: float = 0.0, drawn: str = ""
) -> Job[tuple[Verdict, ...]]:
    """Write the crop into the next generation of the reviewed labels, and say ``corrected``, durably.

    Corrected are the item's organ, and in the same slices each other organ that gained voxels in the crop or lost some
    to the background. Only the voxels that were painted are taken from the crop, so that others may correct beside it.

    Parameters
    ----------
    seconds
        How long the person looked.
    drawn
        Why they looked at the item, see :class:`~napari_medaka_kd.review.Verdict`.

    Raises
    ------
    UserError
        If nothing differs, or the disk does not take it; the strokes then still are what they were.
    """
    if not correction.changed.any():
        raise UserError("Nothing was painted here.", "Paint what is wrong, or give the correction up and accept it.")
    case = project.case(correction.item.case)
    with locked(case.store / "labels" / _LOCK):
        for marker in _markers(project):
            _settle(project, marker, case)
        patch = yield from _make_patch(project, case, correction)
        made = yield from prepare_patch(case.store, REVIEWED, patch, case.schema)
        verdicts = _verdicts(project, correction, made, seconds, drawn)
        marker = correction.journal.path.with_suffix(".commit")
        with _saying():
            replace_file(marker, json.dumps(_describe(verdicts[0])).encode())
        written = VerdictLog(project.review_folder, correction.reviewer).append_all(verdicts)
        correction.journal.close()
        _finish(case, made, marker)
    return written


def abandon_correction(correction: Correction) -> None:
    """Throw the strokes away."""
    correction.journal.remove()


def settle(project: Project) -> None:
    """Bring to their end the commits that were killed; costs nothing where there are none."""
    for marker in _markers(project):
        case = _case_of(project, marker)
        if case is not None:
            with locked(case.store / "labels" / _LOCK):
                _settle(project, marker, case)


def corrected_labels(project: Project, case: Case, checkpoint: str) -> LabelMap:
    """The proposals of ``checkpoint`` with every correction that stands laid over, read lazily at every level.

    Inside a corrected unit (an organ in some slices) the organ lies exactly where people say; what they took from it
    is what they say, too. Corrections of another checkpoint's proposals count as well: they are people's labels.

    Raises
    ------
    UserError
        If there are no such proposals.
    """
    settle(project)
    return lay_over(project, case, checkpoint)


def _require(case: Case, item: ReviewItem) -> None:
    depth = case.volume.shape[0]
    if item.organ not in (ALL_ORGANS, *case.schema.ids):
        raise UserError(f"The project has no organ {item.organ}.", f"It has: {case.schema.ids}.")
    if item.slab is not None and not 0 <= item.slab[0] < item.slab[1] <= depth:
        raise UserError(f"{case.id!r} has slices 0 to {depth - 1}, so no {item.slab}.", "Choose an item of the queue.")


def _make_patch(project: Project, case: Case, correction: Correction) -> Job[Patch]:
    """The crop's painted voxels over the labels as they are now, laid over the reviewed labels, if there are any."""
    labels, touched = lay_over(project, case, correction.checkpoint), correction.touched()
    region = correction.region
    base = REVIEWED if REVIEWED in label_names(case.store) else correction.checkpoint
    if base == REVIEWED:
        region = yield from _widen(correction, labels, case.labels(REVIEWED), touched)
    block = labels.volume.read(region).copy()
    np.copyto(block[within(correction.region, region)], correction.labels, where=correction.changed)
    return Patch(generation(case.store, base), region, block)


def _widen(correction: Correction, labels: LabelMap, reviewed: LabelMap, touched: Sequence[int]) -> Job[Region]:
    """The crop, and all in its slices where the organs that it ``touched`` lie otherwise in the reviewed labels.

    They do where a correction was taken back, or another checkpoint's proposals were corrected.
    """
    shape = labels.volume.shape
    slab = slice(*(correction.item.slab or (0, shape[0])))
    boxes = [correction.region]
    blocks = [block for block in block_grid(shape, _BLOCK) if block[0].start < slab.stop and slab.start < block[0].stop]
    for done, (z, y, x) in enumerate(blocks):
        yield Progress("Comparing with the reviewed labels", done, len(blocks))
        part = (slice(max(z.start, slab.start), min(z.stop, slab.stop)), y, x)
        differs = _only(labels.volume.read(part), touched) != _only(reviewed.volume.read(part), touched)
        boxes += _box(differs, part)
    return hull(*boxes)


def _only(labels: npt.NDArray[Any], organs: Sequence[int]) -> npt.NDArray[Any]:
    """``labels`` with all but ``organs`` made background."""
    return labels if ALL_ORGANS in organs else np.where(np.isin(labels, organs), labels, 0)


def _box(mask: npt.NDArray[np.bool_], part: Region) -> list[Region]:
    """The box around ``mask``, which lies at ``part``; none where it is empty."""
    sides = []
    for axis, side in enumerate(part):
        inside = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if not len(inside):
            return []
        sides.append(slice(side.start + int(inside[0]), side.start + int(inside[-1]) + 1))
    return [(sides[0], sides[1], sides[2])]


def _verdicts(project: Project, correction: Correction, made: str, seconds: float, drawn: str) -> tuple[Verdict, ...]:
    case, organs = project.case(correction.item.case), correction.touched()
    proposed = generation(case.store, correction.checkpoint)
    items = [ReviewItem(case.id, organ, correction.item.slab) for organ in organs]
    return tuple(
        Verdict(
            item=item,
            decision=Decision.CORRECTED,
            reviewer=correction.reviewer,
            time=now(),
            seconds=seconds / len(organs),
            checkpoint=correction.checkpoint,
            labels=made,
            digest=judged(project, case, proposed, item),
            drawn=drawn if item == correction.item else "",
        )
        for item in items
    )


def _journals(project: Project, reviewer: str) -> Path:
    VerdictLog(project.review_folder, reviewer)  # refuses what cannot be a file's name
    return project.review_folder / "corrections" / reviewer


def _journal_path(project: Project, item: ReviewItem, checkpoint: str, reviewer: str) -> Path:
    slices = "all" if item.slab is None else f"{item.slab[0]}-{item.slab[1]}"
    return _journals(project, reviewer) / f"{item.case}.{item.organ}.{slices}.{checkpoint}.journal"


def _markers(project: Project) -> list[Path]:
    """A file for each commit that was begun; it is taken away last."""
    return sorted((project.review_folder / "corrections").glob("*/*.commit"))


def _describe(verdict: Verdict) -> dict[str, Any]:
    item = verdict.item
    return {
        "case": item.case, "organ": item.organ, "slab": None if item.slab is None else list(item.slab),
        "reviewer": verdict.reviewer, "labels": verdict.labels,
    }  # fmt: skip


def _read_marker(marker: Path) -> dict[str, Any]:
    """Empty where it is gone, or says nothing readable."""
    try:
        card = json.loads(marker.read_bytes())
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}


def _case_of(project: Project, marker: Path) -> Case | None:
    wanted = _read_marker(marker).get("case")
    return next((case for case in project.cases if case.id == wanted), None)


def _settle(project: Project, marker: Path, case: Case) -> None:
    """List what was committed; the caller holds the lock of ``case``, so nobody is at it."""
    card = _read_marker(marker)
    if card.get("case") != case.id:
        return
    said = read_verdicts(project.review_folder).of_items_with(Decision.CORRECTED)
    if any(verdict.decision is Decision.CORRECTED and _describe(verdict) == card for verdict in said):
        _finish(case, card["labels"], marker)
    else:
        marker.unlink(missing_ok=True)


def _finish(case: Case, made: str, marker: Path) -> None:
    list_patch(case.store, made)
    remove_journal(marker.with_suffix(".journal"))
    for file in (marker, *marker.parent.glob(f".{marker.name}.*.partial")):  # the latter of one killed while writing it
        file.unlink(missing_ok=True)
    sync_folder(marker.parent)


@contextmanager
def _saying() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"The disk did not take it: {error.strerror or error}.", "Free some space, or check permissions."
        ) from error
