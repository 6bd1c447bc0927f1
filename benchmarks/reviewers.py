"""How many verdicts a student needs, order by order: a simulated reviewer judges by the true overlap, with slips.

    python benchmarks/reviewers.py --data FOLDER [--sets hippocampi phantom] [--seeds 0 1 2] [--counts 0 10 20 40 80]

The projects are those of ``quality.py``. For each order the reviewer takes the queue's next items, ten at a time; after
each ten the classifier learns and the queue is made anew. At each of the counts, and where all is judged, a student is
trained on what is then believed, and held against animals that neither it nor the reviewer saw. With ``--correct`` what
is not good enough is painted as it should be instead of rejected; ``--unreviewed all`` lets the student believe what
nobody looked at. Interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from quality import TEACHER, Bench
from quality_sets import SETS
from table import print_table, say_json

from napari_medaka_kd.job import drain
from napari_medaka_kd.project import add_case, open_project
from napari_medaka_kd.quality.classifier import auroc
from napari_medaka_kd.quality.evidence import overlaps
from napari_medaka_kd.report import plain
from napari_medaka_kd.review import Decision, ReviewItem, Standing, fold, queue, read_verdicts
from napari_medaka_kd.settings import SegmentSettings, Unreviewed
from napari_medaka_kd.volumes.atomic import replace_file
from napari_medaka_kd.workflow.assess import evaluate
from napari_medaka_kd.workflow.correct import abandon_correction, begin_correction, commit_correction
from napari_medaka_kd.workflow.curate import Word, verdict
from napari_medaka_kd.workflow.propose import score, segment
from napari_medaka_kd.workflow.teach import distil_once
from napari_medaka_kd.workflow.trusting import Trust, acceptance, number, scored

ORDERS = ("random", "worst", "informative", "mixed", "organ", "animal")
AT_ONCE = 10  # verdicts between two lessons of the classifier
ENOUGH = 0.95  # of what all verdicts add
SLIPS = 0.05  # share of the verdicts that are wrong
WHO = "simulated reviewer"


class Reviewer:
    """A person, simulated on a copy of a project of ``quality.py``, who looks in one order."""

    def __init__(self, bench: Bench, order: str, folder: Path, corrects: bool, unreviewed: Unreviewed) -> None:
        self.trial, self.order, self.corrects, self.unreviewed = bench.trial, order, corrects, unreviewed
        if not folder.exists():
            made = folder.with_name(f".{folder.name}")
            shutil.rmtree(made, ignore_errors=True)
            shutil.copytree(bench.folder / "project", made)
            made.rename(folder)
        self.project = open_project(folder)
        known = {case.id for case in self.project.cases}
        for name, (volume, labels) in self.trial.held_out.items():
            if name not in known:
                drain(add_case(self.project, volume, labels, name, held_out=True))
        self.good = self._good()

    def judge(self, count: int) -> None:
        """Say something of items until there are ``count`` verdicts, and let the classifier learn."""
        dice = np.random.default_rng((self.trial.quality.seed, 13))
        slips = dict(zip(sorted(self.good), dice.random(len(self.good)) < SLIPS, strict=True))
        while (missing := count - len(self.judged)) > 0:
            items = self._next()[: min(AT_ONCE, missing)]
            if not items:
                return
            for item in items:
                if self.good[item] != slips[item]:
                    self._say("accepted", item)
                elif not (self.corrects and self._painted(item)):
                    self._say("rejected", item)
            drain(score(self.project, TEACHER, self.trial.quality))

    def _say(self, said: str, item: ReviewItem) -> None:
        verdict(self.project, Word(said, item.case, str(item.organ), item.slab, TEACHER, WHO))

    def _painted(self, item: ReviewItem) -> bool:
        """Make the item's organ what it is in truth, in its slices; whether anything was wrong."""
        correction = begin_correction(self.project, item, TEACHER, WHO)
        truth = self.trial.judged[item.case][1].volume.read(correction.region)
        wrong = (truth == item.organ) | (correction.labels == item.organ)
        if correction.record(np.where(wrong, truth, correction.labels)):
            drain(commit_correction(self.project, correction))
            return True
        abandon_correction(correction)
        return False

    @property
    def judged(self) -> Standing:
        return fold(read_verdicts(self.project.review_folder), checkpoint=TEACHER)

    def measure(self, students: dict[str, float] | None) -> dict[str, float]:
        """How well the classifier knows the rest, what is believed, and what a student makes of it.

        ``students`` holds the mean IoU of those who believed the same before; ``None``: none is trained.
        """
        done = self.judged
        rest = [item for item in self.good if item not in done]
        scores = self._scores()
        trust = acceptance(self.project, TEACHER, self.unreviewed)
        believed = {item: trust.values[item.case][self._place(item, trust.slab)] > 0 for item in self.good}
        right = {item: good or self._is_corrected(done, item) for item, good in self.good.items()}
        kept = [right[item] for item in self.good if believed[item]]
        found = {
            "auroc": auroc(np.array([scores[i] for i in rest]), np.array([self.good[i] for i in rest], bool)),
            "believed": len(kept) / len(believed),
            "precision": float(np.mean(kept)) if kept else math.nan,
            "recall": sum(kept) / max(1, sum(right.values())),
        }
        if students is None:
            return found
        painted = sorted(item for item in done if self._is_corrected(done, item))
        known = hashlib.sha256(repr((trust.digest(), painted)).encode()).hexdigest()
        if known not in students:
            students[known] = self._student(f"{self.order}-{len(done)}", trust)
        return found | {"student": students[known]}

    @staticmethod
    def _is_corrected(said: Standing, item: ReviewItem) -> bool:
        return item in said and said[item].decision is Decision.CORRECTED

    def teacher(self) -> float:
        """Mean IoU of the teacher on the animals that nobody saw."""
        return self._held(TEACHER)

    def _student(self, name: str, trust: Trust) -> float:
        if name not in self.project.checkpoints:
            drain(distil_once(self.project, name, TEACHER, self.trial.student, trust))
        return self._held(name)

    def _held(self, checkpoint: str) -> float:
        drain(segment(self.project, checkpoint, SegmentSettings(), tuple(self.trial.held_out)))
        return drain(evaluate(self.project, checkpoint)).mean_iou

    def _next(self) -> tuple[ReviewItem, ...]:
        folded = fold(read_verdicts(self.project.review_folder), checkpoint=TEACHER)
        seed = self.trial.quality.seed
        if self.order == "random":
            return queue(self._scores(), folded, "mixed", seed, random_share=1.0)
        return queue(self._scores(), folded, self.order, seed)  # type: ignore[arg-type]

    def _scores(self) -> dict[ReviewItem, float]:
        ids = self.trial.organs.ids
        return {
            ReviewItem(case, ids[unit.organ - 1], unit.slab): unit.score
            for case, record in scored(self.project, TEACHER).items()
            for unit in record.scores
        }

    def _good(self) -> dict[ReviewItem, bool]:
        """Whether each proposal overlaps enough with the truth."""
        found = {}
        for case, (_, labels) in self.trial.judged.items():
            organs = self.trial.organs
            proposed = organs.to_classes(self.project.case(case).labels(TEACHER).volume.read())
            ious = overlaps(proposed, organs.to_classes(labels.volume.read()), self.trial.quality.slab)
            for (organ, first, last), iou in ious.items():
                item = ReviewItem(case, organs.ids[organ - 1], (first, last))
                found[item] = iou >= self.trial.quality.good_iou
        return found

    def _place(self, item: ReviewItem, slab: int) -> tuple[int, int]:
        assert item.slab is not None
        return self.trial.organs.ids.index(item.organ) + 1, number(item.slab[0], slab)


def main() -> None:
    asked = arguments()
    for name in asked.sets:
        found = {seed: run(asked, name, seed) for seed in asked.seeds}
        if asked.json:
            say_json({name: found})
        else:
            show(name, found, asked.counts)


def run(asked: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """By order and count, what was measured; kept as it comes."""
    bench = Bench(SETS[name](asked.data, seed), asked.folder / name / f"seed-{seed}")
    bench.play()
    believing = "" if asked.unreviewed == "accepted" else f"-{asked.unreviewed}"
    how = f"corrects{believing}" if asked.correct else f"order{believing}"
    file = bench.folder / f"{'corrections' if asked.correct else 'reviewers'}{believing}.json"
    found: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    for order in asked.orders:
        known = found.setdefault(order, {})
        wanted = [*asked.counts, ALL]
        if all(str(count) in known and ("student" in known[str(count)] or not asked.students) for count in wanted):
            continue
        reviewer = Reviewer(bench, order, bench.folder / f"{how}-{order}", asked.correct, asked.unreviewed)
        if asked.students and "teacher" not in found:
            found["teacher"] = reviewer.teacher()
        for count in wanted:
            reviewer.judge(count)
            known[str(count)] = reviewer.measure(found.setdefault("students", {}) if asked.students else None)
            replace_file(file, json.dumps(plain(found)).encode())
            print(f"{name}, seed {seed}, {order}, {count}: {known[str(count)]}", file=sys.stderr)
    return found


ALL = 1_000_000  # more than there are items


def show(name: str, found: dict[int, dict[str, Any]], counts: list[int]) -> None:
    """A table for each thing measured: orders down, counts across, means over the seeds."""
    orders = [order for order in ORDERS if all(order in each for each in found.values())]
    columns = [*map(str, counts), str(ALL)]
    for what in ("auroc", "precision", "recall", "student"):
        rows = []
        for order in orders:
            values = [[each[order][column].get(what) for each in found.values()] for column in columns]
            rows.append([order, *("" if None in row else f"{100 * np.mean(row):.1f}" for row in values)])
        if any(any(row[1:]) for row in rows):
            print(f"{name}: {WHAT[what]}\n")
            print_table(["order", *map(str, counts), "all judged"], rows)
    if all("teacher" in each for each in found.values()):
        teacher = float(np.mean([each["teacher"] for each in found.values()]))
        print(
            f"The teacher has {100 * teacher:.1f} %. Verdicts to {ENOUGH:.0%} of what all of them add to the student:\n"
        )
        print_table(["order", "verdicts"], [[order, needed(found, order, counts)] for order in orders])


def needed(found: dict[int, dict[str, Any]], order: str, counts: list[int]) -> str:
    """The first count from which on the student, mean over the seeds, has enough of what the last one gains.

    That is over the student of the least count: what verdicts add, not what distillation does.
    """
    columns = [*counts, ALL]
    students = [float(np.mean([each[order][str(count)]["student"] for each in found.values()])) for count in columns]
    gains = [student - students[0] for student in students]
    enough = [gain >= ENOUGH * gains[-1] for gain in gains]
    first = next(place for place in range(len(columns)) if all(enough[place:]))
    return "all" if columns[first] == ALL else str(columns[first])


WHAT = {
    "auroc": "AUROC on what is not judged yet, %, after so many verdicts",
    "precision": "share of good ones among what is believed, %",
    "recall": "share of the good and of the corrected ones that is believed, %",
    "student": "the student's mean IoU on animals that nobody saw, %",
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real scans")
    parser.add_argument("--sets", nargs="+", choices=["hippocampi", "phantom"], default=["hippocampi", "phantom"])
    parser.add_argument("--orders", nargs="+", choices=ORDERS, default=list(ORDERS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="fixed before the first run")
    parser.add_argument(
        "--counts", type=int, nargs="+", default=[0, 10, 20, 40, 80], help="verdicts at which to measure"
    )
    parser.add_argument("--correct", action="store_true", help="paint what is not good enough, instead of rejecting it")
    parser.add_argument(
        "--unreviewed", choices=get_args(Unreviewed), default="accepted", help="what is believed unseen"
    )
    parser.add_argument("--students", action="store_true", help="train a student at each count, too")
    parser.add_argument("--folder", type=Path, default=Path("medaka-bench") / "quality", help="where to work")
    parser.add_argument("--json", action="store_true", help="one line for machines instead of the tables")
    return parser.parse_args()


if __name__ == "__main__":
    main()
