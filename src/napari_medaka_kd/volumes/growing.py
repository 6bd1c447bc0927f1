"""Growing: a label map that is just being written, as far as it is there; the rest reads as background."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.errors import UserError

from .atomic import replace_file
from .label_extras import DISAGREEMENT, UNCERTAINTY, planned
from .label_generation import LOOK
from .label_list import listed, split_name
from .labels import LabelSchema
from .lazy import DiskArray
from .ledger import read_blocks, read_plan
from .open import open_store
from .store_array import Layout, lay_out, read_array
from .volume import Region, Triple, Volume, common, extent, within

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt


@dataclass(frozen=True)
class Growing:
    """A label map on its way, as it was when it was opened.

    Attributes
    ----------
    generation
        As it will be listed: ``teacher.3``.
    blocks, finished
        Level-0 voxels of each block, (z, y, x), and the numbers of those that are on the disk.
    fingerprint
        Of all that determines the labels: with another one they are others, whatever the generation is called.
    labels, maps
        Level 0 alone; organ ids, and the maps that are kept beside them, by name; 0 in blocks that are not finished.
    """

    generation: str
    finished: frozenset[int]
    fingerprint: str = field(repr=False)
    blocks: tuple[Region, ...] = field(compare=False, repr=False)
    labels: Volume = field(compare=False, repr=False)
    maps: Mapping[str, Volume] = field(compare=False, repr=False)
    _store: Path = field(compare=False, repr=False)

    @property
    def uncertainty(self) -> Volume | None:
        """The doubt, 0 (sure) … 255; ``None`` where none is kept."""
        return self.maps.get(UNCERTAINTY)

    @property
    def disagreement(self) -> Volume | None:
        """How far several looks at the scan differ, 0 … 255; ``None`` where nobody asked."""
        return self.maps.get(DISAGREEMENT)

    def refresh(self) -> Growing | None:
        """As it is by now: itself where nothing was added, ``None`` where it is complete or was given up."""
        labels = self._store / "labels"
        plan = read_plan(labels / self.generation)
        if plan is None or self.generation in listed(labels):
            return None
        try:
            finished = read_blocks(labels / self.generation)
        except (OSError, ValueError, KeyError):
            return None  # swept while we looked
        if finished == self.finished and plan.get("fingerprint") == self.fingerprint:
            return self
        return _open(self._store, labels / self.generation, plan)

    def look_at(self, point: Triple) -> None:
        """Have the blocks nearest to ``point`` (voxels of level 0, z-y-x) come next."""
        with suppress(OSError):  # it was completed or given up meanwhile
            replace_file(self._store / "labels" / self.generation / LOOK, json.dumps(point).encode())


def looked_at(generation: Path) -> Triple | None:
    """Where a person looks while the label map in that folder is made, voxels (z, y, x); ``None`` if nobody does."""
    with suppress(OSError, ValueError, TypeError):
        z, y, x = (float(at) for at in json.loads((generation / LOOK).read_text("utf-8")))
        return z, y, x
    return None


def open_growing(store: Path, name: str) -> Growing | None:
    """The newest unfinished generation of label map ``name`` of the scan in ``store``; ``None`` where there is none."""
    labels = store / "labels"
    done = listed(labels)
    known = [(split_name(folder.name), folder) for folder in labels.glob(f"{name}.*") if folder.is_dir()]
    newest = max((number for (stem, number), folder in known if stem == name and folder.name in done), default=0)
    for (stem, number), folder in sorted(known, reverse=True):
        plan = read_plan(folder) if stem == name and number > newest else None
        if plan is not None:
            return _open(store, folder, plan)
    return None


def _open(store: Path, folder: Path, plan: dict[str, Any]) -> Growing | None:
    try:
        z, y, x = plan["shape"]
        schema = LabelSchema.model_validate({"organs": plan["organs"]})
        deep, high, wide = plan["shard"]
        layout = lay_out((z, y, x), schema.dtype, (deep, high, wide))
        finished = frozenset(read_blocks(folder))
        size = open_store(store).voxel_size
        labels = _volume(folder, layout, finished, size)
        kept = [extra for extra in planned(plan) if not extra.channels]
        maps = {extra.name: _volume(folder / extra.name, extra.layout((z, y, x)), finished, size) for extra in kept}
    except (OSError, KeyError, TypeError, ValueError, UserError):
        return None  # swept, or hardly begun, while we looked
    return Growing(folder.name, finished, plan["fingerprint"], layout.blocks, labels, maps, store)


def _volume(folder: Path, layout: Layout, finished: frozenset[int], size: Triple) -> Volume:
    store = read_array(folder / "0") if finished else None

    def read_box(box: Region) -> npt.NDArray[Any]:
        found = np.zeros(extent(box), layout.dtype)
        for number in sorted(finished):
            part = common(box, layout.blocks[number])
            if part is not None and store is not None:
                with suppress(ValueError):  # it was given up, and begun anew, since
                    found[within(part, box)] = store[part].read().result()
        return found

    return Volume((DiskArray(layout.shape, layout.dtype, read_box),), size, folder.name)
