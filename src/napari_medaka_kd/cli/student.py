"""Verbs about a student: distil, propagate, evaluate, measure, disagree, readiness."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from napari_medaka_kd.console import plain_failures, play, say
from napari_medaka_kd.settings import DistilSettings, PropagateSettings, strategies
from napari_medaka_kd.turns import knobs, listed, project_knobs

from .app import Cases, CheckpointName, Json, ProjectFolder, SettingsFile, Turns, app, card


@app.command(epilog=f"Knobs:\n\n{listed(DistilSettings())}")
def distil(
    project: ProjectFolder,
    teacher: Annotated[
        str, typer.Option("--teacher", help="Checkpoint to learn from; or to begin with, where a strategy needs none.")
    ] = "teacher",
    name: Annotated[str, typer.Option("--name", help="Of the student's checkpoint.")] = "student",
    strategy: Annotated[
        str, typer.Option("--strategy", help=f"How it learns: {', '.join(strategies())}; the first if empty.")
    ] = "",
    settings: SettingsFile = None,
    turns: Turns = None,
    as_json: Json = False,
) -> None:
    """Distil a student from labels, verdicts and the teacher's soft answers, or by another strategy."""
    with plain_failures(as_json):
        words = [*([f"strategy.name={strategy}"] if strategy else ()), *(turns or ())]
        chosen = knobs(DistilSettings, settings, words, project_knobs(DistilSettings, project, "distil"))
        from napari_medaka_kd.workflow.curate import open_project
        from napari_medaka_kd.workflow.rounds import distil as run
        from napari_medaka_kd.workflow.training import too_short

        opened = open_project(project)
        made = play(run(opened, name, teacher, chosen))
        said = too_short(opened, f"distil-{name}")
        told = [f"Checkpoint {made.name!r}: evaluate it, or let it teach.", *said]
        say("\n".join(told), {**card(made), "said": said}, as_json)


@app.command(epilog=f"Knobs:\n\n{listed(PropagateSettings())}")
def propagate(
    project: ProjectFolder,
    name: Annotated[str, typer.Option("--name", help="Of the label maps.")] = "propagated",
    atlas: Annotated[str, typer.Option("--atlas", help="Case to warp; the only labelled one if empty.")] = "",
    cases: Cases = None,
    settings: SettingsFile = None,
    turns: Turns = None,
    as_json: Json = False,
) -> None:
    """Warp the labels of one animal onto others, and keep them as a label map of each."""
    with plain_failures(as_json):
        words = [*([f"atlas={atlas}"] if atlas else ()), *(turns or ())]
        chosen = knobs(PropagateSettings, settings, words, project_knobs(PropagateSettings, project, "propagate"))
        from napari_medaka_kd.workflow.curate import open_project
        from napari_medaka_kd.workflow.propagate import propagate as run

        done = play(run(open_project(project), name, chosen, cases or ()))
        say(f"Warped the atlas onto {len(done)} cases as {name!r}.", {"labels": name, "cases": done}, as_json)


@app.command()
def evaluate(
    project: ProjectFolder,
    checkpoint: CheckpointName = "student",
    against: Annotated[list[str] | None, typer.Option("--against", help="Compare with these checkpoints.")] = None,
    cases: Cases = None,
    as_json: Json = False,
) -> None:
    """Hold checkpoints against the truth of held-out cases; a table, a report, and JSON."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.assess import compare_checkpoints
        from napari_medaka_kd.workflow.curate import open_project

        result = play(compare_checkpoints(open_project(project), (*(against or ()), checkpoint), cases or ()))
        say(result.text(), result.json(), as_json)


@app.command()
def measure(
    project: ProjectFolder,
    case: Annotated[str, typer.Option("--case", help="Which animal; all that have the labels if empty.")] = "",
    labels: Annotated[
        str, typer.Option("--labels", help="Which label map: a checkpoint's name, or manual.")
    ] = "teacher",
    things: Annotated[bool, typer.Option("--things", help="Things that people outlined, rather than organs.")] = False,
    as_json: Json = False,
) -> None:
    """Organ volumes in µm³, places and pieces of one case; or the volumes of the whole cohort, and which stand out.

    Of things that overlap: each one's volume and place, in one case or in all.
    """
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.curate import open_project
        from napari_medaka_kd.workflow.kinds import finds_things

        opened = open_project(project)
        if things or finds_things(opened, labels):
            from napari_medaka_kd.workflow.measure_things import measure_things

            found = play(measure_things(opened, labels, case))
            say(found.text(), found.json(), as_json)
            return
        if not case:
            from napari_medaka_kd.workflow.cohort import measure_cohort

            cohort = play(measure_cohort(opened, labels))
            say(cohort.text(), cohort.json(), as_json)
            return
        from napari_medaka_kd.workflow.assess import measure as run

        measures, table = play(run(opened, case, labels))
        lines = [f"{m.name:24s} {m.volume_um3:14.6g} µm³  {m.voxels} voxels" for m in measures]
        data = {"case": case, "labels": labels, "organs": [asdict(m) for m in measures], "table": str(table)}
        say("\n".join([*lines, f"Table: {table}"]), data, as_json)


@app.command()
def disagree(
    project: ProjectFolder,
    checkpoint: Annotated[str, typer.Option("--checkpoint", help="Whose labels.")] = "student",
    against: Annotated[str, typer.Option("--against", help="And whose.")] = "teacher",
    as_json: Json = False,
) -> None:
    """Where the labels of two checkpoints differ most: organs and slabs worth a look."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.curate import open_project
        from napari_medaka_kd.workflow.disagree import disagree as run

        found = play(run(open_project(project), checkpoint, against))
        say(found.text(), found.json(), as_json)


@app.command()
def readiness(
    project: ProjectFolder,
    teacher: Annotated[str, typer.Option("--teacher", help="Checkpoint to learn from.")] = "teacher",
    as_json: Json = False,
) -> None:
    """Whether there is enough to distil a student from, organ by organ, and what to review next."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.curate import open_project
        from napari_medaka_kd.workflow.readiness import readiness as run

        found = run(open_project(project), teacher)
        say(found.text(), found.json(), as_json)
