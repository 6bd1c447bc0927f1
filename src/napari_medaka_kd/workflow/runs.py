"""A run folder for each training: what was asked stands in it, so that the same command resumes and no other."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from napari_medaka_kd import processes
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.project import MANUAL, REVIEWED
from napari_medaka_kd.volumes.atomic import replace_file
from napari_medaka_kd.volumes.instance_store import is_layer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medaka_kd.project import Case, Project
    from napari_medaka_kd.settings import Settings


def training_folder(project: Project, verb: str, name: str, settings: Settings, facts: object) -> Path:
    """``runs/<verb>-<name>``, kept if it was begun with the same ``settings`` and ``facts``, else begun anew.

    Raises
    ------
    UserError
        If the checkpoint ``name`` is finished already, or cannot be called so.
    """
    project.checkpoint(name)  # refuses what cannot be a folder's name
    if name.lower() in (MANUAL, REVIEWED):
        raise UserError(f"A checkpoint cannot be called {name!r}, as people's labels are.", "Choose another name.")
    if is_layer(name):
        raise UserError(f"A checkpoint cannot be called {name!r}, as layers of things are.", "Choose another name.")
    if name in project.checkpoints:
        raise UserError(f"There is a checkpoint {name!r} already.", "Choose another name with --name.")
    folder = project.folder / "runs" / f"{verb}-{name}"
    asked = json.dumps({"settings": settings.model_dump(mode="json"), "facts": facts}, indent=1, sort_keys=True)
    file = folder / "asked.json"
    if processes.first():
        if folder.exists() and not (file.is_file() and file.read_text("utf-8") == asked):
            shutil.rmtree(folder)
        if not folder.exists():
            folder.mkdir(parents=True)
            replace_file(file, asked.encode())
    return folder


def training_cases(project: Project, wanted: Sequence[str] = ()) -> tuple[Case, ...]:
    """The labelled cases to train on: the ``wanted`` ones, or all that are not held out.

    Raises
    ------
    UserError
        If one is held out or has no labels, or none is left.
    """
    chosen = [project.case(name) for name in wanted] or [c for c in project.cases if c.labelled and not c.held_out]
    for case in chosen:
        if case.held_out:
            raise UserError(
                f"Case {case.id!r} is held out for evaluation.", "Train on others, or add it again without --held-out."
            )
        if not case.labelled:
            raise UserError(f"Case {case.id!r} has no labels to train on.", "Add it with --labels.")
    if not chosen:
        raise UserError(f"Project {project.name!r} has no labelled case to train on.", "Add one with --labels.")
    return tuple(chosen)
