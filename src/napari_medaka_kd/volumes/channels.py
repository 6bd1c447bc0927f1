"""Channels: bytes (c, z, y, x) beside a label map, read box by box: the soft labels that a distillation learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.errors import InvalidVolume

from .chunk_guard import ChunkGuard
from .gate import refusing
from .store_array import open_foreign
from .store_gate import OURS, read_array, read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from .lazy import BeginBox
    from .volume import Region, Shape

_DAMAGED = "Segment it again."


@dataclass(frozen=True)
class Channels:
    """Bytes (count, z, y, x) that are read box by box.

    Attributes
    ----------
    shape
        (z, y, x), voxels.
    facts
        What was kept beside them to read them by.
    begin_box
        Begins to read a box of all channels; what it returns waits for it.
    """

    count: int
    shape: Shape
    facts: Mapping[str, str]
    begin_box: BeginBox

    def read_box(self, box: Region) -> npt.NDArray[np.uint8]:
        """All channels of ``box``, (count, z, y, x).

        Raises
        ------
        InvalidVolume
            If they are damaged.
        """
        return self.begin_box(box)()


def open_channels(folder: Path) -> Channels:
    """What :class:`~.label_generation.LabelGeneration` wrote into ``folder`` for an extra with channels.

    Raises
    ------
    InvalidVolume
        If it is damaged, or none of ours.
    """
    root = folder.resolve()
    with refusing(str(folder), _DAMAGED):
        facts = read_facts(folder)
        stored = read_array(root, "0")
        if len(stored.shape) != 4 or stored.dtype != np.uint8:
            raise ValueError(f"it holds {stored.dtype} of shape {stored.shape}, not bytes (c, z, y, x)")
        store = open_foreign(stored, fill=False)
    guard = ChunkGuard(root, stored)
    count, z, y, x = stored.shape

    def begin_box(box: Region) -> Callable[[], npt.NDArray[Any]]:
        with refusing(str(folder), _DAMAGED):
            guard.check((slice(0, count), *box))
            block = store[(..., *box)].read()

        def wait() -> npt.NDArray[Any]:
            with refusing(str(folder), _DAMAGED):
                read: npt.NDArray[Any] = block.result()
            return read

        return wait

    return Channels(count, (z, y, x), facts, begin_box)


def read_facts(folder: Path) -> dict[str, str]:
    """What was kept beside an extra of ours.

    Raises
    ------
    InvalidVolume
        If its metadata are damaged.
    """
    with refusing(str(folder), _DAMAGED):
        ours = read_json(folder.resolve(), folder.resolve() / "zarr.json").get("attributes", {}).get(OURS, {})
        facts = ours.get("facts", {})
        if not isinstance(facts, dict):
            raise InvalidVolume(f"{str(folder)!r} says {facts!r} of itself.", _DAMAGED)
        return {str(key): str(value) for key, value in facts.items()}
