"""The drawings of a report: charts as SVG that follows the page's light or dark colours, slices as PNG."""

from __future__ import annotations

import hashlib
import io
import re
import textwrap
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Line = Literal["solid", "dashed", "dotted"]

# Stand-ins: matplotlib wants a colour, the page decides which.
INK, GRID, PAGE = "#010203", "#040506", "#070809"
_ON_PAGE = {INK: "currentColor", GRID: "var(--grid)", PAGE: "var(--page)"}

#: Okabe and Ito's colours in the order in which nameless things get them; the yellow, faint on white, last.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#999999", "#f0e442")
LINES: tuple[Line, ...] = ("solid", "dashed", "dotted")

_WIDTH = 7.2  # inches
_LEAST, _MOST = 48, 105  # pixels an inch; a narrow page shrinks its drawings
_SMALLEST, _LARGEST = 360, 900  # pixels of a slice's longer side
_STYLE = {
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "medaka",
    "text.parse_math": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "hatch.color": INK,
    "lines.linewidth": 1.8,
}


@dataclass(frozen=True)
class Bar:
    """One bar and what it is the mean of; a ``line`` is drawn through all bars at its value."""

    title: str
    value: float
    points: Sequence[float]
    colour: str
    hollow: bool = False
    line: Line | None = None


@dataclass(frozen=True)
class Group:
    """Bars of one colour, one a row; NaN leaves a gap."""

    values: Sequence[float]
    colour: str


@dataclass(frozen=True)
class Curve:
    """``y`` over ``x``, both (n,)."""

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    colour: str
    line: Line = "solid"


def draw_bars(bars: Sequence[Bar]) -> str:
    """Shares from 0 to 1 as horizontal bars, the first on top, with their points and values; SVG."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for row, bar in enumerate(bars):
            _draw_bar(axes, row, bar)
        for bar in bars:
            if bar.line and np.isfinite(bar.value):
                axes.axvline(bar.value, color=bar.colour, linestyle=bar.line, linewidth=1.4, zorder=2.5)
        _name_rows(axes, [bar.title for bar in bars])
        _percent_axis(axes)

    return _svg(draw, 0.8 + 0.44 * len(bars))


def draw_groups(rows: Sequence[str], groups: Sequence[Group]) -> str:
    """Shares from 0 to 1, for each row a bar of each group; SVG."""
    thick = 0.8 / len(groups)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, group in enumerate(groups):
            at = np.arange(len(rows)) + (place - (len(groups) - 1) / 2) * thick
            axes.barh(at, np.nan_to_num(group.values), thick, color=group.colour)
        _name_rows(axes, rows)
        _percent_axis(axes)

    return _svg(draw, 0.8 + (0.14 * len(groups) + 0.1) * len(rows))


def draw_roc(curves: Sequence[Curve]) -> str:
    """Receiver operating characteristics with the diagonal of guessing; SVG."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1)
        _plot(axes, curves)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set(xlabel="bad ones let through", ylabel="good ones kept")
        axes.xaxis.set_major_formatter(_percent)
        axes.yaxis.set_major_formatter(_percent)

    return _svg(draw, 4.2, 4.4)


def draw_training(curves: Sequence[Curve]) -> str:
    """Losses over steps; SVG."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.grid(axis="y")
        _plot(axes, curves)
        axes.set(xlabel="step", ylabel="training loss")

    return _svg(draw, 3.2)


def paint_slice(image: npt.NDArray[Any], labels: npt.NDArray[Any] | None, colours: Mapping[int, str]) -> bytes:
    """``image`` (y, x) in grey with the organs of ``labels`` (y, x, ids) tinted and outlined; PNG.

    An id without a colour is left as background.
    """
    from matplotlib.image import imsave

    grey, organs = _fit(image.astype(np.float32), np.zeros(image.shape, np.int64) if labels is None else labels)
    rgb = np.repeat(_window(grey)[..., None], 3, axis=2)
    for organ, colour in colours.items():
        where = organs == organ
        tint = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)], np.float32)
        rgb[where] = 0.55 * rgb[where] + 0.45 * tint
        rgb[where & _edge(where)] = tint
    file = io.BytesIO()
    imsave(file, np.rint(rgb).astype(np.uint8), format="png", metadata={"Software": None})  # type: ignore[dict-item]
    return file.getvalue()


def css(colour: str) -> str:
    """``colour`` for a style sheet."""
    return _ON_PAGE.get(colour, colour)


def smooth(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The running mean of (n,) over about a twentieth of its length, shorter at the ends."""
    reach = len(values) // 40
    total = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    low, high = np.maximum(at - reach, 0), np.minimum(at + reach + 1, len(values))
    mean: npt.NDArray[np.float64] = (total[high] - total[low]) / (high - low)
    return mean


def _draw_bar(axes: Axes, row: int, bar: Bar) -> None:
    face, hatch = ("none", "////") if bar.hollow else (bar.colour, None)
    axes.barh(row, np.nan_to_num(bar.value), 0.62, color=face, edgecolor=bar.colour, linewidth=0.8, hatch=hatch)
    points = np.array([point for point in bar.points if np.isfinite(point)])
    spread = (np.arange(len(points)) * 0.382 % 1 - 0.5) * 0.4  # so that equal ones do not hide each other
    axes.scatter(points, row + spread, 14, facecolor=PAGE, edgecolor=INK, linewidth=0.9, zorder=3)
    said = f"{bar.value:.1%}" if np.isfinite(bar.value) else "-"
    axes.text(1.03, row, said, va="center", transform=axes.get_yaxis_transform(), fontweight="bold")


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), ["\n".join(textwrap.wrap(name, 32)[:2]) or name for name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _percent_axis(axes: Axes) -> None:
    axes.grid(axis="x")
    axes.set(xlim=(0, 1), xlabel="IoU")
    axes.xaxis.set_major_formatter(_percent)
    axes.spines["left"].set_visible(False)


def _percent(value: float, _: float) -> str:
    return f"{value:.0%}"


def _plot(axes: Axes, curves: Sequence[Curve]) -> None:
    for curve in curves:
        axes.plot(curve.x, curve.y, color=curve.colour, linestyle=curve.line)


def _svg(draw: Any, height: float, width: float = _WIDTH) -> str:
    """What ``draw`` puts on a figure of so many inches, as an ``<svg>`` that can stand in a page beside others."""
    from matplotlib import style
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    file = io.StringIO()
    with style.context(["default", _STYLE]), warnings.catch_warnings():
        # The page's fonts have the letters that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure = Figure((width, height), layout="constrained", frameon=False)
        FigureCanvasSVG(figure)
        draw(figure)
        for axes in figure.axes:
            axes.patch.set_visible(False)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _in_page(file.getvalue(), width)


def _in_page(svg: str, width: float) -> str:
    """Without header and name spaces, its ids unlike those of other drawings, its ink left to the page's style."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*", "", svg, flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    size = f'style="min-width: {width * _LEAST:.0f}px; max-width: {width * _MOST:.0f}px"'
    svg = re.sub(r"<svg[^>]*>", f'<svg {box[0]} {size} aria-hidden="true">', svg, count=1)
    own = f"f{hashlib.sha256(svg.encode('utf-8', 'replace')).hexdigest()[:8]}"
    return re.sub("<[^>]+>", lambda tag: _tag_in_page(tag[0], own), svg)


def _tag_in_page(tag: str, own: str) -> str:
    tag = re.sub(r'^<g id="[^"]*"', "<g", tag).replace("xlink:href", "href")
    for stand_in, colour in _ON_PAGE.items():
        tag = re.sub(f"(fill|stroke): {stand_in}", rf"\1: {colour}", tag)
    return re.sub(r'(\bid="|url\(#|href="#)', rf"\1{own}-", tag)


def _fit(image: npt.NDArray[Any], labels: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Both (y, x), coarser or enlarged to a size that suits a page."""
    longest = max(image.shape)
    step, times = -(-longest // _LARGEST), -(-_SMALLEST // longest)
    rows, columns = (size // step * step if size >= step else 0 for size in image.shape)
    image = image[:rows, :columns].reshape(rows // step, step, columns // step, step).mean(axis=(1, 3))
    labels = labels[:rows, :columns][step // 2 :: step, step // 2 :: step]
    larger, organs = (array.repeat(times, axis=0).repeat(times, axis=1) for array in (image, labels))
    return larger, organs


def _window(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """0 to 255 between the 0.5th and the 99.5th percentile."""
    image = np.nan_to_num(image, posinf=0, neginf=0)
    low, high = np.percentile(image, (0.5, 99.5))
    shown: npt.NDArray[Any] = 255 * np.clip((image - low) / max(high - low, 1e-12), 0, 1)
    return shown


def _edge(where: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The voxels of ``where`` that touch others."""
    from scipy import ndimage

    edge: npt.NDArray[np.bool_] = where & ~ndimage.binary_erosion(where, border_value=1)
    return edge
