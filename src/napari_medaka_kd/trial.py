"""A trial of self-training: a teacher, a simulated reviewer, and students that believe the one or the other filter."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .quality.classifier import auroc
from .quality.evidence import overlaps
from .review import ReviewItem, fold, read_verdicts
from .settings import SegmentSettings, SelfTrainingSettings, TrainSettings
from .volumes.atomic import replace_file
from .workflow.curate import Word, verdict
from .workflow.propose import score, segment
from .workflow.queue import next_items
from .workflow.teach import distil_once, train
from .workflow.trusting import Trust, acceptance, number, scored

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from .demo_settings import TrialSettings
    from .job import Job
    from .project import Project

TEACHER, CONTROL = "teacher", "control"

#: The students: by arm, in words, what of the teacher's labels each believes.
STUDENTS = {
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
class Trial:
    """Where a trial stands.

    Attributes
    ----------
    truth
        By case without labels its true classes, (z, y, x), which only the reviewer knows.
    """

    project: Project
    settings: TrialSettings
    truth: Mapping[str, npt.NDArray[np.int64]]

    def teach(self) -> Job[None]:
        """Train the teacher, and let it propose organs of every animal without labels."""
        if TEACHER not in self.project.checkpoints:
            seeded = self.settings.teacher.model_copy(update={"seed": self.settings.seed})
            yield from train(self.project, TEACHER, seeded)
        yield from segment(self.project, TEACHER, SegmentSettings())

    def review(self) -> Job[None]:
        """The simulated reviewer judges some proposals; what they will say is settled before their first verdict.

        Verdicts change the scores, and so the order in which to look: asked again, the reviewer would go on for ever.
        """
        project, quality = self.project, self.settings.quality
        plan = project.folder.with_name("reviews.json")
        if not plan.is_file():
            yield from score(project, TEACHER, quality)
            replace_file(plan, json.dumps(self._opinions()).encode())
        given = fold(read_verdicts(project.review_folder), checkpoint=TEACHER)
        for said, case, organ, (first, last) in json.loads(plan.read_text("utf-8")):
            if ReviewItem(case, organ, (first, last)) not in given:
                verdict(project, Word(said, case, str(organ), (first, last), TEACHER, "simulated reviewer"))
        yield from score(project, TEACHER, quality)

    def trusts(self) -> dict[str, Trust]:
        """What each student believes. Those by chance and by confidence believe as much as the quality classifier."""
        ours = acceptance(self.project, TEACHER)
        places = [(case, *unit) for case, units in ours.values.items() for unit in units]
        keep = sum(ours.values[case][organ, slab] > 0 for case, organ, slab in places)
        confidence = {
            (case, score.organ, number(score.slab[0], record.slab)): score.evidence[0]
            for case, record in scored(self.project, TEACHER).items()
            for score in record.scores
        }
        ious = self.true_ious
        rng = np.random.default_rng((self.settings.seed, 11))
        chosen: dict[str, set[Place]] = {
            "all": set(places),
            "random": {places[place] for place in rng.permutation(len(places))[:keep]},
            "confidence": set(sorted(places, key=lambda place: -confidence[place])[:keep]),
            "oracle": {place for place in places if ious[place] >= self.settings.quality.good_iou},
        }
        made = {arm: _only(kept, ours) for arm, kept in chosen.items()}
        return made | {"qc": ours, "qc_kd": ours, "weighed": acceptance(self.project, TEACHER, "weighed")}

    def distil(self, name: str, trust: Trust, soft: bool) -> Job[None]:
        """A student that believes ``trust``, and learns from the teacher's soft answers if ``soft``."""
        student = self.settings.student.model_copy(update={"seed": self.settings.seed})
        if not soft:
            plain = student.strategy.model_copy(update={"distil_weight": 0.0})
            student = student.model_copy(update={"strategy": plain})
        yield from distil_once(self.project, name, TEACHER, student, trust)

    def judged(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Score, confidence and true goodness of each proposal that nobody reviewed."""
        unseen = set(next_items(self.project, TEACHER, "worst"))
        ious, organs = self.true_ious, self.project.schema.ids
        rows = [
            (score.score, score.evidence[0], ious[case, score.organ, number(score.slab[0], record.slab)])
            for case, record in scored(self.project, TEACHER).items()
            for score in record.scores
            if ReviewItem(case, organs[score.organ - 1], score.slab) in unseen
        ]
        scores, confidence, iou = np.array(rows, float).reshape(-1, 3).T
        return scores, confidence, iou >= self.settings.quality.good_iou

    def quality(self) -> dict[str, float]:
        """AUROC, precision at the threshold and share kept, on the proposals that were not reviewed."""
        scores, _, good = self.judged()
        threshold = next(iter(scored(self.project, TEACHER).values())).threshold
        accepted = scores >= threshold
        precision = float(good[accepted].mean()) if accepted.any() else float("nan")
        kept = acceptance(self.project, TEACHER).kept()
        return {"auroc": auroc(scores, good), "precision": precision, "threshold": threshold, "kept": kept}

    @cached_property
    def true_ious(self) -> dict[Place, float]:
        """How well each proposal overlaps with the truth."""
        slab, organs = self.settings.quality.slab, self.project.schema
        found = {}
        for case, truth in self.truth.items():
            proposed = organs.to_classes(self.project.case(case).labels(TEACHER).volume.read())
            for (organ, first, _), iou in overlaps(proposed, truth, slab).items():
                found[case, organ, number(first, slab)] = iou
        return found

    def _opinions(self) -> list[tuple[str, str, int, tuple[int, int]]]:
        """(decision, case, organ, slab): judged by the true overlap, with a slip now and then."""
        settings, ious, organs = self.settings, self.true_ious, self.project.schema.ids
        rng = np.random.default_rng((settings.seed, 7))
        said = []
        for item in next_items(self.project, TEACHER, "mixed", settings.seed)[: settings.reviews]:
            first, last = item.slab or (0, self.project.case(item.case).volume.shape[0])
            place = (item.case, organs.index(item.organ) + 1, number(first, settings.quality.slab))
            good = ious[place] >= settings.quality.good_iou
            decision = "accepted" if good != (rng.random() < settings.slips) else "rejected"
            said.append((decision, item.case, item.organ, (first, last)))
        return said


def control_settings(settings: TrialSettings) -> TrainSettings:
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


def _only(kept: set[Place], like: Trust) -> Trust:
    """Full trust in ``kept`` of the units of ``like``, none in the others."""
    values = {case: {unit: float((case, *unit) in kept) for unit in units} for case, units in like.values.items()}
    return Trust(values, like.slab)
