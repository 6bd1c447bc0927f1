"""The calibrated classifier: evidence → the probability that an organ is acceptable, and from where on to accept it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Sequence

_PRIOR_ROWS = 10.0  # how many rows the expectation of a slope weighs against

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Examples:
    """What the classifier learns from, one row an organ somebody or something judged.

    Attributes
    ----------
    evidence
        (n, features) float64.
    good
        (n,) bool.
    weight
        (n,) float64: what the row counts.
    animal
        (n,) int64: rows of one animal are never on both sides of a split.
    """

    evidence: Floats
    good: npt.NDArray[np.bool_]
    weight: Floats
    animal: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.good)

    def __add__(self, other: Examples) -> Examples:
        return Examples(
            np.concatenate((self.evidence, other.evidence)),
            np.concatenate((self.good, other.good)),
            np.concatenate((self.weight, other.weight)),
            np.concatenate((self.animal, other.animal)),
        )


class Classifier(BaseModel):
    """A logistic regression in plain numbers; JSON on disk.

    Attributes
    ----------
    mean, spread
        By which each feature is standardised.
    slope, bias
        Of the logit.
    threshold
        Accept from this probability on.
    precision, interval
        Measured on animals it was not fitted to: the share of good ones among those it accepts, and that share's
        95 % interval (Wilson).
    auroc
        Likewise measured; NaN where all were good or all bad.
    examples, verdicts
        How many rows it was fitted to, and how many of them a person gave.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    mean: tuple[float, ...]
    spread: tuple[float, ...]
    slope: tuple[float, ...]
    bias: float
    threshold: float
    precision: float
    interval: tuple[float, float]
    auroc: float
    examples: int
    verdicts: int = 0

    def probability(self, evidence: Floats) -> Floats:
        """(n, features) → (n,) in 0…1."""
        line = _Line(np.array(self.mean), np.array(self.spread), np.array(self.slope), self.bias)
        return line.probability(evidence)


def fit_classifier(
    examples: Examples, wanted: float, judged: Examples | None = None, prior: Sequence[float] | None = None
) -> Classifier:
    """Fit to ``examples`` and, if there are any, to the ``judged`` ones of a person.

    Parameters
    ----------
    wanted
        The precision at which the threshold is set, on out-of-fold answers to all rows by their weight. Not on the
        judged ones alone: people judge what is doubtful first, and of the worst proposals any threshold looks right.
    prior
        For each feature the slope to expect before any lesson; its sign is kept whatever the lessons say, 0 is free.
    """
    expected = np.zeros(examples.evidence.shape[1]) if prior is None else np.array(prior, float)
    rows = examples + judged if judged is not None and len(judged) else examples
    given = 0 if judged is None else len(judged)
    answers = out_of_fold(rows, expected)
    threshold = choose_threshold(answers, rows.good, wanted, rows.weight)
    accepted = answers >= threshold
    share = float(np.average(rows.good[accepted], weights=rows.weight[accepted]))
    like = float(rows.weight[accepted].sum() ** 2 / (rows.weight[accepted] ** 2).sum())  # as many of equal weight
    line = _fit_line(rows, expected)
    return Classifier(
        mean=tuple(line.mean),
        spread=tuple(line.spread),
        slope=tuple(line.slope),
        bias=line.bias,
        threshold=float(threshold),
        precision=share,
        interval=wilson(share * like, like),
        auroc=auroc(answers, rows.good),
        examples=len(rows),
        verdicts=given,
    )


def out_of_fold(rows: Examples, prior: Floats) -> Floats:
    """The answer to each row of a model that never saw its animal (its row, where there is one animal only)."""
    from sklearn.model_selection import GroupKFold, KFold

    animals = len(np.unique(rows.animal))
    if len(rows) < 2:
        return np.full(len(rows), 0.5)
    splits = GroupKFold(min(5, animals)) if animals > 1 else KFold(min(5, len(rows)), shuffle=True, random_state=0)
    answers = np.zeros(len(rows))
    for seen, unseen in splits.split(rows.evidence, rows.good, rows.animal if animals > 1 else None):
        part = Examples(rows.evidence[seen], rows.good[seen], rows.weight[seen], rows.animal[seen])
        answers[unseen] = _fit_line(part, prior).probability(rows.evidence[unseen])
    return answers


def choose_threshold(answers: Floats, good: npt.NDArray[np.bool_], wanted: float, weight: Floats) -> float:
    """The lowest threshold from which on the share of good ones is ``wanted``; where none is, the best decile's."""
    order = np.argsort(-answers, kind="stable")
    precision = np.cumsum((good * weight)[order]) / np.cumsum(weight[order])
    ends = np.append(np.diff(answers[order]) != 0, True)  # a threshold keeps ties together
    enough = np.flatnonzero((precision >= wanted) & ends)
    last = enough[-1] if len(enough) else max(0, len(order) // 10 - 1)
    return float(answers[order[last]])


def wilson(hits: float, total: float) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); (0, 1) where nothing was seen."""
    if total == 0:
        return 0.0, 1.0
    z, share = 1.959964, hits / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total**2)) / (1 + z * z / total)
    return max(0.0, middle - half), min(1.0, middle + half)


def auroc(answers: Floats, good: npt.NDArray[np.bool_]) -> float:
    """The chance that a good one is ranked above a bad one; NaN where one kind is missing."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(good, answers)) if 0 < good.sum() < len(good) else math.nan


@dataclass(frozen=True)
class _Line:
    """A logistic regression: standardise, weigh, add."""

    mean: Floats
    spread: Floats
    slope: Floats
    bias: float

    def probability(self, evidence: Floats) -> Floats:
        from scipy import special

        logit = ((evidence - self.mean) / self.spread) @ self.slope + self.bias
        return np.asarray(special.expit(np.clip(logit, -40, 40)))


def _fit_line(rows: Examples, prior: Floats) -> _Line:
    """The most probable slopes under a Gaussian prior around ``prior``, none of the other sign than its."""
    from scipy import optimize, special  # half a second, which the window must not wait for

    mean, spread = rows.evidence.mean(0), rows.evidence.std(0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    scaled = np.column_stack(((rows.evidence - mean) / spread, np.ones(len(rows))))
    centre = np.append(prior, 0.0)
    pull = np.append(np.full(len(prior), _PRIOR_ROWS), 1e-3)  # the bias is almost free

    def cost(line: Floats) -> tuple[float, Floats]:
        logit = scaled @ line
        losses = np.logaddexp(0, np.where(rows.good, -logit, logit))
        slope = scaled.T @ (rows.weight * (special.expit(logit) - rows.good))
        away = line - centre
        return float(rows.weight @ losses + (pull * away**2).sum() / 2), slope + pull * away

    bounds = [(0, None) if value > 0 else (None, 0) if value < 0 else (None, None) for value in centre]
    found = optimize.minimize(cost, centre, jac=True, method="L-BFGS-B", bounds=bounds).x
    return _Line(mean, spread, found[:-1], float(found[-1]))
