"""The arms that ``claims.py`` holds against one another, strategy by strategy: each makes label maps in a project."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from claims_data import (
    MILD,
    SCANNED,
    SLIGHT,
    STRONG,
    brains,
    fish_elsewhere,
    hippocampi,
    other_scanners,
    phantom,
    shifted,
    small_fish,
    twin,
)
from claims_heads import heads, landmarks_and_volumes
from claims_study import Claim, Study, again

from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.networks.unet import Ensemble
from napari_medaka_kd.settings import (
    AugmentSettings,
    MeanTeacherSettings,
    MutualSettings,
    PropagateSettings,
    ReconstructionSettings,
    ShapeIntensitySettings,
)
from napari_medaka_kd.trial import STUDENTS, TEACHER, control_settings
from napari_medaka_kd.volumes.beamline import BEAMLINE_A
from napari_medaka_kd.workflow.propagate import propagate
from napari_medaka_kd.workflow.teach import train

if TYPE_CHECKING:
    from pathlib import Path

    from claims_data import Material
    from claims_study import Make

    from napari_medaka_kd.settings import StrategySettings


def supervised(**changes: Any) -> Make:
    """Labels alone."""
    return lambda study, name: study.train(name, **changes)


def student(strategy: StrategySettings) -> Make:
    """A student of ``strategy``."""
    return lambda study, name: study.distil(name, strategy)


def _filtered(arm: str, soft: bool, cutmix: float = 0.0) -> Make:
    """A student that believes what ``arm`` does."""

    def make(study: Study, name: str) -> None:
        trial = study.trial
        student = trial.settings.student
        augment = student.augment.model_copy(update={"cutmix": cutmix})
        mixing = trial.settings.model_copy(update={"student": student.model_copy(update={"augment": augment})})
        drain(replace(trial, settings=mixing).distil(name, trial.trusts()[arm], soft))

    return make


def _control(cutmix: float, times: int = 1) -> Make:
    """Labels alone from the teacher on, with the student's steps, or so many ``times``, and its batch."""

    def make(study: Study, name: str) -> None:
        settings = control_settings(study.trial.settings)
        augment = settings.augment.model_copy(update={"cutmix": cutmix})
        fit = settings.fit.model_copy(update={"steps": times * settings.fit.steps})
        drain(train(study.project, name, settings.model_copy(update={"augment": augment, "fit": fit})))

    return make


def _teacher(study: Study, name: str) -> None:
    again(study.trial.project, TEACHER, name)


def _quality(study: Study) -> dict[str, float]:
    _, _, good = study.trial.judged()
    return study.trial.quality() | {"good": float(good.mean())}


SELF_TRAINING = Claim(
    data={
        "phantom": partial(phantom, labelled=1),
        "phantom-same": partial(phantom, labelled=1, shifted=False),
        "phantom-elsewhere": fish_elsewhere,
        "phantom-spoiled": partial(phantom, labelled=1, spoiled=10),
        "hippocampi": partial(hippocampi, labelled=5),
        "brains": partial(brains, labelled=1),
        "brains-longer": partial(brains, labelled=1, steps=4000),
    },
    arms={
        "teacher": _teacher,
        "control: labels only, same compute": _control(0.0),
        "control, CutMix 0.5": _control(0.5),
        **{title: _filtered(arm, arm == "qc_kd") for arm, title in STUDENTS.items()},
        "student, all pseudo-labels and soft answers": _filtered("all", True),
        "student, weighed by the quality classifier": _filtered("weighed", False),
        "student, weighed, and soft answers": _filtered("weighed", True),
        "student, all pseudo-labels, CutMix 0.5": _filtered("all", False, cutmix=0.5),
        "student, weighed, and soft answers, CutMix 0.5": _filtered("weighed", True, cutmix=0.5),
        "control, CutMix 0.5, four times as long": _control(0.5, times=4),
    },
    references=("teacher", "control: labels only, same compute", "control, CutMix 0.5", STUDENTS["random"]),
    facts=_quality,
)


def _shapes(bending: dict[str, float], **knobs: Any) -> Make:
    def make(study: Study, name: str) -> None:
        study.distil(name, ShapeIntensitySettings(**knobs), study.plain.augment.model_copy(update=bending))

    return make


def _unet(bending: dict[str, float]) -> Make:
    return lambda study, name: study.train(name, augment=study.plain.augment.model_copy(update=bending))


SHAPE_INTENSITY = Claim(
    data={
        "hippocampi": lambda data, seed: shifted(
            hippocampi(data, seed, labelled=20, steps=600, augment=AugmentSettings(rotation=10, scaling=0.1))
        ),
        "phantom": lambda data, seed: shifted(small_fish(seed, [BEAMLINE_A] * 14, labelled=8, unlabelled=0, steps=800)),
        "phantom-longer": lambda data, seed: shifted(
            small_fish(seed, [BEAMLINE_A] * 22, labelled=14, unlabelled=0, steps=2400)
        ),
    },
    arms={
        "U-Net": _unet(SCANNED),
        "shape and intensity": _shapes(SCANNED),
        "… teacher with skips": _shapes(SCANNED, skips=True),
        "… teacher on scans": _shapes(SCANNED, raw=True),
        "U-Net, slight intensity augmentation": _unet(SLIGHT),
        "shape and intensity, slight augmentation": _shapes(SLIGHT),
        "U-Net, mild intensity augmentation": _unet(MILD),
        "shape and intensity, mild augmentation": _shapes(MILD),
        "U-Net, strong intensity augmentation": _unet(STRONG),
        "shape and intensity, strong augmentation": _shapes(STRONG),
    },
    references=("U-Net", *(f"U-Net, {how} intensity augmentation" for how in ("slight", "mild", "strong"))),
)

TARGET, ASSISTANT = "target", "assistant"
_MOST_ASSISTANTS = 24


def _two_renderings(data: Path, seed: int, assistants: int = 12) -> Material:
    """Made-up fish: 3 labelled and 4 unlabelled in phase contrast, so many labelled in absorption, 6 tested.

    Of a seed all but the number of assistants is the same.
    """
    phase = BEAMLINE_A.model_copy(update={"phase": 1.0, "fringes": 0.5})
    beams = [phase] * 3 + [BEAMLINE_A] * _MOST_ASSISTANTS + [phase] * 10
    made = small_fish(seed, beams, 3 + _MOST_ASSISTANTS, 4, steps=2000)
    labelled = dict(list(made.labelled.items())[: 3 + assistants])
    kinds = {case: TARGET if place < 3 else ASSISTANT for place, case in enumerate(labelled)}
    return replace(made, labelled=labelled, modalities=kinds | dict.fromkeys(made.unlabelled, TARGET))


def _two_contrasts(data: Path, seed: int) -> Material:
    """Hippocampi: 3 labelled and 12 unlabelled as scanned, 13 labelled ones with their intensities remapped."""
    made = hippocampi(data, seed, labelled=16)
    names = list(made.labelled)
    remapped = {case: (twin(volume), labels) for case, (volume, labels) in made.labelled.items() if case in names[3:]}
    kinds = {case: ASSISTANT if case in remapped else TARGET for case in names}
    return replace(made, labelled=made.labelled | remapped, modalities=kinds | dict.fromkeys(made.unlabelled, TARGET))


def _two_networks(study: Study, name: str) -> None:
    """Of the target alone, with two seeds; they vote."""
    cards, networks = [], []
    for number in (0, 1):
        each = f"{name}-{number}"
        study.train(each, study.of(TARGET), seed=study.plain.seed + 1000 * number)
        folder = study.project.checkpoint(each)
        cards.append(Checkpoint.open(folder))
        networks.append(cards[-1].load(folder))
    looks = study.plain.network.model_copy(update={"members": 2})
    both = cards[0].model_copy(update={"name": name, "network": looks})
    both.save(Ensemble(networks), study.project.checkpoint(name))


def _fine_tuned(study: Study, name: str) -> None:
    """Half of the steps on the assistant, half on the target."""
    fit = study.plain.fit.model_copy(update={"steps": study.plain.fit.steps // 2})
    study.train(f"{name}-before", study.of(ASSISTANT), fit=fit)
    study.train(name, study.of(TARGET), fit=fit, start=f"{name}-before")


def _mutual(members: int = 1, **knobs: Any) -> Make:
    """The student alone, or both segmentors of one and the same training."""
    strategy = MutualSettings(target=TARGET, assistant=ASSISTANT, width=8, ensemble=True, **knobs)

    def make(study: Study, name: str) -> None:
        project, both = study.project, f"mutual-{'-'.join(knobs) or 'whole'}"
        study.distil(both, strategy)
        card = Checkpoint.open(project.checkpoint(both))
        network = card.load(project.checkpoint(both))
        assert isinstance(network, Ensemble)
        looks = card.network.model_copy(update={"members": members})
        chosen = network if members > 1 else network.members[0]
        card.model_copy(update={"name": name, "network": looks}).save(chosen, project.checkpoint(name))

    return make


MUTUAL = Claim(
    data={
        "phantom": _two_renderings,
        "phantom-fewer": partial(_two_renderings, assistants=4),
        "phantom-more": partial(_two_renderings, assistants=_MOST_ASSISTANTS),
        "hippocampi": _two_contrasts,
    },
    arms={
        "target only": lambda study, name: study.train(name, study.of(TARGET)),
        "two networks of the target": _two_networks,
        "fine-tuned": _fine_tuned,
        "joint": supervised(),
        "mutual, S_real": _mutual(),
        "mutual, ensemble": _mutual(members=2),
        "… no alignment": _mutual(align=False),
        "… no synthetic → real": _mutual(to_real=0.0),
        "… no real → synthetic": _mutual(to_synthetic=0.0),
    },
    references=("target only", "two networks of the target", "joint"),
)

_REGISTERED = {"grid": 48, "registration_steps": 150}


def _propagated(study: Study, name: str) -> None:
    """The atlas warped onto each tested animal; no network that segments."""
    tests = [case.id for case in study.project.cases if case.held_out]
    settings = PropagateSettings(seed=study.plain.seed, fit=study.plain.fit, **_REGISTERED)
    drain(propagate(study.project, name, settings, tests))


def _atlas(**knobs: Any) -> Make:
    return student(ReconstructionSettings(**_REGISTERED, **knobs))


RECONSTRUCTION = Claim(
    data={
        "brains": partial(brains, labelled=1, steps=800),
        "brains-longer": partial(brains, labelled=1, steps=4000),
        "heads": heads,
        "heads-slices": partial(heads, slices=True),
        "phantom": partial(phantom, labelled=1),
    },
    arms={
        "atlas only": supervised(),
        "atlas, random deformations": _atlas(warps="random", hint_weight=0.0),
        "label propagation": _propagated,
        "synthetic pairs": _atlas(hint_weight=0.0),
        "with distillation, λ_h = 0.1": _atlas(hint_weight=0.1),
        "with distillation, λ_h = 1": _atlas(hint_weight=1.0),
        "warped labels on the scans": _atlas(seen="scan", hint_weight=0.0),
    },
    references=("atlas only", "synthetic pairs"),
    figures=dict.fromkeys(("heads", "heads-slices"), landmarks_and_volumes),
)


#: By title, what is left of a mean teacher; of organs and of things that overlap alike.
GUIDED: dict[str, dict[str, Any]] = {
    "plain mean teacher": {"mining": "all", "feature_weight": 0.0},
    "random mining": {"mining": "random", "feature_weight": 0.0},
    "PSM": {"feature_weight": 0.0},
    "MGD, unmasked": {"mining_weight": 0.0, "masked": False},
    "MGD": {"mining_weight": 0.0},
    "PSM and MGD": {},
}
#: The same of students that begin with what labels taught.
BEGUN: dict[str, dict[str, Any]] = {
    f"{title}, begun with labels": knobs
    for title, knobs in {
        "control": {"weight": 0.0},
        **{title: {"weight": 5.0} | GUIDED[title] for title in ("plain mean teacher", "random mining", "PSM")},
        "PSM and MGD": {"weight": 1.0},
    }.items()
}


def _labels(study: Study, name: str) -> None:
    """Labels alone: what others begin with, under the arm's name."""
    study.train("labels")
    again(study.project, "labels", name)


def _continued(**knobs: Any) -> Make:
    """Begun with what labels taught, with CutMix."""

    def make(study: Study, name: str) -> None:
        study.train("labels")
        augment = study.plain.augment.model_copy(update={"cutmix": 0.5})
        study.distil(name, MeanTeacherSettings(**knobs), augment, "labels")

    return make


MEAN_TEACHER = Claim(
    data={
        "phantom-elsewhere": fish_elsewhere,
        "hippocampi": partial(hippocampi, labelled=4),
        "hippocampi-elsewhere": lambda data, seed: other_scanners(hippocampi(data, seed, labelled=4)),
        "phantom": lambda data, seed: small_fish(seed, [BEAMLINE_A] * 24, labelled=2, unlabelled=14, steps=1200),
    },
    arms={
        "supervised": _labels,
        **{title: student(MeanTeacherSettings(**knobs)) for title, knobs in GUIDED.items()},
        **{title: _continued(**knobs) for title, knobs in BEGUN.items()},
    },
    references=("supervised", "plain mean teacher", "random mining", *list(BEGUN)[:3]),
)

CLAIMS: dict[str, Claim] = {
    "self_training": SELF_TRAINING,
    "shape_intensity": SHAPE_INTENSITY,
    "mutual": MUTUAL,
    "reconstruction": RECONSTRUCTION,
    "mean_teacher": MEAN_TEACHER,
}
