"""What ``claims.py`` tries strategies on: for each seed, animals to learn from, and tests by name."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from quality_sets import brain_scans, hippocampus_scans
from scipy import ndimage

from napari_medaka_kd.demo_settings import PhantomSettings, TrialSettings
from napari_medaka_kd.settings import (
    AugmentSettings,
    DistilSettings,
    FitSettings,
    NetworkSettings,
    PatchSettings,
    QualitySettings,
    SelfTrainingSettings,
    TrainSettings,
)
from napari_medaka_kd.volumes.beamline import BEAMLINE_A, BEAMLINE_B, degraded
from napari_medaka_kd.volumes.body import find_body
from napari_medaka_kd.volumes.labels import LabelMap
from napari_medaka_kd.volumes.phantom import MEDAKA, phantom_animal
from napari_medaka_kd.volumes.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import numpy.typing as npt
    from quality_sets import Animals

    from napari_medaka_kd.demo_settings import BeamlineSettings
    from napari_medaka_kd.settings import Triple
    from napari_medaka_kd.volumes.labels import LabelSchema

    Image = npt.NDArray[np.float32]

#: Intensities are bent by little: with the usual much, arms of some thousand steps are far from what labels can teach.
MILD: dict[str, Any] = {"gamma": 0.2, "contrast": 0.1, "brightness": 0.1, "noise": 0.05, "blur": 0.5}
SLIGHT: dict[str, Any] = {name: reach / 2 for name, reach in MILD.items()}
STRONG: dict[str, Any] = AugmentSettings().model_dump(include=set(MILD))
SCANNED: dict[str, Any] = dict.fromkeys(MILD, 0.0)
HIPPOCAMPUS = AugmentSettings(rotation=10, scaling=0.1, **MILD)


@dataclass(frozen=True)
class Material:
    """One seed of a data set.

    Attributes
    ----------
    labelled, unlabelled
        By case: what an arm may learn from; the labels of the latter are for a simulated reviewer alone.
    tests
        By name of a test, its animals: never learned from.
    trial
        How networks are trained and judged on it; ``teacher`` is how a supervised one is trained.
    modalities
        By case, where they matter.
    """

    organs: LabelSchema
    labelled: Animals
    unlabelled: Animals
    tests: dict[str, Animals]
    trial: TrialSettings
    modalities: dict[str, str] = field(default_factory=dict)


def hippocampi(
    data: Path, seed: int, labelled: int, steps: int = 1500, augment: AugmentSettings = HIPPOCAMPUS
) -> Material:
    """Human hippocampi, 2-D: ``labelled`` of 28 with labels, 12 tested, drawn by the seed."""
    organs, scans = hippocampus_scans(data, seed)
    every = list(scans.items())
    trial = trial_settings(
        seed,
        network=NetworkSettings(dimensions=2, widths=(16, 32, 64)),
        patches=PatchSettings(patch=(1, 48, 32), batch=8),
        augment=augment,
        steps=steps,
        quality=QualitySettings(good_iou=0.65, seed=seed, copies=12, critic_steps=100),
    )
    parts = dict(every[:labelled]), dict(every[labelled:28])
    return Material(organs, *parts, {"same scanner": dict(every[28:])}, trial)


def brains(data: Path, seed: int, labelled: int, steps: int = 1000) -> Material:
    """Mouse brains, 2-D, 40 structures: ``labelled`` of 3 with labels, 2 tested, another two for each of five seeds."""
    organs, scans = brain_scans(data)
    names = sorted(scans, key=lambda name: (int(name[-1]) - seed) % 5)
    trial = trial_settings(
        seed,
        network=NetworkSettings(dimensions=2, widths=(16, 32, 64)),
        patches=PatchSettings(patch=(1, 80, 80), batch=8),
        augment=AugmentSettings(rotation=8, scaling=0.08),
        steps=steps,
        quality=QualitySettings(good_iou=0.6, slab=16, seed=seed, copies=8, critic_steps=100),
    )
    parts = (names[:labelled], names[labelled:3], names[3:])
    taught, rest, tests = ({name: scans[name] for name in part} for part in parts)
    return Material(organs, taught, rest, {"same scanner": tests}, trial)


def phantom(data: Path, seed: int, labelled: int, shifted: bool = True, spoiled: int = 0) -> Material:
    """Made-up fish, 96 × 64 × 64, 2-D: ``labelled`` of beamline A, 20 without, 8 tested; these shifted or not.

    ``spoiled``: how many of those without labels are barely usable scans, every second of them head down.
    """
    rng = np.random.default_rng(seed)
    beams = _worse(rng, 28) if shifted else [BEAMLINE_A] * 28
    beams[:spoiled] = [degraded(BEAMLINE_B, 1.0 + float(rng.random())) for _ in range(spoiled)]
    made = fish(seed, (96, 64, 64), [BEAMLINE_A] * labelled + beams)
    made |= {name: _head_down(*made[name]) for name in list(made)[labelled : labelled + spoiled : 2]}
    trial = trial_settings(
        seed,
        network=NetworkSettings(dimensions=2, widths=(16, 32, 64, 96)),
        patches=PatchSettings(patch=(1, 48, 48), batch=16, class_balance=0.2),
        augment=AugmentSettings(rotation=10),
        steps=1200,
        quality=QualitySettings(slab=16, good_iou=0.5, critic_steps=100, seed=seed),
    )
    test = "other beamline" if shifted else "same beamline"
    return Material(MEDAKA, *_split(made, labelled, 20), {test: dict(list(made.items())[-8:])}, trial)


def small_fish(seed: int, beams: list[BeamlineSettings], labelled: int, unlabelled: int, steps: int) -> Material:
    """Made-up fish of 48 × 32 × 32 voxels, 2-D: as many as ``beams``; the rest are tested."""
    made = fish(seed, (48, 32, 32), beams)
    trial = trial_settings(
        seed,
        network=NetworkSettings(dimensions=2, widths=(16, 32, 64)),
        patches=PatchSettings(patch=(1, 32, 32), batch=8, class_balance=0.2),
        augment=AugmentSettings(rotation=10, **MILD),
        steps=steps,
        quality=QualitySettings(slab=16, good_iou=0.5, critic_steps=100, seed=seed),
    )
    tests = dict(list(made.items())[labelled + unlabelled :])
    return Material(MEDAKA, *_split(made, labelled, unlabelled), {"same beamline": tests}, trial)


def fish_elsewhere(data: Path, seed: int) -> Material:
    """Small made-up fish: 2 labelled of beamline A, 14 without labels and 8 tested of worse ones."""
    beams = [BEAMLINE_A] * 2 + _worse(np.random.default_rng(seed), 22)
    made = small_fish(seed, beams, 2, 14, steps=1200)
    return replace(made, tests={"other beamline": made.tests["same beamline"]})


def _worse(rng: np.random.Generator, count: int) -> list[BeamlineSettings]:
    return [degraded(BEAMLINE_B, 0.6 * float(rng.random())) for _ in range(count)]


def fish(seed: int, shape: Triple, beams: Iterable[BeamlineSettings]) -> Animals:
    """A fish for each of ``beams``, another one each; their bodies fill scans of ``shape``."""
    made: Animals = {}
    for place, beam in enumerate(beams):
        animal = 1000 * seed + place
        settings = PhantomSettings(
            shape=shape, voxel_size=25600 / shape[0], animal=animal, scan=animal, pose=0.7, beamline=beam
        )
        found = phantom_animal(settings)
        volume = Volume((found.volume.read(),), found.volume.voxel_size, f"fish{place:02d}")
        labels = LabelMap(Volume((found.labels.volume.read(),), found.volume.voxel_size), MEDAKA)
        made[f"fish{place:02d}"] = (volume, labels)
    return made


def _head_down(volume: Volume, labels: LabelMap) -> tuple[Volume, LabelMap]:
    turned, truth = volume.read()[::-1].copy(), labels.volume.read()[::-1].copy()
    return (
        Volume((turned,), volume.voxel_size, volume.name),
        LabelMap(Volume((truth,), volume.voxel_size), labels.schema),
    )


def shifted(material: Material) -> Material:
    """``material`` whose tests are repeated under intensities that nobody learned from."""
    tests = dict(material.tests)
    for name, animals in material.tests.items():
        for place, (kind, shift) in enumerate(SHIFTS.items()):
            rng = np.random.default_rng((material.trial.seed, place))
            tests[f"{name}, {kind}"] = {
                case: (_shift(volume, shift, rng), labels) for case, (volume, labels) in animals.items()
            }
    return replace(material, tests=tests)


def other_scanners(material: Material) -> Material:
    """``material`` whose animals without labels, and those tested, were each scanned in another way, by less."""
    rng = np.random.default_rng((material.trial.seed, 7))

    def elsewhere(animals: Animals) -> Animals:
        return {case: (_shift(volume, _elsewhere, rng), labels) for case, (volume, labels) in animals.items()}

    (tested,) = map(elsewhere, material.tests.values())
    return replace(material, unlabelled=elsewhere(material.unlabelled), tests={"other scanners": tested})


def twin(volume: Volume) -> Volume:
    """``volume`` in another modality: bright is dark and dark is bright, along a curve."""
    low, high = find_body(volume).window
    image = ((volume.read().astype(np.float32) - low) / (high - low)).clip(0, 1)
    return Volume((((1 - image) ** 0.6).astype(np.float32),), volume.voxel_size, volume.name)


def _split(animals: Animals, labelled: int, unlabelled: int) -> tuple[Animals, Animals]:
    every = list(animals.items())
    return dict(every[:labelled]), dict(every[labelled : labelled + unlabelled])


def trial_settings(seed: int, quality: QualitySettings, steps: int, **teacher: Any) -> TrialSettings:
    """A student with a third of the teacher's steps, half of its batch with labels and as much again without."""
    fit = FitSettings(steps=steps, learning_rate=5e-3, save_every=500, validate_every=10 * steps)
    taught = TrainSettings(seed=seed, fit=fit, **teacher)
    patches = taught.patches.model_copy(update={"batch": 8})
    fit = fit.model_copy(update={"steps": max(1, steps * 3 // 8), "learning_rate": 3e-3})
    strategy = SelfTrainingSettings(unlabelled=16 if taught.patches.batch > 8 else 8)
    student = DistilSettings(seed=seed, patches=patches, augment=taught.augment, fit=fit, strategy=strategy)
    return TrialSettings(seed=seed, teacher=taught, quality=quality, student=student)


def shortened(trial: TrialSettings, steps: int) -> TrialSettings:
    """The same with ``steps`` for teacher and student."""
    teacher, student = (
        each.model_copy(update={"fit": each.fit.model_copy(update={"steps": steps})})
        for each in (trial.teacher, trial.student)
    )
    return trial.model_copy(update={"teacher": teacher, "student": student})


def _shift(volume: Volume, shift: Callable[[Image, np.random.Generator], Image], rng: np.random.Generator) -> Volume:
    """``shift`` of the intensities, in units of the body's window."""
    low, high = find_body(volume).window
    image = (volume.read().astype(np.float32) - low) / (high - low)
    return Volume((shift(image, rng).astype(np.float32),), volume.voxel_size, volume.name)


def _elsewhere(image: Image, rng: np.random.Generator) -> Image:
    """Another curve of greys, unevenly lit, blurred and noisy, each by up to so much."""
    bent = np.sign(image) * np.abs(image) ** np.float32(np.exp(rng.uniform(-0.5, 0.5)))
    blurred = ndimage.gaussian_filter(_bias_field(bent, rng), rng.uniform(0, 1))
    noisy: Image = blurred + rng.normal(0, rng.uniform(0, 0.1), image.shape).astype(np.float32)
    return noisy


def _gamma(image: Image, rng: np.random.Generator) -> Image:
    return np.sign(image) * np.abs(image) ** np.float32(rng.choice([0.5, 2.0]))


def _gain(image: Image, rng: np.random.Generator) -> Image:
    """Of the middle grey alone: a window takes away what is the same everywhere."""
    return image + np.float32(rng.choice([-0.25, 0.25])) * 4 * image * (1 - image)


def _bias_field(image: Image, rng: np.random.Generator) -> Image:
    coarse = rng.uniform(-0.5, 0.5, (3, 3, 3))
    smooth = ndimage.zoom(coarse, [side / 3 for side in image.shape], order=2, mode="nearest", grid_mode=True)
    return image * np.exp(smooth).astype(np.float32)


def _noise(image: Image, rng: np.random.Generator) -> Image:
    return image + rng.normal(0, 0.2, image.shape).astype(np.float32)


def _blur(image: Image, rng: np.random.Generator) -> Image:
    blurred: Image = ndimage.gaussian_filter(image, 1.5)
    return blurred


SHIFTS: dict[str, Callable[[Image, np.random.Generator], Image]] = {
    "gamma": _gamma,
    "middle grey": _gain,
    "bias field": _bias_field,
    "noise": _noise,
    "blur": _blur,
}
