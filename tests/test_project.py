"""The folder of a project: what is refused, what a crash leaves, and that cases come back as they were added."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_medaka_kd.errors import InvalidVolume, UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import MANUAL, Case, Project, add_case, create_project, open_project, set_modality
from napari_medaka_kd.volumes.labels import LabelMap, LabelSchema
from napari_medaka_kd.volumes.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMA = LabelSchema.from_ids({1: "eye", 300: "heart"})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return create_project(tmp_path / "fish", "Fish & chips “é”", SCHEMA)


def make_scan(shape: tuple[int, int, int] = (20, 24, 28)) -> tuple[Volume, LabelMap]:
    """A bright ball with two organs in it."""
    grid = np.indices(shape) - np.array(shape).reshape(3, 1, 1, 1) / 2
    radius = np.sqrt((grid**2).sum(0))
    random = np.random.default_rng(0)
    scan = ((radius < 8) * 1000 + random.normal(100, 5, shape)).astype(np.uint16)
    ids = np.where(radius < 4, 300, 0).astype(np.uint16)
    ids[(radius >= 4) & (radius < 6)] = 1
    size = (4.0, 2.0, 2.0)
    return Volume((scan,), size, "ball"), LabelMap(Volume((ids,), size, "truth"), SCHEMA)


def add(project: Project, case_id: str = "fish-1", held_out: bool = False) -> Case:
    scan, labels = make_scan()
    return drain(add_case(project, scan, labels, case_id, held_out))


def leftovers(project: Project) -> list[str]:
    return sorted(path.name for path in (project.folder / "cases").glob("*") if path.name != ".claims")


def test_a_project_opens_as_it_was_made(project: Project) -> None:
    assert open_project(project.folder) == project
    assert project.cases == ()
    assert project.checkpoints == ()


def test_a_second_project_is_not_made_on_top_of_the_first(project: Project) -> None:
    with pytest.raises(UserError, match="a project already"):
        create_project(project.folder, "again", SCHEMA)


def test_a_project_is_not_made_in_a_folder_of_other_things(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        create_project(tmp_path, "x", SCHEMA)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]


def test_hidden_files_do_not_keep_a_project_from_being_made(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_text("")
    assert create_project(tmp_path, "x", SCHEMA).cases == ()


def test_a_project_cannot_be_made_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="No project can be made"):
        create_project(tmp_path / "file", "x", SCHEMA)


def test_a_project_without_organs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one organ"):
        create_project(tmp_path / "new", "x", LabelSchema(organs=()))
    assert not (tmp_path / "new").exists()


def test_another_folder_is_not_a_project(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a project"):
        open_project(tmp_path)


def test_a_project_of_a_newer_version_is_refused(project: Project) -> None:
    file = project.folder / "project.toml"
    file.write_text(file.read_text("utf-8").replace("format = 1", "format = 2"), "utf-8")
    with pytest.raises(UserError, match=r"format 2, .* up to 1. Update"):
        open_project(project.folder)


@pytest.mark.parametrize("text", ["", "format = 1", 'format = "x"', "= broken", "format=1\nname='x'\norgans=[{id=0}]"])
def test_a_damaged_project_file_is_one_sentence(project: Project, text: str) -> None:
    (project.folder / "project.toml").write_text(text)
    with pytest.raises(UserError, match="is damaged"):
        open_project(project.folder)


def test_a_case_comes_back_as_it_was_added(project: Project) -> None:
    case = add(project, held_out=True)
    scan, labels = make_scan()
    assert project.cases == (case,)
    assert open_project(project.folder).case("fish-1") == case
    assert case.held_out
    assert case.labelled
    assert case.label_names == (MANUAL,)
    assert case.volume.voxel_size == scan.voxel_size
    np.testing.assert_array_equal(case.volume.read(), scan.read())
    np.testing.assert_array_equal(case.labels(MANUAL).volume.read(), labels.volume.read())
    low, high = case.body.window
    assert 0 < low < high < 2000
    assert leftovers(project) == ["fish-1"]


def test_a_case_without_labels_is_unlabelled(project: Project) -> None:
    case = drain(add_case(project, make_scan()[0], None, "bare", held_out=False))
    assert not case.labelled
    assert not case.held_out
    with pytest.raises(UserError, match="manual"):
        case.labels(MANUAL)


def test_cases_are_sorted_by_id(project: Project) -> None:
    for case_id in ("b", "a.2", "A-1"):
        add(project, case_id)
    assert [case.id for case in project.cases] == ["A-1", "a.2", "b"]


def test_an_unknown_case_lists_the_known_ones(project: Project) -> None:
    add(project, "one")
    with pytest.raises(UserError, match=r"'two'.*There is: one"):
        project.case("two")


@pytest.mark.parametrize("case_id", ["fish-1", "FISH-1"])
def test_a_taken_id_is_refused(project: Project, case_id: str) -> None:
    add(project)
    with pytest.raises(UserError, match="already"):
        add(project, case_id)
    assert leftovers(project) == ["fish-1"]


@pytest.mark.parametrize("case_id", ["", "../out", ".hidden", "a/b", "a b", "x" * 65, "a\n"])
def test_an_id_that_cannot_name_a_folder_is_refused(project: Project, case_id: str) -> None:
    with pytest.raises(UserError, match="cannot be called"):
        add(project, case_id)
    assert not (project.folder / "cases").exists()


def test_labels_of_another_shape_leave_nothing(project: Project) -> None:
    scan, _ = make_scan()
    _, labels = make_scan((20, 24, 27))
    with pytest.raises(UserError, match="very scan"):
        drain(add_case(project, scan, labels, "x", held_out=False))
    assert leftovers(project) == []


def test_an_unknown_organ_leaves_nothing(project: Project) -> None:
    scan, labels = make_scan()
    ids = labels.volume.read().copy()
    ids[0, 0, 0] = 7
    wrong = replace(labels, volume=replace(labels.volume, levels=(ids,)))
    with pytest.raises(InvalidVolume, match="7"):
        drain(add_case(project, scan, wrong, "x", held_out=False))
    assert leftovers(project) == []


def test_a_scan_with_nan_leaves_nothing(project: Project) -> None:
    scan, labels = make_scan()
    intensities = scan.read().astype(np.float32)
    intensities[3, 3, 3] = np.nan
    with pytest.raises(InvalidVolume, match="NaN"):
        drain(add_case(project, replace(scan, levels=(intensities,)), labels, "x", held_out=False))
    assert leftovers(project) == []


def test_a_cancelled_adding_can_be_gone_on_with_at_any_step(project: Project) -> None:
    scan, labels = make_scan()
    steps = sum(1 for _ in add_case(project, scan, labels, "whole", held_out=False))
    assert steps >= 3
    for stop in range(1, steps + 1):
        job = add_case(project, scan, labels, f"cut-{stop}", held_out=False)
        for _ in range(stop):
            next(job)
        job.close()
        assert [case.id for case in project.cases if case.id == f"cut-{stop}"] == []
        added = drain(add_case(project, scan, labels, f"cut-{stop}", held_out=False))
        np.testing.assert_array_equal(added.volume.read(), scan.read())
        np.testing.assert_array_equal(added.labels(MANUAL).volume.read(), labels.volume.read())
    assert not [name for name in leftovers(project) if name.startswith(".")]


def test_a_case_is_not_added_by_two_at_once(project: Project) -> None:
    scan, labels = make_scan()
    first = add_case(project, scan, labels, "x", held_out=False)
    next(first)
    with pytest.raises(UserError, match="by another process"):
        drain(add_case(project, scan, labels, "x", held_out=False))
    assert project.cases == ()
    assert drain(first).id == "x"


def test_what_a_killed_process_left_waits_for_a_week_and_the_case_can_be_added(
    project: Project, play: Callable[..., Any]
) -> None:
    script = (
        "import sys, os, signal; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from test_project import make_scan, add_case, open_project\n"
        "job = add_case(open_project(Path(sys.argv[2])), *make_scan(), 'x', False); next(job)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert play(script, Path(__file__).parent, project.folder).returncode == -9
    assert leftovers(project) == [".x.partial"]
    assert project.cases == ()
    add(project, "y")
    assert leftovers(project) == [".x.partial", "y"]
    assert add(project, "x").labelled
    assert leftovers(project) == ["x", "y"]


def test_what_a_killed_process_left_a_week_ago_is_swept(project: Project) -> None:
    partial = project.folder / "cases" / ".x.partial"
    partial.mkdir(parents=True)
    (partial / "owner").touch()
    os.utime(partial / "owner", (0, 0))
    add(project, "y")
    assert leftovers(project) == ["y"]


def test_a_damaged_case_names_its_file(project: Project) -> None:
    case = add(project)
    card = case.folder / "case.json"
    newer = {**json.loads(card.read_text()), "format": 2}
    for text, sentence in ((json.dumps(newer), "format 2"), ("{", "damaged"), ('{"format": 1}', "damaged")):
        card.write_text(text)
        with pytest.raises(UserError, match=sentence):
            project.case("fish-1")


def test_only_complete_checkpoints_are_listed(project: Project) -> None:
    for name in ("teacher", "student"):
        project.checkpoint(name).mkdir(parents=True)
    (project.checkpoint("teacher") / "checkpoint.json").write_text("{}")
    assert project.checkpoints == ("teacher",)
    with pytest.raises(UserError, match="cannot be called"):
        project.checkpoint("../teacher")


def test_two_runs_never_share_a_folder(project: Project) -> None:
    runs = {project.new_run("train") for _ in range(5)}
    assert len(runs) == 5
    assert all(run.is_dir() and "-train" in run.name for run in runs)


def test_the_modality_of_a_case_is_kept_and_all_else_stays(project: Project) -> None:
    case = add(project, held_out=True)
    assert case.modality == ""
    before = json.loads((case.folder / "case.json").read_text())
    assert set_modality(case, "phase") == project.case("fish-1")
    assert project.case("fish-1").modality == "phase"
    assert json.loads((case.folder / "case.json").read_text()) == {**before, "modality": "phase"}
    assert set_modality(case, "").modality == project.case("fish-1").modality == ""


def test_a_case_of_an_earlier_version_has_no_modality(project: Project) -> None:
    case = add(project)
    assert "modality" not in json.loads((case.folder / "case.json").read_text())
    assert project.cases[0].modality == ""


@pytest.mark.parametrize("name", ["phase contrast", "../up", "-", "x" * 65])
def test_what_cannot_be_a_modality_is_refused_and_changes_nothing(project: Project, name: str) -> None:
    case = add(project)
    with pytest.raises(UserError, match="modality cannot be called"):
        set_modality(case, name)
    assert project.case("fish-1") == case
