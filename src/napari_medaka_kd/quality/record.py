"""quality.json: what was thought of each organ and slab of a case, and of which label map."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.volumes.atomic import replace_file

from .quality import QualityScore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medaka_kd.volumes.labels import LabelSchema

FILE = "quality.json"


@dataclass(frozen=True)
class Record:
    """The scores of one label map of one case.

    Attributes
    ----------
    checkpoint, labels
        Who made the label map, and its generation (``teacher.2``).
    slab
        Voxels in z of one unit; 0: the whole animal.
    threshold
        Accept from this score on.
    scores
        ``organ`` is a class of the project's schema.
    flags
        What breaks a rule of the animal's anatomy, in words, the gravest first.
    """

    checkpoint: str
    labels: str
    slab: int
    threshold: float
    scores: tuple[QualityScore, ...]
    flags: tuple[str, ...] = ()


def save_record(record: Record, folder: Path, schema: LabelSchema) -> None:
    """Write ``quality.json`` into the case's ``folder``; organs by id, as everywhere on disk."""
    units = [_unit(score, schema) for score in record.scores]
    card = {name: getattr(record, name) for name in ("checkpoint", "labels", "slab", "threshold", "flags")}
    replace_file(folder / FILE, json.dumps({"format": 1, **card, "units": units}, indent=1).encode())


def open_record(folder: Path, schema: LabelSchema) -> Record:
    """Read ``quality.json`` of the case in ``folder``.

    Raises
    ------
    UserError
        If the case was never scored, or the file is damaged.
    """
    file = folder / FILE
    if not file.is_file():
        raise UserError(f"Case {folder.name!r} has not been scored.", "Run: medaka-kd score.")
    try:
        data = json.loads(file.read_text("utf-8"))
        scores = tuple(_score(unit, schema) for unit in data["units"])
        flags = tuple(str(flag) for flag in data.get("flags", ()))
        return Record(data["checkpoint"], data["labels"], int(data["slab"]), float(data["threshold"]), scores, flags)
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{str(file)!r} is damaged: {error}.", "Run: medaka-kd score.") from error


def _unit(score: QualityScore, schema: LabelSchema) -> dict[str, Any]:
    return {
        "organ": schema.ids[score.organ - 1],
        "slab": score.slab,
        "score": round(score.score, 5),
        "evidence": [round(value, 5) for value in score.evidence],
        "reasons": score.reasons,
    }


def _score(unit: dict[str, Any], schema: LabelSchema) -> QualityScore:
    first, last = unit["slab"]
    organ = int(schema.to_classes(np.array(unit["organ"])))
    return QualityScore(organ, (first, last), unit["score"], tuple(unit["evidence"]), tuple(unit["reasons"]))


def mean_score(scores: Sequence[QualityScore]) -> float:
    """The mean score; NaN of none."""
    return float(np.mean([score.score for score in scores])) if scores else float("nan")
