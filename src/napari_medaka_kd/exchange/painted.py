"""What a labels layer of napari holds: ids, their names and colours, and how large their voxels are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.volumes.labels import PALETTE, LabelSchema, Organ
from napari_medaka_kd.volumes.lazy import DiskArray
from napari_medaka_kd.volumes.tiles import block_grid
from napari_medaka_kd.volumes.units import micrometres
from napari_medaka_kd.volumes.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from napari_medaka_kd.volumes.volume import LazyArray, Region, Shape, Triple

_PART = (64, 512, 512)  # voxels that are looked at at once
_MOST = 65_535  # the highest id of an organ
_NAMES = ("organ", "name", "label")  # columns of a layer's features that may name its ids, the likeliest first


@dataclass(frozen=True)
class Painted:
    """A labels layer, as far as it can be saved.

    Attributes
    ----------
    ids
        The finest level, (z, y, x), integers.
    voxel_size, origin
        µm, (z, y, x); ``None`` where the layer is measured in pixels.
    features, colormap
        As napari has them, ``None`` where it has none.
    """

    name: str
    ids: LazyArray
    voxel_size: Triple | None
    origin: Triple | None
    features: Any
    colormap: Any

    @property
    def shape(self) -> Shape:
        z, y, x = self.ids.shape
        return z, y, x

    def present(self) -> list[int]:
        """Every id in it but 0, rising; reads all of it, a part at a time."""
        found = {int(number) for part in block_grid(self.shape, _PART) for number in _distinct(self.ids[part])}
        return sorted(found - {0})

    def measured(self) -> Triple:
        """Its voxel size, µm.

        Raises
        ------
        UserError
            If it is measured in pixels.
        """
        if self.voxel_size is None:
            raise UserError(
                f"The layer {self.name!r} is measured in pixels, so nobody knows how large its organs are.",
                'Set its scale and units, for instance layer.scale = (10, 10, 10) and layer.units = "um".',
            )
        return self.voxel_size

    def volume(self, voxel_size: Triple, dtype: np.dtype[Any]) -> Volume:
        """Its ids, read as ``dtype``."""

        def read_box(box: Region) -> npt.NDArray[Any]:
            return np.asarray(self.ids[box]).astype(dtype)

        return Volume((DiskArray(self.shape, dtype, read_box),), voxel_size, self.name)

    def names(self) -> dict[int, str]:
        """What its features call its ids; without an ``index`` a row's number is its id."""
        table = self.features
        columns = [] if table is None else [str(key) for key in table if str(key) != "index"]
        column = next((key for key in (*_NAMES, *columns) if key in columns), None)
        if column is None:
            return {}
        words = list(table[column])
        ids = table["index"] if "index" in table else range(len(words))
        rows = zip(ids, words, strict=True)
        return {int(number): word.strip()[:80] for number, word in rows if number and _is_name(word)}

    def schema(self) -> LabelSchema:
        """Its ids, and those that its features name, with the names and colours that napari shows.

        Raises
        ------
        UserError
            If it holds no ids at all, or one outside 1 … 65535.
        """
        names = self.names()
        ids = sorted({*names, *self.present()})
        wrong = [number for number in ids if not 0 < number <= _MOST]
        if wrong or not ids:
            what = f"the id {wrong[0]}" if wrong else "no label at all"
            raise UserError(f"The layer {self.name!r} holds {what}.", f"Label maps have ids from 1 to {_MOST}.")
        said: set[str] = set()
        organs = []
        for number, colour in zip(ids, self._colours(ids), strict=True):
            name = names.get(number, f"label {number}")
            name = f"{name} {number}" if name in said else name
            said.add(name)
            organs.append(Organ(id=number, name=name, color=colour))
        return LabelSchema(organs=tuple(organs))

    def _colours(self, ids: list[int]) -> list[str]:
        if not hasattr(self.colormap, "map"):
            return [PALETTE[number % len(PALETTE)] for number in ids]
        shades = np.asarray(self.colormap.map(np.array(ids)), np.float64)
        return ["#" + bytes(np.clip(shade[:3] * 255 + 0.5, 0, 255).astype(np.uint8)).hex() for shade in shades]


def painted(data: Any, words: Mapping[str, Any]) -> Painted:
    """What napari hands to a writer of a labels layer: its data, and what else it is made of.

    Raises
    ------
    UserError
        If it is not three-dimensional, or is turned, sheared or mirrored in space.
    """
    name = str(words.get("name") or "labels")
    ids = data[0] if words.get("multiscale") else data
    if len(ids.shape) != 3:
        raise UserError(f"The layer {name!r} has {len(ids.shape)} axes.", "Only volumes of z, y, x can be saved.")
    scale = _triple(words.get("scale"), 1.0)
    if _is_turned(words) or not all(math.isfinite(size) and size > 0 for size in scale):
        raise UserError(
            f"The layer {name!r} is turned, sheared or mirrored, which a label map cannot be.",
            "Reset its rotation, shear and affine, or resample it first.",
        )
    units = words.get("units") or "pixel"
    factors = [micrometres(str(unit)) for unit in ((units,) * 3 if isinstance(units, str) else units)]
    features, colormap = words.get("features"), words.get("colormap")
    z, y, x = (factor or math.nan for factor in factors)
    if math.isnan(z + y + x):
        return Painted(name, ids, None, None, features, colormap)
    at = _triple(words.get("translate"), 0.0)
    size = (scale[0] * z, scale[1] * y, scale[2] * x)
    return Painted(name, ids, size, (at[0] * z, at[1] * y, at[2] * x), features, colormap)


def _is_turned(words: Mapping[str, Any]) -> bool:
    affine, rotate, shear = (np.asarray(words.get(key, [])) for key in ("affine", "rotate", "shear"))
    straight = [matrix.ndim != 2 or np.allclose(matrix, np.eye(len(matrix))) for matrix in (affine, rotate)]
    return not all(straight) or bool(np.any(shear if shear.ndim == 1 else shear - np.eye(len(shear))))


def _triple(values: Any, missing: float) -> Triple:
    z, y, x = (float(value) for value in ((missing,) * 3 if values is None else values))
    return z, y, x


def _is_name(word: Any) -> bool:
    return isinstance(word, str) and bool(word.strip())


def _distinct(block: Any) -> npt.NDArray[Any]:
    """Small ids are counted, which is far faster than sorting."""
    block = np.asarray(block)
    if block.size and block.min() >= 0 and block.max() <= _MOST:
        return np.flatnonzero(np.bincount(block.astype(np.uint16, copy=False).ravel()))
    return np.unique(block)
