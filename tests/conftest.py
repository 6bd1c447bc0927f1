"""What every test gets: a seeded example generator that does not depend on the machine's speed, and a ready project."""

import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import settings

from napari_medaka_kd.demo_settings import PhantomSettings
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import Project, add_case, create_project
from napari_medaka_kd.quality.quality import QualityScore
from napari_medaka_kd.quality.record import Record, save_record
from napari_medaka_kd.volumes.label_extras import Extra
from napari_medaka_kd.volumes.label_store import begin_labels, generation
from napari_medaka_kd.volumes.phantom import MEDAKA, phantom_animal

# A slow machine is no failure, and the same examples come each time.
settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

SHAPE = (48, 32, 32)
SLAB = 16


def _add(project: Project, number: int, kind: str) -> Path:
    """One made-up fish; what a teacher proposes is the truth, shifted by ``number`` voxels, with seeded doubt."""
    animal = phantom_animal(PhantomSettings(shape=SHAPE, voxel_size=500.0, animal=number, scan=number))
    labels = None if kind == "fish" else animal.labels
    case = drain(add_case(project, animal.volume, labels, f"{kind}-{number:02d}", held_out=kind == "held-out"))
    proposed = np.roll(animal.labels.volume.read(), number, axis=2)
    doubt = np.random.default_rng(number).integers(0, 200, SHAPE, dtype=np.uint8)
    doubt[proposed == 0] = 0
    begun = begin_labels(case.store, "teacher", project.schema, f"toy {number}", extras=(Extra("uncertainty"),))
    begun.write(0, proposed, {"uncertainty": doubt})
    drain(begun.commit())
    if kind == "fish":
        units = [
            (organ, row) for row in range(3) for organ in np.unique(proposed[row * SLAB : (row + 1) * SLAB]) if organ
        ]
        scores = tuple(
            QualityScore(
                int(organ),
                (row * SLAB, (row + 1) * SLAB),
                ((organ * 7 + row * 3 + number) % 20) / 20,
                (),
                ("it is a toy",),
            )
            for organ, row in units
        )
        save_record(
            Record("teacher", generation(case.store, "teacher"), SLAB, 0.5, scores), case.folder, project.schema
        )
    return case.folder


@pytest.fixture(scope="session")
def make_project_at(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Project]:
    """As ``make_project``, in a folder of one's own choice.

    Every animal is made once a session and then copied: making them takes a hundred times as long.
    """
    pool = create_project(tmp_path_factory.mktemp("pool") / "pool", "pool", MEDAKA)
    made: dict[tuple[int, str], Path] = {}

    def make(folder: Path, unlabelled: int = 2, labelled: int = 1, held_out: int = 1) -> Project:
        project = create_project(folder, folder.name, MEDAKA)
        kinds = ["labelled"] * labelled + ["fish"] * unlabelled + ["held-out"] * held_out
        for which in enumerate(kinds):
            if which not in made:
                made[which] = _add(pool, *which)
            shutil.copytree(made[which], project.folder / made[which].relative_to(pool.folder))
        return project

    return make


@pytest.fixture
def make_project(tmp_path: Path, make_project_at: Callable[..., Project]) -> Callable[..., Project]:
    """Makes a project of made-up fish: labelled ones, ``fish-…`` with proposals and scores, a held-out one.

    The label map ``teacher``, its uncertainty and ``quality.json`` (slabs of 16 slices) are there; the network is not.
    """

    def make(*, name: str = "fish", **kinds: int) -> Project:
        return make_project_at(tmp_path / name, **kinds)

    return make


@pytest.fixture(scope="session")
def play() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Plays Python code, which finds the words in ``sys.argv``, in a process of its own, and says how it ended.

    Where the system can, it is forked from one that has imported torch already: to do that anew takes some seconds.
    """
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    processes = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        processes.set_forkserver_preload(["napari_medaka_kd.workflow.rounds", "torch._dynamo"])

    def play(code: str, *words: object) -> subprocess.CompletedProcess[str]:
        with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            streams = Path(folder, "stdout"), Path(folder, "stderr")
            opened = [
                f"os.dup2(os.open({str(file)!r}, os.O_CREAT | os.O_WRONLY), {number})"
                for number, file in enumerate(streams, start=1)
            ]
            patch.setattr(sys, "argv", ["-c", *map(str, words)])
            whole = "\n".join(("import os", *opened, code))
            process = processes.Process(target=exec, args=(whole, {"__name__": "__main__"}))
            process.start()
            process.join()
            return subprocess.CompletedProcess(words, process.exitcode, *(file.read_text() for file in streams))

    return play
