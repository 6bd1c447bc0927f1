"""A report is one valid page that needs nothing else, and a JSON file with the same numbers."""

import base64
import dataclasses
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import trapezoid

from napari_medaka_kd.demo_settings import DemoSettings
from napari_medaka_kd.report import Arm, Picture, QualityCurve, Report, difference, roc, write_report
from napari_medaka_kd.volumes.labels import LabelSchema

VOID = {"meta", "link", "br", "img", "hr", "input"}
HOSTILE = "<b>"


class Page(HTMLParser):
    """Complains about a tag that is closed out of order, and remembers what it met."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in <{tag}>"
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def arm(key: str, title: str, rise: float) -> Arm:
    cases = {HOSTILE: 0.5 + rise, "fish-2": 0.6 + 1.1 * rise, "fish-3": 0.7 + 0.8 * rise}
    organs = {"heart": 0.6 + rise, "h&r <i>": math.nan}
    curve = [(step, 2 / step) for step in range(1, 100)] if rise else ()
    return Arm(key, title, float(np.mean(list(cases.values()))), organs, cases, curve)


def small_report() -> Report:
    rng = np.random.default_rng(0)
    labels = np.zeros((20, 30), np.uint8)
    labels[5:9, 5:20], labels[12:16, 3:9] = 1, 2
    good = rng.random(60) < 0.6
    arms = [
        ("teacher", "teacher", 0.0),
        ("control", "control $x^2$", 0.05),
        ("qc", "メダカ", 0.1),
        ("oracle", "_", 0.2),
    ]
    return Report(
        title='A run of "<script>alert(1)</script>"',
        sentences=["The student is better.", "It has 5 < 6 animals."],
        schema=LabelSchema.from_names(["heart", "h&r <i>"]),
        arms=[arm(*each) for each in arms],
        pictures=[Picture("</style>", rng.normal(size=(20, 30)), {"truth": labels, "teacher": labels[::-1]})],
        curves=[QualityCurve("quality & more", good + rng.normal(size=60), good)],
        facts={"seed": np.int64(3), "share": math.nan, "settings": DemoSettings(), "path": Path("a/b"), "none": {}},
    )


def parsed(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text("utf-8"))
    page.close()
    assert page.open == []
    return page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "new"
    assert write_report(small_report(), folder) == folder / "report.html"
    return folder


def test_the_page_is_well_formed_and_its_ids_are_distinct(folder: Path) -> None:
    tags = parsed(folder / "report.html").tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    wanted = {attributes["href"] for tag, attributes in tags if tag == "use"}
    assert wanted <= {f"#{name}" for name in ids}


def test_the_page_needs_nothing_but_itself(folder: Path) -> None:
    text = (folder / "report.html").read_text("utf-8")
    assert "http" not in text
    assert "//" not in re.sub(r"base64,[^\"]*", "", text)
    for tag, attributes in parsed(folder / "report.html").tags:
        assert tag not in {"script", "link", "iframe", "object"}
        assert str(attributes.get("src", "data:")).startswith("data:")
        assert str(attributes.get("href", "#")).startswith("#")


def test_names_are_shown_as_they_are_and_never_become_tags(folder: Path) -> None:
    page = parsed(folder / "report.html")
    assert {tag for tag, _ in page.tags}.isdisjoint({"b", "i"})
    for shown in ("<b>", "h&r <i>", "<script>alert(1)</script>", "</style>", "$x^2$", "メダカ", "quality & more"):
        assert shown in page.text


def test_every_figure_says_in_words_what_it_shows(folder: Path) -> None:
    tags = parsed(folder / "report.html").tags
    said = [attributes.get("aria-label") for _, attributes in tags if attributes.get("role") == "img"]
    assert len(said) == len([tag for tag, _ in tags if tag == "svg"]) == 4
    assert "teacher 60.0%" in str(said[0])
    assert all(attributes["alt"] for tag, attributes in tags if tag == "img")


def test_a_picture_has_a_panel_of_the_plain_slice_and_one_for_each_overlay(folder: Path) -> None:
    sources = [str(attributes["src"]) for tag, attributes in parsed(folder / "report.html").tags if tag == "img"]
    assert len(sources) == 3
    for source in sources:
        kind, data = source.split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")


def test_the_json_has_the_numbers_of_the_report_and_null_for_nan(folder: Path) -> None:
    told = json.loads((folder / "report.json").read_text("utf-8"))
    report = small_report()
    for said, given_arm in zip(told["arms"], report.arms, strict=True):
        assert (said["key"], said["mean_iou"], said["cases"]) == (given_arm.key, given_arm.mean_iou, given_arm.cases)
        assert said["organs"] == {"heart": given_arm.organs["heart"], "h&r <i>": None}
        assert said["curve"] == [list(point) for point in given_arm.curve]
    assert told["arms"][2]["against"]["teacher"] == difference(report.arms[2].cases, report.arms[0].cases)
    assert told["facts"]["seed"] == 3
    assert told["facts"]["share"] is None
    assert told["facts"]["settings"]["held_out"] == DemoSettings().held_out
    assert told["quality"][0]["auroc"] == pytest.approx(chance_above(report.curves[0]))


def test_equal_reports_give_equal_bytes(folder: Path, tmp_path: Path) -> None:
    write_report(small_report(), tmp_path)
    for name in ("report.html", "report.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


@pytest.mark.parametrize(
    "empty",
    [{"arms": ()}, {"pictures": ()}, {"curves": ()}, {"facts": {}}, {"sentences": ()}],
    ids=lambda part: next(iter(part)),
)
def test_a_part_without_content_is_left_out(empty: dict[str, tuple[()]], tmp_path: Path) -> None:
    headings = {
        "arms": "How well",
        "pictures": "Pictures",
        "curves": "Telling",
        "facts": "Facts",
        "sentences": "The student",
    }
    page = parsed(write_report(dataclasses.replace(small_report(), **empty), tmp_path))
    assert {part for part, words in headings.items() if words not in page.text} == set(empty)


def test_a_single_arm_that_was_not_trained_here_has_no_differences_and_no_training_curve(tmp_path: Path) -> None:
    report = dataclasses.replace(small_report(), arms=[Arm("mine", "mine", math.nan, {}, {})])
    text = parsed(write_report(report, tmp_path)).text
    assert "against" not in text
    assert "Training" not in text
    assert "Organ by organ" not in text


def test_a_score_that_met_only_good_ones_has_no_auroc(tmp_path: Path) -> None:
    report = dataclasses.replace(small_report(), curves=[QualityCurve("q", np.arange(3.0), np.ones(3, bool))])
    assert "q: AUROC not defined (3 good, 0 bad)" in parsed(write_report(report, tmp_path)).text
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["quality"][0]["auroc"] is None


@pytest.mark.parametrize("shape", [(1, 1), (3, 2500), (40, 1)])
def test_slices_of_any_shape_even_without_contrast_can_be_shown(shape: tuple[int, int], tmp_path: Path) -> None:
    picture = Picture("slice", np.full(shape, np.nan), {"truth": np.full(shape, 7)})
    write_report(dataclasses.replace(small_report(), arms=(), curves=(), pictures=[picture]), tmp_path)


def test_the_interval_is_the_paired_t_interval() -> None:
    # Gains of 1, 2 and 3 points: mean 2, standard error 1/sqrt(3), t(2 degrees, 97.5 %) = 4.3027 (Student's table).
    one, other = {"a": 0.51, "b": 0.62, "c": 0.73, "d": 0.1}, {"a": 0.5, "b": 0.6, "c": 0.7, "e": 0.9}
    found = difference(one, other)
    assert found["cases"] == 3
    assert [found[end] for end in ("mean", "low", "high")] == pytest.approx([0.02, -0.00484, 0.04484], abs=1e-5)


def test_one_pair_gives_a_mean_without_an_interval() -> None:
    found = difference({"a": 0.75, "b": math.nan}, {"a": 0.5, "b": 0.5})
    assert (found["mean"], found["cases"]) == (0.25, 1)
    assert math.isnan(found["low"])
    assert math.isnan(found["high"])


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, math.nan]), st.booleans()), max_size=12))
def test_the_area_under_the_curve_is_the_chance_to_rank_a_good_one_above_a_bad_one(
    pairs: list[tuple[float, bool]],
) -> None:
    curve = QualityCurve("", np.array([score for score, _ in pairs]), np.array([good for _, good in pairs], bool))
    bad, good = roc(curve)
    area = trapezoid(good, bad) if len(bad) > 1 else math.nan
    assert area == pytest.approx(chance_above(curve), nan_ok=True)


def test_importing_the_report_loads_neither_matplotlib_nor_jinja2() -> None:
    code = "import sys, napari_medaka_kd.report; sys.exit(bool({'matplotlib', 'jinja2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def chance_above(curve: QualityCurve) -> float:
    """The chance that a good one scores above a bad one, half for equal ones; NaN where either is missing."""
    known = np.isfinite(curve.scores)
    good, bad = curve.scores[known & curve.good], curve.scores[known & ~curve.good]
    wins = (good[:, None] > bad).astype(float) + 0.5 * (good[:, None] == bad)
    return float(wins.mean()) if wins.size else math.nan
