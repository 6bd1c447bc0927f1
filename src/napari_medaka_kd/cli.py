"""medaka-kd: one sub-command per verb. ``--json`` ends with one line for machines; exit code 0 only on success."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from .console import plain_failures, play, say
from .settings import DemoSettings, DistilSettings, QualitySettings, SegmentSettings, TrainSettings
from .turns import knobs, listed, project_knobs

app = typer.Typer(
    name="medaka-kd",
    help="Organs of small animals in micro-CT: a teacher proposes, you judge, a student learns.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

ProjectFolder = Annotated[Path, typer.Argument(metavar="PROJECT", help="Folder of the project.")]
Json = Annotated[bool, typer.Option("--json", help="End with one line of JSON.")]
Cases = Annotated[list[str] | None, typer.Option("--case", help="Only this case; may be repeated.")]
Turns = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Turn one of the knobs below: --set fit.steps=500."),
]
SettingsFile = Annotated[Path | None, typer.Option("--settings", help="A TOML file of knobs.")]
VoxelSize = Annotated[
    tuple[float, float, float] | None,
    typer.Option("--voxel-size", metavar="Z Y X", help="In µm, for a file that does not say."),
]
SCAN = (
    "OME-Zarr, NIfTI, NRRD, MetaImage, HDF5 (scan.h5::/path/in/file where there are several volumes), "
    "or TIFF or DICOM (file or folder of slices)."
)
CheckpointName = Annotated[str, typer.Option("--checkpoint", help="Which checkpoint.")]


@app.command(epilog=f"Knobs:\n\n{listed(DemoSettings())}")
def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where to work; made if needed.")] = Path("medaka-demo"),
    settings: SettingsFile = None,
    turns: Turns = None,
    as_json: Json = False,
) -> None:
    """The whole way on made-up fish: teacher, proposals, quality, verdicts, students, report."""
    with plain_failures(as_json):
        from .demo import demo as run

        result = play(run(folder, knobs(DemoSettings, settings, turns)))
        say(result.text(), result.json(), as_json)


@app.command()
def init(
    project: ProjectFolder,
    organs: Annotated[Path, typer.Option("--organs", help="TOML: [organs] with a line «id = name» for each organ.")],
    name: Annotated[str, typer.Option("--name", help="Of the project; the folder's if empty.")] = "",
    as_json: Json = False,
) -> None:
    """Make an empty project."""
    with plain_failures(as_json):
        from .workflow.curate import init as run
        from .workflow.curate import read_organs

        made = run(project, name or project.resolve().name, read_organs(organs))
        say(f"Project {made.name!r} with {len(made.schema.organs)} organs.", {"project": made.name}, as_json)


@app.command()
def add(
    project: ProjectFolder,
    scan: Annotated[Path, typer.Argument(help=SCAN)],
    labels: Annotated[Path | None, typer.Option("--labels", help="Organ ids on the scan's grid.")] = None,
    case: Annotated[str, typer.Option("--id", help="Name of the case; the file's if empty.")] = "",
    held_out: Annotated[bool, typer.Option("--held-out", help="Keep for evaluation; never trained on.")] = False,
    voxel_size: VoxelSize = None,
    as_json: Json = False,
) -> None:
    """Copy a scan into a project, with its labels if it has any."""
    with plain_failures(as_json):
        from .workflow.curate import Scan, name_case, open_project
        from .workflow.curate import add as run

        given = Scan(scan, labels, case or name_case(scan), held_out, voxel_size)
        made = play(run(open_project(project), given))
        shape = made.volume.shape
        say(f"Case {made.id!r}: {shape} voxels.", {"case": made.id, "shape": shape, "labelled": made.labelled}, as_json)


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
        from .workflow.convert import convert as run

        made = play(run(scan, target, voxel_size, window))
        said = f"{target}: {made.shape} voxels of {made.dtype}, {len(made.levels)} levels."
        say(said, {"target": str(target), "shape": made.shape, "levels": len(made.levels)}, as_json)


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
        from .workflow.curate import open_project
        from .workflow.teach import train as run

        chosen = knobs(TrainSettings, settings, turns, project_knobs(TrainSettings, project, "train"))
        made = play(run(open_project(project), name, chosen, cases or ()))
        say(f"Checkpoint {made.name!r}, trained on {', '.join(made.trained_on)}.", _card(made), as_json)


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
    """Let a checkpoint propose organs, for every case that lacks its labels or for those named."""
    with plain_failures(as_json):
        from .workflow.curate import open_project
        from .workflow.propose import First
        from .workflow.propose import segment as run
        from .workflow.spread import Spread, segment_spread

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
        from .background import aside
        from .workflow import forecast as ahead
        from .workflow.curate import open_project

        opened = open_project(project)
        chosen = knobs(SegmentSettings, settings, turns, project_knobs(SegmentSettings, project, "segment"))
        if only_measure and cases:
            from .workflow.probing import measure

            say("", play(measure(opened, checkpoint, chosen, cases[0], only_measure)), as_json)
            return
        if again:
            ahead.forget(opened, checkpoint, chosen)
        found = play(ahead.forecast(opened, checkpoint, chosen, aside, cases or ()))
        free = ahead.Machine.now(opened.folder)
        say(found.text(free), found.json(free), as_json)


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
        from .workflow.curate import open_project
        from .workflow.propose import score as run
        from .workflow.queue import scores_at_a_glance

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
        from .workflow.curate import Word, open_project
        from .workflow.curate import verdict as run

        given = run(
            open_project(project), Word(decision, case, organ, slab, checkpoint, reviewer, tuple(reasons or ()))
        )
        item = asdict(given.item)
        say(f"{given.decision}: {item}", {"decision": given.decision, "item": item, "time": given.time}, as_json)


@app.command(epilog=f"Knobs:\n\n{listed(DistilSettings())}")
def distil(
    project: ProjectFolder,
    teacher: Annotated[str, typer.Option("--teacher", help="Checkpoint to learn from.")] = "teacher",
    name: Annotated[str, typer.Option("--name", help="Of the student's checkpoint.")] = "student",
    strategy: Annotated[str, typer.Option("--strategy", help="How it learns.")] = "self_training",
    settings: SettingsFile = None,
    turns: Turns = None,
    as_json: Json = False,
) -> None:
    """Distil a student from labels, verdicts and the teacher's soft answers."""
    with plain_failures(as_json):
        words = [f"strategy.name={strategy}", *(turns or ())]
        chosen = knobs(DistilSettings, settings, words, project_knobs(DistilSettings, project, "distil"))
        from .workflow.curate import open_project
        from .workflow.rounds import distil as run

        made = play(run(open_project(project), name, teacher, chosen))
        say(f"Checkpoint {made.name!r}: evaluate it, or let it teach.", _card(made), as_json)


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
        from .workflow.assess import compare_checkpoints
        from .workflow.curate import open_project

        result = play(compare_checkpoints(open_project(project), (*(against or ()), checkpoint), cases or ()))
        say(result.text(), result.json(), as_json)


@app.command()
def measure(
    project: ProjectFolder,
    case: Annotated[str, typer.Option("--case", help="Which animal; all that have the labels if empty.")] = "",
    labels: Annotated[
        str, typer.Option("--labels", help="Which label map: a checkpoint's name, or manual.")
    ] = "teacher",
    as_json: Json = False,
) -> None:
    """Organ volumes in µm³, places and pieces of one case; or the volumes of the whole cohort, and which stand out."""
    with plain_failures(as_json):
        from .workflow.curate import open_project

        if not case:
            from .workflow.cohort import measure_cohort

            cohort = play(measure_cohort(open_project(project), labels))
            say(cohort.text(), cohort.json(), as_json)
            return
        from .workflow.assess import measure as run

        measures, table = play(run(open_project(project), case, labels))
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
        from .workflow.curate import open_project
        from .workflow.disagree import disagree as run

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
        from .workflow.curate import open_project
        from .workflow.readiness import readiness as run

        found = run(open_project(project), teacher)
        say(found.text(), found.json(), as_json)


@app.command()
def stop(
    project: ProjectFolder,
    name: Annotated[str, typer.Argument(help="Of the checkpoint that is being trained.")],
    as_json: Json = False,
) -> None:
    """End a training after its present step and keep the best of it."""
    with plain_failures(as_json):
        from .workflow.curate import open_project
        from .workflow.training import stop_training

        stop_training(open_project(project), name)
        say(f"{name!r} stops after this step; its best weights are kept.", {"checkpoint": name}, as_json)


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(metavar="PROJECT", help="Folder of the new project.")],
    as_json: Json = False,
) -> None:
    """Make a project of made-up fish, ready to try everything on."""
    with plain_failures(as_json):
        from .workflow.sample import sample as run

        made = play(run(folder))
        cases = [case.id for case in made.cases]
        say(f"{len(cases)} made-up fish in {str(folder)!r}.", {"project": str(folder), "cases": cases}, as_json)


@app.command()
def status(project: ProjectFolder, as_json: Json = False) -> None:
    """A project at a glance, and what to do next."""
    with plain_failures(as_json):
        from .workflow.curate import open_project
        from .workflow.curate import status as run

        now = run(open_project(project))
        say(now.text(), asdict(now), as_json)


@app.command()
def doctor(as_json: Json = False) -> None:
    """What this machine has for the work, and what is missing."""
    with plain_failures(as_json):
        from .doctor import examine

        found = examine()
        say(found.text(), asdict(found), as_json)


def _card(checkpoint: Any) -> dict[str, Any]:
    return {"checkpoint": checkpoint.name, "trained_on": checkpoint.trained_on, "sha256": checkpoint.weights_sha256}
