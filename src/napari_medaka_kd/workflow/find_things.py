"""segment, for things that may overlap: a checkpoint's things in each case, as layers in its store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.networks.device import choose_device
from napari_medaka_kd.networks.instances import InstanceNetwork
from napari_medaka_kd.segment.instances import find_instances
from napari_medaka_kd.segment.pipeline import CACHE
from napari_medaka_kd.settings import NetworkSettings
from napari_medaka_kd.volumes.instance_store import save_instances
from napari_medaka_kd.volumes.instances import MOST
from napari_medaka_kd.volumes.store_array import own_cache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medaka_kd.networks.checkpoint import Checkpoint
    from napari_medaka_kd.project import Case, Project
    from napari_medaka_kd.settings import SegmentSettings

_CORE = (64, 64, 64)  # voxels that a tile answers for


def find_things(
    project: Project, card: Checkpoint, settings: SegmentSettings, cases: Sequence[Case]
) -> Job[tuple[str, ...]]:
    """Write the things that ``card``'s network finds into the store of each of ``cases``; the ids of these cases.

    A case is done or not: stopped or killed, the next call does those anew that were not finished.

    Raises
    ------
    UserError
        If the settings ask for what is made of organs alone.
    """
    _require_plain(card, settings)
    assert isinstance(card.network, NetworkSettings)
    network = card.load(project.checkpoint(card.name)).to(choose_device(settings.device))
    assert isinstance(network, InstanceNetwork)
    for done, case in enumerate(cases):
        yield Progress(f"segment with {card.name}", done, len(cases))
        with own_cache(CACHE):  # nobody else reads it now
            volume = replace(case.volume, name=case.id)
        found = yield from find_instances(network, card.network, volume, case.body, settings.tile or _CORE)
        if len(found) > MOST:
            raise UserError(
                f"{len(found)} things were found in {case.id!r}, more than the {MOST} that label maps can hold.",
                "Cut the scan into parts.",
            )
        yield from save_instances(found, case.store, card.name)
    yield Progress(f"segment with {card.name}", len(cases), len(cases))
    return tuple(case.id for case in cases)


def _require_plain(card: Checkpoint, settings: SegmentSettings) -> None:
    if settings.soft:
        card.require_organs("keeping soft labels")
    if settings.disagreement != "none":
        card.require_organs("a second look (disagreement)")
    if settings.backend not in ("auto", "torch float32") or settings.precision == "bfloat16":
        card.require_organs("another back end than torch float32")
