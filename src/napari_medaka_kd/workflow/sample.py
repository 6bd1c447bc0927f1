"""sample: a project of made-up fish, with settings that are quick, so that everything can be tried in five minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tomli_w

from napari_medaka_kd.demo_settings import DemoSettings, PhantomSettings
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Job, Progress, drain
from napari_medaka_kd.project import FILE, Project, add_case, create_project, open_project
from napari_medaka_kd.turns import FILE as KNOBS
from napari_medaka_kd.volumes.atomic import replace_file
from napari_medaka_kd.volumes.beamline import BEAMLINE_A, BEAMLINE_B, degraded
from napari_medaka_kd.volumes.phantom import MEDAKA, phantom_animal

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "made-up fish"
#: Few enough fish to look at, enough for a student to learn something.
FISH = DemoSettings(labelled=2, unlabelled=8, held_out=2)
_STEPS = {"teacher": 400, "student": 300}  # some 20 and 30 s on two cores


def animals(settings: DemoSettings) -> dict[str, PhantomSettings]:
    """The animals of a demo by case id: labelled ones from a clean beamline, the others from another one."""
    rng = np.random.default_rng(settings.seed)
    kinds = ["labelled"] * settings.labelled + ["unlabelled"] * settings.unlabelled + ["heldout"] * settings.held_out
    made = {}
    for place, kind in enumerate(kinds):
        severity = settings.severity * float(rng.random())
        beamline = BEAMLINE_A if kind == "labelled" else degraded(BEAMLINE_B, severity)
        seed = settings.seed * 1000 + place
        made[f"{kind}-{place:02d}"] = PhantomSettings(
            shape=settings.shape, animal=seed, scan=seed, pose=settings.pose, beamline=beamline
        )
    return made


def begin_sample(folder: Path) -> Project:
    """The project in ``folder``, made with its settings if it is not there yet; its fish are still to come.

    Raises
    ------
    UserError
        If the folder holds anything else, such as a project of real fish.
    """
    known = (folder / FILE).is_file()
    project = open_project(folder) if known else create_project(folder, _NAME, MEDAKA)
    if project.name != _NAME:
        raise UserError(f"{str(folder)!r} holds the project {project.name!r}.", "Choose a new or an empty folder.")
    if not (folder / KNOBS).is_file():
        replace_file(folder / KNOBS, tomli_w.dumps(quick_knobs()).encode())
    return project


def sample(folder: Path) -> Job[Project]:
    """Make a project of made-up fish: some with labels, more without, and some held out; goes on where it stopped."""
    project = begin_sample(folder)
    made = animals(FISH)
    for done, (case, fish) in enumerate(made.items()):
        yield Progress("make up fish", done, len(made))
        if case not in {known.id for known in project.cases}:
            animal = phantom_animal(fish)
            labels = None if case.startswith("unlabelled") else animal.labels
            drain(add_case(project, animal.volume, labels, case, case.startswith("heldout")))
    yield Progress("make up fish", len(made), len(made))
    return project


def quick_knobs() -> dict[str, dict[str, object]]:
    """By verb, what differs from the defaults: the demo's settings with fewer steps."""
    teacher = FISH.teacher.model_dump(mode="json", exclude_defaults=True)
    student = FISH.student.model_dump(mode="json", exclude_defaults=True)
    watch = {"save_every": 50, "validate_every": 25}
    teacher["fit"] |= {"steps": _STEPS["teacher"], **watch}
    student["fit"] |= {"steps": _STEPS["student"], **watch}
    quality = FISH.quality.model_dump(mode="json", exclude_defaults=True) | {"copies": 8, "critic_steps": 30}
    return {"train": teacher, "score": quality, "distil": student}
