"""Colours: organs with their neighbours as ghosts for the canvas, pixels with organs laid over for the panes."""

from __future__ import annotations

from colorsys import hsv_to_rgb
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.utils.colormaps import CyclicLabelColormap, DirectLabelColormap

if TYPE_CHECKING:
    from napari_medaka_kd.volumes.labels import LabelSchema

GHOST = 0.15  # opacity of the neighbours of the organ that is looked at
_FILLED, _EDGE, _GHOST_EDGE = 0.4, 0.9, 0.5  # opacities in a pane
_COLOURS = 60  # of things
_IDS = 65_536  # every id that a file can hold, so that a damaged one has a colour too
_STRANGER = (255, 255, 255)  # an id that the schema lacks


@lru_cache(maxsize=256)
def isolate(schema: LabelSchema, organ: int, ghost: float = GHOST) -> DirectLabelColormap:
    """The schema's colours with all organs but ``organ`` faint; all alike where it is 0, all organs.

    One object for each organ: swapping it is ten times as fast as making it. Two layers shall not share one, for
    napari notes the label that is selected in it.
    """
    colours: dict[int | None, npt.NDArray[np.float64]] = {0: np.zeros(4), None: np.array((*_STRANGER, 255)) / 255}
    for number, colour in _rgb(schema).items():
        opacity = 1.0 if organ in (0, number) else ghost
        colours[number] = np.array([*(value / 255 for value in colour), opacity])
    return DirectLabelColormap(color_dict=colours)


def tell_things_apart() -> CyclicLabelColormap:
    """Bright colours that differ from id to id, so that things are told apart from tissue and from one another.

    Hues a golden section apart are never alike for long; every other one is paler.
    """
    hues = ((number * 0.618034) % 1 for number in range(_COLOURS))
    bright = [(*hsv_to_rgb(hue, 0.95 - 0.4 * (number % 2), 1.0), 1.0) for number, hue in enumerate(hues)]
    return CyclicLabelColormap(colors=np.array([(0, 0, 0, 0), *bright], np.float32), background_value=0)


def name_organs(schema: LabelSchema) -> dict[str, list[Any]]:
    """One row an organ; napari shows the row whose ``index`` is the id under the cursor."""
    return {"index": [0, *schema.ids], "organ": ["", *schema.names]}


@lru_cache(maxsize=8)
def colour_table(schema: LabelSchema) -> npt.NDArray[np.uint8]:
    """Colours by organ id, (65536, 3); white where the schema has no such id."""
    table = np.full((_IDS, 3), _STRANGER, np.uint8)
    for number, colour in _rgb(schema).items():
        table[number] = colour
    table.setflags(write=False)
    return table


def grey(cut: npt.NDArray[Any], window: tuple[float, float]) -> npt.NDArray[np.uint8]:
    """Intensities as brightness, black at the begin of ``window`` and white at its end; NaN is black."""
    low, high = window
    scaled = (cut.astype(np.float32) - np.float32(low)) * np.float32(255 / max(high - low, 1e-30))
    shades: npt.NDArray[np.uint8] = np.clip(np.nan_to_num(scaled, nan=0.0), 0, 255).astype(np.uint8)
    return shades


def lay_over(
    shades: npt.NDArray[np.uint8], ids: npt.NDArray[Any], table: npt.NDArray[np.uint8], organ: int
) -> npt.NDArray[np.uint8]:
    """``shades`` with organs over it: ``organ`` filled and outlined, its neighbours as thin outlines.

    Parameters
    ----------
    shades, ids
        Brightness and organ ids, (h, w).
    table
        Of :func:`colour_table`.
    organ
        0: all organs are filled.

    Returns
    -------
    (h, w, 3) uint8.
    """
    own = (ids > 0) if organ == 0 else (ids == organ)
    edge = _edges(ids)
    opacity = np.where(own, np.float32(_FILLED), np.float32(0))
    opacity[edge] = np.where(own, np.float32(_EDGE), np.float32(_GHOST_EDGE))[edge]
    opacity = opacity[..., np.newaxis]
    mixed: npt.NDArray[np.uint8] = (shades[..., np.newaxis] * (1 - opacity) + table[ids] * opacity).astype(np.uint8)
    return mixed


def _edges(ids: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Pixels of an organ that touch something else, (h, w)."""
    edge = np.zeros(ids.shape, bool)
    for near, far in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        differs = ids[near] != ids[far]
        edge[near] |= differs
        edge[far] |= differs
    return edge & (ids > 0)


def _rgb(schema: LabelSchema) -> dict[int, tuple[int, int, int]]:
    """(red, green, blue) by organ id, 0…255."""
    return {
        organ.id: (int(organ.color[1:3], 16), int(organ.color[3:5], 16), int(organ.color[5:7], 16))
        for organ in schema.organs
    }
