"""Results: a student against its teacher, as the last evaluation has it, and what can be taken out of the house."""

from __future__ import annotations

import json
import math
import shutil
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from napari_medaka_kd.csv_table import as_csv
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.networks.checkpoint import WEIGHTS
from napari_medaka_kd.project import MANUAL, REVIEWED
from napari_medaka_kd.volumes.atomic import replace_file
from napari_medaka_kd.volumes.nifti import save_nifti
from napari_medaka_kd.words import counted

from .correct import corrected_labels
from .kinds import card_of, finds_things
from .past_runs import newest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_medaka_kd.job import Job
    from napari_medaka_kd.project import Case, Project

    from .cohort import Cohort

SPEED = "speed.json"  # in a checkpoint's folder: what segmenting took
_HEADER_BYTES = 10_000_000  # of the table at the beginning of the weights
_LEVEL = 0.0005  # IoU; nearer than this, two are said to be level


@dataclass(frozen=True)
class OrganResult:
    """Mean IoU over the held-out animals, 0 … 1, of both; NaN where an organ is in no truth and no prediction."""

    organ: int
    name: str
    teacher: float
    student: float

    @property
    def gain(self) -> float:
        """By how much the student is better."""
        return self.student - self.teacher


@dataclass(frozen=True)
class Cost:
    """What a checkpoint costs to keep and to use; ``None``: not known.

    Attributes
    ----------
    voxels_per_second
        When it last segmented, on ``device``.
    """

    parameters: int | None = None
    megabytes: float | None = None
    voxels_per_second: float | None = None
    device: str = ""


@dataclass(frozen=True)
class ReportCard:
    """A student against its teacher, on animals that neither has seen.

    Attributes
    ----------
    cases
        Ids of these animals.
    organs
        In the schema's order.
    student_iou, teacher_iou
        Means over the organs.
    costs
        By checkpoint, of both.
    page
        The report as a page.
    """

    student: str
    teacher: str
    cases: tuple[str, ...]
    organs: tuple[OrganResult, ...]
    student_iou: float
    teacher_iou: float
    page: Path
    costs: Mapping[str, Cost] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """What came out, in one sentence."""
        gain = self.student_iou - self.teacher_iou
        if math.isnan(gain):
            return f"{self.student} and {self.teacher} cannot be compared: there is no organ to compare them on."
        points = f"by {abs(100 * gain):.1f} points of mean IoU"
        verb = f"beats {self.teacher} {points}" if gain > 0 else f"falls short of {self.teacher} {points}"
        if abs(gain) < _LEVEL:
            verb = f"is level with {self.teacher}"
        gains = [organ.gain for organ in self.organs if not math.isnan(organ.gain)]
        better = sum(each > 0 for each in gains)
        animals = counted(len(self.cases), "held-out animal")
        return f"{self.student} {verb} on {animals}; better in {better} of {len(gains)} organs."

    def csv(self) -> bytes:
        """As a table, organ by organ; what is not known is an empty cell."""
        return as_csv(("organ", "name", f"iou_{self.teacher}", f"iou_{self.student}"), map(astuple, self.organs))


def report_card(project: Project, student: str, teacher: str) -> ReportCard | None:
    """From the last evaluation of both together; ``None`` where there was none."""

    def take(data: Any, file: Path) -> ReportCard | None:
        means = data["mean_iou"]
        if student == teacher or not {student, teacher} <= means.keys():
            return None
        ious = {name: _by_organ(data["organs"], name) for name in (teacher, student)}
        organs = tuple(
            OrganResult(o.id, o.name, ious[teacher].get(o.id, math.nan), ious[student].get(o.id, math.nan))
            for o in project.schema.organs
        )
        ours, theirs = (math.nan if means[name] is None else float(means[name]) for name in (student, teacher))
        costs = {name: cost(project, name) for name in (student, teacher)}
        cases = tuple(map(str, data["cases"]))
        return ReportCard(student, teacher, cases, organs, ours, theirs, file.with_name("report.html"), costs)

    return newest(project, "*-evaluate*/evaluation.json", take)


def cost(project: Project, checkpoint: str) -> Cost:
    """Size and speed of a checkpoint, from its files alone."""
    folder = project.checkpoint(checkpoint)
    weights = folder / WEIGHTS
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
        rate, device = _speed(folder)
        return Cost(_count_parameters(weights), weights.stat().st_size / 1e6, rate, device)
    return Cost()


def usual_pair(project: Project) -> tuple[str, str]:
    """(student, teacher): the checkpoint that was distilled last, and whom it learned from; empty where unknown.

    A student that learned from scans alone is held against the first other checkpoint, one of things against none.
    """
    cards = {name: card_of(project, name) for name in project.checkpoints}
    students = [name for name, card in cards.items() if card is not None and card.history.get("verb") == "distil"]
    if not students:
        return "", next(iter(cards), "")
    student = max(students, key=lambda name: (project.checkpoint(name) / WEIGHTS).stat().st_mtime_ns)
    mine = cards[student]
    if mine is None or mine.things is not None:
        return student, ""
    others = (name for name, card in cards.items() if name != student and (card is None or card.things is None))
    teacher = mine.history.get("teacher") or next(others, "")
    return student, teacher if teacher in cards else ""


def unsegmented(project: Project, checkpoint: str, which: Literal["held out", "unseen"]) -> tuple[str, ...]:
    """Ids of the cases that ``checkpoint`` has yet to segment.

    Parameters
    ----------
    which
        Of those that evaluation needs (held out, with labels), or of all that were not labelled for training.
    """
    cases = [case for case in project.cases if not case.has(checkpoint)]
    if which == "held out":
        tested = animals_to_test_on(project, checkpoint)
        return tuple(case.id for case in cases if case.id in tested)
    return tuple(case.id for case in cases if case.held_out or not case.labelled)


def animals_to_test_on(project: Project, checkpoint: str = "") -> tuple[str, ...]:
    """Ids of the animals to evaluate ``checkpoint`` on: held out, with labels of what it finds; organs if empty."""
    things = finds_things(project, checkpoint)
    cases = [case for case in project.cases if case.held_out]
    return tuple(case.id for case in cases if MANUAL in (case.instance_names if things else case.label_names))


def label_names(project: Project) -> tuple[str, ...]:
    """Names of label maps that some animal has: checkpoints', then people's."""
    found = {name for case in project.cases for name in case.label_names if name != REVIEWED}
    return tuple(sorted(found, key=lambda name: (name == MANUAL, name)))


def export_table(table: Cohort | ReportCard, path: Path) -> None:
    """Write a cohort or a report card as CSV.

    Raises
    ------
    UserError
        If ``path`` cannot be written.
    """
    with _writing(path):
        replace_file(path, table.csv())


def export_page(card: ReportCard, path: Path) -> None:
    """Copy the report, which needs nothing beside it.

    Raises
    ------
    UserError
        If ``path`` cannot be written, or the report is gone.
    """
    if not card.page.is_file():
        raise UserError(f"The report {str(card.page)!r} is gone.", "Evaluate again.")
    with _writing(path):
        shutil.copyfile(card.page, path)


def export_labels(project: Project, case: Case, labels: str, path: Path) -> Job[Path]:
    """Write a label map, with people's corrections laid over, as ``.nii.gz`` with its voxel size in µm.

    Raises
    ------
    UserError
        If there is no such label map, or ``path`` cannot be written.
    """
    peoples = labels in (MANUAL, REVIEWED)
    volume = (case.labels(labels) if peoples else corrected_labels(project, case, labels)).volume
    with _writing(path):
        yield from save_nifti(volume, path)
    return path


def _by_organ(rows: Sequence[Mapping[str, Any]], checkpoint: str) -> dict[int, float]:
    """Mean IoU over the animals, by organ id."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if row["checkpoint"] == checkpoint and row["iou"] is not None:
            found.setdefault(int(row["organ"]), []).append(float(row["iou"]))
    return {organ: math.fsum(ious) / len(ious) for organ, ious in found.items()}


def _count_parameters(weights: Path) -> int:
    """From the table at the beginning of a safetensors file: its length (8 bytes, little endian), then JSON."""
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _HEADER_BYTES:
            raise ValueError(f"a table of {length} bytes")
        tensors = json.loads(file.read(length))
    return sum(math.prod(entry["shape"]) for name, entry in tensors.items() if name != "__metadata__")


def _speed(folder: Path) -> tuple[float | None, str]:
    """(voxels a second, on which device); (None, "") before it segmented anything."""
    file = folder / SPEED
    if not file.is_file():
        return None, ""
    data = json.loads(file.read_text("utf-8"))
    seconds = float(data["seconds"])
    return (float(data["voxels"]) / seconds if seconds > 0 else None), str(data.get("device", ""))


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{str(path)!r} cannot be written: {error.strerror or error}.", "Choose another folder."
        ) from error
