"""evaluate: checkpoints against the truth of animals they never saw. measure: organ volumes of a case."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd import __version__
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.evaluate import OrganScore, compare, mean_iou, write_csv
from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.measure import OrganMeasure, measure_organs
from napari_medaka_kd.measure import write_csv as write_measures
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.project import MANUAL, Case, Project
from napari_medaka_kd.report import Arm, Picture, Report, plain, write_report
from napari_medaka_kd.volumes.atomic import replace_file

from .assess_things import ThingsComparison, compare_things
from .kinds import refuse_things

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medaka_kd.volumes.volume import Volume


@dataclass(frozen=True)
class Evaluation:
    """How a checkpoint does on held-out animals.

    Attributes
    ----------
    mean_iou
        See :func:`napari_medaka_kd.evaluate.mean_iou`.
    scores
        One for each case and organ.
    """

    checkpoint: str
    cases: tuple[str, ...]
    mean_iou: float
    scores: tuple[OrganScore, ...]

    def by_case(self) -> dict[str, float]:
        """Mean IoU over the organs, by animal."""
        return {case: _mean([score.iou for score in self.scores if score.case == case]) for case in self.cases}

    def by_organ(self) -> dict[str, float]:
        """Mean IoU over the animals, by organ."""
        names = dict.fromkeys(score.name for score in self.scores)
        return {name: _mean([score.iou for score in self.scores if score.name == name]) for name in names}

    def arm(self, title: str, curve: Sequence[tuple[int, float]] = ()) -> Arm:
        """This checkpoint as a report shows it."""
        return Arm(self.checkpoint, title, self.mean_iou, self.by_organ(), self.by_case(), curve)


@dataclass(frozen=True)
class Comparison:
    """Several checkpoints on the same animals, and the folder of their table and report."""

    evaluations: tuple[Evaluation, ...]
    folder: Path

    def text(self) -> str:
        rows = [f"  {each.checkpoint:24s} {each.mean_iou:6.1%}" for each in self.evaluations]
        cases = ", ".join(self.evaluations[0].cases)
        return "\n".join([f"Mean IoU on {cases}:", *rows, f"Report: {self.folder / 'report.html'}"])

    def json(self) -> dict[str, Any]:
        return {
            "mean_iou": {each.checkpoint: each.mean_iou for each in self.evaluations},
            "cases": self.evaluations[0].cases,
            "organs": [
                {"checkpoint": each.checkpoint, **asdict(row)} for each in self.evaluations for row in each.scores
            ],
            "tables": {each.checkpoint: str(self.table(each)) for each in self.evaluations},
            "report": str(self.folder / "report.html"),
        }

    def table(self, evaluation: Evaluation) -> Path:
        """The file of its scores."""
        return self.folder / f"evaluation-{evaluation.checkpoint}.csv"


def compare_checkpoints(
    project: Project, checkpoints: Sequence[str], cases: Sequence[str] = ()
) -> Job[Comparison | ThingsComparison]:
    """Evaluate each of ``checkpoints`` and write a table, and of organs a report, into a run folder."""
    names = dict.fromkeys(checkpoints)
    cards = [Checkpoint.open(project.checkpoint(name)) for name in names]
    if any(card.things is not None for card in cards):
        return (yield from compare_things(project, cards, cases))
    evaluations = []
    for name in names:
        evaluations.append((yield from evaluate(project, name, cases)))
    folder = project.new_run("evaluate")
    result = Comparison(tuple(evaluations), folder)
    for each in evaluations:
        write_csv(each.scores, result.table(each))
    replace_file(folder / "evaluation.json", json.dumps(plain(result.json()), indent=1).encode())
    write_report(_report(project, result, cards), folder)
    return result


def evaluate(project: Project, checkpoint: str, cases: Sequence[str] = ()) -> Job[Evaluation]:
    """Hold ``checkpoint``'s label maps against the manual ones of ``cases``, or of all that are held out.

    Raises
    ------
    UserError
        If the checkpoint was trained on one of them, or one is not labelled or not segmented.
    """
    card = Checkpoint.open(project.checkpoint(checkpoint))
    card.require_organs("comparing organs")
    chosen = [project.case(name) for name in cases] or [c for c in project.cases if c.held_out and c.labelled]
    if not chosen:
        raise UserError("No labelled case is held out.", "Add one with --held-out and --labels.")
    for case in chosen:
        _require_comparable(case, card)
    scores: list[OrganScore] = []
    for done, case in enumerate(chosen):
        yield Progress(f"evaluate {checkpoint}", done, len(chosen))
        scores += yield from compare(case.id, case.labels(MANUAL), case.labels(checkpoint))
    yield Progress(f"evaluate {checkpoint}", len(chosen), len(chosen))
    return Evaluation(checkpoint, tuple(case.id for case in chosen), mean_iou(scores), tuple(scores))


def measure(project: Project, case: str, labels: str) -> Job[tuple[tuple[OrganMeasure, ...], Path]]:
    """Organ volumes of label map ``labels`` of ``case``, and the table that they were written to."""
    animal = project.case(case)
    refuse_things(project, labels, "measuring organs")
    if labels not in animal.label_names:
        raise UserError(
            f"Case {case!r} has no label map {labels!r}, but {', '.join(animal.label_names) or 'none at all'}.",
            "Name one of these, or run: medaka-kd segment.",
        )
    measures = yield from measure_organs(animal.labels(labels))
    table = project.new_run(f"measure-{case}") / "organs.csv"
    write_measures(measures, table)
    return measures, table


def take_pictures(case: Case, maps: dict[str, str]) -> list[Picture]:
    """Three slices of the body of ``case``, under the label maps named by the values of ``maps``.

    From each third of what the first of the maps labels, the slice with the most organs.
    """
    volume, (_, y, x) = case.volume, case.body.box
    pictures = []
    for z in _telling_slices(case.labels(next(iter(maps.values()))).volume):
        region = (slice(z, z + 1), y, x)
        overlays = {title: case.labels(name).volume.read(region)[0] for title, name in maps.items()}
        pictures.append(Picture(f"{case.id}, z = {z}", volume.read(region)[0], overlays))
    return pictures


def _telling_slices(labels: Volume) -> list[int]:
    """Looked for on the coarsest level of at least 32 slices."""
    level = max((n for n, array in enumerate(labels.levels) if array.shape[0] >= 32), default=0)
    overview = labels.read(level=level)
    organs = np.array([len(np.unique(plane)) for plane in overview])
    labelled = np.flatnonzero(organs > 1)
    if not len(labelled):
        return [labels.shape[0] // 2]
    thirds = [third for third in np.array_split(np.arange(labelled[0], labelled[-1] + 1), 3) if len(third)]
    return [int(third[organs[third].argmax()] * labels.scale(level)[0]) for third in thirds]


def _report(project: Project, comparison: Comparison, cards: Sequence[Checkpoint]) -> Report:
    names = [each.checkpoint for each in comparison.evaluations]
    best = max(comparison.evaluations, key=lambda each: each.mean_iou)
    cases = [project.case(case) for case in comparison.evaluations[0].cases]
    maps = {"truth": MANUAL} | {name: name for name in names[:4]}
    return Report(
        title=f"Evaluation: {project.name}",
        sentences=[f"{best.checkpoint} has the highest mean IoU, {best.mean_iou:.1%}, over {len(cases)} animals."],
        schema=project.schema,
        arms=[each.arm(each.checkpoint) for each in comparison.evaluations],
        pictures=[picture for case in cases[:2] for picture in take_pictures(case, maps)],
        curves=[],
        facts={
            "project": project.name,
            "cases": [case.id for case in cases],
            "checkpoints": {card.name: _origin(card) for card in cards},
            "napari-medaka-kd": __version__,
        },
    )


def _origin(card: Checkpoint) -> dict[str, Any]:
    return {"weights_sha256": card.weights_sha256, "trained_on": card.trained_on, **card.history}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _require_comparable(case: Case, card: Checkpoint) -> None:
    card.require_unseen(case.id)
    if not case.labelled:
        raise UserError(f"Case {case.id!r} has no manual labels to compare with.", "Add it with --labels.")
    if card.name not in case.label_names:
        raise UserError(
            f"Case {case.id!r} has no labels by {card.name!r}.", f"Run: medaka-kd segment --checkpoint {card.name}."
        )
