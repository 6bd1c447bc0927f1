"""propagate: the labels of one animal, the atlas, warped onto others, and kept as a label map of each."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from napari_medaka_kd.distil.atlas.placement import warped_labels
from napari_medaka_kd.distil.atlas.register import choose_atlas, register
from napari_medaka_kd.distil.stage import Run
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.project import MANUAL
from napari_medaka_kd.volumes.label_store import generation, write_labels
from napari_medaka_kd.volumes.labels import LabelMap

from .from_scans import unlabelled_source
from .runs import training_cases, training_folder
from .teach import labelled_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medaka_kd.job import Job
    from napari_medaka_kd.project import Case, Project
    from napari_medaka_kd.settings import PropagateSettings


def propagate(
    project: Project, name: str, settings: PropagateSettings, cases: Sequence[str] = ()
) -> Job[tuple[str, ...]]:
    """Lay the atlas onto ``cases``, and write its warped labels as label map ``name`` of each.

    Memory does not grow with the scans: labels are warped block by block. Interrupted and called again, it goes on
    where it stopped. Returns the ids of the cases.

    Parameters
    ----------
    cases
        Ids of other animals; all without a person's labels that are not held out if empty.

    Raises
    ------
    UserError
        If there is no atlas, nothing to lay it onto, or a checkpoint of that name.
    """
    atlas = choose_atlas([labelled_source(case) for case in training_cases(project)], settings.atlas)
    chosen = _targets(project, atlas.case, cases)
    facts = {"atlas": [atlas.case, _labels_of(project.case(atlas.case))], "cases": [case.id for case in chosen]}
    folder = training_folder(project, "propagate", name, settings, facts)
    targets = [unlabelled_source(case) for case in chosen]
    _, placements = yield from register(atlas, targets, settings, Run(folder, settings.fit, settings.seed))
    asked = json.dumps({"settings": settings.model_dump(mode="json"), **facts}, sort_keys=True)
    for case, placement in zip(chosen, placements, strict=True):
        labels = LabelMap(warped_labels(atlas.labels, placement, case.volume), case.schema)
        made_from = "propagate " + hashlib.sha256(asked.encode()).hexdigest()
        yield from write_labels(labels, case.store, name, made_from, f"propagate onto {case.id}")
    return tuple(case.id for case in chosen)


def _targets(project: Project, atlas: str, cases: Sequence[str]) -> tuple[Case, ...]:
    chosen = [project.case(name) for name in cases] or [c for c in project.cases if not c.labelled and not c.held_out]
    found = tuple(case for case in chosen if case.id != atlas)
    if not found:
        raise UserError("There is no animal to lay the atlas onto.", "Add scans without labels, or name some: --case.")
    return found


def _labels_of(case: Case) -> str:
    return generation(case.store, MANUAL)
