"""Verbs about all that was said: methods, and verdicts export, import, conflicts and check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_medaka_kd.console import plain_failures, say

from .app import CheckpointName, Json, ProjectFolder, app

verdicts = typer.Typer(
    name="verdicts", help="All that reviewers said: export, import, conflicts, check.", no_args_is_help=True
)
app.add_typer(verdicts)

Written = Annotated[Path, typer.Argument(metavar="FILE", help="Ends in .csv (for a spreadsheet) or .json.")]


@app.command()
def methods(project: ProjectFolder, checkpoint: CheckpointName = "teacher", as_json: Json = False) -> None:
    """A paragraph for a paper: animals, verdicts, reviewers, threshold, precision, agreement, pace."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.curate import open_project
        from napari_medaka_kd.workflow.methods import methods as run

        found = run(open_project(project), checkpoint)
        say(found.text, found.facts | {"text": found.text}, as_json)


@verdicts.command("export")
def export_verdicts(project: ProjectFolder, file: Written, as_json: Json = False) -> None:
    """Write every verdict, also those taken back, into a new file."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.curate import open_project
        from napari_medaka_kd.workflow.history import export_verdicts as run

        count = run(open_project(project), file)
        say(f"{count} verdicts in {str(file)!r}.", {"verdicts": count, "file": str(file)}, as_json)


@verdicts.command("import")
def import_verdicts(project: ProjectFolder, file: Written, as_json: Json = False) -> None:
    """Add the verdicts of a file, as they are; those that the project has already are left out."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.curate import open_project
        from napari_medaka_kd.workflow.history import import_verdicts as run

        added, known = run(open_project(project), file)
        say(f"{added} verdicts added, {known} known already.", {"added": added, "known": known}, as_json)


@verdicts.command()
def conflicts(
    project: ProjectFolder,
    checkpoint: Annotated[str, typer.Option("--checkpoint", help="Of whose proposals; all if empty.")] = "",
    as_json: Json = False,
) -> None:
    """Where reviewers disagree, with what each said, and how far they agree (Cohen's kappa)."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.agreeing import company
        from napari_medaka_kd.workflow.curate import open_project

        found = company(open_project(project), checkpoint)
        say(found.text(), found.json(), as_json)


@verdicts.command()
def check(project: ProjectFolder, as_json: Json = False) -> None:
    """Check every row of every log against its chain of hashes."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.curate import open_project
        from napari_medaka_kd.workflow.history import check_logs

        rows = check_logs(open_project(project))
        told = [f"{name}: {count} rows, all as they were written" for name, count in rows.items()]
        say("\n".join(told) or "There are no verdicts.", {"rows": rows}, as_json)
