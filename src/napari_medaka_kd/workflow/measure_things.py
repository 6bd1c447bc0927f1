"""measure, for things that may overlap: how many there are in each scan, how large each is, and where."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.csv_table import as_csv
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.project import MANUAL
from napari_medaka_kd.volumes.atomic import replace_file
from napari_medaka_kd.volumes.instance_store import layer_name, open_instances
from napari_medaka_kd.volumes.instances import shared
from napari_medaka_kd.words import counted

from .past_runs import changed, made_from, newest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_medaka_kd.project import Case, Project
    from napari_medaka_kd.volumes.instances import Instance
    from napari_medaka_kd.volumes.volume import Triple

_COLUMNS = (
    "case", "id", "voxels", "volume_um3", "shared_voxels", "centroid_z_um", "centroid_y_um", "centroid_x_um",
    "z_from", "z_to", "y_from", "y_to", "x_from", "x_to",
)  # fmt: skip
_TOLD = 8  # scans that the dock has room for


@dataclass(frozen=True)
class ThingMeasure:
    """One thing of one scan.

    Attributes
    ----------
    id
        In each of the scan's layers.
    shared
        How many of its voxels other things hold, too.
    centroid_um
        (z, y, x) of its centre of mass, where the centre of the volume's first voxel is (0, 0, 0), as in napari.
    box
        The voxels that just hold it: from and to, by axis.
    """

    case: str
    id: int
    voxels: int
    volume_um3: float
    shared: int
    centroid_um: Triple
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class MeasuredThings:
    """All things of ``labels`` in ``cases``, those without any included, and the table that they were written to.

    ``made_from``: generations of the label maps, by case.
    """

    labels: str
    cases: tuple[str, ...]
    rows: tuple[ThingMeasure, ...]
    table: Path
    made_from: Mapping[str, str]

    @property
    def lines(self) -> list[str]:
        """How many, and how large, case by case."""
        of: dict[str, list[ThingMeasure]] = {case: [] for case in self.cases}
        for row in self.rows:
            of[row.case].append(row)
        return [f"{case}: {_summed(rows)}" for case, rows in of.items()]

    def text(self) -> str:
        return "\n".join([*self.lines, f"Table: {self.table}"])

    def json(self) -> dict[str, Any]:
        things = [asdict(row) for row in self.rows]
        said = {"labels": self.labels, "lines": self.lines, "things": things, "table": str(self.table)}
        return said | {"made_from": dict(self.made_from)}


def measure_things(project: Project, labels: str, case: str = "") -> Job[MeasuredThings]:
    """Measure the things that checkpoint or person ``labels`` found in ``case``, or in all cases, into a run folder.

    Raises
    ------
    UserError
        If the case has no such things, or none has.
    """
    chosen = [project.case(case)] if case else list(project.cases)
    having = [each for each in chosen if labels in each.instance_names]
    if not having:
        whose = f"Case {case!r} has no" if case else "No case has"
        find = f"Run: medaka-kd segment --checkpoint {labels}."
        raise UserError(f"{whose} things by {labels!r}.", "Add it with --instances." if labels == MANUAL else find)
    sources = {each.id: made_from(each, [layer_name(labels)]) for each in having}
    rows = list[ThingMeasure]()
    for done, each in enumerate(having):
        yield Progress(f"measure things by {labels}", done, len(having))
        rows += _measured(each, labels)
    yield Progress(f"measure things by {labels}", len(having), len(having))
    table = project.new_run(f"measure-{labels}") / "things.csv"
    found = MeasuredThings(labels, tuple(sources), tuple(rows), table, sources)
    replace_file(table, as_csv(_COLUMNS, map(_cells, found.rows)))
    replace_file(table.with_suffix(".json"), json.dumps(found.json(), indent=1).encode())
    return found


def read_measured_things(project: Project, labels: str) -> str:
    """What the last :func:`measure_things` of ``labels`` said, a line a case for the first ones; empty without any."""

    def take(data: Any, file: Path) -> str | None:
        if data["labels"] != labels:
            return None
        lines = [str(line) for line in data["lines"]]
        more = [f"… and {counted(len(lines) - _TOLD, 'more scan')}"] if len(lines) > _TOLD else []
        having = (case for case in project.cases if labels in case.instance_names)
        new = changed(having, [layer_name(labels)], data.get("made_from", {}))
        since = ["Some scans are newer, or not among these: measure again."] if new else []
        return "\n".join([*lines[:_TOLD], *more, *since, f"Table: {file.with_suffix('.csv')}"])

    return newest(project, "*-measure-*/things.json", take) or ""


def _measured(case: Case, labels: str) -> list[ThingMeasure]:
    things, size = open_instances(case.store, labels), case.volume.voxel_size
    return [
        _measure(case.id, number, thing, size, common)
        for number, (thing, common) in enumerate(zip(things, shared(things), strict=True), start=1)
    ]


def _measure(case: str, number: int, thing: Instance, voxel_size: Triple, common: int) -> ThingMeasure:
    z, y, x = (
        (side.start + float(mean)) * step
        for side, mean, step in zip(thing.box, np.mean(np.nonzero(thing.mask), axis=1), voxel_size, strict=True)
    )
    first, second, third = ((side.start, side.stop) for side in thing.box)
    volume = thing.size * float(np.prod(voxel_size))
    return ThingMeasure(case, number, thing.size, volume, common, (z, y, x), (first, second, third))


def _summed(rows: Sequence[ThingMeasure]) -> str:
    if not rows:
        return "no things"
    low, median, high = np.percentile([row.volume_um3 for row in rows], (5, 50, 95))
    over = sum(row.shared > 0 for row in rows)
    return (
        f"{counted(len(rows), 'thing')}, {over} over others; "
        f"{median:.6g} µm³ (median; nine of ten between {low:.6g} and {high:.6g})"
    )


def _cells(row: ThingMeasure) -> tuple[object, ...]:
    ends = (end for side in row.box for end in side)
    return row.case, row.id, row.voxels, row.volume_um3, row.shared, *row.centroid_um, *ends
