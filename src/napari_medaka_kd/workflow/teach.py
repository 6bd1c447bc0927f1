"""train: labels → a teacher. distil_once: labels, verdicts and a teacher's answers → a student."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medaka_kd.distil.batches import Diet, Source
from napari_medaka_kd.distil.lesson import Lesson
from napari_medaka_kd.distil.run import distil as play
from napari_medaka_kd.distil.stage import Run
from napari_medaka_kd.distil.teacher import supervise
from napari_medaka_kd.distil.trust import trust_table
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.networks.build import build, require_patch
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.networks.unet import Ensemble
from napari_medaka_kd.project import MANUAL, Case, Project
from napari_medaka_kd.volumes.label_store import generation

from .runs import training_cases, training_folder
from .trusting import Trust, acceptance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from napari_medaka_kd.job import Job
    from napari_medaka_kd.settings import DistilSettings, NetworkSettings, TrainSettings


def train(project: Project, name: str, settings: TrainSettings, cases: Sequence[str] = ()) -> Job[Checkpoint]:
    """Train a teacher on labels alone and keep it as checkpoint ``name``.

    Each member of an ensemble leaves out its share of the animals where there are three or more: what it says of
    these teaches the quality classifier.

    Parameters
    ----------
    cases
        Ids of the animals to learn from; all labelled ones that are not held out if empty.
    """
    chosen = training_cases(project, cases)
    folder = training_folder(project, "train", name, settings, [case.id for case in chosen])
    run = Run(folder, settings.fit, settings.seed)
    require_patch(settings.network, settings.patches.patch)
    network = _begun(project, settings)
    members = list(network.members) if isinstance(network, Ensemble) else [network]
    folds = left_out([case.id for case in chosen], len(members))
    for number, (member, fold) in enumerate(zip(members, folds, strict=True)):
        seen = tuple(_labelled(case) for case in chosen if case.id not in fold)
        diet = Diet(seen, (), 0, settings.patches, settings.augment, settings.network, settings.seed + number)
        yield from supervise(member, f"{name}-{number}", diet, run)
    card = Checkpoint(
        name=name,
        network=settings.network,
        organs=project.schema,
        trained_on=tuple(case.id for case in chosen),
        left_out=folds,
        history={"verb": "train", "settings": settings.model_dump(mode="json")},
    )
    return card.save(network, project.checkpoint(name))


def distil_once(
    project: Project, name: str, teacher: str, settings: DistilSettings, trust: Trust | None = None
) -> Job[Checkpoint]:
    """Distil a student from ``teacher`` by the strategy that ``settings`` names; keep it as checkpoint ``name``.

    Parameters
    ----------
    trust
        How far the teacher's label map of each case is believed; empty: as verdicts and quality scores say.
    """
    card = Checkpoint.open(project.checkpoint(teacher))
    card.require_schema(project.schema)
    trust = acceptance(project, teacher) if trust is None else trust
    labelled = training_cases(project)
    unlabelled = [case for case in project.cases if case.id in trust.values and not case.held_out]
    facts = {"teacher": card.weights_sha256, "trust": trust.digest(), "labelled": [case.id for case in labelled]}
    folder = training_folder(project, "distil", name, settings, facts)
    looks = settings.network or card.network.model_copy(update={"members": 1})
    _require_fitting(looks, card, settings)
    student = build(looks, project.schema.classes, settings.seed)
    if settings.warm_start:
        _warmed(student, looks, card, project)
    lesson = Lesson(
        labelled=tuple(_labelled(case) for case in labelled),
        unlabelled=tuple(_pseudo_labelled(case, teacher, trust) for case in unlabelled),
        student=student,
        teacher=card.load(project.checkpoint(teacher)),
        looks=looks,
    )
    trained = yield from play(settings, lesson, Run(folder, settings.fit, settings.seed))
    made = Checkpoint(
        name=name,
        network=looks,
        organs=project.schema,
        trained_on=tuple(sorted({*card.trained_on, *(case.id for case in (*labelled, *unlabelled))})),
        history={
            "verb": "distil",
            "teacher": teacher,
            "teacher_sha256": card.weights_sha256,
            "labels": {case.id: generation(case.store, teacher) for case in unlabelled},
            "kept": trust.kept(),
            "settings": settings.model_dump(mode="json"),
        },
    )
    return made.save(trained, project.checkpoint(name))


def left_out(cases: Sequence[str], members: int) -> tuple[tuple[str, ...], ...]:
    """For each member the cases that it never sees: a fold of its own where there are enough cases, else none."""
    if members < 2 or len(cases) < max(3, members):
        return ((),) * members
    return tuple(tuple(cases[number::members]) for number in range(members))


def _require_fitting(looks: NetworkSettings, card: Checkpoint, settings: DistilSettings) -> None:
    """Refuse a student that cannot be asked the same question as its teacher."""
    if looks.coordinates != card.network.coordinates:
        raise UserError(
            f"The student has coordinates={looks.coordinates}, its teacher {card.name!r} the opposite.",
            "Both are shown the same patch: set network.coordinates alike.",
        )
    for network in (looks, card.network):
        require_patch(network, settings.patches.patch)


def _begun(project: Project, settings: TrainSettings) -> nn.Module:
    """Fresh, or going on from the checkpoint that ``settings.start`` names."""
    network = build(settings.network, project.schema.classes, settings.seed)
    if settings.start:
        card = Checkpoint.open(project.checkpoint(settings.start))
        card.require_schema(project.schema)
        if not _warmed(network, settings.network, card, project):
            raise UserError(
                f"Checkpoint {settings.start!r} looks like {card.network}, not like {settings.network}.",
                "Train a network like it, or from scratch.",
            )
    return network


def _warmed(network: nn.Module, looks: NetworkSettings, card: Checkpoint, project: Project) -> bool:
    """Copy the weights of ``card``'s network, or of its first member, into ``network``; whether they are alike."""
    if looks != card.network.model_copy(update={"members": looks.members}) or looks.members not in (
        1,
        card.network.members,
    ):
        return False
    teacher = card.load(project.checkpoint(card.name))
    first = teacher.members[0] if isinstance(teacher, Ensemble) and looks.members == 1 else teacher
    network.load_state_dict(first.state_dict())
    return True


def _labelled(case: Case) -> Source:
    return Source(case.id, case.volume, case.body, case.labels(MANUAL))


def _pseudo_labelled(case: Case, teacher: str, trust: Trust) -> Source:
    if teacher not in case.label_names:
        raise UserError(f"Case {case.id!r} has no labels by {teacher!r}.", "Run: medaka-kd segment.")
    values: Mapping[tuple[int, int], float] = trust.values[case.id]
    table = trust_table(values, case.schema.classes, case.volume.shape[0], trust.slab)
    return Source(case.id, case.volume, case.body, case.labels(teacher), table.table, table.slab)
