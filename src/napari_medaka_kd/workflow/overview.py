"""Overview: the level of a case that is small enough for its quality to be judged on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from napari_medaka_kd.project import MANUAL, Case
from napari_medaka_kd.quality.evidence import Reading, read
from napari_medaka_kd.quality.learn import Labelled
from napari_medaka_kd.volumes.body import Body
from napari_medaka_kd.volumes.label_extras import DISAGREEMENT
from napari_medaka_kd.volumes.label_store import open_extra, open_uncertainty
from napari_medaka_kd.volumes.volume import Triple, Volume

from .anatomy import OVERVIEW, voxel_size_at


@dataclass(frozen=True)
class Overview:
    """The level of a case on which its quality is judged."""

    case: Case
    level: int
    body: Body
    scale: float  # slices of level 0 in one of this level
    voxel_size: Triple  # µm

    @classmethod
    def of(cls, case: Case) -> Overview:
        volume = case.volume
        level = volume.overview(OVERVIEW)
        scale = volume.scale(level)
        z, y, x = (
            slice(int(side.start // step), max(int(side.start // step) + 1, round(side.stop / step)))
            for side, step in zip(case.body.box, scale, strict=True)
        )
        return cls(case, level, Body((z, y, x), case.body.window), scale[0], voxel_size_at(volume, level))

    @property
    def volume(self) -> Volume:
        """The scan from this level on, whose voxels are counted in those of this level."""
        return Volume(self.case.volume.levels[self.level :], (1, 1, 1))

    def slab(self, slab: int) -> int:
        """``slab`` slices of level 0 in slices of this level."""
        return max(1, round(slab / self.scale)) if slab else 0

    def labelled(self) -> Labelled:
        classes = self.case.schema.to_classes(self.case.labels(MANUAL).volume.read(level=self.level))
        return Labelled(self.case.volume.read(level=self.level), classes, self.body, self.voxel_size)

    def reading(self, checkpoint: str) -> Reading:
        classes = self.case.schema.to_classes(self.case.labels(checkpoint).volume.read(level=self.level))
        doubt = open_uncertainty(self.case.store, checkpoint)
        doubts = np.zeros(classes.shape, np.uint8) if doubt is None else doubt.read(level=self.level)
        again = open_extra(self.case.store, checkpoint, DISAGREEMENT)
        differ = None if again is None else again.read(level=self.level)
        found = read(self.case.volume.read(level=self.level), classes, doubts, self.body, differ)
        return replace(found, voxel_size=self.voxel_size)
