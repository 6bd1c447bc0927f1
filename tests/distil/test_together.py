"""Two processes end in the weights of one; their project is written by the first of them alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from napari_medaka_kd import processes
from napari_medaka_kd.cli import app
from napari_medaka_kd.distil import together
from napari_medaka_kd.distil.metrics import read_metrics
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.project import add_case, create_project
from napari_medaka_kd.volumes.labels import LabelMap
from napari_medaka_kd.volumes.volume import Volume
from napari_medaka_kd.workflow.curate import open_project

PROGRAM = Path(__file__).with_name("several.py")
TURNS = (
    "network.dimensions=2",
    "network.widths=[4,8]",
    "network.members=2",
    "patches.patch=[1,16,16]",
    "patches.batch=2",
    "fit.steps=3",
    "fit.validate_every=2",
    "fit.accumulate=2",
    "fit.precision=float32",
    "fit.device=cpu",
)
TOLD = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}


def torchrun(*arguments, count=2):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    return subprocess.run(
        [*command, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def played(toy, tmp_path_factory):
    """The folder in which two processes played."""
    folder = tmp_path_factory.mktemp("several")
    project = create_project(folder / "boxes", "boxes", toy.SCHEMA)
    for seed in range(3):
        scan, ids = toy.animal(seed)
        volumes = (Volume((each,), (10.0, 10.0, 10.0)) for each in (scan, ids))
        image, labels = volumes
        drain(add_case(project, image, LabelMap(labels, toy.SCHEMA), f"fish{seed}", held_out=seed == 2))
    done = torchrun(PROGRAM, folder, *TURNS)
    assert done.returncode == 0, done.stderr[-4000:]
    (folder / "said").write_text(done.stdout)
    return folder


@pytest.mark.parametrize("kind", ["supervise", "self_training", "mutual"])
def test_two_processes_end_in_the_weights_of_one(toy, played, tmp_path, kind):
    """Interrupted on the way, with an average; in "mutual" there are four learners."""
    network, job = toy.KINDS[kind](tmp_path, 4, 100, accumulate=2, average=0.5)
    drain(job)
    first, second = (load_file(played / f"{kind}-{number}") for number in (0, 1))
    for name, wanted in network.state_dict().items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], wanted, rtol=2e-3, atol=2e-4)
    mine, theirs = (read_metrics(next(place.glob("*/metrics.csv"))) for place in (tmp_path, played / kind))
    assert [row[:2] for row in mine] == [row[:2] for row in theirs]
    assert [row[2] for row in mine] == pytest.approx([row[2] for row in theirs], rel=1e-3, abs=1e-4)


def test_all_processes_hear_of_a_stop_after_the_same_step(played):
    assert [(played / f"steps-{number}").read_text() for number in (0, 1)] == ["3", "3"]
    first, second = (load_file(played / f"stopped-{number}") for number in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_command_line_trains_a_teacher_in_two_processes_and_says_so_once(played):
    said = [line for line in (played / "said").read_text().splitlines() if line.startswith("{")]
    assert [json.loads(line)["checkpoint"] for line in said] == ["shared"]
    project = open_project(played / "boxes")
    turns = [word for turn in TURNS for word in ("--set", turn)]
    done = CliRunner().invoke(app, ["train", str(project.folder), "--name", "alone", *turns])
    assert done.exit_code == 0, done.output
    shared, alone = (Checkpoint.open(project.checkpoint(name)) for name in ("shared", "alone"))
    assert shared.left_out == alone.left_out
    ours, theirs = (card.load(project.checkpoint(card.name)).state_dict() for card in (shared, alone))
    for name, wanted in theirs.items():
        torch.testing.assert_close(ours[name], wanted, rtol=2e-3, atol=2e-4)
    figures = [
        read_metrics(project.folder / "runs" / f"train-{name}" / f"{name}-0" / "metrics.csv")
        for name in ("shared", "alone")
    ]
    assert len(figures[0]) == len(figures[1])


def test_what_processes_cannot_share_is_refused_under_torchrun(tmp_path, monkeypatch):
    for name, value in TOLD.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, ["status", str(tmp_path)])
    assert done.exit_code == 2
    assert "'status' cannot be shared by 2 processes. Run it without torchrun." in done.output


def test_a_process_is_one_of_several_only_where_torchrun_says_all_of_it(monkeypatch):
    for name in TOLD:
        monkeypatch.delenv(name, raising=False)
    assert (processes.count(), processes.number(), processes.first()) == (1, 0, True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert processes.count() == 1
    for name, value in TOLD.items():
        monkeypatch.setenv(name, value)
    assert (processes.count(), processes.number(), processes.on_this_machine(), processes.first()) == (2, 1, 1, False)


def test_processes_that_cannot_share_a_step_are_refused_with_what_to_set(monkeypatch):
    for name, value in TOLD.items():
        monkeypatch.setenv(name, value)
    assert together.share_of(4) == 2
    with pytest.raises(UserError, match=r"2 processes cannot share .*=3. Set fit.accumulate to 2"):
        together.share_of(3)
