"""Verbs about a project and this machine: stop, sample, organs, status, doctor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from napari_medaka_kd.console import plain_failures, play, say

from .app import Json, ProjectFolder, app


@app.command()
def stop(
    project: ProjectFolder,
    name: Annotated[str, typer.Argument(help="Of the checkpoint that is being trained.")],
    as_json: Json = False,
) -> None:
    """End a training after its present step and keep the best of it."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.curate import open_project
        from napari_medaka_kd.workflow.training import stop_training

        stop_training(open_project(project), name)
        say(f"{name!r} stops after this step; its best weights are kept.", {"checkpoint": name}, as_json)


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(metavar="PROJECT", help="Folder of the new project.")],
    as_json: Json = False,
) -> None:
    """Make a project of made-up fish, ready to try everything on."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.sample import sample as run

        made = play(run(folder))
        cases = [case.id for case in made.cases]
        say(f"{len(cases)} made-up fish in {str(folder)!r}.", {"project": str(folder), "cases": cases}, as_json)


@app.command()
def organs(
    project: ProjectFolder,
    rules: Annotated[
        bool, typer.Option("--rules", help="Write the rules of its anatomy to organs.toml, to edit.")
    ] = False,
    check: Annotated[
        Path | None, typer.Option("--check", help="Only see whether this file of rules can be used.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The organs of a project, what its anatomy demands of them, and which labels that people drew break it."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.anatomy import check_rules, survey, write_rules
        from napari_medaka_kd.workflow.curate import open_project

        opened = open_project(project)
        if rules:
            file = write_rules(opened)
            say(f"{file}: edit it, then see what it says with: medaka-kd organs PROJECT.", {"file": str(file)}, as_json)
        elif check is not None:
            found = check_rules(opened, check)
            ruled, pairs = len(found.demands), len(found.pairs)
            say(f"{check} can be used: rules for {ruled} organs, {pairs} pairs.", found.model_dump(), as_json)
        else:
            seen = play(survey(opened))
            say(seen.text(), seen.json(), as_json)


@app.command()
def status(project: ProjectFolder, as_json: Json = False) -> None:
    """A project at a glance, and what to do next."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.curate import open_project
        from napari_medaka_kd.workflow.curate import status as run

        now = run(open_project(project))
        say(now.text(), asdict(now), as_json)


@app.command()
def doctor(as_json: Json = False) -> None:
    """What this machine has for the work, and what is missing."""
    with plain_failures(as_json):
        from napari_medaka_kd.doctor import examine

        found = examine()
        say(found.text(), asdict(found), as_json)
