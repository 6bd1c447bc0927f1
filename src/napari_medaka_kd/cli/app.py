"""The command line itself, and what its verbs have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_medaka_kd import processes
from napari_medaka_kd.console import plain_failures
from napari_medaka_kd.errors import UserError

app = typer.Typer(
    name="medaka-kd",
    help="Organs of small animals in micro-CT: a teacher proposes, you judge, a student learns.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

_SHARED = ("train", "distil")


@app.callback()
def _main(context: typer.Context) -> None:
    """Refuse to do under torchrun, several times over, what processes cannot share."""
    verb = context.invoked_subcommand
    if processes.count() > 1 and verb not in _SHARED:
        with plain_failures(as_json=False):
            raise UserError(f"{verb!r} cannot be shared by {processes.count()} processes.", "Run it without torchrun.")


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


def card(checkpoint: Any) -> dict[str, Any]:
    return {"checkpoint": checkpoint.name, "trained_on": checkpoint.trained_on, "sha256": checkpoint.weights_sha256}
