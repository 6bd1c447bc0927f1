"""What a demo shows of itself: sentences that say what helped, and the material of its report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .distil.metrics import is_loss, read_metrics
from .report import QualityCurve, Report, difference
from .volumes.phantom import MEDAKA
from .workflow.assess import Evaluation, take_pictures

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from .demo_settings import DemoSettings
    from .project import Project

#: Which label maps the pictures show, by title.
MAPS = {"truth": "manual", "teacher": "teacher", "control": "control", "student": "qc_kd"}


@dataclass(frozen=True)
class Findings:
    """What a demo found.

    Attributes
    ----------
    arms, titles
        How each arm did on the held-out animals, and what it is in words.
    scores, confidence, good
        Of each proposal that nobody reviewed: the quality classifier's score, the teacher's confidence, the truth.
    quality
        ``auroc``, ``precision``, ``threshold`` and the share ``kept`` of the quality classifier.
    """

    project: Project
    settings: DemoSettings
    arms: Mapping[str, Evaluation]
    titles: Mapping[str, str]
    scores: npt.NDArray[Any]
    confidence: npt.NDArray[Any]
    good: npt.NDArray[Any]
    quality: Mapping[str, float]

    def sentences(self) -> tuple[str, ...]:
        """What came out, in plain English; differences with their 95 % interval over the held-out animals."""
        against_teacher, against_control = self._gain("qc_kd", "teacher"), self._gain("qc_kd", "control")
        beaten = against_control["low"] > 0
        quality = self.quality
        return (
            f"Against its teacher the student (quality classifier and soft answers) {_words(against_teacher)}.",
            f"Against a supervised control with the same compute and augmentation it {_words(against_control)}."
            + ("" if beaten else " So the control is not clearly beaten: in this run unlabelled scans helped little."),
            f"Against as many pseudo-labels kept at random, the classifier {_words(self._gain('qc', 'random'))}; "
            f"against keeping all of them it {_words(self._gain('qc', 'all'))}.",
            f"The teacher's soft answers on top: the student {_words(self._gain('qc_kd', 'qc'))}.",
            f"On proposals that nobody reviewed the classifier's AUROC is {quality['auroc']:.2f}; of those it accepts "
            f"{quality['precision']:.0%} are good; it accepts {quality['kept']:.0%} of all.",
        )

    def report(self, seconds: float) -> Report:
        """The material of the report."""
        shown = next(case for case in self.project.cases if case.held_out)
        return Report(
            title="From a teacher to its student, on made-up fish",
            sentences=self.sentences(),
            schema=MEDAKA,
            arms=[each.arm(self.titles[key], _curve(self.project, key)) for key, each in self.arms.items()],
            pictures=take_pictures(shown, MAPS),
            curves=[
                QualityCurve("quality classifier", self.scores, self.good),
                QualityCurve("confidence alone", self.confidence, self.good),
            ],
            facts={"seconds": round(seconds)} | self.settings.model_dump(mode="json"),
        )

    def _gain(self, one: str, other: str) -> dict[str, float]:
        return difference(self.arms[one].by_case(), self.arms[other].by_case())


def _words(gain: Mapping[str, float]) -> str:
    mean, low, high = (100 * gain[name] for name in ("mean", "low", "high"))
    verb = "gains" if mean >= 0 else "loses"
    sure = "" if low > 0 or high < 0 else ", which may be chance"
    return f"{verb} {abs(mean):.1f} points of mean IoU [{low:+.1f}, {high:+.1f}]{sure}"


def _curve(project: Project, key: str) -> list[tuple[int, float]]:
    """The sum of the losses by step, of the last network that was trained for this arm."""
    files = sorted((project.folder / "runs").glob(f"*-{key}/*/metrics.csv"))
    total: dict[int, float] = {}
    for step, figure, value in read_metrics(files[-1]) if files else []:
        if is_loss(figure):
            total[step] = total.get(step, 0.0) + value
    return sorted(total.items())
