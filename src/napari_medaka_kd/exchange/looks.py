"""How a volume looks as a layer: its place in space, its contrast, the names and colours of its ids."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from napari_medaka_kd.volumes.deepen import suit_view
from napari_medaka_kd.volumes.label_legend import Legend
from napari_medaka_kd.volumes.lazy import DiskArray, convert
from napari_medaka_kd.volumes.picked import for_napari

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from napari_medaka_kd.volumes.label_legend import Rgba
    from napari_medaka_kd.volumes.labels import LabelSchema
    from napari_medaka_kd.volumes.volume import Shape, Triple, Volume

#: What napari makes a layer of: data, keyword arguments, kind of layer.
LayerData: TypeAlias = tuple[Any, dict[str, Any], str]

_OPACITY = 0.5  # of labels, so that tissue shows through
_DOUBT = {"contrast_limits": (0, 255), "colormap": "magma", "blending": "additive", "opacity": 0.6, "visible": False}
_AT_ONCE = 16 * 2**20  # voxels of a coarse level that are looked at
_SIDE = 2048  # voxels along a side of a slice that is looked at
_PERCENTILES = (0.5, 99.8)
_GOLDEN = 0.618034  # of the colour circle from one id to the next, so that neighbours differ
_HIGHEST = 65_535  # id; with a higher one napari (0.9) cannot draw given colours unless numba is installed
_STRANGER = (1.0, 1.0, 1.0, 1.0)  # an id that nobody foresaw


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a layer lie; (z, y, x).

    Attributes
    ----------
    scale, translate
        Size of a voxel and centre of the first one, in ``unit``.
    """

    scale: Triple
    translate: Triple = (0.0, 0.0, 0.0)
    unit: Literal["um", "pixel"] = "um"

    @property
    def words(self) -> dict[str, Any]:
        """Keyword arguments of a layer."""
        units, labels = (self.unit,) * 3, ("z", "y", "x")
        return {"scale": self.scale, "translate": self.translate, "units": units, "axis_labels": labels}

    def under(self, shape: Shape, other: Shape) -> Grid:
        """The grid of an array of shape ``other`` that covers what one of ``shape`` does on this grid."""
        z, y, x = (size * many / few for size, many, few in zip(self.scale, shape, other, strict=True))
        return Grid((z, y, x), self.translate, self.unit)


def image_layer(volume: Volume, grid: Grid, **words: Any) -> LayerData:
    """A scan as an image, level by level; its contrast is that of its coarsest level."""
    looks = {"name": volume.name, "contrast_limits": find_contrast(volume), "metadata": {"source": str(volume.source)}}
    return for_napari(suit_view(volume)), {"multiscale": True, **grid.words, **looks, **words}, "image"


def doubt_layer(volume: Volume, grid: Grid, **words: Any) -> LayerData:
    """A map of doubt, uint8, as a glow that is hidden at first."""
    looks = {"metadata": {"source": str(volume.source)}, **_DOUBT}
    return for_napari(suit_view(volume)), {"multiscale": True, **grid.words, **looks, **words}, "image"


def labels_layer(volume: Volume, grid: Grid, legend: Legend, **words: Any) -> LayerData:
    """Ids as labels, level by level, with what ``legend`` says of them."""
    levels = for_napari(suit_view(_as_integers(volume)))
    looks = {"name": volume.name, "opacity": _OPACITY, "metadata": {"source": str(volume.source)}}
    words = {"multiscale": True, **grid.words, **looks, **name_ids(legend), **words}
    seen = _seen(volume) if legend.colors else ()
    if legend.colors and all(0 <= number <= _HIGHEST for number in (*legend.colors, *seen)):
        words["colormap"] = colour_ids(legend, seen)
    return levels, words, "labels"


def schema_legend(schema: LabelSchema) -> Legend:
    """What a project's organs are called and coloured, background too."""
    colors = {}
    for organ in schema.organs:
        red, green, blue = bytes.fromhex(organ.color[1:])
        colors[organ.id] = (red, green, blue, 255)
    return name_organs(colors, {organ.id: organ.name for organ in schema.organs})


def name_organs(colors: dict[int, Rgba], names: dict[int, str]) -> Legend:
    """A legend of organs and what is around them."""
    return Legend(colors, {number: {"organ": name} for number, name in {0: "background", **names}.items()})


def name_ids(legend: Legend) -> dict[str, Any]:
    """``features`` of a layer: one row an id; napari shows the row whose ``index`` is the id under the cursor."""
    if not legend.properties:
        return {}
    rows = sorted(legend.properties.items())
    keys = dict.fromkeys(key for _, told in rows for key in told if key != "index")
    columns = {key: [told.get(key) for _, told in rows] for key in keys}
    return {"features": {"index": [number for number, _ in rows], **columns}}


def colour_ids(legend: Legend, seen: Iterable[int] = ()) -> dict[int | None, tuple[float, ...]]:
    """Colour by id: those of ``legend``, distinct ones for others that were ``seen``, white for any other."""
    colours: dict[int | None, tuple[float, ...]] = {None: _STRANGER}
    colours |= {number: _distinct_colour(number) for number in seen}
    colours |= {number: tuple(part / 255 for part in rgba) for number, rgba in legend.colors.items()}
    return {**colours, 0: (0.0, 0.0, 0.0, 0.0)}


def find_contrast(volume: Volume) -> tuple[float, float]:
    """Between which intensities nearly all of the coarsest level lies; of an only level three slices are read."""
    values = np.concatenate([block.ravel() for block in _sample(volume)])
    values = values[np.isfinite(values)].astype(np.float64)
    if not values.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, _PERCENTILES))
    return low, high if high > low else low + 1


def _sample(volume: Volume) -> list[npt.NDArray[Any]]:
    coarse = volume.levels[-1]
    if len(volume.levels) > 1 and math.prod(coarse.shape) <= _AT_ONCE:
        return [np.asarray(coarse[:])]
    middle = tuple(slice(max(0, (size - _SIDE) // 2), (size + _SIDE) // 2) for size in coarse.shape[1:])
    slices = sorted({coarse.shape[0] * part // 4 for part in (1, 2, 3)})
    return [np.asarray(coarse[(number, *middle)]) for number in slices]


def _seen(volume: Volume) -> list[int]:
    """Ids in the coarsest level."""
    ids: list[int] = np.unique(np.concatenate([block.ravel() for block in _sample(volume)])).tolist()
    return ids


def _distinct_colour(number: int) -> tuple[float, ...]:
    return (*colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.7, 0.95), 1.0)


def _as_integers(volume: Volume) -> Volume:
    """Napari would read all of an array of truth values to make numbers of them."""
    if volume.dtype != np.bool_:
        return volume
    levels = (level for level in volume.levels if isinstance(level, DiskArray))
    return replace(volume, levels=tuple(convert(level, np.dtype(np.uint8), _numbers) for level in levels))


def _numbers(block: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return block.astype(np.uint8)
