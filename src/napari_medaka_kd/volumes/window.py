"""Window: a range of intensities that is spread over 0 … 255, where someone asks for a smaller copy of a scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.errors import UserError

if TYPE_CHECKING:
    import numpy.typing as npt

    from .volume import Volume

_PLANES, _PIXELS = 48, 2**20  # of a scan that are looked at: 48 slices, a million pixels of each at most


@dataclass(frozen=True)
class Window:
    """Intensities ``low`` and below become 0, ``high`` and above 255."""

    low: float
    high: float


def find_window(volume: Volume, percentiles: tuple[float, float]) -> Window:
    """The window between two percentiles of ``volume``, from 48 slices evenly spread over it.

    Raises
    ------
    UserError
        If the percentiles are not rising within 0 … 100, or the scan is constant between them.
    """
    low, high = percentiles
    if not 0 <= low < high <= 100:
        raise UserError(
            f"The percentiles {low:g} and {high:g} are no window.", "Give two numbers from 0 to 100, rising."
        )
    depth, height, width = volume.shape
    step = max(1, round((height * width / _PIXELS) ** 0.5))
    planes = np.unique(np.linspace(0, depth - 1, _PLANES).round().astype(int))
    seen = [
        volume.read((slice(z, z + 1), slice(0, height), slice(0, width)))[:, ::step, ::step].ravel() for z in planes
    ]
    values = np.concatenate(seen)
    begin, end = (float(value) for value in np.percentile(values[np.isfinite(values)], percentiles))
    if not end > begin:
        raise UserError(
            f"The scan is {begin:g} at both percentiles, {low:g} and {high:g}.", "Choose them further apart."
        )
    return Window(begin, end)


def narrow(block: npt.NDArray[Any], window: Window) -> npt.NDArray[np.uint8]:
    """``block`` as uint8, the window spread over 0 … 255, rounded half up."""
    scaled = (block.astype(np.float32) - np.float32(window.low)) * np.float32(255 / (window.high - window.low))
    narrowed: npt.NDArray[np.uint8] = np.clip(scaled + np.float32(0.5), 0, 255).astype(np.uint8)
    return narrowed
