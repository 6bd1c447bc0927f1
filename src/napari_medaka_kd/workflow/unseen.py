"""Unseen: what the members of a teacher say of animals that they never saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medaka_kd.networks.foreign import ForeignSettings
from napari_medaka_kd.networks.inputs import rescaled
from napari_medaka_kd.segment.blended import make_segmenter
from napari_medaka_kd.segment.segmenter import members
from napari_medaka_kd.volumes.volume import Volume, whole

from .overview import Overview

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_medaka_kd.networks.checkpoint import Checkpoint
    from napari_medaka_kd.project import Case
    from napari_medaka_kd.settings import SegmentSettings


class Unseen:
    """Answers of the members that never saw an animal to (distorted) scans of it; of all where all saw it."""

    def __init__(self, card: Checkpoint, folder: Path, cases: Sequence[Case], asking: SegmentSettings) -> None:
        network, looks = card.load(folder), card.network
        alone = looks if isinstance(looks, ForeignSettings) else looks.model_copy(update={"members": 1})
        overviews = [Overview.of(case) for case in cases]
        self.bodies = [rescaled(overview.body, overview.volume, looks) for overview in overviews]
        self.segmenters = []
        for case in cases:
            unseen = [m for m, out in zip(members(network), card.left_out, strict=False) if case.id in out]
            judge, seen_as = (unseen[0], alone) if unseen else (network, looks)
            self.segmenters.append(make_segmenter(judge, seen_as, asking))

    def __call__(self, number: int, scan: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
        answer = self.segmenters[number].ask(Volume((scan,), (1, 1, 1)), self.bodies[number], whole(scan.shape))
        return answer.classes, *answer.maps.values()
