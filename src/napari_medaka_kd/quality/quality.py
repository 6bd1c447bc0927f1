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

from .anatomy import Anatomy
from .classifier import Classifier, Examples
from .cohort import Cohort
from .evidence import Reading, Unit, gather
from .facts import look_at
from .reasons import Teller

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_medaka_kd.networks.critic import Critic

    from .facts import Facts

CLASSIFIER, TABLES, CRITIC = "classifier.json", "tables.npz", "critic.safetensors"
ANATOMY = "anatomy.json"


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
        What breaks a rule of its anatomy and what else speaks most against it, in words; at most three.
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
    anatomy
        Whether and by which rules and animals it looks at the whole organs' anatomy.
    """

    organs: int
    slab: int
    cohort: Cohort
    critic: Critic | None
    classifier: Classifier | None
    examples: Examples | None
    looks_again: bool = False
    anatomy: Anatomy | None = None

    def evidence(self, reading: Reading, facts: Facts | None = None) -> Mapping[Unit, npt.NDArray[np.float64]]:
        """Everything known of each organ present in each slab of ``reading``; its ``facts``, where they are known."""
        seen = np.zeros_like(reading.doubt) if reading.disagreement is None else reading.disagreement
        found = gather(replace(reading, disagreement=seen if self.looks_again else None), self.slab, self.cohort)
        if self.anatomy is not None:
            numbers = self.anatomy.numbers(facts or look_at(reading.classes, reading.voxel_size))
            found = {unit: np.append(row, numbers[unit[0]]) for unit, row in found.items()}
        if self.critic is None:
            return found
        from .critic import criticise

        opinions = criticise(self.critic, reading, self.slab, self.organs)
        return {unit: np.append(numbers, opinions[unit]) for unit, numbers in found.items()}

    def judge(
        self, evidence: Mapping[Unit, npt.NDArray[np.float64]], teller: Teller | None = None
    ) -> tuple[QualityScore, ...]:
        """The score of each unit and what speaks against it, as ``teller`` words it."""
        if self.classifier is None or not evidence:
            return ()
        table = np.stack(list(evidence.values()))
        scores = self.classifier.probability(table)
        against = (table - self.classifier.mean) / self.classifier.spread * self.classifier.slope
        why = (teller or Teller()).reasons
        return tuple(
            QualityScore(unit[0], unit[1:], float(score), tuple(map(float, row)), why(unit, row, parts))
            for unit, score, row, parts in zip(evidence, scores, table, against, strict=True)
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
        if self.anatomy is not None:
            replace_file(folder / ANATOMY, self.anatomy.to_json().encode())
            card |= {"anatomy": True}
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
            anatomy = Anatomy.from_json((folder / ANATOMY).read_text("utf-8")) if card.get("anatomy") else None
        except Exception as error:  # zip, npz, JSON and safetensors fail in a dozen ways
            reason = str(error).partition("\n")[0].removesuffix(".")
            raise UserError(
                f"There is no usable quality classifier in {str(folder)!r}: {reason}.", "Run: medaka-kd score."
            ) from error
        again = bool(card.get("looks_again"))
        return cls(card["organs"], card["slab"], cohort, critic, classifier, examples, again, anatomy)


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
