"""What a demo shows of itself: sentences that say what helped, and the material of its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from .distil.state import read_metrics
from .report import QualityCurve, Report
from .volumes.phantom import MEDAKA
from .workflow.assess import Evaluation, take_pictures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .demo import Stand

#: Which label maps the pictures show, by title.
MAPS = {"truth": "manual", "teacher": "teacher", "control": "control", "student": "qc_kd"}


def sentences(arms: Mapping[str, Evaluation], quality: Mapping[str, float]) -> tuple[str, ...]:
    """What came out, in plain English, differences with their 95 % interval over the held-out animals."""
    teacher = _difference(arms["qc_kd"], arms["teacher"])
    control = _difference(arms["qc_kd"], arms["control"])
    chance = _difference(arms["qc"], arms["random"])
    soft = _difference(arms["qc_kd"], arms["qc"])
    return (
        f"Against its teacher the student (quality classifier and soft answers) {_words(teacher)}.",
        f"Against a supervised control with the same compute and augmentation it {_words(control)}."
        + ("" if control[1] > 0 else " The control is not clearly beaten: in this run unlabelled scans helped little."),
        f"Against keeping as many pseudo-labels at random the quality classifier {_words(chance)}.",
        f"The soft answers on top: {_words(soft)}.",
        f"On proposals that nobody reviewed the classifier's AUROC is {quality['auroc']:.2f}; of those it accepts "
        f"{quality['precision']:.0%} are good; it accepts {quality['kept']:.0%} of all.",
    )


def demo_report(
    stand: Stand, arms: Mapping[str, Evaluation], said: tuple[str, ...], seconds: float, titles: Mapping[str, str]
) -> Report:
    """The material of the report of ``stand``."""
    shown = next(case for case in stand.project.cases if case.held_out)
    return Report(
        title="From a teacher to its student, on made-up fish",
        sentences=said,
        schema=MEDAKA,
        arms=[evaluation.arm(titles[key], _curve(stand, key)) for key, evaluation in arms.items()],
        pictures=take_pictures(shown, MAPS),
        curves=_curves(stand),
        facts={"seed": stand.settings.seed, "seconds": round(seconds)} | stand.settings.model_dump(mode="json"),
    )


def _difference(one: Evaluation, other: Evaluation) -> tuple[float, float, float]:
    """Mean paired difference over the animals and its 95 % interval (Student's t)."""
    mine, theirs = one.by_case(), other.by_case()
    differences = np.array([mine[case] - theirs[case] for case in mine])
    if len(differences) < 2:
        return float(differences.mean()), float("nan"), float("nan")
    half = stats.t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / np.sqrt(len(differences))
    return float(differences.mean()), float(differences.mean() - half), float(differences.mean() + half)


def _words(difference: tuple[float, float, float]) -> str:
    mean, low, high = (100 * value for value in difference)
    verb = "gains" if mean >= 0 else "loses"
    sure = "" if low > 0 or high < 0 else ", which may be chance"
    return f"{verb} {abs(mean):.1f} points of mean IoU [{low:+.1f}, {high:+.1f}]{sure}"


def _curve(stand: Stand, key: str) -> list[tuple[int, float]]:
    """The sum of the losses by step, of the last network that was trained for this arm."""
    files = sorted((stand.project.folder / "runs").glob(f"*-{key}/*/metrics.csv"))
    total: dict[int, float] = {}
    for step, _, value in read_metrics(files[-1]) if files else []:
        total[step] = total.get(step, 0.0) + value
    return sorted(total.items())


def _curves(stand: Stand) -> list[QualityCurve]:
    """The quality classifier and plain confidence, on the proposals that nobody reviewed."""
    from .demo import judged

    scores, confidence, good = judged(stand)
    return [QualityCurve("quality classifier", scores, good), QualityCurve("confidence alone", confidence, good)]
