"""The calibrated classifier: evidence → the probability that an organ is acceptable, and from where on to accept it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

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
        logit = ((evidence - np.array(self.mean)) / np.array(self.spread)) @ np.array(self.slope) + self.bias
        return np.asarray(1 / (1 + np.exp(-np.clip(logit, -40, 40))))


def fit_classifier(examples: Examples, wanted: float, judged: Examples | None = None) -> Classifier:
    """Fit to ``examples`` and, if there are any, to the ``judged`` ones of a person.

    Parameters
    ----------
    wanted
        The precision at which the threshold is set, on out-of-fold answers: on the judged rows where there are at
        least 20 of them, else on all.
    """
    rows = examples + judged if judged is not None and len(judged) else examples
    given = 0 if judged is None else len(judged)
    answers = _out_of_fold(rows)
    trial = slice(len(rows) - given, None) if given >= 20 else slice(None)
    threshold = choose_threshold(answers[trial], rows.good[trial], wanted)
    accepted = answers[trial] >= threshold
    hits, total = int(rows.good[trial][accepted].sum()), int(accepted.sum())
    scale, model = _pipeline(rows).steps
    return Classifier(
        mean=tuple(scale[1].mean_),
        spread=tuple(scale[1].scale_),
        slope=tuple(model[1].coef_[0]),
        bias=float(model[1].intercept_[0]),
        threshold=float(threshold),
        precision=hits / total if total else math.nan,
        interval=wilson(hits, total),
        auroc=auroc(answers[trial], rows.good[trial]),
        examples=len(rows),
        verdicts=given,
    )


def choose_threshold(answers: Floats, good: npt.NDArray[np.bool_], wanted: float) -> float:
    """The lowest threshold from which on the share of good ones is ``wanted``; where none is, the best decile's."""
    order = np.argsort(-answers, kind="stable")
    precision = np.cumsum(good[order]) / np.arange(1, len(order) + 1)
    ends = np.append(np.diff(answers[order]) != 0, True)  # a threshold keeps ties together
    enough = np.flatnonzero((precision >= wanted) & ends)
    last = enough[-1] if len(enough) else max(0, len(order) // 10 - 1)
    return float(answers[order[last]])


def wilson(hits: int, total: int) -> tuple[float, float]:
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


def _out_of_fold(rows: Examples) -> Floats:
    """The answer to each row of a model that never saw its animal (its row, where there is one animal only)."""
    from sklearn.model_selection import GroupKFold, KFold

    animals = len(np.unique(rows.animal))
    if len(rows) < 2:
        return np.full(len(rows), 0.5)
    splits = GroupKFold(min(5, animals)) if animals > 1 else KFold(min(5, len(rows)), shuffle=True, random_state=0)
    answers = np.zeros(len(rows))
    for seen, unseen in splits.split(rows.evidence, rows.good, rows.animal if animals > 1 else None):
        part = Examples(rows.evidence[seen], rows.good[seen], rows.weight[seen], rows.animal[seen])
        answers[unseen] = _pipeline(part).predict_proba(rows.evidence[unseen])[:, 1]
    return answers


def _pipeline(rows: Examples) -> Pipeline:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # One made-up row of each kind keeps the fit defined where all examples are good, or all bad.
    middle = rows.evidence.mean(0, keepdims=True)
    evidence = np.concatenate((rows.evidence, middle, middle))
    good = np.append(rows.good, [True, False])
    weight = np.append(rows.weight, [1e-3, 1e-3])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000))
    return model.fit(evidence, good, logisticregression__sample_weight=weight)
