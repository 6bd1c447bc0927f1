"""A student from scans and labels, by a strategy that needs nobody's proposals."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medaka_kd.distil.batches import Diet, Source
from napari_medaka_kd.distil.lesson import Lesson
from napari_medaka_kd.distil.modalities import roles
from napari_medaka_kd.distil.run import distil as play
from napari_medaka_kd.distil.stage import Run
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.networks.build import build, require_patch
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.settings import MutualSettings, NetworkSettings
from napari_medaka_kd.volumes.labels import LabelMap
from napari_medaka_kd.volumes.organ_index import OrganIndex
from napari_medaka_kd.volumes.volume import Volume

from .requirements import census, missing
from .runs import training_cases, training_folder
from .teach import keep, labelled_source, stopped, student_looks, warmed, watch_over

if TYPE_CHECKING:
    from napari_medaka_kd.job import Job
    from napari_medaka_kd.project import Case, Project
    from napari_medaka_kd.settings import AnyStrategy, DistilSettings


def distil_from_scans(project: Project, name: str, settings: DistilSettings, start: str = "") -> Job[Checkpoint]:
    """Train a student by the strategy that ``settings`` names; keep it as checkpoint ``name``.

    Parameters
    ----------
    start
        A checkpoint whose weights it begins with, where there is one that looks like it and warm starts are wanted.

    Raises
    ------
    UserError
        If the project lacks what the strategy needs.
    """
    if lack := missing(settings.strategy, census(project)):
        raise UserError(f"The strategy {settings.strategy.name!r} cannot be played: {lack}", "See: medaka-kd status.")
    cast = _cast(project, settings.strategy)
    known = settings.warm_start and start in project.checkpoints
    card = Checkpoint.open(project.checkpoint(start)) if known else None
    looks = settings.network or (student_looks(card.network) if card else NetworkSettings())
    if looks.members == 1:
        looks = looks.model_copy(update={"members": settings.strategy.members})
    require_patch(looks, settings.patches.patch)
    student = build(looks, project.schema.classes, settings.seed)
    warm = card is not None and warmed(student, looks, card, project)
    learned = [case.id for case in (*cast.labelled, *cast.unlabelled)]
    facts = {"cases": learned, "start": card.weights_sha256 if card is not None and warm else ""} | cast.facts()
    folder = training_folder(project, "distil", name, settings, facts)
    given = tuple(labelled_source(case) for case in cast.labelled)
    known_by = tuple(source for source in given if cast.modality in (None, source.modality))
    watched = Diet(known_by, (), 0, settings.patches, settings.augment, looks, settings.seed)
    lesson = Lesson(
        labelled=given,
        unlabelled=tuple(unlabelled_source(case) for case in cast.unlabelled),
        student=student,
        teacher=None,
        looks=looks,
        watch=watch_over(project, watched, modality=cast.modality),
    )
    trained = yield from play(settings, lesson, Run(folder, settings.fit, settings.seed))
    seen = card.trained_on if card is not None and warm else ()
    made = Checkpoint(
        name=name,
        network=looks,
        organs=project.schema,
        trained_on=tuple(sorted({*seen, *learned})),
        history={"verb": "distil", **facts, "settings": settings.model_dump(mode="json"), **stopped(folder)},
    )
    return keep(made, trained, project, folder)


@dataclass(frozen=True)
class Cast:
    """The animals that a strategy learns from.

    Attributes
    ----------
    modality
        The one that the student is for; ``None``: whatever is there.
    """

    labelled: tuple[Case, ...]
    unlabelled: tuple[Case, ...]
    modality: str | None = None

    def facts(self) -> dict[str, object]:
        """Which modality is the target, and of which one each animal is, where that matters."""
        if self.modality is None:
            return {}
        return {
            "target": self.modality,
            "modalities": {case.id: case.modality for case in (*self.labelled, *self.unlabelled)},
        }


def _cast(project: Project, strategy: AnyStrategy) -> Cast:
    """All animals that are not held out; where a strategy is about two modalities, those of these."""
    labelled = training_cases(project)
    unlabelled = tuple(case for case in project.cases if not case.labelled and not case.held_out)
    if not isinstance(strategy, MutualSettings):
        return Cast(labelled, unlabelled)
    parts = roles(strategy, Counter(case.modality for case in labelled))
    return Cast(
        tuple(case for case in labelled if case.modality in (parts.target, parts.assistant)),
        tuple(case for case in unlabelled if case.modality == parts.target),
        parts.target,
    )


def unlabelled_source(case: Case) -> Source:
    """A scan of whose organs nothing is known."""
    volume = case.volume
    nothing = np.broadcast_to(np.zeros((), np.uint8), volume.shape)
    index = OrganIndex.from_counts(volume.shape, np.empty((0, 3), np.int64))
    labels = LabelMap(Volume((nothing,), volume.voxel_size), case.schema, lambda: index)
    trust = np.zeros((1, case.schema.classes), np.float32)
    return Source(case.id, volume, case.body, labels, trust, modality=case.modality)
