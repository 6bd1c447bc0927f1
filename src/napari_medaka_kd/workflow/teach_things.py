"""A student that finds things which may overlap: labels of things, scans without, and a mean teacher."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.distil.instance_batches import InstanceDiet, InstanceSource
from napari_medaka_kd.distil.instance_teacher import teach_instances
from napari_medaka_kd.distil.pasting import Cutting, Pasting, cut_out, loose
from napari_medaka_kd.distil.stage import Run
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.networks.build import build_instances, require_patch
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.networks.instance_settings import InstanceSettings
from napari_medaka_kd.networks.instances import InstanceNetwork
from napari_medaka_kd.project import MANUAL
from napari_medaka_kd.settings import MeanTeacherSettings, NetworkSettings
from napari_medaka_kd.volumes.instance_files import farthest
from napari_medaka_kd.volumes.instance_store import boxes_of, layer_name, open_instances, open_layers
from napari_medaka_kd.volumes.label_store import generation

from .requirements import census, missing
from .runs import training_folder
from .teach import keep, stopped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medaka_kd.job import Job
    from napari_medaka_kd.project import Case, Project
    from napari_medaka_kd.settings import DistilSettings
    from napari_medaka_kd.volumes.volume import Region

_MARGIN = 1.2  # things of other animals may be larger than the labelled ones
_FARTHEST = 512  # voxels


@dataclass(frozen=True)
class _Scans:
    """What is learned from.

    Attributes
    ----------
    labelled
        Scans with a person's labels of things.
    bare
        Those without, of which a mean teacher is asked.
    found
        Those without in which ``start`` found things, of which those lying alone are pasted.
    """

    labelled: tuple[Case, ...]
    bare: tuple[Case, ...]
    found: tuple[Case, ...]
    start: str

    @cached_property
    def boxes(self) -> tuple[tuple[Region, ...], ...]:
        """Where the things of each labelled scan lie."""
        return tuple(boxes_of(case.store, MANUAL) for case in self.labelled)

    def facts(self) -> dict[str, Any]:
        """What of them makes one training another."""
        found = {case.id: generation(case.store, layer_name(self.start)) for case in self.found}
        cases = list(dict.fromkeys(case.id for case in (*self.labelled, *self.bare, *self.found)))
        return {"cases": cases} | ({"found": found} if found else {})

    def diet(self, settings: DistilSettings, looks: NetworkSettings) -> InstanceDiet:
        strategy = settings.strategy
        assert isinstance(strategy, MeanTeacherSettings)
        labelled = [_scan(case, MANUAL, boxes) for case, boxes in zip(self.labelled, self.boxes, strict=True)]
        cuttings = self._cut_out(labelled, settings.seed) if strategy.paste else ()
        return InstanceDiet(
            tuple(labelled),
            tuple(InstanceSource(case.id, case.volume, case.body) for case in self.bare),
            strategy.unlabelled,
            settings.patches,
            settings.augment,
            looks,
            settings.seed,
            Pasting(cuttings, strategy.paste, settings.augment),
        )

    def _cut_out(self, labelled: Sequence[InstanceSource], seed: int) -> tuple[Cutting, ...]:
        """What people outlined, and what was found lying alone."""
        outlined = [
            (scan, open_instances(case.store, MANUAL)) for scan, case in zip(labelled, self.labelled, strict=True)
        ]
        found = [(_scan(case, self.start), open_instances(case.store, self.start)) for case in self.found]
        return cut_out([*outlined, *((scan, loose(things, scan.image.shape)) for scan, things in found)], seed)


def distil_things(project: Project, name: str, settings: DistilSettings, start: str = "") -> Job[Checkpoint]:
    """Train a student that finds things; keep it as checkpoint ``name``.

    Parameters
    ----------
    start
        A checkpoint that finds things, whose weights it begins with where they look alike and warm starts are wanted.

    Raises
    ------
    UserError
        If no animal has labels of things, or none is without them and the teacher is to have a say.
    """
    strategy = settings.strategy
    assert isinstance(strategy, MeanTeacherSettings)
    if lack := missing(strategy, census(project)):
        raise UserError(f"Things that overlap cannot be learned: {lack}", "See: medaka-kd status.")
    scans = _scans(project, strategy, start)
    card = _begins_with(project, start) if settings.warm_start else None
    looks = settings.network or (_looks(card) if card else NetworkSettings())
    things = InstanceSettings.model_validate({"reach": _reach(strategy, card, scans)})
    _require_fitting(looks, settings)
    student = build_instances(looks, things, settings.seed)
    assert isinstance(student, InstanceNetwork)
    warm = card if card is not None and (card.network, card.things) == (looks, things) else None
    if warm is not None:
        student.load_state_dict(warm.load(project.checkpoint(warm.name)).state_dict())
    facts = scans.facts() | {"things": things.model_dump(), "start": warm.weights_sha256 if warm else ""}
    folder, diet = training_folder(project, "distil", name, settings, facts), scans.diet(settings, looks)
    trained = yield from teach_instances(student, diet, strategy, Run(folder, settings.fit, settings.seed))
    made = Checkpoint(
        name=name,
        network=looks,
        organs=project.schema,
        things=things,
        trained_on=tuple(sorted({*(warm.trained_on if warm else ()), *facts["cases"]})),
        history={"verb": "distil", **facts, "settings": settings.model_dump(mode="json"), **stopped(folder)},
    )
    return keep(made, trained.eval(), project, folder)


def _scans(project: Project, strategy: MeanTeacherSettings, start: str) -> _Scans:
    cases = [case for case in project.cases if not case.held_out]
    bare = tuple(case for case in cases if MANUAL not in case.instance_names)
    return _Scans(
        tuple(case for case in cases if MANUAL in case.instance_names),
        bare if strategy.weight else (),
        tuple(case for case in bare if start in case.instance_names) if strategy.paste else (),
        start,
    )


def _begins_with(project: Project, start: str) -> Checkpoint | None:
    """The card of ``start`` where it finds things."""
    if start not in project.checkpoints:
        return None
    card = Checkpoint.open(project.checkpoint(start))
    return card if card.things is not None else None


def _looks(card: Checkpoint) -> NetworkSettings:
    assert isinstance(card.network, NetworkSettings)  # things are found by our own networks alone
    return card.network


def _reach(strategy: MeanTeacherSettings, card: Checkpoint | None, scans: _Scans) -> int:
    """As somebody said, or as what it begins with, or as far as the labelled things go, and a margin."""
    begun = 0 if card is None or card.things is None else card.things.reach
    if strategy.reach or begun:
        return strategy.reach or begun
    return min(_FARTHEST, round(_MARGIN * max(map(farthest, scans.boxes))) + 1)


def _require_fitting(looks: NetworkSettings, settings: DistilSettings) -> None:
    require_patch(looks, settings.patches.patch)
    if looks.members != 1:
        raise UserError(f"A mean teacher follows one network, not {looks.members} members.", "Set network.members=1.")


def _scan(case: Case, name: str, boxes: Sequence[Region] = ()) -> InstanceSource:
    """A scan with the things of ``name``; patches are drawn about ``boxes``."""
    layers = tuple(layer.levels[0] for layer in open_layers(case.store, name))
    middles = np.array([[(side.start + side.stop) // 2 for side in box] for box in boxes], np.int64).reshape(-1, 3)
    return InstanceSource(case.id, case.volume, case.body, layers, middles)
