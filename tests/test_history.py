"""Verdicts out to files and in again, to the last digit, once; and the paragraph that a paper can use."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from napari_medaka_kd.cli import app
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.project import Project, add_case, create_project
from napari_medaka_kd.review import Decision, ReviewItem, Verdict, VerdictLog, fold, now, read_verdicts
from napari_medaka_kd.review.written import read_written, write_verdicts
from napari_medaka_kd.settings import (
    AnyStrategy,
    DistilSettings,
    NetworkSettings,
    ReconstructionSettings,
    SelfTrainingSettings,
)
from napari_medaka_kd.volumes.phantom import MEDAKA
from napari_medaka_kd.volumes.volume import Volume
from napari_medaka_kd.workflow.curate import Word, verdict
from napari_medaka_kd.workflow.desk import Desk
from napari_medaka_kd.workflow.history import check_logs, export_verdicts, import_verdicts
from napari_medaka_kd.workflow.label import label_from
from napari_medaka_kd.workflow.methods import methods


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    """Two reviewers said things, one took one back."""
    project = make_project()
    ann, bob = Desk(project, "teacher", "ann"), Desk(project, "teacher", "bob")
    items = ann.queue("worst")
    ann.judge(items[:3], "rejected", ["=1+1", "spills over"], 9)
    ann.judge(items[3:5], "accepted", seconds=4)
    ann.undo()
    bob.judge(items[:3], "accepted", ["fine, I'd say"], 6)
    verdict(project, Word("unsure", items[9].case, str(items[9].organ), reviewer="bob"))
    return project


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One animal; nobody says anything."""
    project = create_project(tmp_path_factory.mktemp("quiet") / "quiet", "quiet", MEDAKA)
    drain(add_case(project, Volume((np.ones((16, 8, 8), np.uint8),), (1, 1, 1)), None, "fish-01", False))
    return project


@pytest.fixture
def copy(project: Project, make_project: Callable[..., Project]) -> Project:
    """The same animals, nobody said anything yet."""
    return make_project(name="copy")


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_what_is_exported_and_imported_is_the_same_and_importing_twice_adds_nothing(
    project: Project, copy: Project, tmp_path: Path, ending: str
) -> None:
    file = tmp_path / f"history.{ending}"
    said = read_verdicts(project.review_folder)
    assert export_verdicts(project, file) == len(said) == 11
    assert import_verdicts(copy, file) == (11, 0)
    again = read_verdicts(copy.review_folder)
    assert [(row, row.gesture) for row in again] == [(row, row.gesture) for row in said]
    assert fold(again) == fold(said)
    assert import_verdicts(copy, file) == (0, 11)
    assert import_verdicts(project, file) == (0, 11)
    assert check_logs(copy) == {"ann+imported.sqlite": 7, "bob+imported.sqlite": 4}


def test_words_of_the_past_keep_their_time_beside_a_log_that_is_newer(project: Project, tmp_path: Path) -> None:
    item = ReviewItem("fish-01", 3)
    file = tmp_path / "old.csv"
    file.write_text(
        "time,reviewer,decision,case,organ,checkpoint\n2020-01-01T00:00:00Z,ann,accepted,fish-01,3,teacher\n"
    )
    assert import_verdicts(project, file) == (1, 0)
    first = read_verdicts(project.review_folder)[0]
    assert (first.time, first.item, first.reviewer) == ("2020-01-01T00:00:00.000000+00:00", item, "ann")
    VerdictLog(project.review_folder, "ann").append(
        Verdict(item, Decision.REJECTED, "ann", now(), checkpoint="teacher")
    )
    assert fold(read_verdicts(project.review_folder))[item].decision is Decision.REJECTED


HEAD = "time,reviewer,decision,case,organ,first_slice,end_slice,seconds"
GOOD = "2026-01-01T00:00:00+00:00,ann,accepted,fish-01,3,0,16,1.5"


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("2026-01-01T00:00:00,ann,accepted,fish-01,3,0,16,1", "time zone"),
        ("yesterday,ann,accepted,fish-01,3,0,16,1", "'yesterday' is no time"),
        ("2126-01-01T00:00:00Z,ann,accepted,fish-01,3,0,16,1", "yet to come"),
        ("2026-01-01T00:00:00Z,ann,perfect,fish-01,3,0,16,1", "'perfect' is no verdict; say accepted"),
        ("2026-01-01T00:00:00Z,ann,accepted,fish-01,wing,0,16,1", "no organ 'wing'"),
        ("2026-01-01T00:00:00Z,ann,accepted,fish-01,3,16,16,1", "no slices from 16 to before 16"),
        ("2026-01-01T00:00:00Z,ann,accepted,fish-01,3,0,,1", "not both"),
        ("2026-01-01T00:00:00Z,ann,accepted,fish-01,3,-1,4,1", "'-1' is no whole number"),
        ("2026-01-01T00:00:00Z,ann,accepted,fish-01,3,0,16,nan", "'nan' is no length of time"),
        ("2026-01-01T00:00:00Z,ann,accepted,fish-01,3,0,16", "7 cells, not 8"),
        ("2026-01-01T00:00:00Z,ann,accepted,fish-01,3,0,16,1e999", "no length of time"),
    ],
)
def test_a_row_that_is_no_verdict_is_named_and_nothing_is_written(
    quiet: Project, tmp_path: Path, row: str, why: str
) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("\n".join([HEAD, GOOD, row]))
    with pytest.raises(UserError, match=rf"row 3: .*{why}") as told:
        import_verdicts(quiet, file)
    assert "nothing was imported" in str(told.value)
    assert read_verdicts(quiet.review_folder) == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "lacks time"),
        ("time,reviewer,decision\n", "lacks case"),
        (HEAD + ",mood\n", "unknown or double ones: mood"),
        (HEAD + ",time\n", "unknown or double"),
        (f'{HEAD}\n"{GOOD}\n', "cannot be read"),
        (f"{HEAD}\n{GOOD.replace('fish-01', 'whale')}", "'whale' that the project does not have"),
        (f"{HEAD}\n{GOOD.replace('ann', '../ann')}", "cannot be called"),
    ],
)
def test_a_table_of_something_else_is_refused(quiet: Project, tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=why):
        import_verdicts(quiet, file)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ([], "no list of verdicts"),
        ({"format": 2, "verdicts": []}, "of format 1"),
        ({"format": 1, "verdicts": [7]}, "verdict 1"),
        ({"format": 1, "verdicts": [{"item": {"case": "fish-01", "organ": 3}}]}, "verdict 1: it has no 'decision'"),
    ],
)
def test_a_json_file_of_something_else_is_refused(quiet: Project, tmp_path: Path, data: object, why: str) -> None:
    file = tmp_path / "bad.json"
    file.write_text(json.dumps(data))
    with pytest.raises(UserError, match=why):
        import_verdicts(quiet, file)
    file.write_bytes(b"\xff\xfe[")
    with pytest.raises(UserError, match="cannot be read"):
        import_verdicts(quiet, file)


def test_a_file_is_never_written_over_and_must_say_what_it_is(quiet: Project, tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("mine")
    for name, why in (("there.csv", "There is a file"), ("history.xlsx", "neither"), ("no/h.csv", "no folder")):
        with pytest.raises(UserError, match=why):
            export_verdicts(quiet, tmp_path / name)
    with pytest.raises(UserError, match="no file"):
        import_verdicts(quiet, tmp_path / "nothing.csv")


cells = st.text(max_size=12) | st.sampled_from(["=1+1", "'=1", "'", "+a", "-2", "@x", "\t=1", "\r", "a\nb", '"', "[]"])
rows = st.builds(
    Verdict,
    st.builds(ReviewItem, cells, st.sampled_from([0, *MEDAKA.ids]), st.none() | st.just((0, 16))),
    st.sampled_from(Decision),
    cells,
    st.sampled_from(["2026-01-01T00:00:00.000001+00:00", "2025-12-31T23:59:59.999999+00:00"]),
    st.floats(0, 1e6),
    st.lists(cells, max_size=3).map(tuple),
    cells,
    cells,
    cells,
    st.integers(0, 10**9),
)


@given(st.lists(rows, max_size=4), st.booleans())
def test_any_words_survive_a_file_and_no_cell_is_a_formula(
    tmp_path_factory: pytest.TempPathFactory, said: list[Verdict], as_csv: bool
) -> None:
    text = io.StringIO(newline="")
    write_verdicts(text, said, MEDAKA, as_csv)
    path = tmp_path_factory.getbasetemp() / f"any.{'csv' if as_csv else 'json'}"
    path.write_bytes(text.getvalue().encode())
    assert [(row, row.gesture) for row in read_written(path, MEDAKA)] == [(row, row.gesture) for row in said]
    if as_csv:
        table = csv.reader(io.StringIO(text.getvalue(), newline=""))
        assert not [cell for line in table for cell in line if cell[:1] in tuple("=+-@\t\r\n")]


def test_the_paragraph_says_what_is_in_the_project(project: Project) -> None:
    told = methods(project, "teacher")
    for words in (
        "by the network 'teacher'", "in 4 animals of 4", "2 reviewers judged 4 proposals",
        "3 accepted, 3 rejected and 1 unsure",
        "ann and bob agree on 0 of 3 items: too few for a kappa", "scored at least 0.50", "took 2.5 s (median)",
        "1 animal was held out", "napari-medaka-kd ",
    ):  # fmt: skip
        assert words in told.text, told.text
    assert told.facts["conflicts"] == 3
    assert told.facts["reviewers"] == {"ann": 3, "bob": 4}


def test_the_paragraph_says_whose_labels_nobody_drew(project: Project) -> None:
    assert "had them taken" not in methods(project, "teacher").text
    drain(label_from(project, "fish-01", "teacher"))
    assert "Of 2 animals with labels to learn from, 1 had them taken" in methods(project, "teacher").text


def test_the_paragraph_says_what_random_verdicts_prove_of_what_nobody_looked_at(copy: Project) -> None:
    desk = Desk(copy, "teacher", "ann")
    for _ in range(30):
        desk.judge(desk.queue("random")[:1], "accepted")
    told = methods(copy, "teacher")
    assert told.facts["random_verdicts"] == 30
    assert told.facts["acceptable"]["value"] == 1
    assert f"Of the {told.facts['unreviewed']} proposals that nobody reviewed, an estimated 100 %" in told.text
    assert "by 30 verdicts on proposals that were drawn at random" in told.text


def test_the_paragraph_says_where_nothing_was_accepted_unseen(project: Project) -> None:
    (project.folder / "settings.toml").write_text('[review]\nunproven = "none"\n')
    assert "none may be accepted unseen" in methods(project, "teacher").text


@pytest.mark.parametrize(
    ("kept", "told"), [("weighed", "as far as their scores"), ("all", "like accepted"), ("accepted", "only those were")]
)
def test_the_paragraph_says_what_taught_unseen(project: Project, kept: str, told: str) -> None:
    (project.folder / "settings.toml").write_text(f'[distil]\nstrategy = {{ unreviewed = "{kept}" }}\n')
    assert told in methods(project, "teacher").text


def test_the_paragraph_says_what_taught_the_students_that_there_are(project: Project) -> None:
    (project.folder / "settings.toml").write_text('[distil]\nstrategy = { unreviewed = "all" }\n')
    _keep_student(project, "rest", SelfTrainingSettings(unreviewed="accepted"))
    _keep_student(project, "atlas", ReconstructionSettings())
    told = methods(project, "teacher")
    assert "only those were" in told.text
    assert told.facts["taught_unseen"] == ["accepted"]
    _keep_student(project, "more", SelfTrainingSettings(unreviewed="weighed"))
    assert methods(project, "teacher").facts["taught_unseen"] == ["accepted", "weighed"]


def _keep_student(project: Project, name: str, strategy: AnyStrategy) -> None:
    teacher = {"teacher": "teacher"} if strategy.from_proposals else {}
    settings = DistilSettings(strategy=strategy).model_dump(mode="json")
    network = NetworkSettings(dimensions=2, widths=(8, 16))
    card = Checkpoint(name=name, network=network, organs=MEDAKA, history={"settings": settings, **teacher})
    card.save(build(network, MEDAKA.classes), project.checkpoint(name))


def test_without_verdicts_there_is_nothing_to_tell(project: Project, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'student' stands.*teacher"):
        methods(project, "student")
    with pytest.raises(UserError, match="Judged were proposals by: none"):
        methods(create_project(tmp_path / "empty", "empty", MEDAKA), "teacher")


def test_the_command_line_does_all_of_it(project: Project, tmp_path: Path) -> None:
    def told(*words: object) -> dict[str, object]:
        done = CliRunner().invoke(app, [*map(str, words), "--json"])
        assert done.exit_code == 0, done.output
        found: dict[str, object] = json.loads(done.stdout)
        return found

    file = tmp_path / "history.csv"
    assert told("verdicts", "export", project.folder, file)["verdicts"] == 11
    assert told("verdicts", "import", project.folder, file) == {"added": 0, "known": 11}
    assert len(told("verdicts", "conflicts", project.folder, "--checkpoint", "teacher")["conflicts"]) == 3  # type: ignore[arg-type]
    assert told("verdicts", "check", project.folder) == {"rows": {"ann.sqlite": 7, "bob.sqlite": 4}}
    assert "teacher" in str(told("methods", project.folder)["text"])
