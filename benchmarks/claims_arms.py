"""The arms that ``claims.py`` holds against one another, strategy by strategy: each makes a checkpoint in a project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from claims_data import Material, shifted

from napari_medaka_kd.job import drain
from napari_medaka_kd.settings import AugmentSettings, DistilSettings, ShapeIntensitySettings, TrainSettings
from napari_medaka_kd.workflow.rounds import distil
from napari_medaka_kd.workflow.teach import train

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medaka_kd.project import Project


@dataclass(frozen=True)
class Study:
    """One seed at work: a project, and how a supervised network is trained in it."""

    project: Project
    plain: TrainSettings

    def train(self, name: str, **changes: Any) -> None:
        """A supervised network."""
        drain(train(self.project, name, self.plain.model_copy(update=changes)))

    def distil(self, name: str, strategy: Any, augment: AugmentSettings) -> None:
        """A student of ``strategy`` with as many steps, patches and channels, from scratch."""
        plain = self.plain
        settings = DistilSettings(
            seed=plain.seed,
            network=plain.network,
            warm_start=False,
            patches=plain.patches,
            augment=augment,
            fit=plain.fit,
            strategy=strategy,
        )
        drain(distil(self.project, name, "", settings))


@dataclass(frozen=True)
class Claim:
    """What is compared.

    Attributes
    ----------
    arms
        By title, how its checkpoint of a given name is made.
    references
        The arms that the others are held against.
    prepare
        What is done to the material first.
    """

    arms: dict[str, Callable[[Study, str], None]]
    references: tuple[str, ...]
    prepare: Callable[[Material, int], Material] = lambda material, seed: material


def _shapes(**knobs: Any) -> Callable[[Study, str], None]:
    strong = knobs.pop("strong", False)

    def make(study: Study, name: str) -> None:
        augment = study.plain.augment if strong else _shape_only(study.plain.augment)
        study.distil(name, ShapeIntensitySettings(**knobs), augment)

    return make


def _shape_only(augment: AugmentSettings) -> AugmentSettings:
    """Bent as before, intensities as scanned."""
    return augment.model_copy(update={"gamma": 0.0, "contrast": 0.0, "brightness": 0.0, "noise": 0.0, "blur": 0.0})


CLAIMS: dict[str, Claim] = {
    "shape_intensity": Claim(
        {
            "U-Net": lambda study, name: study.train(name, augment=_shape_only(study.plain.augment)),
            "shape and intensity": _shapes(),
            "… teacher with skips": _shapes(skips=True),
            "… teacher on scans": _shapes(raw=True),
            "U-Net, strong intensity augmentation": lambda study, name: study.train(name),
            "shape and intensity, strong augmentation": _shapes(strong=True),
        },
        ("U-Net", "U-Net, strong intensity augmentation"),
        shifted,
    ),
}
