"""disagree: where the label maps of two checkpoints differ most: organs, slabs and the voxel to look at."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.quality.record import FILE as SCORES
from napari_medaka_kd.quality.record import open_record
from napari_medaka_kd.review import ReviewItem
from napari_medaka_kd.volumes.atomic import replace_file
from napari_medaka_kd.volumes.label_store import generation
from napari_medaka_kd.volumes.tiles import block_grid

from .kinds import refuse_things
from .past_runs import changed, made_from, newest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from napari_medaka_kd.project import Case, Project
    from napari_medaka_kd.volumes.volume import Region, Shape, Triple, Volume

FILE = "disagreements.json"
_BLOCK: Shape = (64, 256, 256)
_CUBE = 16  # voxels; the differing voxels are counted in cubes of this side to find where they are dense

Slab = tuple[int, int]


@dataclass(frozen=True)
class Disagreement:
    """An organ in some slices of which two checkpoints say different things.

    Attributes
    ----------
    item
        As it is reviewed: the slab that was scored, the whole animal where nothing was.
    iou
        Of the two there, 0 … 1.
    voxels
        How many one of the two counts to the organ and the other does not.
    place
        The voxel (z, y, x) to look at: where these are densest.
    """

    item: ReviewItem
    iou: float
    voxels: int
    place: Triple

    @property
    def weight(self) -> float:
        """How much it matters: many voxels, and many for that organ."""
        return self.voxels * (1 - self.iou)


@dataclass(frozen=True)
class Disagreements:
    """Where two checkpoints differ, the largest first.

    Attributes
    ----------
    cases
        Ids of the animals that were compared.
    made_from
        Generations of their label maps, by case.
    names
        Of the organs, by id.
    """

    checkpoint: str
    against: str
    rows: tuple[Disagreement, ...]
    file: Path
    made_from: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)

    @property
    def cases(self) -> tuple[str, ...]:
        return tuple(self.made_from)

    def text(self) -> str:
        head = (
            f"{self.checkpoint!r} and {self.against!r} differ in {len(self.rows)} places of {len(self.cases)} animals."
        )
        lines = [
            f"  {row.item.case} {self.names[row.item.organ]}{_where(row.item)}: {row.voxels} voxels, IoU {row.iou:.0%}"
            for row in self.rows[:10]
        ]
        return "\n".join([head, *lines, f"All: {self.file}"])

    def json(self) -> dict[str, Any]:
        names = {"checkpoint": self.checkpoint, "against": self.against}
        return {**names, "cases": self.cases, "places": [_as_json(row) for row in self.rows], "file": str(self.file)}


def disagree(project: Project, checkpoint: str, against: str) -> Job[Disagreements]:
    """Compare two checkpoints' label maps of every animal that was not labelled for training; into a new run folder.

    What they proposed is compared, without people's corrections.

    Raises
    ------
    UserError
        If they are one and the same, or no such animal has label maps by both.
    """
    if checkpoint == against:
        raise UserError(f"{checkpoint!r} does not disagree with itself.", "Choose two checkpoints.")
    for name in (checkpoint, against):
        refuse_things(project, name, "looking for disagreements")
    cases = _compared(project, (checkpoint, against))
    if not cases:
        raise UserError(
            f"No animal without labels has label maps by both {checkpoint!r} and {against!r}.",
            f"Run: medaka-kd segment --checkpoint {checkpoint}, then the same with {against}.",
        )
    rows: list[Disagreement] = []
    sources = {}
    for case in cases:
        sources[case.id] = made_from(case, (checkpoint, against))
        rows += yield from _compare(case, checkpoint, against)
    rows.sort(key=lambda row: (-row.weight, row.item))
    file = project.new_run(f"disagree-{checkpoint}") / FILE
    found = Disagreements(checkpoint, against, tuple(rows), file, sources, _names(project))
    data = {"format": 1, "checkpoint": checkpoint, "against": against, "made_from": sources}
    replace_file(found.file, json.dumps(data | {"places": [_as_json(row) for row in rows]}, indent=1).encode())
    return found


def read_disagreements(project: Project, checkpoint: str, against: str) -> Disagreements | None:
    """What the last :func:`disagree` of these two found; ``None`` where there was none."""

    def take(data: Any, file: Path) -> Disagreements | None:
        if (data["checkpoint"], data["against"]) != (checkpoint, against):
            return None
        rows = tuple(_from_json(row) for row in data["places"])
        return Disagreements(checkpoint, against, rows, file, dict(data["made_from"]), _names(project))

    return newest(project, f"*-disagree-{checkpoint}*/{FILE}", take)


def compare_again(project: Project, found: Disagreements) -> tuple[str, ...]:
    """Ids of the cases whose label maps are new since ``found``."""
    names = (found.checkpoint, found.against)
    return changed(_compared(project, names), names, found.made_from)


def _compared(project: Project, names: tuple[str, str]) -> list[Case]:
    """The animals that show something new: those labelled for training do not."""
    fresh = [case for case in project.cases if case.held_out or not case.labelled]
    return [case for case in fresh if set(names) <= set(case.label_names)]


def _compare(case: Case, checkpoint: str, against: str) -> Job[list[Disagreement]]:
    left, right = (case.labels(name).volume for name in (checkpoint, against))
    slabs = _slabs(case, (checkpoint, against), left.shape[0])
    found: list[Disagreement] = []
    for done, slab in enumerate(slabs):
        yield Progress(f"compare {case.id}", done, len(slabs))
        tally = _Tally(case.schema.classes)
        for region in boxes(slab or (0, left.shape[0]), left.shape):
            tally.add(_classes(case, left, region), _classes(case, right, region), region)
        found += tally.conclude(case, slab)
    yield Progress(f"compare {case.id}", len(slabs), len(slabs))
    return found


def _classes(case: Case, labels: Volume, region: Region) -> npt.NDArray[np.int64]:
    return case.schema.to_classes(labels.read(region))


class _Tally:
    """What is known so far of the organs in one slab.

    Attributes
    ----------
    pairs
        (classes, classes) voxels by what the one and what the other says.
    spots
        By class, how many voxels differ in the cube where most do, and the voxel to look at there.
    """

    def __init__(self, classes: int) -> None:
        self.pairs = np.zeros((classes, classes), np.int64)
        self.spots: dict[int, tuple[int, Triple]] = {}

    def add(self, left: npt.NDArray[np.int64], right: npt.NDArray[np.int64], region: Region) -> None:
        """Count a block of both, classes (z, y, x)."""
        classes = len(self.pairs)
        self.pairs += np.bincount((left * classes + right).ravel(), minlength=classes**2).reshape(classes, classes)
        differing = np.flatnonzero(left != right)
        ours, theirs = left.ravel()[differing], right.ravel()[differing]
        corner = np.array([side.start for side in region])
        for organ in np.union1d(ours, theirs):
            places = differing[(ours == organ) | (theirs == organ)]
            if organ:
                count, spot = densest(np.stack(np.unravel_index(places, left.shape), -1))
                if count > self.spots.get(int(organ), (0,))[0]:
                    z, y, x = (float(at) for at in spot + corner)
                    self.spots[int(organ)] = count, (z, y, x)

    def conclude(self, case: Case, slab: Slab | None) -> Iterator[Disagreement]:
        """One for each organ on which the two differ."""
        both, ours, theirs = np.diag(self.pairs), self.pairs.sum(1), self.pairs.sum(0)
        for place, (_, spot) in sorted(self.spots.items()):
            union = int(ours[place] + theirs[place] - both[place])
            item = ReviewItem(case.id, case.schema.ids[place - 1], slab)
            yield Disagreement(item, float(both[place]) / union, union - int(both[place]), spot)


def densest(places: npt.NDArray[np.int64]) -> tuple[int, npt.NDArray[np.int64]]:
    """Of voxels (n, 3): how many the fullest cube holds, and of these the one nearest to their middle."""
    cubes = places // _CUBE
    number = np.ravel_multi_index(tuple(cubes.T), tuple(cubes.max(0) + 1))
    fullest = places[number == np.bincount(number).argmax()]
    middle = fullest.mean(0)
    return len(fullest), fullest[((fullest - middle) ** 2).sum(1).argmin()]


def _slabs(case: Case, names: tuple[str, str], depth: int) -> tuple[Slab | None, ...]:
    """The ranges of slices that are reviewed, and what lies between; ``(None,)`` where it is as a whole."""
    if not (case.folder / SCORES).is_file():
        return (None,)
    record = open_record(case.folder, case.schema)
    if record.checkpoint not in names or record.labels != generation(case.store, record.checkpoint) or not record.slab:
        return (None,)
    known = sorted({score.slab for score in record.scores})
    ends = [0, *(end for slab in known for end in slab), depth]
    gaps = [(ends[place], ends[place + 1]) for place in range(0, len(ends), 2)]
    return tuple(sorted([*known, *((first, last) for first, last in gaps if first < last)]))


def boxes(slab: Slab, shape: Shape) -> Iterator[Region]:
    """Boxes that fill the slices of ``slab``, in cubes counted from its first one."""
    for z, y, x in block_grid((slab[1] - slab[0], shape[1], shape[2]), _BLOCK):
        yield slice(z.start + slab[0], z.stop + slab[0]), y, x


def _names(project: Project) -> dict[int, str]:
    return {organ.id: organ.name for organ in project.schema.organs}


def _where(item: ReviewItem) -> str:
    return "" if item.slab is None else f" z {item.slab[0]}-{item.slab[1]}"


def _as_json(row: Disagreement) -> dict[str, Any]:
    item = {"case": row.item.case, "organ": row.item.organ, "slab": row.item.slab}
    return {**item, "iou": row.iou, "voxels": row.voxels, "place": row.place}


def _from_json(row: Any) -> Disagreement:
    slab = None if row["slab"] is None else (int(row["slab"][0]), int(row["slab"][1]))
    z, y, x = (float(at) for at in row["place"])
    item = ReviewItem(str(row["case"]), int(row["organ"]), slab)
    return Disagreement(item, float(row["iou"]), int(row["voxels"]), (z, y, x))
