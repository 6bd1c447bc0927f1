"""Which organs a label map has that is saved: those of its layer, or of the project that its scan belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medaka_kd.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medaka_kd.project import Project
    from napari_medaka_kd.volumes.labels import LabelSchema

    from .painted import Painted


def agree(store: Path, name: str, layer: Painted) -> LabelSchema:
    """The organs of the label map ``name`` that ``layer`` becomes in ``store``.

    Raises
    ------
    UserError
        If the scan is of a project that has other organs, or that keeps something else under that name.
    """
    project = _project_of(store)
    if project is None:
        return layer.schema()
    if name in ("reviewed", *project.checkpoints):
        raise UserError(
            f"The project {project.name!r} keeps proposals or corrections under the name {name!r}.",
            "Save it under another one; 'manual' makes it the labels of this animal.",
        )
    known, said = {organ.id: organ.name for organ in project.schema.organs}, layer.names()
    for number in layer.present():
        if number not in known or said.get(number, known[number]) != known[number]:
            raise UserError(
                f"The layer {layer.name!r} has {said.get(number, 'an organ')!r} as {number}, "
                f"the project {project.name!r} has {known.get(number, 'nothing')!r}.",
                f"Its organs are {', '.join(f'{id_} {organ}' for id_, organ in known.items())}: relabel the layer.",
            )
    return project.schema


def _project_of(store: Path) -> Project | None:
    """The project whose animal's scan ``store`` is: ``<project>/cases/<animal>/volume.ome.zarr``."""
    if not (store.parent / "case.json").is_file():
        return None
    from napari_medaka_kd.workflow.curate import open_project

    return open_project(store.parents[2])
