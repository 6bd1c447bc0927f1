"""The demo on fish of 32³ voxels: what it tells, and that being killed changes nothing but the time it takes."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from napari_medaka_kd.cli import app
from napari_medaka_kd.demo import ARMS, animals, demo
from napari_medaka_kd.demo_settings import DemoSettings
from napari_medaka_kd.project import open_project
from napari_medaka_kd.review import read_verdicts
from napari_medaka_kd.settings import (
    DistilSettings,
    FitSettings,
    NetworkSettings,
    PatchSettings,
    QualitySettings,
    TrainSettings,
)
from napari_medaka_kd.trial import control_settings
from napari_medaka_kd.volumes.beamline import BEAMLINE_A

TINY = DemoSettings(
    labelled=2,
    unlabelled=2,
    held_out=2,
    shape=(32, 32, 32),
    reviews=4,
    teacher=TrainSettings(
        network=NetworkSettings(dimensions=2, widths=(8, 16)),
        patches=PatchSettings(patch=(1, 32, 32), batch=8),
        fit=FitSettings(steps=40, save_every=10),
    ),
    quality=QualitySettings(copies=4, critic_steps=2, good_iou=0.3),
    student=DistilSettings(patches=PatchSettings(patch=(1, 32, 32), batch=2), fit=FitSettings(steps=3, save_every=1)),
)


def result_in(folder: Path) -> Any:
    return json.loads((folder / "demo-result.json").read_text("utf-8"), parse_constant=pytest.fail)


@pytest.fixture(scope="module")
def knobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TINY as the file of settings that the command line reads."""
    import tomli_w

    file = tmp_path_factory.mktemp("knobs") / "tiny.toml"
    file.write_text(tomli_w.dumps(TINY.model_dump(exclude_none=True)), "utf-8")
    return file


def test_a_demo_tells_all_that_it_found_and_being_killed_changes_nothing_of_it(
    knobs: Path, tmp_path: Path, play: Callable[..., Any]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = CliRunner().invoke(app, ["demo", "--folder", str(whole), "--settings", str(knobs), "--json"])
    assert done.exit_code == 0, done.stderr
    (line,) = done.stdout.splitlines()
    told = json.loads(line, parse_constant=pytest.fail)
    check_result(told, whole)

    ended = play(KILL_ITSELF, killed, TINY.model_dump_json())  # between the verdicts and what follows
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not (killed / "demo-result.json").exists()
    close_after(killed, reports=9)
    again = CliRunner().invoke(app, ["demo", "--folder", str(killed), "--settings", str(knobs)])
    assert again.exit_code == 0, again.stderr
    assert "Mean IoU" in again.stdout
    for part in ("arms", "quality"):
        assert result_in(killed)[part] == told[part]
    assert len(read_verdicts(killed / "project" / "review")) == TINY.reviews


def check_result(told: Any, folder: Path) -> None:
    assert {"arms", "quality", "seconds", "seed", "report"} <= set(told)
    assert list(told["arms"]) == list(ARMS)
    assert set(ARMS) == {"teacher", "control", "all", "random", "confidence", "qc", "qc_kd", "oracle"}
    assert all(0 <= iou <= 1 for iou in told["arms"].values())
    assert {"auroc", "precision", "threshold"} <= set(told["quality"])
    assert told["seed"] == TINY.seed
    assert told["seconds"] > 0
    assert "<html" in Path(told["report"]).read_text("utf-8")
    assert told == result_in(folder)
    project = open_project(folder / "project")
    assert project.checkpoints == tuple(sorted(ARMS))
    assert sum(case.held_out for case in project.cases) == TINY.held_out


KILL_ITSELF = """
import os, pathlib, signal, sys
from napari_medaka_kd.demo import demo
from napari_medaka_kd.demo_settings import DemoSettings
folder, settings = pathlib.Path(sys.argv[1]), DemoSettings.model_validate_json(sys.argv[2])
for _ in demo(folder, settings):
    if any((folder / "project" / "review").glob("*.sqlite")):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def close_after(folder: Path, reports: int) -> None:
    """Cancel a demo as a person does, after so many reports of the training of the students."""
    job = demo(folder, TINY)
    for progress in job:
        reports -= progress.doing == "student"
        if reports == 0:
            job.close()
            return
    raise AssertionError("the demo was over before it could be closed")


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("the only copy")
    done = CliRunner().invoke(app, ["demo", "--folder", str(foreign)])
    assert done.exit_code == 2
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]


def test_the_animals_are_a_function_of_the_seed_and_the_labelled_ones_come_from_another_beamline() -> None:
    made = animals(TINY)
    assert made == animals(TINY)
    assert made != animals(TINY.model_copy(update={"seed": 1}))
    assert len({settings.animal for settings in made.values()}) == TINY.labelled + TINY.unlabelled + TINY.held_out
    for case, settings in made.items():
        assert (settings.beamline == BEAMLINE_A) == case.startswith("labelled")


def test_the_control_has_the_students_compute_and_augmentation() -> None:
    control = control_settings(TINY)
    student = TINY.student
    assert control.fit == student.fit
    assert control.augment == student.augment
    assert control.patches.batch == student.patches.batch + student.strategy.unlabelled
    assert control.network.members == 1
