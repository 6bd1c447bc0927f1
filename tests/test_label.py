"""label: an animal of a project is given labels: from a file, or those of a label map that is right by now."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from napari_medaka_kd.cli import app
from napari_medaka_kd.errors import InvalidVolume, UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import MANUAL, Project, add_case
from napari_medaka_kd.review import ReviewItem
from napari_medaka_kd.volumes.label_store import generation, save_labels
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume
from napari_medaka_kd.workflow.anatomy import facts_of
from napari_medaka_kd.workflow.correct import begin_correction, commit_correction
from napari_medaka_kd.workflow.label import label_from, label_from_file, take_back, taken_from
from napari_medaka_kd.workflow.runs import training_cases

FISH = "fish-01"


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    return make_project(unlabelled=2, labelled=1, held_out=0)


def read(project: Project, name: str, case: str = FISH) -> np.ndarray:
    return project.case(case).labels(name).volume.read()


def corrected(project: Project) -> np.ndarray:
    """The proposals after a person painted some more of an organ, where nothing was."""
    proposed = read(project, "teacher")
    organs, sizes = np.unique(proposed[16:32], return_counts=True)
    organ = int(organs[1:][sizes[1:].argmax()])
    correction = begin_correction(project, ReviewItem(FISH, organ, (16, 32)), "teacher", "ann")
    painted = correction.labels.copy()
    painted[2:5, :4, :4] = organ
    correction.record(painted)
    drain(commit_correction(project, correction, 1.0))
    z, y, x = (
        slice(side.start + first, side.start + last)
        for side, (first, last) in zip(correction.region, ((2, 5), (0, 4), (0, 4)), strict=True)
    )
    assert (proposed[z, y, x] == 0).all()
    proposed[z, y, x] = organ
    return proposed


def written(folder: Path, labels: np.ndarray) -> Path:
    """The labels as a file that other programs write."""
    drain(save_volume(Volume((labels,), (500.0, 500.0, 500.0)), folder / "drawn.ome.zarr"))
    return folder / "drawn.ome.zarr"


def test_an_animal_whose_proposals_were_put_right_teaches_as_if_it_had_been_labelled(project: Project) -> None:
    right = corrected(project)
    case = drain(label_from(project, FISH, "teacher"))
    np.testing.assert_array_equal(read(project, MANUAL), right)
    assert taken_from(case) == "teacher"
    assert FISH in [each.id for each in training_cases(project)]


def test_labels_that_were_taken_back_leave_the_animal_as_it_was_and_can_be_taken_again(project: Project) -> None:
    before = project.case(FISH).label_names
    drain(label_from(project, FISH, "teacher"))
    first = facts_of(project.case(FISH))
    take_back(project, FISH)
    assert project.case(FISH).label_names == before
    assert not list(project.case(FISH).store.glob("labels/manual*"))
    corrected(project)
    drain(label_from(project, FISH, "teacher"))
    assert facts_of(project.case(FISH)) != first
    assert generation(project.case(FISH).store, MANUAL) == "manual.2"


def test_labels_that_a_person_drew_are_neither_replaced_nor_taken_back(project: Project, tmp_path: Path) -> None:
    drawn = read(project, MANUAL, "labelled-00")
    for refused in (
        lambda: drain(label_from(project, "labelled-00", "teacher")),
        lambda: drain(label_from_file(project, "labelled-00", written(tmp_path, drawn * 0))),
        lambda: take_back(project, "labelled-00"),
    ):
        with pytest.raises(UserError, match="labelled-00"):
            refused()
    np.testing.assert_array_equal(read(project, MANUAL, "labelled-00"), drawn)


def test_what_is_taken_already_is_to_be_taken_back_first(project: Project) -> None:
    drain(label_from(project, FISH, "teacher"))
    with pytest.raises(UserError, match=r"taken from 'teacher'.*--take-back"):
        drain(label_from(project, FISH, "teacher"))


def test_held_out_animals_get_labels_from_files_alone(project: Project, tmp_path: Path) -> None:
    fish = project.case(FISH)
    case = drain(add_case(project, fish.volume, None, "test", held_out=True))
    drain(save_labels(fish.labels("teacher"), case.store, "teacher"))
    with pytest.raises(UserError, match="'test' is held out"):
        drain(label_from(project, "test", "teacher"))
    drain(label_from_file(project, "test", written(tmp_path, read(project, "teacher"))))
    np.testing.assert_array_equal(read(project, MANUAL, "test"), read(project, "teacher"))
    assert taken_from(project.case("test")) == ""


def test_a_label_map_that_is_not_there_cannot_be_taken(project: Project) -> None:
    with pytest.raises(UserError, match=r"no label map 'student' to take.*teacher"):
        drain(label_from(project, FISH, "student"))
    corrected(project)
    with pytest.raises(UserError, match="no label map 'reviewed' to take"):
        drain(label_from(project, FISH, "reviewed"))


@pytest.mark.parametrize(("change", "said"), [(lambda ids: ids[1:], "voxels"), (lambda ids: ids + 200, "200")])
def test_a_file_that_is_not_of_this_scan_or_these_organs_leaves_nothing(
    project: Project, tmp_path: Path, change: Callable[[Any], Any], said: str
) -> None:
    with pytest.raises((UserError, InvalidVolume), match=said):
        drain(label_from_file(project, FISH, written(tmp_path, change(read(project, "teacher")))))
    assert not project.case(FISH).labelled


def test_cancelled_and_called_again_it_takes_the_same_labels(project: Project) -> None:
    job = label_from(project, FISH, "teacher")
    next(job)
    job.close()
    assert not project.case(FISH).labelled
    drain(label_from(project, FISH, "teacher"))
    np.testing.assert_array_equal(read(project, MANUAL), read(project, "teacher"))


def test_the_command_line_gives_labels_and_takes_them_back(project: Project, tmp_path: Path) -> None:
    def told(*words: object) -> Result:
        return CliRunner().invoke(app, ["label", str(project.folder), FISH, *map(str, words), "--json"])

    assert json.loads(told("--from", "teacher").stdout)["labelled"]
    assert not json.loads(told("--take-back").stdout)["labelled"]
    assert "not clear" in told("--take-back", "--from", "teacher").output
    assert json.loads(told("--labels", written(tmp_path, read(project, "teacher"))).stdout)["labelled"]
