"""pack: one file with what is to be reviewed, for a colleague who has neither the scans nor a GPU.

A pack is a project: the same folders, in which the cases hold crops. It is zipped as OME-Zarr may be, so that other
programs open its images, too. Packing a pack makes what its reviewer sends back: the verdicts alone.
"""

from __future__ import annotations

import shutil
import sqlite3
import uuid
from collections import defaultdict
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, get_args

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Progress
from napari_medaka_kd.project import FILE, create_project
from napari_medaka_kd.review import Order, read_verdicts
from napari_medaka_kd.review.verdict import now
from napari_medaka_kd.volumes.archive import write_archive
from napari_medaka_kd.volumes.atomic import claim_writing, replace_file
from napari_medaka_kd.volumes.label_store import generation
from napari_medaka_kd.volumes.pyramid import write_group
from napari_medaka_kd.volumes.save import refuse_existing
from napari_medaka_kd.words import counted

from .desk import Desk
from .pack_card import CARD, PackCard, PackedItem, read_card
from .pack_crop import copy_crop, plan_crop

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_medaka_kd.job import Job
    from napari_medaka_kd.project import Project
    from napari_medaka_kd.review import ReviewItem

    from .pack_crop import Crop

ENDING = ".pack.zip"
_LOCK = ".lock"
_ENTRY = 200  # bytes of a file's two entries in a zip


@dataclass(frozen=True)
class Wanted:
    """What is to go into a pack.

    Attributes
    ----------
    checkpoint
        Whose proposals.
    items
        How many of the queue, the next ones; 0: all.
    cases
        Of these animals alone; empty: of all.
    order
        Of the queue.
    limit
        Bytes of the file at most; where the scans do not fit, they are taken coarser.
    margin
        Voxels of the scan around what is to be reviewed.
    """

    checkpoint: str = "teacher"
    items: int = 40
    cases: tuple[str, ...] = ()
    order: str = "mixed"
    limit: int = 500 * 10**6
    margin: int = 24


@dataclass(frozen=True)
class Packed:
    """A pack that was made.

    Attributes
    ----------
    size
        Bytes.
    items, animals
        How many it holds.
    coarser
        Voxels of the scan along each side of the coarsest in it; 1: full resolution.
    verdicts
        Of a pack's reviewer on the way back; else 0.
    """

    file: str
    size: int
    items: int
    animals: int
    coarser: int = 1
    verdicts: int = 0

    def text(self) -> str:
        """In a sentence."""
        size = f"{self.size / 1e6:.1f} MB" if self.size > 10**5 else f"{self.size / 1e3:.0f} kB"
        if self.verdicts:
            return f"{self.file}: {counted(self.verdicts, 'verdict')} to send back, {size}."
        how = "at full resolution" if self.coarser == 1 else f"with voxels {self.coarser} times as large"
        what = f"{counted(self.items, 'item')} of {counted(self.animals, 'animal')}"
        return f"{self.file}: {what} {how}, {size}."

    def json(self) -> dict[str, Any]:
        return asdict(self)


def pack(project: Project, target: Path, wanted: Wanted) -> Job[Packed]:
    """Write the review pack ``target``, which is there wholly or not at all; of a pack, the verdicts given in it.

    Raises
    ------
    UserError
        If ``target`` is there already or being written, nothing is to be reviewed, an animal or order is not known,
        or it would be too large however coarse.
    """
    refuse_existing(target)
    card = read_card(project.folder)
    with _beside(target) as folder:
        if card is not None:
            made = yield from _send_back(project, folder, card)
        else:
            made = yield from _fill(project, folder, wanted)
        size = yield from write_archive(folder, target)
    result = Packed(str(target), size, **made)
    yield Progress(f"Packed {target.name}", 1, 1, said=result.text())
    return result


def _fill(project: Project, folder: Path, wanted: Wanted) -> Job[dict[str, int]]:
    """Make the pack's folder, as fine as the limit allows."""
    yield Progress("Choosing what to review", 0, 0)
    items, crops = _choose(project, wanted)
    coarsest = max(len(crop.frames) for crop in crops) - 1
    level = next((n for n in range(coarsest) if sum(crop.estimate(n) for crop in crops) <= wanted.limit), coarsest)
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        made = create_project(folder, project.name, project.schema)
        size = yield from _copy(made, crops, level, wanted.limit)
        if size <= wanted.limit:
            break
        if level == coarsest:
            raise UserError(
                f"These {len(items)} items take more than {wanted.limit / 1e6:.0f} MB, however coarse.",
                "Take fewer items or animals, or allow a larger file.",
            )
        level += 1
    card = PackCard(
        id=uuid.uuid4().hex,
        project=project.name,
        checkpoint=wanted.checkpoint,
        made=now(),
        order=wanted.order,
        items=tuple(PackedItem(case=item.case, organ=item.organ, slab=item.slab) for item in items),
        cases={crop.case.id: crop.frame(level) for crop in crops},
    )
    _describe(folder, card)
    coarser = max(max(frame.factor) for frame in card.cases.values())
    return {"items": len(items), "animals": len(crops), "coarser": coarser}


def _copy(made: Project, crops: Sequence[Crop], level: int, limit: int) -> Job[int]:
    """Copy the crops; bytes that the file will take, or more than ``limit`` as soon as that is known."""
    for number, crop in enumerate(crops):
        for report in copy_crop(crop, level, made):
            yield Progress(f"{crop.case.id}: {report.doing}", number, len(crops))
        size = sum(file.stat().st_size + _ENTRY + 2 * len(str(file)) for file in made.folder.rglob("*"))
        if size > limit:
            return size
    return size


def _choose(project: Project, wanted: Wanted) -> tuple[tuple[ReviewItem, ...], tuple[Crop, ...]]:
    """What is to be reviewed, in its order, and the crops around it."""
    if wanted.order not in get_args(Order):
        raise UserError(f"There is no order {wanted.order!r}.", f"Take one of: {', '.join(get_args(Order))}.")
    desk = Desk(project, wanted.checkpoint)
    unknown = [case for case in wanted.cases if case not in desk.cases]
    if unknown:
        raise UserError(f"Nothing of {unknown[0]!r} is to be reviewed.", f"There is: {', '.join(desk.cases)}.")
    queue = [item for item in desk.queue(wanted.order) if not wanted.cases or item.case in wanted.cases]  # type: ignore[arg-type]
    items = tuple(queue[: wanted.items or None])
    if not items:
        raise UserError("There is nothing left to review, so nothing to pack.", "Segment and score more animals first.")
    by_case: defaultdict[str, list[ReviewItem]] = defaultdict(list)
    for item in items:
        by_case[item.case].append(item)
    crops = []
    for case, own in sorted(by_case.items()):
        labels = generation(project.case(case).store, wanted.checkpoint)
        known = frozenset(at for item in desk.proposals if item.case == case and item.slab for at in item.slab)
        crops.append(plan_crop(project, own, labels, wanted.margin, known))
    return items, tuple(crops)


def _send_back(project: Project, folder: Path, card: PackCard) -> Job[dict[str, int]]:
    """What the reviewer of a pack sends back: which pack it is, and the logs."""
    verdicts = len(read_verdicts(project.review_folder))
    if not verdicts:
        raise UserError("No verdict was given in this pack yet.", "Review something first.")
    (folder / "review").mkdir(parents=True)
    shutil.copyfile(project.folder / FILE, folder / FILE)
    for log in sorted(project.review_folder.glob("[!.]*.sqlite")):
        yield Progress(f"Copying the verdicts of {log.stem}", 0, 0)
        _copy_log(log, folder / "review" / log.name)
    _describe(folder, card)
    return {"items": len(card.items), "animals": len(card.cases), "verdicts": verdicts}


def _copy_log(log: Path, target: Path) -> None:
    """As it is at one moment, whoever is writing it."""
    with closing(sqlite3.connect(log)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)


def _describe(folder: Path, card: PackCard) -> None:
    replace_file(folder / CARD, card.model_dump_json(indent=1).encode())
    write_group(folder, {"ome": {"version": "0.5"}})
    if (folder / "cases").is_dir():
        write_group(folder / "cases", {})


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` for what goes into it; gone afterwards, and what a killed process left is, too."""
    target.parent.mkdir(parents=True, exist_ok=True)
    workplace = target.with_name(f".{target.name}.making")
    workplace.mkdir(exist_ok=True)
    owner = claim_writing(target, workplace / _LOCK)
    try:
        shutil.rmtree(workplace / "pack", ignore_errors=True)
        with owner:
            yield workplace / "pack"
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
