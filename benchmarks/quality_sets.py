"""The sets that ``quality.py`` is tried on: for each seed, animals with labels and animals to be judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medaka_kd.demo_settings import DemoSettings
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
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.open import open_labels, open_volume
from napari_medaka_kd.volumes.phantom import MEDAKA, phantom_animal
from napari_medaka_kd.workflow.sample import animals

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_medaka_kd.volumes.labels import LabelMap
    from napari_medaka_kd.volumes.volume import Volume

    Animals = dict[str, tuple[Volume, LabelMap]]


@dataclass(frozen=True)
class Trial:
    """One seed of a set.

    Attributes
    ----------
    labelled, judged, held_out
        By case: the animals that teacher and classifier learn from, those whose organs are proposed and judged, and
        those that students are held against.
    """

    organs: LabelSchema
    labelled: Animals
    judged: Animals
    held_out: Animals
    teacher: TrainSettings
    quality: QualitySettings
    student: DistilSettings


def hippocampi(data: Path, seed: int) -> Trial:
    """Human hippocampi (MRI): 6 labelled, 26 judged, drawn by ``seed``."""
    organs, found = hippocampus_scans(data, seed)
    names = list(found)
    teacher = TrainSettings(
        seed=seed,
        network=NetworkSettings(dimensions=3, widths=(8, 16, 32), members=3),
        patches=PatchSettings(patch=(32, 48, 32), batch=4),
        augment=AugmentSettings(rotation=10, scaling=0.1),
        fit=FitSettings(steps=500, learning_rate=5e-3),
    )
    quality = QualitySettings(good_iou=0.65, seed=seed, copies=12, critic_steps=100)
    student = DistilSettings(
        seed=seed,
        patches=teacher.patches.model_copy(update={"batch": 4}),
        fit=FitSettings(steps=200, learning_rate=3e-3),
        strategy=SelfTrainingSettings(unlabelled=8),
    )
    parts = [_of(found, part) for part in (names[:6], names[6:32], names[32:])]
    return Trial(organs, *parts, teacher, quality, student)


def brains(data: Path, seed: int) -> Trial:
    """Mouse brains (MRI), 40 structures: 3 labelled, 2 judged, another two for each of five seeds."""
    organs, found = brain_scans(data)
    judged = [f"mouse{(seed + step) % 5 + 1}" for step in (0, 1)]
    teacher = TrainSettings(
        seed=seed,
        network=NetworkSettings(dimensions=2, widths=(16, 32, 64), members=3),
        patches=PatchSettings(patch=(1, 80, 80), batch=8),
        augment=AugmentSettings(rotation=8, scaling=0.08),
        fit=FitSettings(steps=350, learning_rate=5e-3),
    )
    quality = QualitySettings(good_iou=0.6, slab=16, seed=seed, copies=8, critic_steps=100)
    labelled = _of(found, [name for name in found if name not in judged])
    return Trial(organs, labelled, _of(found, judged), {}, teacher, quality, DistilSettings(seed=seed))


def hippocampus_scans(data: Path, seed: int) -> tuple[LabelSchema, Animals]:
    """All forty, in an order drawn by ``seed``."""
    organs, folder = LabelSchema.from_names(["anterior", "posterior"]), data / "human_hippocampus_mri"
    files = sorted((folder / "images").glob("*.nii.gz"))
    drawn = [files[place] for place in np.random.default_rng(seed).permutation(len(files))]
    return organs, {
        file.name.partition(".")[0]: (open_volume(file), open_labels(folder / "labels" / file.name, organs))
        for file in drawn
    }


def brain_scans(data: Path) -> tuple[LabelSchema, Animals]:
    """All five; twenty structures, right and left."""
    folder = data / "mouse_brain_mri"
    rows = [line.split("\t") for line in (folder / "labels.txt").read_text("utf-8").splitlines()]
    names = {int(row[0]): row[1].strip() for row in rows if row[0].isdigit()}
    both = {number: f"{name}, right" for number, name in names.items()}
    organs = LabelSchema.from_ids(both | {number + 20: f"{name}, left" for number, name in names.items()})
    return organs, {
        f"mouse{number}": (
            open_volume(folder / f"mouse{number}_mri.nii.gz"),
            open_labels(folder / f"mouse{number}_label.nii.gz", organs),
        )
        for number in range(1, 6)
    }


def phantom(data: Path, seed: int) -> Trial:
    """Made-up fish: 3 labelled ones of a clean beamline, 20 judged ones of a worse one, as in the demo."""
    demo = DemoSettings(seed=seed, labelled=3)
    made = {name: phantom_animal(fish) for name, fish in animals(demo).items()}
    found = {name: (animal.volume, animal.labels) for name, animal in made.items()}
    network = demo.teacher.network.model_copy(update={"members": 3})
    fit = demo.teacher.fit.model_copy(update={"steps": 400})
    teacher = demo.teacher.model_copy(update={"seed": seed, "network": network, "fit": fit})
    quality = demo.quality.model_copy(update={"seed": seed, "copies": 12})
    student = demo.student.model_copy(update={"seed": seed})
    kinds = [_of(found, [n for n in found if n.startswith(k)]) for k in ("labelled", "unlabelled", "heldout")]
    return Trial(MEDAKA, *kinds, teacher, quality, student)


def _of(found: Animals, names: list[str]) -> Animals:
    return {name: found[name] for name in names}


SETS: dict[str, Callable[[Path, int], Trial]] = {"hippocampi": hippocampi, "brains": brains, "phantom": phantom}
