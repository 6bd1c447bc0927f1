"""evaluate, for things that may overlap: the things that were found against those that people outlined."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, astuple, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from napari_medaka_kd.csv_table import as_csv
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.instance_scores import aggregated_jaccard, average_precision, mean_average_precision
from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.project import MANUAL
from napari_medaka_kd.report import plain
from napari_medaka_kd.volumes.atomic import replace_file
from napari_medaka_kd.volumes.instance_store import open_instances
from napari_medaka_kd.words import counted

from .past_runs import newest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medaka_kd.networks.checkpoint import Checkpoint
    from napari_medaka_kd.project import Case, Project

FIGURES = ("aji", "ap50", "ap75", "ap")
_TITLES = ("AJI", "AP50", "AP75", "mean AP")


@dataclass(frozen=True)
class ThingsScore:
    """How well a checkpoint found the things of a case.

    Attributes
    ----------
    true, found
        How many there are, and were found.
    aji, ap50, ap75, ap
        Aggregated Jaccard index; average precision at an IoU of 0.5, of 0.75, and the mean over 0.5, 0.55 … 0.95;
        0 … 1, NaN where there is no true thing.
    """

    checkpoint: str
    case: str
    true: int
    found: int
    aji: float
    ap50: float
    ap75: float
    ap: float


@dataclass(frozen=True)
class ThingsComparison:
    """Several checkpoints on the same animals, and the folder of their table."""

    scores: tuple[ThingsScore, ...]
    folder: Path

    @property
    def table(self) -> Path:
        """The file of the scores."""
        return self.folder / "things.csv"

    def means(self) -> dict[str, dict[str, float]]:
        """By checkpoint and figure, the mean over the animals."""
        names = dict.fromkeys(score.checkpoint for score in self.scores)
        mine = {name: [score for score in self.scores if score.checkpoint == name] for name in names}
        return {
            name: {figure: _mean([getattr(score, figure) for score in scores]) for figure in FIGURES}
            for name, scores in mine.items()
        }

    def text(self) -> str:
        head = f"  {'':24s} {'':24s} {'true':>6s} {'found':>6s} " + " ".join(f"{title:>8s}" for title in _TITLES)
        lines = [
            f"  {one.checkpoint:24s} {one.case:24s} {one.true:6d} {one.found:6d} {_row(asdict(one))}"
            for one in self.scores
        ]
        means = [f"  {name:24s} {'mean':24s} {'':6s} {'':6s} {_row(mean)}" for name, mean in self.means().items()]
        return "\n".join(["Things that overlap:", head, *lines, *means, f"Table: {self.table}"])

    def json(self) -> dict[str, Any]:
        cases = [asdict(one) for one in self.scores]
        return plain({"means": self.means(), "cases": cases, "table": str(self.table)})  # type: ignore[no-any-return]


def compare_things(project: Project, cards: Sequence[Checkpoint], cases: Sequence[str] = ()) -> Job[ThingsComparison]:
    """Evaluate the checkpoints of ``cards`` and write a table into a run folder.

    Raises
    ------
    UserError
        If one finds organs, or was trained on one of the cases; if one of these lacks labels of things, or things that
        the checkpoint found.
    """
    organs = [card.name for card in cards if card.things is None]
    if organs:
        raise UserError(
            f"{organs[0]!r} finds organs, the others find things that overlap: they cannot be compared.",
            "Evaluate checkpoints of one kind.",
        )
    chosen = [project.case(name) for name in cases] or [
        case for case in project.cases if case.held_out and MANUAL in case.instance_names
    ]
    if not chosen:
        raise UserError("No case with labels of things is held out.", "Add one with --held-out and --instances.")
    for card in cards:
        for case in chosen:
            _require_comparable(case, card)
    scores = []
    for done, case in enumerate(chosen):
        yield Progress("compare things", done, len(chosen))
        scores += [_score(case, card.name) for card in cards]
    yield Progress("compare things", len(chosen), len(chosen))
    ordered = [score for card in cards for score in scores if score.checkpoint == card.name]
    result = ThingsComparison(tuple(ordered), project.new_run("evaluate-things"))
    columns = (field.name for field in fields(ThingsScore))
    replace_file(result.table, as_csv(columns, map(astuple, result.scores)))
    replace_file(result.folder / "things.json", json.dumps(result.json(), indent=1).encode())
    return result


def read_things(project: Project, checkpoint: str) -> str:
    """What the last evaluation said of ``checkpoint``, in a sentence; empty where there was none."""

    def take(data: Any, _: Path) -> str | None:
        means, cases = data["means"].get(checkpoint), data["cases"]
        if means is None:
            return None
        said = ", ".join(f"{title} {means[figure]:.3f}" for figure, title in zip(FIGURES, _TITLES, strict=True))
        animals = counted(len({row["case"] for row in cases}), "held-out animal")
        return f"{checkpoint} finds things that overlap with {said}, on {animals}."

    return newest(project, "*-evaluate-things*/things.json", take) or ""


def _score(case: Case, checkpoint: str) -> ThingsScore:
    truth = open_instances(case.store, MANUAL)
    kept = open_instances(case.store, checkpoint)  # the surest first: for one case their order is all that counts
    found = [replace(thing, score=1 - rank / len(kept)) for rank, thing in enumerate(kept)]
    pair = [(truth, found)]
    return ThingsScore(
        checkpoint,
        case.id,
        len(truth),
        len(found),
        aggregated_jaccard(truth, found),
        average_precision(pair, 0.5),
        average_precision(pair, 0.75),
        mean_average_precision(pair),
    )


def _require_comparable(case: Case, card: Checkpoint) -> None:
    card.require_unseen(case.id)
    if MANUAL not in case.instance_names:
        raise UserError(f"Case {case.id!r} has no labels of things to compare with.", "Add it with --instances.")
    if card.name not in case.instance_names:
        raise UserError(
            f"Case {case.id!r} has no things by {card.name!r}.", f"Run: medaka-kd segment --checkpoint {card.name}."
        )


def _row(figures: dict[str, float]) -> str:
    return " ".join(f"{figures[figure]:8.3f}" for figure in FIGURES)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
