"""Verbs about a teacher: train, adopt, segment, forecast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_medaka_kd.console import plain_failures, play, say
from napari_medaka_kd.settings import AdoptSettings, SegmentSettings, TrainSettings
from napari_medaka_kd.turns import knobs, listed, project_knobs

from .app import Cases, CheckpointName, Json, ProjectFolder, SettingsFile, Turns, app, card


@app.command(epilog=f"Knobs:\n\n{listed(TrainSettings())}")
def train(
    project: ProjectFolder,
    name: Annotated[str, typer.Option("--name", help="Of the checkpoint.")] = "teacher",
    cases: Cases = None,
    settings: SettingsFile = None,
    turns: Turns = None,
    as_json: Json = False,
) -> None:
    """Train a teacher on the labelled cases. Interrupted, the same command goes on."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.curate import open_project
        from napari_medaka_kd.workflow.teach import train as run
        from napari_medaka_kd.workflow.training import too_short

        chosen = knobs(TrainSettings, settings, turns, project_knobs(TrainSettings, project, "train"))
        opened = open_project(project)
        made = play(run(opened, name, chosen, cases or ()))
        said = too_short(opened, f"train-{name}")
        told = [f"Checkpoint {made.name!r}, trained on {', '.join(made.trained_on)}.", *said]
        say("\n".join(told), {**card(made), "said": said}, as_json)


@app.command(epilog=f"Knobs:\n\n{listed(AdoptSettings())}")
def adopt(
    project: ProjectFolder,
    file: Annotated[Path, typer.Argument(help="ONNX, TorchScript, weights, or the folder of a MONAI bundle.")],
    name: Annotated[str, typer.Option("--name", help="Of the checkpoint.")] = "adopted",
    classes: Annotated[
        list[str] | None, typer.Option("--class", metavar="CLASS=ORGAN", help="As 1=liver; once for each.")
    ] = None,
    organs: Annotated[
        Path | None, typer.Option("--organs", help="TOML: \\[organs] with a line «class = organ» for each instead.")
    ] = None,
    settings: SettingsFile = None,
    turns: Turns = None,
    as_json: Json = False,
) -> None:
    """Take a network that was made elsewhere as a teacher."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.adopt import adopt as run
        from napari_medaka_kd.workflow.adopt import read_classes
        from napari_medaka_kd.workflow.curate import open_project

        chosen = knobs(AdoptSettings, settings, turns, project_knobs(AdoptSettings, project, "adopt"))
        made = play(run(open_project(project), file, name, chosen, read_classes(classes or (), organs)))
        told = [f"Checkpoint {made.name!r} adopted.", *made.history["said"]]
        say("\n".join(told), {**card(made), "said": made.history["said"]}, as_json)


@app.command(epilog=f"Knobs:\n\n{listed(SegmentSettings())}")
def segment(
    project: ProjectFolder,
    checkpoint: CheckpointName = "teacher",
    cases: Cases = None,
    first: Annotated[str, typer.Option("--first", help="Begin with this case.")] = "",
    at: Annotated[
        tuple[float, float, float] | None, typer.Option("--at", metavar="Z Y X", help="… and there at this voxel.")
    ] = None,
    cluster: Annotated[
        str, typer.Option("--cluster", help="On Dask workers: local:4, or a scheduler's address (tcp://host:8786).")
    ] = "",
    settings: SettingsFile = None,
    turns: Turns = None,
    as_json: Json = False,
) -> None:
    """Let a checkpoint propose organs, or find things that overlap, in all cases that lack its labels or in some."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.curate import open_project
        from napari_medaka_kd.workflow.propose import First
        from napari_medaka_kd.workflow.propose import segment as run
        from napari_medaka_kd.workflow.spread import Spread, segment_spread

        chosen = knobs(SegmentSettings, settings, turns, project_knobs(SegmentSettings, project, "segment"))
        begin, opened = First(first, at) if first else None, open_project(project)
        if cluster:
            done = play(segment_spread(opened, checkpoint, chosen, cases or (), Spread(cluster, begin)))
        else:
            done = play(run(opened, checkpoint, chosen, cases or (), begin))
        say(f"Segmented {len(done)} cases with {checkpoint!r}.", {"checkpoint": checkpoint, "cases": done}, as_json)


@app.command(epilog=f"Knobs:\n\n{listed(SegmentSettings())}")
def forecast(
    project: ProjectFolder,
    checkpoint: CheckpointName = "teacher",
    cases: Cases = None,
    again: Annotated[bool, typer.Option("--again", help="Measure anew, whatever is kept.")] = False,
    settings: SettingsFile = None,
    turns: Turns = None,
    as_json: Json = False,
    only_measure: Annotated[int, typer.Option("--only-measure", hidden=True)] = 0,
) -> None:
    """What segmenting will take here: time, memory and disk, from a few tiles; no case is changed."""
    with plain_failures(as_json):
        from napari_medaka_kd.background import aside
        from napari_medaka_kd.workflow import forecast as ahead
        from napari_medaka_kd.workflow.curate import open_project

        opened = open_project(project)
        chosen = knobs(SegmentSettings, settings, turns, project_knobs(SegmentSettings, project, "segment"))
        if only_measure and cases:
            from napari_medaka_kd.workflow.probing import measure

            say("", play(measure(opened, checkpoint, chosen, cases[0], only_measure)), as_json)
            return
        if again:
            ahead.forget(opened, checkpoint, chosen)
        found = play(ahead.forecast(opened, checkpoint, chosen, aside, cases or ()))
        free = ahead.Machine.now(opened.folder)
        say(found.text(free), found.json(free), as_json)
