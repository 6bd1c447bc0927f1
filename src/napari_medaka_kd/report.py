"""A run as one self-contained HTML page, and the same as JSON."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel

from .volumes.atomic import replace_file

if TYPE_CHECKING:
    import numpy.typing as npt

    from .volumes.labels import LabelSchema

FORMAT = 1

#: Arms that the others are held against.
REFERENCES = ("teacher", "control")

# Okabe and Ito; the oracle, which nobody has in practice, is drawn hollow in the page's ink.
_COLOURS = {
    "teacher": "#999999",
    "control": "#e69f00",
    "all": "#009e73",
    "random": "#cc79a7",
    "confidence": "#d55e00",
    "qc": "#56b4e9",
    "qc_kd": "#0072b2",
}
_BOUND = "oracle"
_GROUPED = ("teacher", "control", "qc", "qc_kd")  # shown organ by organ where there are more than four arms


@dataclass(frozen=True)
class Arm:
    """One checkpoint of a comparison.

    Attributes
    ----------
    key, title
        Its short name (``qc_kd``) and what it is in words.
    mean_iou
        On the held-out animals.
    organs, cases
        Mean IoU by organ's name and by case's id.
    curve
        (step, value) of its training loss; empty where it was not trained in this run.
    """

    key: str
    title: str
    mean_iou: float
    organs: Mapping[str, float]
    cases: Mapping[str, float]
    curve: Sequence[tuple[int, float]] = ()


@dataclass(frozen=True)
class Picture:
    """One slice under several label maps.

    Attributes
    ----------
    image
        (y, x) intensities.
    overlays
        Organ ids (y, x) by title, in the order to show them.
    """

    title: str
    image: npt.NDArray[Any]
    overlays: Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class QualityCurve:
    """How well a score told good organs from bad ones.

    Attributes
    ----------
    scores, good
        One entry a judged unit: the score, and whether it truly was acceptable.
    """

    title: str
    scores: npt.NDArray[Any]
    good: npt.NDArray[Any]


@dataclass(frozen=True)
class Report:
    """All that a report shows.

    Attributes
    ----------
    sentences
        What came out, in plain English, the most important first; honest where a control is not beaten.
    facts
        Seed, seconds, settings: anything for the table at the end.
    """

    title: str
    sentences: Sequence[str]
    schema: LabelSchema
    arms: Sequence[Arm]
    pictures: Sequence[Picture]
    curves: Sequence[QualityCurve]
    facts: Mapping[str, Any]


def write_report(report: Report, folder: Path) -> Path:
    """Write ``report.html``, which needs nothing beside it, and ``report.json`` into ``folder``; return the page.

    The same report gives the same bytes. In the JSON, shares are from 0 to 1 and what is not defined is null.
    """
    numbers = plain(_numbers(report))
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False)
    replace_file(folder / "report.json", text.encode("utf-8", "backslashreplace"))
    page = folder / "report.html"
    replace_file(page, _page(report, numbers).encode("utf-8", "backslashreplace"))
    return page


def difference(arm: Mapping[str, float], reference: Mapping[str, float]) -> dict[str, float]:
    """How much better ``arm`` is than ``reference``, by case, over the cases of both.

    Returns
    -------
    dict
        ``mean``, ``low`` and ``high`` of the paired 95 % t-interval, and how many ``cases``. NaN: too few cases.
    """
    from scipy.special import stdtrit

    pairs = np.array([arm[case] - reference[case] for case in sorted(arm.keys() & reference.keys())], float)
    pairs = pairs[np.isfinite(pairs)]
    mean = float(pairs.mean()) if len(pairs) else math.nan
    reach = math.nan
    if len(pairs) > 1:
        reach = float(stdtrit(len(pairs) - 1, 0.975) * pairs.std(ddof=1) / math.sqrt(len(pairs)))
    return {"mean": mean, "low": mean - reach, "high": mean + reach, "cases": len(pairs)}


def roc(curve: QualityCurve) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Shares of bad and of good ones at or above each threshold, (n,) each, rising from 0 to 1; NaN where none are.

    Equal scores make one step; a score that is not finite is left out.
    """
    scores, good = np.asarray(curve.scores, float), np.asarray(curve.good, bool)
    known = np.isfinite(scores)
    order = np.argsort(-scores[known], kind="stable")
    scores, good = scores[known][order], good[known][order]
    last = np.append(np.diff(scores) != 0, True)[: len(scores)]
    shares = [np.append(0, np.cumsum(kind)[last]) / (kind.sum() if kind.any() else math.nan) for kind in (~good, good)]
    return shares[0], shares[1]


def _numbers(report: Report) -> dict[str, Any]:
    """All that the JSON says."""
    references = {arm.key: arm for arm in report.arms if arm.key in REFERENCES}
    arms = []
    for arm in report.arms:
        against = {key: difference(arm.cases, other.cases) for key, other in references.items() if key != arm.key}
        arms.append(vars(arm) | {"against": against})
    return {
        "format": FORMAT,
        "title": report.title,
        "sentences": report.sentences,
        "organs": report.schema.organs,
        "arms": arms,
        "quality": [_quality(curve) for curve in report.curves],
        "facts": report.facts,
    }


def _quality(curve: QualityCurve) -> dict[str, Any]:
    bad, good = roc(curve)
    known = np.isfinite(np.asarray(curve.scores, float))
    kept = int(np.asarray(curve.good, bool)[known].sum())
    area = float(np.sum(np.diff(bad) * (good[1:] + good[:-1])) / 2) if len(bad) > 1 else math.nan
    return {"title": curve.title, "auroc": area, "good": kept, "bad": int(known.sum()) - kept}


def plain(value: Any) -> Any:
    """``value`` as JSON has it: what is not finite as null, what JSON lacks as text."""
    match value:
        case BaseModel():
            return plain(dict(value))
        case Mapping():
            return {str(key): plain(part) for key, part in value.items()}
        case np.ndarray() | np.generic():
            return plain(value.tolist())
        case set() | frozenset():
            return [plain(part) for part in sorted(value, key=str)]
        case list() | tuple():
            return [plain(part) for part in value]
        case float():
            return value if math.isfinite(value) else None
        case None | bool() | int():
            return value
    return str(value)


def _page(report: Report, numbers: Mapping[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
    pages.filters |= {"percent": _percent, "points": _points, "figure": "{:.6g}".format}
    pages.tests["flat"] = lambda values: not any(isinstance(value, dict | list) for value in values)
    keys = [arm.key for arm in report.arms]
    return pages.get_template("report.html").render(
        {name: numbers[name] for name in ("title", "sentences", "arms", "facts")},
        references=[key for key in REFERENCES if key in keys and len(keys) > 1],
        cases=sorted({case for arm in report.arms for case in arm.cases}),
        organs=_organs(report),
        bars=_bars(report.arms) if report.arms else None,
        groups=_groups(report),
        pictures=[_painted(picture, report.schema) for picture in report.pictures],
        picture_legend=_picture_legend(report),
        quality=_quality_chart(report.curves),
        training=_training_chart(report.arms),
    )


def _bars(arms: Sequence[Arm]) -> dict[str, Any]:
    from . import figures

    colours = _colours(arms)
    lines: dict[str, figures.Line] = {"teacher": "dashed", "control": "dotted"}
    bars = [
        figures.Bar(
            arm.title, arm.mean_iou, list(arm.cases.values()), colours[arm.key], arm.key == _BOUND, lines.get(arm.key)
        )
        for arm in arms
    ]
    legend = [
        _entry(f"reference: {arm.title}", colours[arm.key], "line", lines[arm.key]) for arm in arms if arm.key in lines
    ]
    legend += [_entry("one animal", "", "dot")] * any(arm.cases for arm in arms)
    legend += [_entry("knows the truth: out of reach in practice", figures.INK, "hollow")] * any(
        arm.key == _BOUND for arm in arms
    )
    said = "; ".join(f"{arm.title} {_percent(arm.mean_iou)}" for arm in arms)
    return _chart(figures.draw_bars(bars), f"Bars, mean IoU: {said}", legend)


def _groups(report: Report) -> dict[str, Any] | None:
    """IoU organ by organ of up to four arms."""
    from . import figures

    shown = list(report.arms)
    if len(shown) > 4:
        shown = sorted(shown, key=lambda arm: arm.key not in _GROUPED)[:4]
        shown = [arm for arm in report.arms if arm in shown]
    organs, colours = _organs(report), _colours(report.arms)
    if not organs:
        return None
    groups = [figures.Group([arm.organs.get(organ, math.nan) for organ in organs], colours[arm.key]) for arm in shown]
    legend = [_entry(arm.title, colours[arm.key], "box") for arm in shown]
    said = "; ".join(
        f"{arm.title}: " + ", ".join(f"{o} {_percent(arm.organs.get(o))}" for o in organs) for arm in shown
    )
    return _chart(figures.draw_groups(organs, groups), f"Bars, IoU by organ. {said}", legend)


def _painted(picture: Picture, schema: LabelSchema) -> dict[str, Any]:
    from .figures import paint_slice

    colours = {organ.id: organ.color for organ in schema.organs}
    panels = {"scan": None} | dict(picture.overlays)
    return {
        "title": picture.title,
        "panels": [
            {"title": title, "png": base64.b64encode(paint_slice(picture.image, labels, colours)).decode()}
            for title, labels in panels.items()
        ],
    }


def _picture_legend(report: Report) -> list[dict[str, Any]]:
    """The organs that some picture shows."""
    seen = {int(organ) for picture in report.pictures for ids in picture.overlays.values() for organ in np.unique(ids)}
    return [_entry(organ.name, organ.color, "box") for organ in report.schema.organs if organ.id in seen]


def _quality_chart(curves: Sequence[QualityCurve]) -> dict[str, Any] | None:
    from . import figures

    drawn, legend = [], []
    for place, curve in enumerate(curves):
        numbers, (bad, good) = _quality(curve), roc(curve)
        colour, line = figures.COLOURS[place % len(figures.COLOURS)], figures.LINES[place % len(figures.LINES)]
        told = math.isfinite(numbers["auroc"])
        if told:
            drawn.append(figures.Curve(bad, good, colour, line))
        said = f"AUROC {numbers['auroc']:.3f}" if told else "AUROC not defined"
        counts = f"({numbers['good']} good, {numbers['bad']} bad)"
        legend.append(_entry(f"{curve.title}: {said} {counts}", colour, "line", line))
    said = "ROC curves. " + "; ".join(entry["title"] for entry in legend)
    return _chart(figures.draw_roc(drawn) if drawn else "", said, legend) if legend else None


def _training_chart(arms: Sequence[Arm]) -> dict[str, Any] | None:
    from . import figures

    colours, drawn, legend = _colours(arms), [], []
    for place, arm in enumerate(arm for arm in arms if len(arm.curve) > 1):
        steps, losses = np.array([point for point in arm.curve if math.isfinite(point[1])], float).reshape(-1, 2).T
        line = figures.LINES[place % len(figures.LINES)]
        drawn.append(figures.Curve(steps, figures.smooth(losses), colours[arm.key], line))
        legend.append(_entry(arm.title, colours[arm.key], "line", line))
    said = "Training loss over steps: " + ", ".join(entry["title"] for entry in legend)
    return _chart(figures.draw_training(drawn), said, legend) if drawn else None


def _chart(svg: str, alt: str, legend: list[dict[str, Any]]) -> dict[str, Any]:
    from markupsafe import Markup

    return {"svg": Markup(svg), "alt": alt, "legend": legend}


def _entry(title: str, colour: str, mark: str, line: str | None = None) -> dict[str, Any]:
    from .figures import css

    return {"title": title, "colour": css(colour), "mark": mark, "line": line}


def _colours(arms: Sequence[Arm]) -> dict[str, str]:
    """Of each arm by key: the same one throughout a page."""
    from .figures import COLOURS, INK

    known = _COLOURS | {_BOUND: INK}
    taken = {known.get(arm.key) for arm in arms}
    free = [colour for colour in COLOURS if colour not in taken] or COLOURS
    others = [arm.key for arm in arms if arm.key not in known]
    return known | {key: free[place % len(free)] for place, key in enumerate(others)}


def _organs(report: Report) -> list[str]:
    """The organs that some arm has a number for, in the schema's order."""
    told = {organ for arm in report.arms for organ in arm.organs}
    return [name for name in report.schema.names if name in told] + sorted(told - set(report.schema.names))


def _percent(share: float | None) -> str:
    return "\N{EN DASH}" if share is None or not math.isfinite(share) else f"{share:.1%}"


def _points(share: float | None) -> str:
    """A difference of shares in percentage points."""
    if share is None:
        return "\N{EN DASH}"
    return f"{100 * share:+.1f}".replace("-", "\N{MINUS SIGN}")
