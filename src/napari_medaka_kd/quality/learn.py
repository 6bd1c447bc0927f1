"""A quality classifier from labelled animals alone (the cold start), and its refit when a person has judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Job, Progress

from .classifier import Examples, fit_classifier
from .cohort import learn_cohort
from .corrupt import corrupt
from .critic import View, judged_views, train_critic
from .evidence import FEATURES, Reading, overlaps, read
from .quality import Quality

if TYPE_CHECKING:
    from napari_medaka_kd.settings import QualitySettings
    from napari_medaka_kd.volumes.body import Body

#: (number of the animal, its scan (z, y, x), perhaps distorted) → classes int64 and doubt uint8.
Predict: TypeAlias = Callable[[int, npt.NDArray[Any]], tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]]


@dataclass(frozen=True)
class Labelled:
    """A labelled animal in memory, arrays (z, y, x)."""

    image: npt.NDArray[Any]
    classes: npt.NDArray[np.int64]
    body: Body


def learn_quality(
    animals: Sequence[Labelled], predict: Predict, organs: int, settings: QualitySettings
) -> Job[Quality]:
    """Make examples of good and bad organs out of labelled animals, and learn to tell them apart.

    Parameters
    ----------
    predict
        The teacher's answer to a scan of the animal of that number; best given by members that never saw it.

    The examples are the teacher's answers to ever more distorted copies of the scans, half of them with further
    faults, and the truth itself. The critic learns from one half of them, the classifier from the other: the critic's
    answers to its own lessons would be too good to weigh.

    Raises
    ------
    UserError
        If no organ is found in any of the examples.
    """
    cohort = learn_cohort([(animal.image, animal.classes, animal.body) for animal in animals], organs + 1)
    readings = yield from _read_examples(animals, predict, settings)
    first, second = _halved(readings, len(animals))
    critic = None
    if settings.critic_steps:
        views: list[View] = []
        for number, reading in first:
            views += judged_views(reading, animals[number].classes, settings.slab, organs, settings.good_iou)
        critic = yield from train_critic(views, organs, settings.critic_steps, settings.seed)
    quality = Quality(organs, settings.slab, cohort, critic, None, None)
    rows = [
        _rows(quality, reading, number, animals[number].classes, settings.good_iou)
        for number, reading in second
        if reading.classes.any()
    ]
    if not rows:
        raise UserError("The teacher finds no organ in any labelled animal.", "Train it for longer, then score again.")
    examples = _joined(rows)
    return replace(quality, classifier=fit_classifier(examples, settings.precision), examples=examples)


def refit(
    quality: Quality, judged: Sequence[tuple[npt.NDArray[np.float64], bool, int]], settings: QualitySettings
) -> Quality:
    """``quality`` after a person judged: rows of (evidence, good, number of the animal), each of ``verdict_weight``."""
    if quality.examples is None or not judged:
        return quality
    beyond = int(quality.examples.animal.max(initial=0)) + 1
    rows = Examples(
        np.stack([evidence for evidence, _, _ in judged]),
        np.array([good for _, good, _ in judged]),
        np.full(len(judged), settings.verdict_weight),
        np.array([beyond + animal for _, _, animal in judged]),
    )
    return replace(quality, classifier=fit_classifier(quality.examples, settings.precision, rows))


def distort(image: npt.NDArray[Any], severity: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A copy of a scan (z, y, x) as a worse or other scanner might have made it: blur, gamma, gain and noise."""
    low, high = np.quantile(image[:: max(1, len(image) // 32)], (0.01, 0.99))
    span = max(1e-6, float(high - low))
    scan = ndimage.gaussian_filter((image.astype(np.float32) - low) / span, severity * rng.uniform(0, 1.5))
    scan = np.sign(scan) * np.abs(scan) ** np.exp(rng.normal(0, 0.6 * severity))
    noise = rng.normal(0, 1, scan.shape) * severity * rng.uniform(0, 0.3)
    bent = (scan + noise) * (1 + 0.3 * severity * rng.normal()) + 0.2 * severity * rng.normal()
    return np.asarray(bent * span + low, np.float32)


def _read_examples(
    animals: Sequence[Labelled], predict: Predict, settings: QualitySettings
) -> Job[list[tuple[int, Reading]]]:
    """(number of the animal, reading), animal by animal and copy by copy."""
    found: list[tuple[int, Reading]] = []
    total = len(animals) * settings.copies
    for copy in range(settings.copies):
        for number, animal in enumerate(animals):
            yield Progress("make examples of good and bad organs", len(found), total)
            rng = np.random.default_rng((settings.seed, copy, number))
            scan = distort(animal.image, copy / max(1, settings.copies - 1), rng)
            classes, doubt = predict(number, scan)
            if copy % 4 >= 2:  # two of four, so that each half gets one with faults and one without of each animal
                classes = corrupt(animal.classes if copy % 8 >= 6 else classes, rng)
            found.append((number, read(scan, classes, doubt, animal.body)))
    return found


def _halved(readings: Sequence[tuple[int, Reading]], animals: int) -> tuple[list[tuple[int, Reading]], ...]:
    """Two halves, each with every other copy of every animal."""
    places = [sum(divmod(place, animals)) % 2 for place in range(len(readings))]
    return tuple([each for each, side in zip(readings, places, strict=True) if side == half] for half in (0, 1))


def _rows(quality: Quality, reading: Reading, animal: int, truth: npt.NDArray[np.int64], good_iou: float) -> Examples:
    evidence = quality.evidence(reading)
    if not evidence:
        width = len(FEATURES) + (quality.critic is not None)
        return Examples(np.empty((0, width)), np.empty(0, bool), np.empty(0), np.empty(0, np.int64))
    ious = overlaps(reading.classes, truth, quality.slab)
    good = np.array([ious[unit] >= good_iou for unit in evidence], bool)
    return Examples(np.stack(list(evidence.values())), good, np.ones(len(good)), np.full(len(good), animal))


def _joined(rows: Sequence[Examples]) -> Examples:
    total = rows[0]
    for more in rows[1:]:
        total = total + more
    if not len(total):
        raise UserError("The teacher finds no organ in any labelled animal.", "Train it longer, then score again.")
    return total
