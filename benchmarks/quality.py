"""Which proposed organs are good? The quality classifier before any verdict, against other guesses.

    python benchmarks/quality.py --data FOLDER [--sets hippocampi brains phantom] [--seeds 0 1 2 3 4] [--json]

For each seed a teacher learns from a few labelled animals and proposes organs of others, whose truth is known but to
this script. Every score sees the same proposals. Interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from quality_rivals import Proposed, Regression, dropout, softmax
from quality_sets import SETS, Trial
from table import in_points, print_table, say_json

from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.project import Project, add_case, create_project, open_project
from napari_medaka_kd.quality.classifier import auroc
from napari_medaka_kd.quality.evidence import overlaps, read
from napari_medaka_kd.quality.learn import Labelled
from napari_medaka_kd.report import difference, plain
from napari_medaka_kd.segment.segmenter import Segmenter, members
from napari_medaka_kd.settings import SegmentSettings
from napari_medaka_kd.volumes.atomic import replace_file
from napari_medaka_kd.volumes.label_store import open_uncertainty
from napari_medaka_kd.volumes.volume import Volume, whole
from napari_medaka_kd.workflow.propose import score, segment
from napari_medaka_kd.workflow.teach import train
from napari_medaka_kd.workflow.trusting import scored

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import nn

TEACHER = "teacher"
OURS = "quality classifier"


class Bench:
    """One seed of one set, played in a project of its own."""

    def __init__(self, trial: Trial, folder: Path) -> None:
        self.trial, self.folder = trial, folder

    def play(self) -> Project:
        """Teach, propose and score."""
        place = self.folder / "project"
        project = open_project(place) if place.exists() else create_project(place, "quality", self.trial.organs)
        known = {case.id for case in project.cases}
        for name, (volume, labels) in (self.trial.labelled | self.trial.judged).items():
            if name not in known:
                drain(add_case(project, volume, labels if name in self.trial.labelled else None, name, held_out=False))
        if TEACHER not in project.checkpoints:
            drain(train(project, TEACHER, self.trial.teacher))
        drain(segment(project, TEACHER, SegmentSettings()))
        drain(score(project, TEACHER, self.trial.quality))
        return project

    def judge(self) -> dict[str, Any]:
        """By way, a score of each unit; whether each is good; what the classifier accepts."""
        project = self.play()
        rows: dict[str, list[float]] = {}
        good: list[bool] = []
        ious: list[float] = []
        records = scored(project, TEACHER)
        regression = Regression(self._animals(project), self._predict, len(self.trial.organs.ids), self.trial.quality)
        for case in self.trial.judged:
            proposed = self._proposed(project, case)
            truth = self._truth(case)
            found = overlaps(proposed.reading.classes, truth, self.trial.quality.slab)
            ways = {
                OURS: {(score.organ, *score.slab): score.score for score in records[case].scores},
                **softmax(self.network, self.looks, proposed),
                "dropout, overlap": dropout(self.network, self.looks, proposed),
                "predicted IoU": regression(proposed),
            }
            for way, scores in ways.items():
                rows.setdefault(way, []).extend(scores[unit] for unit in found)
            ious += list(found.values())
        good = [iou >= self.trial.quality.good_iou for iou in ious]
        threshold = next(iter(records.values())).threshold
        return plain({"scores": rows, "good": good, "threshold": threshold})  # type: ignore[no-any-return]

    @cached_property
    def card(self) -> Checkpoint:
        return Checkpoint.open(self._checkpoint)

    @cached_property
    def network(self) -> nn.Module:
        return self.card.load(self._checkpoint).eval()

    @property
    def looks(self) -> Any:
        return self.card.network

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "project" / "checkpoints" / TEACHER

    def _truth(self, case: str) -> npt.NDArray[np.int64]:
        return self.trial.organs.to_classes((self.trial.labelled | self.trial.judged)[case][1].volume.read())

    def _proposed(self, project: Project, name: str) -> Proposed:
        case = project.case(name)
        classes = case.schema.to_classes(case.labels(TEACHER).volume.read())
        doubt = open_uncertainty(case.store, TEACHER)
        assert doubt is not None
        image = case.volume.read()
        return Proposed(image, read(image, classes, doubt.read(), case.body), self.trial.quality.slab)

    def _animals(self, project: Project) -> list[Labelled]:
        self.bodies = [project.case(name).body for name in self.card.trained_on]
        return [
            Labelled(project.case(name).volume.read(), self._truth(name), body)
            for name, body in zip(self.card.trained_on, self.bodies, strict=True)
        ]

    def _predict(self, number: int, scan: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
        """Of the member that never saw the animal."""
        name, left_out = self.card.trained_on[number], self.card.left_out
        unseen = [member for member, out in zip(members(self.network), left_out, strict=True) if name in out]
        alone = self.looks.model_copy(update={"members": 1})
        segmenter = Segmenter(unseen[0], alone, SegmentSettings())
        answer = segmenter.ask(Volume((scan,), (1, 1, 1)), self.bodies[number], whole(scan.shape))
        return answer.classes, *answer.maps.values()


def main() -> None:
    asked = arguments()
    results = {name: {seed: run(asked, name, seed) for seed in asked.seeds} for name in asked.sets}
    if asked.json:
        say_json({name: summary(found) for name, found in results.items()})
        return
    for name, found in results.items():
        print(f"{name}: {SETS[name].__doc__}\n")
        rows = [
            [way, f"{row['auroc']:.3f}", in_points(row["behind"]) if row["behind"] else ""]
            for way, row in summary(found)["ways"].items()
        ]
        print_table(["score", "AUROC, mean of the seeds", "quality classifier is better by, points of AUROC"], rows)
        at = summary(found)["threshold"]
        print(
            f"{at['units']} units, {at['good']:.0%} of them good. At its threshold it accepts {at['accepted']:.0%}, "
            f"{at['precision']:.0%} of them good.\n"
        )


def summary(found: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """AUROC by way, how far each is behind ours, and what ours accepts."""
    by_way = {
        way: {str(seed): auroc(np.array(each["scores"][way]), np.array(each["good"])) for seed, each in found.items()}
        for way in next(iter(found.values()))["scores"]
    }
    ways = {
        way: {
            "auroc": float(np.nanmean(list(values.values()))),
            "behind": difference(by_way[OURS], values) if way != OURS else None,
        }
        for way, values in by_way.items()
    }
    good = np.concatenate([each["good"] for each in found.values()])
    taken = np.concatenate([np.array(each["scores"][OURS]) >= each["threshold"] for each in found.values()])
    at = {"units": len(good), "good": good.mean(), "accepted": taken.mean(), "precision": good[taken].mean()}
    return {"ways": ways, "threshold": at}


def run(asked: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """The result of one seed: read if it is there, else made."""
    folder = asked.folder / name / f"seed-{seed}"
    result = folder / "result.json"
    if not result.is_file():
        print(f"{name}, seed {seed} …", file=sys.stderr)
        replace_file(result, json.dumps(Bench(SETS[name](asked.data, seed), folder).judge()).encode())
    found: dict[str, Any] = json.loads(result.read_text("utf-8"))
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real scans")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="fixed before the first run")
    parser.add_argument("--folder", type=Path, default=Path("medaka-bench") / "quality", help="where to work")
    parser.add_argument("--json", action="store_true", help="one line for machines instead of the tables")
    return parser.parse_args()


if __name__ == "__main__":
    main()
