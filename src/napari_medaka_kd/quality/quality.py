"""Quality: what tells acceptable organs from others, on disk and at work."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.volumes.atomic import replace_file

from .classifier import Classifier, Examples
from .cohort import Cohort
from .evidence import Reading, Unit, columns, gather

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_medaka_kd.networks.critic import Critic

CLASSIFIER, TABLES, CRITIC = "classifier.json", "tables.npz", "critic.safetensors"


@dataclass(frozen=True)
class QualityScore:
    """What is thought of one organ in one slab of one animal.

    Attributes
    ----------
    organ
        Its class, 1…
    slab
        (first, last + 1) slice.
    score
        The probability that a person would accept it.
    evidence
        The numbers it was judged by: those that :func:`~.evidence.columns` names.
    reasons
        The two things that speak most against it, in words.
    """

    organ: int
    slab: tuple[int, int]
    score: float
    evidence: tuple[float, ...]
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quality:
    """A cohort, perhaps a critic, a classifier, and the examples that it can be refitted to.

    Attributes
    ----------
    looks_again
        Whether it learned from second looks. If so and a reading has none, it takes them to have agreed; if not, it
        does without them.
    """

    organs: int
    slab: int
    cohort: Cohort
    critic: Critic | None
    classifier: Classifier | None
    examples: Examples | None
    looks_again: bool = False

    def evidence(self, reading: Reading) -> Mapping[Unit, npt.NDArray[np.float64]]:
        """Everything known of each organ present in each slab of ``reading``."""
        seen = np.zeros_like(reading.doubt) if reading.disagreement is None else reading.disagreement
        found = gather(replace(reading, disagreement=seen if self.looks_again else None), self.slab, self.cohort)
        if self.critic is None:
            return found
        from .critic import criticise

        opinions = criticise(self.critic, reading, self.slab, self.organs)
        return {unit: np.append(numbers, opinions[unit]) for unit, numbers in found.items()}

    def judge(self, evidence: Mapping[Unit, npt.NDArray[np.float64]]) -> tuple[QualityScore, ...]:
        """The score of each unit and what speaks against it."""
        if self.classifier is None or not evidence:
            return ()
        table = np.stack(list(evidence.values()))
        scores = self.classifier.probability(table)
        against = (table - self.classifier.mean) / self.classifier.spread * self.classifier.slope
        return tuple(
            QualityScore(unit[0], unit[1:], float(score), tuple(map(float, row)), _reasons(row, contributions))
            for unit, score, row, contributions in zip(evidence, scores, table, against, strict=True)
        )

    def save(self, folder: Path) -> None:
        """Write all of it into ``folder``; the classifier, which names the rest's shape, last."""
        if self.classifier is None or self.examples is None:
            raise ValueError("only a quality classifier that was fitted can be saved")
        folder.mkdir(parents=True, exist_ok=True)
        if self.critic is not None:
            from safetensors.torch import save

            replace_file(folder / CRITIC, save(self.critic.state_dict()))
        replace_file(folder / TABLES, _packed(vars(self.cohort) | vars(self.examples)))
        card = {"organs": self.organs, "slab": self.slab, "critic": self.critic is not None}
        card |= {"looks_again": True} if self.looks_again else {}
        replace_file(folder / CLASSIFIER, json.dumps(card | {"classifier": self.classifier.model_dump()}).encode())

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises
        ------
        UserError
            If there is none, or it is damaged.
        """
        try:
            card = json.loads((folder / CLASSIFIER).read_text("utf-8"))
            with np.load(io.BytesIO((folder / TABLES).read_bytes()), allow_pickle=False) as tables:
                cohort = Cohort(*(tables[name] for name in Cohort.__dataclass_fields__))
                examples = Examples(*(tables[name] for name in Examples.__dataclass_fields__))
            critic = _open_critic(folder / CRITIC, card["organs"]) if card["critic"] else None
            classifier = Classifier.model_validate(card["classifier"])
        except Exception as error:  # zip, npz, JSON and safetensors fail in a dozen ways
            reason = str(error).partition("\n")[0].removesuffix(".")
            raise UserError(
                f"There is no usable quality classifier in {str(folder)!r}: {reason}.", "Run: medaka-kd score."
            ) from error
        return cls(card["organs"], card["slab"], cohort, critic, classifier, examples, bool(card.get("looks_again")))


_WORDS = {
    "confidence": "the teacher is unsure of it",
    "least confident tenth": "a part of it is doubtful",
    "confidence around": "its border is doubtful",
    "log size off cohort": "its size is {times:.1f}× off the cohort's",
    "distance from usual place": "it lies {value:.1f} spreads from its usual place",
    "jump between slices": "it jumps from slice to slice",
    "log pieces": "it is in {pieces:.0f} pieces",
    "largest piece": "its largest piece is {percent:.0f} % of it",
    "brightness off cohort": "its brightness is {value:.1f} spreads off the cohort's",
    "texture": "its texture is unusual",
    "disagreement": "looked at again, the teacher says otherwise",
    "disagreement around": "looked at again, its border lies elsewhere",
    "critic": "it does not look right to the critic",
}


def _reasons(row: npt.NDArray[np.float64], contributions: npt.NDArray[np.float64]) -> tuple[str, ...]:
    worst = [place for place in np.argsort(contributions)[:2] if contributions[place] < -0.5]
    return tuple(_worded(columns(len(row))[place], float(row[place])) for place in worst)


def _worded(feature: str, value: float) -> str:
    return _WORDS[feature].format(value=value, times=np.exp(value), pieces=np.exp(value), percent=100 * value)


def _open_critic(file: Path, organs: int) -> Critic:
    from safetensors.torch import load

    from napari_medaka_kd.networks.critic import Critic

    critic = Critic(organs)
    critic.load_state_dict(load(file.read_bytes()))
    return critic.eval()


def _packed(arrays: Mapping[str, npt.NDArray[np.generic]]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()
