"""Verbs about proposals: score, verdict."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from napari_medaka_kd.console import plain_failures, play, say
from napari_medaka_kd.settings import QualitySettings
from napari_medaka_kd.turns import knobs, listed, project_knobs

from .app import Cases, CheckpointName, Json, ProjectFolder, SettingsFile, Turns, app


@app.command(epilog=f"Knobs:\n\n{listed(QualitySettings())}")
def score(
    project: ProjectFolder,
    checkpoint: CheckpointName = "teacher",
    cases: Cases = None,
    settings: SettingsFile = None,
    turns: Turns = None,
    as_json: Json = False,
) -> None:
    """Say how far each proposed organ is to be believed; learns from the verdicts given so far."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.curate import open_project
        from napari_medaka_kd.workflow.propose import score as run
        from napari_medaka_kd.workflow.queue import scores_at_a_glance

        opened = open_project(project)
        chosen = knobs(QualitySettings, settings, turns, project_knobs(QualitySettings, project, "score"))
        play(run(opened, checkpoint, chosen, cases or ()))
        glance = scores_at_a_glance(opened, checkpoint)
        say(glance.text(), glance.json(), as_json)


@app.command()
def verdict(
    project: ProjectFolder,
    decision: Annotated[str, typer.Argument(help="accepted, rejected, corrected, unsure or undone.")],
    case: Annotated[str, typer.Option("--case", help="Which animal.")],
    organ: Annotated[str, typer.Option("--organ", help="Its name or id; all organs if empty.")] = "",
    slab: Annotated[tuple[int, int] | None, typer.Option("--z", help="First slice, and one past the last.")] = None,
    checkpoint: CheckpointName = "teacher",
    reviewer: Annotated[str, typer.Option("--reviewer", help="Who says so; your login if empty.")] = "",
    reasons: Annotated[list[str] | None, typer.Option("--reason", help="Why; may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Say what you think of one proposed organ. It is on the disk when the command returns."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.curate import Word, open_project
        from napari_medaka_kd.workflow.curate import verdict as run

        given = run(
            open_project(project), Word(decision, case, organ, slab, checkpoint, reviewer, tuple(reasons or ()))
        )
        item = asdict(given.item)
        say(f"{given.decision}: {item}", {"decision": given.decision, "item": item, "time": given.time}, as_json)
