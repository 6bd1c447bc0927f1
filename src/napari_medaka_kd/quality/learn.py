"""A quality classifier from labelled animals alone (the cold start), and its refit when a person has judged."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Job, Progress

from .classifier import Examples, fit_classifier, out_of_fold
from .cohort import learn_cohort
from .corrupt import corrupt
from .critic import View, judged_views, train_critic
from .distort import bend, distort
from .evidence import PRIOR, Reading, columns, overlaps, read
from .quality import Quality

if TYPE_CHECKING:
    from napari_medaka_kd.settings import QualitySettings
    from napari_medaka_kd.volumes.body import Body

    from .anatomy import Anatomy

#: (number of the animal, its scan (z, y, x), perhaps distorted) → classes int64 and doubt uint8; disagreement, too,
#: where the teacher looks again, and then always.
Predict: TypeAlias = Callable[[int, npt.NDArray[Any]], tuple[npt.NDArray[Any], ...]]


#: What a person judged: evidence (features,), whether it was good, the number of the animal.
Lesson: TypeAlias = tuple[npt.NDArray[np.float64], bool, int]


@dataclass(frozen=True)
class Labelled:
    """A labelled animal in memory, arrays (z, y, x); the size of its voxels in µm."""

    image: npt.NDArray[Any]
    classes: npt.NDArray[np.int64]
    body: Body
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0)


def learn_quality(
    animals: Sequence[Labelled],
    answers: Sequence[Predict],
    organs: int,
    settings: QualitySettings,
    anatomy: Anatomy | None = None,
) -> Job[Quality]:
    """Make examples of good and bad organs out of labelled animals, and learn to tell them apart.

    Parameters
    ----------
    answers
        The teacher's answer to a scan of the animal of that number, best given by members that never saw it; and, if it
        is known, what it would have said early in its training.
    anatomy
        Rules with the facts of these very animals, in their order. Each is compared with the others only, where there
        are others.

    The examples are the teacher's answers to copies of the animals that are ever more bent and distorted. The critic
    learns from every other one: of these half have further faults, a quarter is by the early teacher. The classifier
    learns from the rest, without made-up faults: the critic's answers to its own lessons would be too good to weigh,
    and a fault painted over a confident answer would teach that confidence means nothing.

    Raises
    ------
    UserError
        If no organ is found in any of the examples.
    """
    cohort = learn_cohort([(animal.image, animal.classes, animal.body) for animal in animals], organs + 1)
    lessons: list[Example] = []
    trials: list[Example] = []
    for copy in range(settings.copies):
        yield Progress("make examples of good and bad organs", copy, settings.copies)
        predict = answers[-1 if copy % 8 == 4 else 0]
        made = [make_example(animal, number, copy, predict, settings) for number, animal in enumerate(animals)]
        (trials if copy % 2 else lessons).extend(made)
    critic = None
    if settings.critic_steps:
        views: list[View] = []
        for example in lessons:
            views += judged_views(example.reading, example.truth, settings.slab, organs, settings.good_iou)
        critic = yield from train_critic(views, organs, settings.critic_steps, settings.seed)
    looks_again = any(example.reading.disagreement is not None for example in trials)
    quality = Quality(organs, settings.slab, cohort, critic, None, None, looks_again, anatomy)
    apart = [replace(quality, anatomy=_without(anatomy, number)) for number in range(len(animals))]
    rows = [_rows(apart[one.number], one, settings.good_iou) for one in trials if one.reading.classes.any()]
    if not rows:
        raise UserError("The teacher finds no organ in any labelled animal.", "Train it for longer, then score again.")
    examples = functools.reduce(operator.add, rows)
    return replace(
        quality, classifier=fit_classifier(examples, settings.precision, prior=_prior(examples)), examples=examples
    )


def refit(quality: Quality, judged: Sequence[Lesson], settings: QualitySettings) -> Quality:
    """``quality`` after a person judged: rows of (evidence, good, number of the animal), each of ``verdict_weight``."""
    if quality.examples is None or not judged:
        return quality
    rows = _judged_rows(quality.examples, judged, settings)
    return replace(quality, classifier=fit_classifier(quality.examples, settings.precision, rows, _prior(rows)))


def unseen_scores(quality: Quality, judged: Sequence[Lesson], settings: QualitySettings) -> npt.NDArray[np.float64]:
    """The scores of ``judged`` by classifiers that did not learn from their animals: as if nobody had judged them."""
    if quality.examples is None or not judged:
        return np.empty(0)
    rows = quality.examples + _judged_rows(quality.examples, judged, settings)
    return out_of_fold(rows, np.array(_prior(rows)))[-len(judged) :]


def _judged_rows(examples: Examples, judged: Sequence[Lesson], settings: QualitySettings) -> Examples:
    beyond = int(examples.animal.max(initial=0)) + 1
    return Examples(
        np.stack([evidence for evidence, _, _ in judged]),
        np.array([good for _, good, _ in judged]),
        np.full(len(judged), settings.verdict_weight),
        np.array([beyond + animal for _, _, animal in judged]),
    )


def _prior(examples: Examples) -> tuple[float, ...]:
    """What to expect of each column."""
    return tuple(PRIOR[name] for name in columns(examples.evidence.shape[1]))


def _without(anatomy: Anatomy | None, number: int) -> Anatomy | None:
    """``anatomy`` that has not seen that animal."""
    if anatomy is None or len(anatomy.cohort) < 2:
        return anatomy
    return replace(anatomy, cohort=anatomy.cohort[:number] + anatomy.cohort[number + 1 :])


@dataclass(frozen=True)
class Example:
    """What the teacher made of a bent and distorted copy of animal ``number``, and the copy's truth."""

    number: int
    reading: Reading
    truth: npt.NDArray[np.int64]


def make_example(animal: Labelled, number: int, copy: int, predict: Predict, settings: QualitySettings) -> Example:
    """The ``copy``-th example of ``animal``: the later, the more distorted; every fourth has made-up faults."""
    rng = np.random.default_rng((settings.seed, copy, number))
    severity = copy / max(1, settings.copies - 1)
    image, truth = bend(animal.image, animal.classes, severity, rng)
    scan = distort(image, severity, rng)
    classes, doubt, *again = predict(number, scan)
    if copy % 4 == 2:
        classes = corrupt(classes, rng)
    reading = replace(read(scan, classes, doubt, animal.body, *again), voxel_size=animal.voxel_size)
    return Example(number, reading, truth)


def _rows(quality: Quality, example: Example, good_iou: float) -> Examples:
    evidence = quality.evidence(example.reading)
    ious = overlaps(example.reading.classes, example.truth, quality.slab)
    good = np.array([ious[unit] >= good_iou for unit in evidence], bool)
    return Examples(np.stack(list(evidence.values())), good, np.ones(len(good)), np.full(len(good), example.number))
