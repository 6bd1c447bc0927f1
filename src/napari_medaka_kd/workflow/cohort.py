"""Cohort: the volumes of organs over all animals, and which of them stand out."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medaka_kd.csv_table import as_csv
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.measure import measure_organs
from napari_medaka_kd.project import MANUAL, REVIEWED
from napari_medaka_kd.review import ReviewItem
from napari_medaka_kd.volumes.atomic import replace_file

from .correct import corrected_labels
from .kinds import refuse_things
from .look import place
from .outline import outline
from .past_runs import changed, made_from, newest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from napari_medaka_kd.job import Job
    from napari_medaka_kd.measure import OrganMeasure
    from napari_medaka_kd.project import Case, Project
    from napari_medaka_kd.volumes.volume import Triple

TABLE, FILE = "cohort.csv", "cohort.json"
STANDS_OUT = 3.5  # robust standard deviations: Iglewicz and Hoaglin 1993
_FEWEST = 5  # animals; the spread of fewer says nothing
_LEAST_SPREAD = 0.05  # of log volume, our choice: less than 19 % off the median never stands out
_TO_SIGMA = 0.6745  # median absolute deviation of a normal distribution of spread 1

Kind = Literal["", "large", "small", "missing"]


@dataclass(frozen=True)
class CohortRow:
    """One organ of one animal.

    Attributes
    ----------
    organ
        Its id.
    centre
        A voxel of level 0 (z, y, x) inside it; where it is absent, the middle of the body.
    deviation
        How far the log of its volume lies from the median of all animals that have the organ, in robust standard
        deviations (of the median absolute deviation). −∞ where it is absent and most animals have it; NaN where nothing
        can be said: it is absent in most, or fewer than five animals have it.
    """

    case: str
    organ: int
    name: str
    volume_um3: float
    centre: Triple
    deviation: float = math.nan

    @property
    def kind(self) -> Kind:
        """In which way it stands out; empty where it does not."""
        if math.isnan(self.deviation) or abs(self.deviation) <= STANDS_OUT:
            return ""
        if math.isinf(self.deviation):
            return "missing"
        return "large" if self.deviation > 0 else "small"


@dataclass(frozen=True)
class Cohort:
    """The organs of all animals.

    Attributes
    ----------
    labels
        Which label map was measured: a checkpoint's, with people's corrections laid over, or ``manual``.
    rows
        By case, then organ.
    file
        The table, for spreadsheets.
    made_from
        Generations of the label maps, by case.
    """

    labels: str
    rows: tuple[CohortRow, ...]
    file: Path
    made_from: Mapping[str, str] = field(default_factory=dict)

    @property
    def cases(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.case for row in self.rows))

    def outliers(self) -> tuple[CohortRow, ...]:
        """Those that stand out, the worst first."""
        found = [row for row in self.rows if row.kind]
        return tuple(sorted(found, key=lambda row: (-abs(row.deviation), row.case, row.organ)))

    def medians(self) -> dict[int, float]:
        """The median volume in µm³ of the animals that have the organ, by organ id."""
        volumes: defaultdict[int, list[float]] = defaultdict(list)
        for row in self.rows:
            if row.volume_um3 > 0:
                volumes[row.organ].append(row.volume_um3)
        return {organ: float(np.median(found)) for organ, found in volumes.items()}

    def csv(self) -> bytes:
        """As a table; what is not known is an empty cell."""
        columns = ("case", "organ", "name", "volume_um3", "z", "y", "x", "deviation", "outlier")
        return as_csv(columns, map(_cells, self.rows))

    def text(self) -> str:
        found = self.outliers()
        head = f"{len(self.cases)} animals measured by {self.labels!r}; {len(found)} organs stand out."
        return "\n".join([head, *(f"  {row.case} {row.name}: {worded(row)}" for row in found), f"Table: {self.file}"])

    def json(self) -> dict[str, Any]:
        rows = [{"case": r.case, "organ": r.organ, "volume_um3": r.volume_um3, "outlier": r.kind} for r in self.rows]
        return {"labels": self.labels, "cases": self.cases, "organs": rows, "table": str(self.file)}


def measure_cohort(project: Project, labels: str, cases: Sequence[str] = ()) -> Job[Cohort]:
    """Measure the organs of ``cases``, or of all that have the label map ``labels``, into a new run folder.

    Raises
    ------
    UserError
        If a case has no such label map, or none has.
    """
    refuse_things(project, labels, "measuring organs")
    chosen = [project.case(name) for name in cases] or _having(project, labels)
    for case in chosen:
        if labels not in case.label_names:
            raise _none(f"Case {case.id!r} has no", labels)
    if not chosen:
        raise _none("No case has a", labels)
    rows, sources = [], {}
    for case in chosen:
        sources[case.id] = made_from(case, _sources(labels))
        peoples = labels in (MANUAL, REVIEWED)
        measured = yield from measure_organs(
            case.labels(labels) if peoples else corrected_labels(project, case, labels)
        )
        rows += [
            CohortRow(case.id, one.organ, one.name, one.volume_um3, _centre(project, case, labels, one))
            for one in measured
        ]
    return _keep(Cohort(labels, weigh(rows), project.new_run(f"measure-{labels}") / TABLE, sources))


def read_cohort(project: Project, labels: str) -> Cohort | None:
    """What the last :func:`measure_cohort` of ``labels`` found; ``None`` where there was none."""

    def take(data: Any, file: Path) -> Cohort | None:
        if data["labels"] != labels:
            return None
        rows = [
            CohortRow(str(r["case"]), int(r["organ"]), str(r["name"]), float(r["volume_um3"]), _triple(r["centre"]))
            for r in data["rows"]
        ]
        return Cohort(labels, weigh(rows), file.with_name(TABLE), dict(data["made_from"]))

    return newest(project, f"*-measure-{labels}*/{FILE}", take)


def remeasure(project: Project, cohort: Cohort) -> tuple[str, ...]:
    """Ids of the cases whose labels are new since ``cohort`` was measured."""
    return changed(_having(project, cohort.labels), _sources(cohort.labels), cohort.made_from)


def weigh(rows: Sequence[CohortRow]) -> tuple[CohortRow, ...]:
    """``rows`` with their deviations, organ by organ."""
    logs: defaultdict[int, dict[str, float]] = defaultdict(dict)
    for row in rows:
        logs[row.organ][row.case] = math.log(row.volume_um3) if row.volume_um3 > 0 else -math.inf
    deviations = {organ: _deviations(found) for organ, found in logs.items()}
    return tuple(replace(row, deviation=deviations[row.organ][row.case]) for row in rows)


def worded(row: CohortRow) -> str:
    """How a row stands out, in words."""
    if row.kind == "missing":
        return "missing"
    return f"too {row.kind} by {abs(row.deviation):.1f} spreads" if row.kind else "as usual"


def _deviations(logs: Mapping[str, float]) -> dict[str, float]:
    """Of the log volumes of one organ, by case; −∞ for an absent one."""
    present = np.array([value for value in logs.values() if math.isfinite(value)])
    missing = -math.inf if 2 * len(present) > len(logs) else math.nan
    middle = float(np.median(present)) if len(present) else math.nan
    spread = max(float(np.median(np.abs(present - middle))) if len(present) else 0.0, _LEAST_SPREAD * _TO_SIGMA)
    if len(present) < _FEWEST:
        spread = math.nan
    return {
        case: _TO_SIGMA * (value - middle) / spread if math.isfinite(value) else missing for case, value in logs.items()
    }


def _centre(project: Project, case: Case, labels: str, found: OrganMeasure) -> Triple:
    """Well inside the organ as the outline shows it; of one too small for the outline, its centre of mass."""
    if found.centroid_um is not None and found.organ not in outline(case, labels).organs:
        z, y, x = (at / size for at, size in zip(found.centroid_um, case.volume.voxel_size, strict=True))
        return z, y, x
    return place(project, ReviewItem(case.id, found.organ), labels).centre


def _keep(cohort: Cohort) -> Cohort:
    rows = [{name: value for name, value in vars(row).items() if name != "deviation"} for row in cohort.rows]
    data = {"format": 1, "labels": cohort.labels, "made_from": cohort.made_from, "rows": rows}
    replace_file(cohort.file, cohort.csv())
    replace_file(cohort.file.with_name(FILE), json.dumps(data, indent=1).encode())
    return cohort


def _cells(row: CohortRow) -> tuple[object, ...]:
    deviation = round(row.deviation, 3) if math.isfinite(row.deviation) else None
    return row.case, row.organ, row.name, row.volume_um3, *row.centre, deviation, row.kind


def _having(project: Project, labels: str) -> list[Case]:
    return [case for case in project.cases if labels in case.label_names]


def _sources(labels: str) -> tuple[str, ...]:
    """The label maps that a measurement of ``labels`` rests on."""
    return (labels,) if labels in (MANUAL, REVIEWED) else (labels, REVIEWED)


def _triple(values: Iterable[float]) -> Triple:
    z, y, x = (float(value) for value in values)
    return z, y, x


def _none(who: str, labels: str) -> UserError:
    return UserError(f"{who} label map {labels!r}.", f"Run: medaka-kd segment --checkpoint {labels}.")
