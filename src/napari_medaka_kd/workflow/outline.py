"""Outline: a label map at a coarse level, kept in memory: which organs there are, and their boxes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from napari_medaka_kd.volumes.label_store import generation, open_saved_labels, open_uncertainty

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from napari_medaka_kd.project import Case
    from napari_medaka_kd.volumes.labels import LabelSchema
    from napari_medaka_kd.volumes.volume import Region, Shape

MOST = 2_000_000  # voxels of an outline: 10 ms to read, 2 MB to keep
_KEPT = 48  # outlines


@dataclass(frozen=True, eq=False)
class Outline:
    """A label map at a coarse level.

    Attributes
    ----------
    labels
        Organ ids at that level, (z, y, x).
    factor
        Voxels of level 0 in one of these, (z, y, x). A coarse voxel is the first of the fine ones under it.
    shape
        Of level 0, (z, y, x).
    kept
        What was worked out of it, to be thrown away with it.
    """

    labels: npt.NDArray[Any]
    level: int
    factor: Shape
    shape: Shape
    kept: dict[Any, Any] = field(default_factory=dict)

    @cached_property
    def boxes(self) -> dict[int, Region]:
        """Coarse boxes around the organs that are there, by organ id."""
        from scipy import ndimage

        found = enumerate(ndimage.find_objects(self.labels), start=1)
        return {organ: (box[0], box[1], box[2]) for organ, box in found if box is not None}

    @property
    def organs(self) -> tuple[int, ...]:
        """Ids of the organs that are large enough to be seen."""
        return tuple(self.boxes)


def outline(case: Case, name: str) -> Outline:
    """The outline of label map ``name`` of ``case`` as it is now.

    Raises
    ------
    UserError
        If there is no such label map.
    """
    made = generation(case.store, name)
    state = (case.store / "labels" / made).stat()
    return _outline(case.store, made, (state.st_ino, state.st_mtime_ns), case.schema)


@lru_cache(maxsize=4)
def read_doubt(store: Path, name: str, of: Outline) -> npt.NDArray[np.uint8] | None:
    """The doubt at the level of an outline, (z, y, x) 0 (sure) … 255; ``None`` where the label map has none."""
    doubt = open_uncertainty(store, name)
    return None if doubt is None else doubt.read(level=min(of.level, len(doubt.levels) - 1))


@lru_cache(maxsize=_KEPT)
def _outline(store: Path, made: str, _: tuple[int, int], schema: LabelSchema) -> Outline:
    volume = open_saved_labels(store, made, schema).volume
    level = volume.overview(MOST)
    z, y, x = (2 ** round(math.log2(scale)) for scale in volume.scale(level))
    return Outline(volume.read(level=level), level, (z, y, x), volume.shape)
