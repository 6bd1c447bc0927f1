"""train: labels → a teacher. distil_once: labels, verdicts and a teacher's answers → a student."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from napari_medaka_kd import processes
from napari_medaka_kd.distil import together
from napari_medaka_kd.distil.batches import Diet, Source
from napari_medaka_kd.distil.lesson import Lesson
from napari_medaka_kd.distil.metrics import STOP, STOPPED
from napari_medaka_kd.distil.run import distil as play
from napari_medaka_kd.distil.stage import Run
from napari_medaka_kd.distil.state import BEST, STATE
from napari_medaka_kd.distil.teacher import supervise
from napari_medaka_kd.distil.trust import trust_table
from napari_medaka_kd.distil.watch import Watch, draw_places
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.networks.build import build, require_patch
from napari_medaka_kd.networks.checkpoint import EARLY, Checkpoint
from napari_medaka_kd.networks.foreign import ForeignSettings, is_soft
from napari_medaka_kd.networks.soft import CODE
from napari_medaka_kd.networks.unet import Ensemble
from napari_medaka_kd.project import MANUAL, Case, Project
from napari_medaka_kd.settings import NetworkSettings, SelfTrainingSettings
from napari_medaka_kd.volumes.label_extras import SOFT
from napari_medaka_kd.volumes.label_store import generation, open_extra_channels

from .correct import corrected_labels
from .corrected import as_facts, corrections
from .runs import training_cases, training_folder
from .stopping import unseen_by
from .trusting import Trust, acceptance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from napari_medaka_kd.job import Job
    from napari_medaka_kd.networks.foreign import Looks
    from napari_medaka_kd.settings import DistilSettings, TrainSettings
    from napari_medaka_kd.volumes.channels import Channels


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
    folds, early = left_out([case.id for case in chosen], len(members)), list["nn.Module"]()
    for number, (member, fold) in enumerate(zip(members, folds, strict=True)):
        if number and together.agreed(_never_began(folder, f"{name}-{number}")):
            members, folds = members[:number], folds[:number]
            break
        seen = tuple(labelled_source(case) for case in chosen if case.id not in fold)
        diet = Diet(seen, (), 0, settings.patches, settings.augment, settings.network, settings.seed + number)
        figures = partial(watch_over(project, diet).figures, member, folder / f"{name}-{number}")
        early.append((yield from supervise(member, f"{name}-{number}", diet, run, figures)))
    card = Checkpoint(
        name=name,
        network=settings.network.model_copy(update={"members": len(members)}),
        organs=project.schema,
        trained_on=tuple(case.id for case in chosen),
        left_out=folds,
        history={"verb": "train", "settings": settings.model_dump(mode="json"), **stopped(folder)},
    )
    if processes.first():
        card.save(_together(early), project.checkpoint(name) / EARLY)
    return keep(card, _together(members), project, folder)


def _together(members: list[nn.Module]) -> nn.Module:
    return Ensemble(members) if len(members) > 1 else members[0]


def distil_once(
    project: Project, name: str, teacher: str, settings: DistilSettings, trust: Trust | None = None
) -> Job[Checkpoint]:
    """Distil a student from ``teacher``'s proposals and answers; keep it as checkpoint ``name``.

    Parameters
    ----------
    trust
        How far the teacher's label map of each case is believed; empty: as verdicts and quality scores say.
    """
    card = Checkpoint.open(project.checkpoint(teacher))
    card.require_schema(project.schema)
    card.require_organs("learning from its proposals")
    trust = trust or acceptance(project, teacher, unseen_by(settings.strategy))
    labelled = training_cases(project)
    unlabelled = [case for case in project.cases if case.id in trust.values and not case.held_out]
    told = _told(card, unlabelled, settings)
    learned = [case.id for case in (*labelled, *unlabelled)]
    corrected = _corrected(project, unlabelled)
    facts = {"teacher": card.weights_sha256, "trust": trust.digest(), "labelled": learned[: len(labelled)]} | corrected
    folder = training_folder(project, "distil", name, settings, facts | ({"soft": sorted(told)} if told else {}))
    looks = settings.network or student_looks(card.network)
    _require_fitting(looks, card, settings)
    given = tuple(labelled_source(case) for case in labelled)
    asked = len(told) < len(unlabelled) or not unlabelled
    compared = any(case.held_out and case.labelled for case in project.cases)
    master = card.load(project.checkpoint(teacher)) if asked or compared else None
    watched = Diet(given, (), 0, settings.patches, settings.augment, looks, settings.seed)
    lesson = Lesson(
        labelled=given,
        unlabelled=tuple(pseudo_labelled(project, case, teacher, trust, told.get(case.id)) for case in unlabelled),
        student=_student(looks, card, project, settings),
        teacher=master if asked else None,
        looks=looks,
        watch=watch_over(project, watched, master if is_soft(card.network) else None),
    )
    trained = yield from play(settings, lesson, Run(folder, settings.fit, settings.seed))
    taught = _taught_by(card, trust, unlabelled)
    made = Checkpoint(
        name=name,
        network=looks,
        organs=project.schema,
        trained_on=tuple(sorted({*card.trained_on, *learned})),
        history={**taught, **corrected, "settings": settings.model_dump(mode="json"), **stopped(folder)},
    )
    return keep(made, trained, project, folder)


def watch_over(project: Project, diet: Diet, teacher: nn.Module | None = None, modality: str | None = None) -> Watch:
    """Fixed places of the held-out animals, to look at, and of those that are learned from, to choose by.

    Parameters
    ----------
    modality
        Held-out animals of this one alone are looked at; ``None``: all.
    """
    cases = [case for case in project.cases if modality in (None, case.modality)]
    held_out = [labelled_source(case) for case in cases if case.held_out and case.labelled]
    watched = draw_places(held_out, diet.patches, diet.network, diet.seed)
    known = draw_places(diet.labelled, diet.patches, diet.network, diet.seed)
    assert known is not None
    return Watch(project.schema, watched, known, teacher)


def keep(card: Checkpoint, network: nn.Module, project: Project, folder: Path) -> Checkpoint:
    """Save the checkpoint, from the first process alone; whoever asked the run to stop has been heard."""
    place = project.checkpoint(card.name)
    if processes.first():
        card.save(network, place)
        (folder / STOP).unlink(missing_ok=True)
    together.wait()
    return Checkpoint.open(place)


def _never_began(folder: Path, stage: str) -> bool:
    """Whether a person stopped the run before ``stage`` learned anything: an ensemble does without that member."""
    return (folder / STOP).exists() and not any((folder / stage / file).exists() for file in (STATE, BEST))


def stopped(folder: Path) -> dict[str, dict[str, int]]:
    """For each stage of the run that a person stopped, when, and the weights of which step were taken."""
    notes = {note.parent.name: json.loads(note.read_text("utf-8")) for note in folder.glob(f"*/{STOPPED}")}
    return {"stopped": notes} if notes else {}


def left_out(cases: Sequence[str], members: int) -> tuple[tuple[str, ...], ...]:
    """For each member the cases that it never sees: a fold of its own where there are enough cases, else none."""
    if members < 2 or len(cases) < max(3, members):
        return ((),) * members
    return tuple(tuple(cases[number::members]) for number in range(members))


def pseudo_labelled(project: Project, case: Case, teacher: str, trust: Trust, soft: Channels | None = None) -> Source:
    """What ``teacher`` proposes and people corrected, how far it is believed, and its ``soft`` labels if kept."""
    if teacher not in case.label_names:
        raise UserError(f"Case {case.id!r} has no labels by {teacher!r}.", "Run: medaka-kd segment.")
    values: Mapping[tuple[int, int], float] = trust.values[case.id]
    table = trust_table(values, case.schema.classes, case.volume.shape[0], trust.slab_of(case.id))
    labels = corrected_labels(project, case, teacher)
    return Source(case.id, case.volume, case.body, labels, table.table, table.slab, soft, case.modality)


def _told(card: Checkpoint, cases: Sequence[Case], settings: DistilSettings) -> dict[str, Channels]:
    """By case, the soft labels that ``card``'s very network gave it, as far as they were kept and are of use."""
    if not _asks_softly(settings):
        return {}
    found = {
        case.id: open_extra_channels(case.store, card.name, SOFT) for case in cases if card.name in case.label_names
    }
    wanted = {"weights": card.weights_sha256, "code": CODE}
    return {
        case: soft
        for case, soft in found.items()
        if soft is not None and soft.count == card.organs.classes and soft.facts == wanted
    }


def student_looks(teacher: Looks) -> NetworkSettings:
    """What a student of ``teacher`` looks like where nobody says: like it, or, of a foreign one, as ours usually do."""
    if isinstance(teacher, ForeignSettings):
        return NetworkSettings(dimensions=teacher.dimensions, coordinates=teacher.coordinates)
    return teacher.model_copy(update={"members": 1})


def _require_fitting(looks: NetworkSettings, card: Checkpoint, settings: DistilSettings) -> None:
    """Refuse a student that cannot be asked the same question as its teacher."""
    if looks.coordinates != card.network.coordinates:
        raise UserError(
            f"The student has coordinates={looks.coordinates}, its teacher {card.name!r} the opposite.",
            "Both are shown the same patch: set network.coordinates alike.",
        )
    _require_soft(card, settings)
    for network in (looks, card.network):
        require_patch(network, settings.patches.patch)


def _student(looks: NetworkSettings, card: Checkpoint, project: Project, settings: DistilSettings) -> nn.Module:
    """Fresh, or as its teacher where it looks like it."""
    student = build(looks, project.schema.classes, settings.seed)
    if settings.warm_start:
        warmed(student, looks, card, project)
    return student


def _require_soft(card: Checkpoint, settings: DistilSettings) -> None:
    """Refuse to ask a foreign teacher about patches where its answer depends on the cut or on another scale."""
    if not is_soft(card.network) and _asks_softly(settings):
        raise UserError(
            f"{card.name!r} wants windows of its own or another scale than a student, "
            "so that it cannot be asked about the patches of a training.",
            "Let it teach by its label maps alone: --set strategy.distil_weight=0.",
        )


def _asks_softly(settings: DistilSettings) -> bool:
    """Whether the student learns from the teacher's soft answers."""
    return isinstance(settings.strategy, SelfTrainingSettings) and settings.strategy.distil_weight > 0


def _begun(project: Project, settings: TrainSettings) -> nn.Module:
    """Fresh, or going on from the checkpoint that ``settings.start`` names."""
    network = build(settings.network, project.schema.classes, settings.seed)
    if settings.start:
        card = Checkpoint.open(project.checkpoint(settings.start))
        card.require_schema(project.schema)
        card.require_organs("beginning with it")
        if not warmed(network, settings.network, card, project):
            raise UserError(
                f"Checkpoint {settings.start!r} looks like {card.network}, not like {settings.network}.",
                "Train a network like it, or from scratch.",
            )
    return network


def warmed(network: nn.Module, looks: NetworkSettings, card: Checkpoint, project: Project) -> bool:
    """Copy the weights of ``card``'s network, or of its first member, into ``network``; whether they are alike."""
    theirs = card.network
    if card.things is not None or isinstance(theirs, ForeignSettings) or looks.members not in (1, theirs.members):
        return False
    if looks != theirs.model_copy(update={"members": looks.members}):
        return False
    teacher = card.load(project.checkpoint(card.name))
    first = teacher.members[0] if isinstance(teacher, Ensemble) and looks.members == 1 else teacher
    network.load_state_dict(first.state_dict())
    return True


def labelled_source(case: Case) -> Source:
    return Source(case.id, case.volume, case.body, case.labels(MANUAL), modality=case.modality)


def _taught_by(card: Checkpoint, trust: Trust, cases: Sequence[Case]) -> dict[str, object]:
    """Whose answers a student learned from, given on which label maps, and how many of these were believed."""
    labels = {case.id: generation(case.store, card.name) for case in cases}
    weights = card.weights_sha256
    return {"verb": "distil", "teacher": card.name, "teacher_sha256": weights, "labels": labels, "kept": trust.kept()}


def _corrected(project: Project, cases: Sequence[Case]) -> dict[str, object]:
    """What people corrected, by case, as a fact that a training depends on; nothing where they corrected nothing."""
    known = corrections(project)
    found = {case.id: as_facts(known[case.id]) for case in cases if case.id in known}
    return {"corrected": found} if found else {}
