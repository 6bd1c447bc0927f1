"""What ``claims.py`` tries strategies on: for each seed, animals to learn from, and tests by name."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from quality_sets import brains, hippocampi, phantom
from scipy import ndimage

from napari_medaka_kd.volumes.body import find_body
from napari_medaka_kd.volumes.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt
    from quality_sets import Animals

    from napari_medaka_kd.settings import TrainSettings
    from napari_medaka_kd.volumes.labels import LabelSchema

    Image = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Material:
    """One seed of a data set.

    Attributes
    ----------
    labelled, unlabelled
        By case: what an arm may learn from.
    tests
        By name of a test, its animals: never learned from.
    plain
        How a supervised network is trained on it.
    """

    organs: LabelSchema
    labelled: Animals
    unlabelled: Animals
    tests: dict[str, Animals]
    plain: TrainSettings
    facts: dict[str, Any] = field(default_factory=dict)


def hippocampi_material(data: Path, seed: int) -> Material:
    """Human hippocampi: 12 labelled, 16 without labels, 12 tested, drawn by the seed."""
    trial = hippocampi(data, seed)
    every = list((trial.labelled | trial.judged | trial.held_out).items())
    plain = trial.teacher.model_copy(update={"network": trial.teacher.network.model_copy(update={"members": 1})})
    return Material(trial.organs, dict(every[:12]), dict(every[12:28]), {"same": dict(every[28:])}, plain)


def brains_material(data: Path, seed: int) -> Material:
    """Mouse brains: 3 labelled, 2 tested, another two for each of five seeds; none without labels."""
    trial = brains(data, seed)
    plain = trial.teacher.model_copy(update={"network": trial.teacher.network.model_copy(update={"members": 1})})
    return Material(trial.organs, trial.labelled, {}, {"same": trial.judged}, plain)


def phantom_material(data: Path, seed: int) -> Material:
    """Made-up fish: 3 labelled ones of a clean beamline, 20 without labels and 8 tested of a worse one."""
    trial = phantom(data, seed)
    plain = trial.teacher.model_copy(update={"network": trial.teacher.network.model_copy(update={"members": 1})})
    return Material(trial.organs, trial.labelled, trial.judged, {"other beamline": trial.held_out}, plain)


def shifted(material: Material, seed: int) -> Material:
    """``material`` whose tests are repeated under intensities that nobody learned from."""
    tests = dict(material.tests)
    for name, animals in material.tests.items():
        for place, (kind, shift) in enumerate(SHIFTS.items()):
            rng = np.random.default_rng((seed, place))
            tests[f"{name}, {kind}"] = {
                case: (_shift(volume, shift, rng), labels) for case, (volume, labels) in animals.items()
            }
    return replace(material, tests=tests)


def _shift(volume: Volume, shift: Callable[[Image, np.random.Generator], Image], rng: np.random.Generator) -> Volume:
    """``shift`` of the intensities, in units of the body's window."""
    low, high = find_body(volume).window
    image = (volume.read().astype(np.float32) - low) / (high - low)
    return Volume((shift(image, rng).astype(np.float32),), volume.voxel_size, volume.name)


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
DATA: dict[str, Callable[[Path, int], Material]] = {
    "hippocampi": hippocampi_material,
    "brains": brains_material,
    "phantom": phantom_material,
}
