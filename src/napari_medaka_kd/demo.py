"""The demo: the verbs on made-up fish, with a simulated reviewer, and a comparison that shows what helps."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .demo_report import Findings
from .errors import UserError
from .job import Job, Progress
from .project import Project, add_case, create_project, open_project
from .quality.classifier import auroc
from .quality.evidence import overlaps
from .report import plain, write_report
from .review import ReviewItem, fold, read_verdicts
from .settings import DemoSettings, SegmentSettings, SelfTrainingSettings
from .volumes.atomic import replace_file
from .volumes.phantom import MEDAKA, PhantomAnimal, phantom_animal
from .workflow.assess import evaluate
from .workflow.curate import Word, verdict
from .workflow.propose import score, segment
from .workflow.queue import next_items
from .workflow.sample import animals as animals
from .workflow.teach import distil_once, train
from .workflow.trusting import Trust, acceptance, number, scored

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TEACHER = "teacher"

#: What is compared, in the order of the report.
ARMS = {
    "teacher": "teacher",
    "control": "labels only, the student's compute",
    "all": "student, all pseudo-labels",
    "random": "student, random filter",
    "confidence": "student, filter by confidence",
    "qc": "student, quality classifier",
    "qc_kd": "student, quality classifier and soft answers",
    "oracle": "student, filter that knows the truth",
}

#: (case, class, number of the slab)
Place = tuple[str, int, int]


@dataclass(frozen=True)
class Outcome:
    """What a demo found: mean IoU by arm, and how well the quality classifier judged what nobody had reviewed."""

    arms: Mapping[str, float]
    quality: Mapping[str, float]
    seconds: float
    seed: int
    report: Path
    sentences: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        kept = ("arms", "quality", "seconds", "seed")
        return {name: getattr(self, name) for name in kept} | {"report": str(self.report)}

    def text(self) -> str:
        rows = [f"  {ARMS[arm]:45s} {iou:6.1%}" for arm, iou in self.arms.items()]
        return "\n".join(["Mean IoU on held-out animals:", *rows, *self.sentences, f"Report: {self.report}"])


@dataclass(frozen=True)
class Stand:
    """Where a demo stands: its project, and the truth of each unlabelled animal, which only the reviewer knows."""

    project: Project
    settings: DemoSettings
    truth: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)


def demo(folder: Path, settings: DemoSettings) -> Job[Outcome]:
    """Play the whole way in ``folder``. Interrupted and called again with the same settings, it goes on."""
    begun = time.monotonic()
    stand = Stand(_open(folder, settings), settings)
    yield from _add_animals(stand)
    yield from _teach(stand)
    yield from _review(stand)
    trusts = _trusts(stand)
    yield from _train_arms(stand, trusts)
    yield from segment(stand.project, TEACHER, SegmentSettings())
    evaluations = {}
    for arm in ARMS:
        evaluations[arm] = yield from evaluate(stand.project, arm)
    findings = Findings(stand.project, settings, evaluations, ARMS, *judged(stand), _judged_quality(stand))
    seconds = time.monotonic() - begun
    page = write_report(findings.report(seconds), folder)
    arms = {arm: evaluation.mean_iou for arm, evaluation in evaluations.items()}
    outcome = Outcome(arms, findings.quality, round(seconds, 1), settings.seed, page, findings.sentences())
    replace_file(folder / "demo-result.json", json.dumps(plain(outcome.json())).encode())
    return outcome


def _open(folder: Path, settings: DemoSettings) -> Project:
    """The demo's project: the one that was begun with these settings, or a new one."""
    asked = settings.model_dump_json(indent=1)
    mark = folder / "demo.json"
    if mark.is_file() and mark.read_text("utf-8") != asked:
        shutil.rmtree(folder / "project", ignore_errors=True)
        (folder / "reviews.json").unlink(missing_ok=True)
    if folder.exists() and any(folder.iterdir()) and not mark.is_file():
        raise UserError(f"The folder {str(folder)!r} holds something else.", "Name another one with --folder.")
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(mark, asked.encode())
    place = folder / "project"
    return open_project(place) if place.exists() else create_project(place, "medaka demo", MEDAKA)


def _add_animals(stand: Stand) -> Job[None]:
    made = animals(stand.settings)
    known = {case.id for case in stand.project.cases}
    for done, (case, phantom) in enumerate(made.items()):
        yield Progress("scan made-up fish", done, len(made))
        animal = phantom_animal(phantom)
        if case.startswith("unlabelled"):
            stand.truth[case] = _classes(animal)
        if case not in known:
            labels = None if case.startswith("unlabelled") else animal.labels
            yield from _quietly(add_case(stand.project, animal.volume, labels, case, case.startswith("heldout")))
    yield Progress("scan made-up fish", len(made), len(made))


def _teach(stand: Stand) -> Job[None]:
    settings = stand.settings
    if TEACHER not in stand.project.checkpoints:
        yield from train(stand.project, TEACHER, settings.teacher.model_copy(update={"seed": settings.seed}))
    yield from segment(stand.project, TEACHER, SegmentSettings())


def _review(stand: Stand) -> Job[None]:
    """The simulated reviewer judges some proposals; what they will say is settled before their first verdict.

    Verdicts change the scores, and so the order in which to look: asked again, the reviewer would go on for ever.
    """
    settings, project = stand.settings, stand.project
    plan = project.folder.with_name("reviews.json")
    if not plan.is_file():
        yield from score(project, TEACHER, settings.quality)
        replace_file(plan, json.dumps(_opinions(stand)).encode())
    given = fold(read_verdicts(project.review_folder), checkpoint=TEACHER)
    for said, case, organ, (first, last) in json.loads(plan.read_text("utf-8")):
        if ReviewItem(case, organ, (first, last)) not in given:
            verdict(project, Word(said, case, str(organ), (first, last), TEACHER, "simulated reviewer"))
    yield from score(project, TEACHER, settings.quality)


def _opinions(stand: Stand) -> list[tuple[str, str, int, tuple[int, int]]]:
    """(decision, case, organ, slab): judged by the true overlap, with a slip now and then."""
    settings, ious = stand.settings, _true_ious(stand)
    rng = np.random.default_rng((settings.seed, 7))
    said = []
    for item in next_items(stand.project, TEACHER, "mixed", settings.seed)[: settings.reviews]:
        assert item.slab is not None
        organ = MEDAKA.ids.index(item.organ) + 1
        good = ious[item.case, organ, number(item.slab[0], settings.quality.slab)] >= settings.quality.good_iou
        decision = "accepted" if good != (rng.random() < settings.slips) else "rejected"
        said.append((decision, item.case, item.organ, item.slab))
    return said


def _trusts(stand: Stand) -> dict[str, Trust]:
    """What each arm believes. The filters by chance and by confidence believe as many as the quality classifier."""
    ours = acceptance(stand.project, TEACHER)
    places = [(case, *unit) for case, units in ours.values.items() for unit in units]
    keep = sum(ours.values[case][organ, slab] > 0 for case, organ, slab in places)
    confidence = {
        (case, score.organ, number(score.slab[0], record.slab)): score.evidence[0]
        for case, record in scored(stand.project, TEACHER).items()
        for score in record.scores
    }
    ious = _true_ious(stand)
    rng = np.random.default_rng((stand.settings.seed, 11))
    chosen: dict[str, set[Place]] = {
        "all": set(places),
        "random": {places[place] for place in rng.permutation(len(places))[:keep]},
        "confidence": set(sorted(places, key=lambda place: -confidence[place])[:keep]),
        "oracle": {place for place in places if ious[place] >= stand.settings.quality.good_iou},
    }
    made = {arm: _only(kept, ours) for arm, kept in chosen.items()}
    return made | {"qc": ours, "qc_kd": ours}


def _train_arms(stand: Stand, trusts: Mapping[str, Trust]) -> Job[None]:
    project, student = stand.project, stand.settings.student.model_copy(update={"seed": stand.settings.seed})
    plain = student.strategy.model_copy(update={"distil_weight": 0.0})
    if "control" not in project.checkpoints:
        yield from train(project, "control", control_settings(stand.settings))
    for arm, trust in trusts.items():
        strategy = student.strategy if arm == "qc_kd" else plain
        if arm not in project.checkpoints:
            yield from distil_once(project, arm, TEACHER, student.model_copy(update={"strategy": strategy}), trust)
    for arm in ARMS:
        held_out = [case.id for case in project.cases if case.held_out and arm not in case.label_names]
        if held_out:
            yield from segment(project, arm, SegmentSettings(), held_out)


def control_settings(settings: DemoSettings) -> Any:
    """The supervised control: from the same start, with the student's steps, batch and augmentation."""
    student = settings.student
    assert isinstance(student.strategy, SelfTrainingSettings)
    batch = student.patches.batch + student.strategy.unlabelled
    return settings.teacher.model_copy(
        update={
            "seed": settings.seed,
            "start": TEACHER,
            "network": settings.teacher.network.model_copy(update={"members": 1}),
            "patches": student.patches.model_copy(update={"batch": batch}),
            "augment": student.augment,
            "fit": student.fit,
        }
    )


def judged(stand: Stand) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Score, confidence and true goodness of each proposal that nobody reviewed."""
    unseen = set(next_items(stand.project, TEACHER, "worst"))
    ious = _true_ious(stand)
    rows = [
        (score.score, score.evidence[0], ious[case, score.organ, number(score.slab[0], record.slab)])
        for case, record in scored(stand.project, TEACHER).items()
        for score in record.scores
        if ReviewItem(case, MEDAKA.ids[score.organ - 1], score.slab) in unseen
    ]
    scores, confidence, iou = np.array(rows, float).reshape(-1, 3).T
    return scores, confidence, iou >= stand.settings.quality.good_iou


def _judged_quality(stand: Stand) -> dict[str, float]:
    """AUROC, precision at the threshold and share kept, on the proposals that were not reviewed."""
    scores, _, good = judged(stand)
    threshold = next(iter(scored(stand.project, TEACHER).values())).threshold
    accepted = scores >= threshold
    precision = float(good[accepted].mean()) if accepted.any() else float("nan")
    kept = acceptance(stand.project, TEACHER).kept()
    return {"auroc": auroc(scores, good), "precision": precision, "threshold": threshold, "kept": kept}


def _true_ious(stand: Stand) -> dict[Place, float]:
    slab = stand.settings.quality.slab
    found = {}
    for case, truth in stand.truth.items():
        proposed = MEDAKA.to_classes(stand.project.case(case).labels(TEACHER).volume.read())
        for (organ, first, _), iou in overlaps(proposed, truth, slab).items():
            found[case, organ, number(first, slab)] = iou
    return found


def _only(kept: set[Place], like: Trust) -> Trust:
    """Full trust in ``kept`` of the units of ``like``, none in the others."""
    values = {case: {unit: float((case, *unit) in kept) for unit in units} for case, units in like.values.items()}
    return Trust(values, like.slab)


def _classes(animal: PhantomAnimal) -> npt.NDArray[np.int64]:
    return MEDAKA.to_classes(animal.labels.volume.read())


def _quietly(job: Job[Any]) -> Job[None]:
    """Play ``job`` without its reports: thirty small copies are one thing to a person."""
    for _ in job:
        pass
    return
    yield
