"""Verbs about scans: demo, init, add, label, modality, convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_medaka_kd.console import plain_failures, play, say
from napari_medaka_kd.demo_settings import DemoSettings
from napari_medaka_kd.turns import knobs, listed

from .app import SCAN, Json, ProjectFolder, SettingsFile, Turns, VoxelSize, app


@app.command(epilog=f"Knobs:\n\n{listed(DemoSettings())}")
def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where to work; made if needed.")] = Path("medaka-demo"),
    settings: SettingsFile = None,
    turns: Turns = None,
    as_json: Json = False,
) -> None:
    """The whole way on made-up fish: teacher, proposals, quality, verdicts, students, report."""
    with plain_failures(as_json):
        from napari_medaka_kd.demo import demo as run

        result = play(run(folder, knobs(DemoSettings, settings, turns)))
        say(result.text(), result.json(), as_json)


@app.command()
def init(
    project: ProjectFolder,
    organs: Annotated[
        Path, typer.Option("--organs", help="TOML: \\[organs] with a line «id = name» for each organ; perhaps rules.")
    ],
    name: Annotated[str, typer.Option("--name", help="Of the project; the folder's if empty.")] = "",
    as_json: Json = False,
) -> None:
    """Make an empty project."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.curate import init as run
        from napari_medaka_kd.workflow.curate import read_organs

        made = run(project, name or project.resolve().name, read_organs(organs), organs)
        say(f"Project {made.name!r} with {len(made.schema.organs)} organs.", {"project": made.name}, as_json)


@app.command()
def add(
    project: ProjectFolder,
    scan: Annotated[Path, typer.Argument(help=SCAN)],
    labels: Annotated[Path | None, typer.Option("--labels", help="Organ ids on the scan's grid.")] = None,
    instances: Annotated[
        list[Path] | None,
        typer.Option("--instances", help="Ids of things that may overlap; once for each layer or mask."),
    ] = None,
    case: Annotated[str, typer.Option("--id", help="Name of the case; the file's if empty.")] = "",
    held_out: Annotated[bool, typer.Option("--held-out", help="Keep for evaluation; never trained on.")] = False,
    voxel_size: VoxelSize = None,
    modality: Annotated[str, typer.Option("--modality", help="How it was scanned, in a word of your own.")] = "",
    as_json: Json = False,
) -> None:
    """Copy a scan into a project, with its labels if it has any."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.anatomy import flags_or_warning
        from napari_medaka_kd.workflow.anatomy import listed as listed_flags
        from napari_medaka_kd.workflow.curate import Scan, name_case, open_project
        from napari_medaka_kd.workflow.curate import add as run

        given = Scan(scan, labels, case or name_case(scan), held_out, voxel_size, modality, tuple(instances or ()))
        opened = open_project(project)
        made = play(run(opened, given))
        shape, (flags, warning) = made.volume.shape, flags_or_warning(opened)
        mine = flags.get(made.id, ())
        told = [f"Case {made.id!r}: {shape} voxels.", *([warning] if warning else [])]
        told += [f"Its labels may be wrong: {listed_flags(mine)}."] if mine else []
        things = bool(made.instance_names)
        facts = {"case": made.id, "shape": shape, "labelled": made.labelled, "instances": things, "flags": mine}
        say("\n".join(told), facts, as_json)


@app.command()
def label(
    project: ProjectFolder,
    case: Annotated[str, typer.Argument(metavar="CASE", help="Name of the animal.")],
    labels: Annotated[Path | None, typer.Option("--labels", help="Organ ids on the scan's grid.")] = None,
    taken: Annotated[
        str, typer.Option("--from", help="A label map that it has, with your corrections: all of it is right.")
    ] = "",
    back: Annotated[
        bool, typer.Option("--take-back", help="What was taken from a label map is no label again.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Give a case of a project labels: drawn elsewhere since it was added, or a label map that is right by now."""
    with plain_failures(as_json):
        from napari_medaka_kd.errors import UserError
        from napari_medaka_kd.workflow.curate import open_project
        from napari_medaka_kd.workflow.label import label_from, label_from_file, take_back

        opened = open_project(project)
        if (labels is not None) + bool(taken) + back != 1:
            raise UserError(
                "It is not clear which labels are meant.", "Say one: --labels FILE, --from NAME, --take-back."
            )
        if labels is not None:
            made = play(label_from_file(opened, case, labels))
        else:
            made = take_back(opened, case) if back else play(label_from(opened, case, taken))
        say(
            f"Case {made.id!r} has {'labels now' if made.labelled else 'no labels any more'}.",
            {"case": made.id, "labelled": made.labelled},
            as_json,
        )


@app.command()
def modality(
    project: ProjectFolder,
    name: Annotated[str, typer.Argument(help="A word of your own, as phase or absorption; '' takes it back.")],
    cases: Annotated[list[str], typer.Argument(metavar="CASE...", help="Names of the animals.")],
    as_json: Json = False,
) -> None:
    """Note how animals were scanned, for strategies that learn across modalities."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.curate import name_modality, open_project

        changed = [case.id for case in name_modality(open_project(project), name, cases)]
        say(f"{', '.join(changed)}: {name or 'no modality'}.", {"modality": name, "cases": changed}, as_json)


@app.command()
def convert(
    scan: Annotated[Path, typer.Argument(help=SCAN)],
    target: Annotated[Path, typer.Argument(help="The pyramid to make: NAME.ome.zarr.")],
    voxel_size: VoxelSize = None,
    window: Annotated[
        tuple[float, float] | None,
        typer.Option("--window", metavar="LOW HIGH", help="Percentiles to spread over 8 bits; else nothing is scaled."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Copy a scan to an OME-Zarr pyramid; stopped or killed, the same command goes on where it was."""
    with plain_failures(as_json):
        from napari_medaka_kd.workflow.convert import convert as run

        made = play(run(scan, target, voxel_size, window))
        said = f"{target}: {made.shape} voxels of {made.dtype}, {len(made.levels)} levels."
        say(said, {"target": str(target), "shape": made.shape, "levels": len(made.levels)}, as_json)
