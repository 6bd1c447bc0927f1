"""A claim: what is compared; and a study: what an arm of it has to work with in one seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.settings import AugmentSettings, DistilSettings
from napari_medaka_kd.trial import Trial
from napari_medaka_kd.workflow.rounds import distil
from napari_medaka_kd.workflow.teach import train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from claims_data import Material

    from napari_medaka_kd.project import Project
    from napari_medaka_kd.settings import StrategySettings, TrainSettings

    Make = Callable[["Study", str], None]


@dataclass(frozen=True)
class Study:
    """One seed at work: a project, and the material that it was made of."""

    project: Project
    material: Material

    @property
    def plain(self) -> TrainSettings:
        """How a supervised network is trained."""
        return self.material.trial.teacher

    def train(self, name: str, cases: tuple[str, ...] = (), **changes: Any) -> None:
        """A supervised network."""
        if name not in self.project.checkpoints:
            drain(train(self.project, name, self.plain.model_copy(update=changes), cases))

    def distil(
        self,
        name: str,
        strategy: StrategySettings,
        augment: AugmentSettings | None = None,
        teacher: str = "",
        begun: bool = True,
    ) -> None:
        """A student of ``strategy`` with as many steps, patches and channels, or, ``begun`` with ``teacher``, half."""
        if name in self.project.checkpoints:
            return
        plain = self.plain
        fit = plain.fit
        begun = begun and bool(teacher)
        if begun:
            fit = fit.model_copy(update={"steps": fit.steps // 2, "learning_rate": 3e-3})
        settings = DistilSettings(
            seed=plain.seed,
            network=plain.network,
            warm_start=begun,
            patches=plain.patches,
            augment=augment or plain.augment,
            fit=fit,
            strategy=strategy,
        )
        drain(distil(self.project, name, teacher, settings))

    def of(self, modality: str) -> tuple[str, ...]:
        """The labelled animals of ``modality``."""
        return tuple(case for case in self.material.labelled if self.material.modalities[case] == modality)

    @cached_property
    def trial(self) -> Trial:
        """The trial of self-training, taught and reviewed."""
        schema = self.project.schema
        truth = {
            case: schema.to_classes(labels.volume.read()) for case, (_, labels) in self.material.unlabelled.items()
        }
        made = Trial(self.project, self.material.trial, truth)
        drain(made.teach())
        drain(made.review())
        return made


@dataclass(frozen=True)
class Claim:
    """What is compared.

    Attributes
    ----------
    data
        By name of a data set, its material of a seed.
    arms
        By title, how its label maps of a given name are made.
    references
        The arms that the others are held against.
    facts
        Further figures of a seed, to be averaged.
    figures
        How label maps of a data set are judged, where not by their mean Dice.
    """

    data: dict[str, Callable[[Path, int], Material]]
    arms: dict[str, Make]
    references: tuple[str, ...]
    facts: Callable[[Study], dict[str, float]] | None = None
    figures: dict[str, Callable[[Project, str, Material, Path], dict[str, float]]] = field(default_factory=dict)


def again(project: Project, kept: str, name: str) -> None:
    """Checkpoint ``kept`` once more, as ``name``."""
    folder = project.checkpoint(kept)
    card = Checkpoint.open(folder)
    card.model_copy(update={"name": name}).save(card.load(folder), project.checkpoint(name))
