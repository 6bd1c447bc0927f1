"""Verbs about review packs: pack, unpack, merge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_medaka_kd.console import plain_failures, play, say

from .app import CheckpointName, Json, ProjectFolder, app


@app.command()
def pack(
    project: ProjectFolder,
    file: Annotated[Path, typer.Argument(help="The file to make: NAME.pack.zip.")],
    checkpoint: CheckpointName = "teacher",
    items: Annotated[int, typer.Option("--items", min=0, help="The next so many of the queue; 0: all.")] = 40,
    cases: Annotated[list[str] | None, typer.Option("--case", help="Only of this animal; may be repeated.")] = None,
    order: Annotated[str, typer.Option("--order", help="Of the queue.")] = "mixed",
    limit: Annotated[float, typer.Option("--limit", min=1, help="MB at most; else scans are taken coarser.")] = 500,
    margin: Annotated[int, typer.Option("--margin", min=0, help="Voxels around what is reviewed.")] = 24,
    as_json: Json = False,
) -> None:
    """Write one file to review elsewhere, without the scans and a GPU; of a pack, the verdicts to send back."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.curate import open_project
        from napari_medaka_kd.workflow.pack import Wanted
        from napari_medaka_kd.workflow.pack import pack as run

        wanted = Wanted(checkpoint, items, tuple(cases or ()), order, round(limit * 1e6), margin)
        made = play(run(open_project(project), file, wanted))
        say(made.text(), made.json(), as_json)


@app.command()
def unpack(
    file: Annotated[Path, typer.Argument(help="A review pack.")],
    folder: Annotated[Path | None, typer.Argument(help="Where to; beside the file if empty.")] = None,
    as_json: Json = False,
) -> None:
    """Make a project of a review pack: every verb and the dock open it."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.unpack import unpack as run

        made = play(run(file, folder))
        cases = [case.id for case in made.cases]
        words = f"{made.folder}: {len(cases)} animals to review. Send back what this makes: "
        words += f"medaka-kd pack {made.folder} ANSWER.pack.zip"
        say(words, {"project": str(made.folder), "cases": cases}, as_json)


@app.command()
def merge(
    project: ProjectFolder,
    pack_file: Annotated[Path, typer.Argument(metavar="PACK", help="What a reviewer sent back: a file or a folder.")],
    as_json: Json = False,
) -> None:
    """Bring the verdicts of a review pack home; conflicts are shown, and merging it again adds what is new."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.curate import open_project
        from napari_medaka_kd.workflow.merge import merge as run

        merged = play(run(open_project(project), pack_file))
        say(merged.text(), merged.json(), as_json)
