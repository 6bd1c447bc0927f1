"""The project of made-up fish: there at once, made fish by fish, gone on with, and never laid over a real one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import Project, open_project
from napari_medaka_kd.settings import DistilSettings, QualitySettings, TrainSettings
from napari_medaka_kd.turns import project_knobs
from napari_medaka_kd.workflow.sample import FISH, animals, begin_sample, quick_knobs, sample


def test_the_project_is_there_before_its_fish(tmp_path: Path) -> None:
    made = begin_sample(tmp_path / "sample")
    assert made.cases == ()
    assert begin_sample(tmp_path / "sample") == made == open_project(tmp_path / "sample")


def test_interrupted_and_asked_for_again_it_goes_on(tmp_path: Path) -> None:
    job = sample(tmp_path)
    while next(job).done < 2:
        pass
    job.close()
    first = open_project(tmp_path).cases
    assert len(first) == 2
    kept = [(case.folder / "case.json").stat().st_mtime_ns for case in first]
    whole = drain(sample(tmp_path)).cases
    assert [case.id for case in whole] == sorted(animals(FISH))
    assert [(case.folder / "case.json").stat().st_mtime_ns for case in first] == kept
    assert {case.id.split("-")[0] for case in whole if case.labelled} == {"labelled", "heldout"}
    assert all(case.held_out == case.id.startswith("heldout") for case in whole)


def test_a_real_project_gets_no_made_up_fish(make_project: Callable[..., Project]) -> None:
    real = make_project(unlabelled=0)
    with pytest.raises(UserError, match="holds the project 'fish'"):
        begin_sample(real.folder)
    assert not (real.folder / "settings.toml").exists()


def test_its_settings_are_those_of_the_demo_with_fewer_steps(tmp_path: Path) -> None:
    begin_sample(tmp_path)
    teacher = project_knobs(TrainSettings, tmp_path, "train")
    assert teacher.network == FISH.teacher.network
    assert teacher.fit.steps < FISH.teacher.fit.steps
    assert project_knobs(DistilSettings, tmp_path, "distil").fit.steps < FISH.student.fit.steps
    assert project_knobs(QualitySettings, tmp_path, "score").slab == FISH.quality.slab
    assert set(quick_knobs()) == {"train", "score", "distil"}


def test_settings_that_a_person_changed_are_kept_and_lost_ones_come_back(tmp_path: Path) -> None:
    begin_sample(tmp_path)
    file = tmp_path / "settings.toml"
    file.write_text("[train]\nseed = 7\n")
    begin_sample(tmp_path)
    assert project_knobs(TrainSettings, tmp_path, "train").seed == 7
    file.unlink()
    begin_sample(tmp_path)
    assert project_knobs(TrainSettings, tmp_path, "train").network == FISH.teacher.network


def test_a_folder_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        begin_sample(tmp_path)
