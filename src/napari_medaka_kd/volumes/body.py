"""Body: where in a scan the animal is, and between which intensities its tissue lies."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from .body_mask import BodyMask, find_mask
from .volume import Region, Shape, Volume, common, whole

_ENOUGH = 64**3  # voxels that show where a body is
_OVERVIEW = 256**3  # voxels that are read at most at a time
_SMALLEST_SHARE = 0.003  # of the scan; a smaller component is a speck, not an animal
_CUT_OUT = 0.25  # bright share of the faces: 0.45 and more of crops of brains, at most 0.05 of animals in air
_TWO_CLASSES = 0.8  # share of variance between Otsu's classes; one Gaussian alone gives 2/π = 0.64


@dataclass(frozen=True)
class Body:
    """The animal in a scan.

    Attributes
    ----------
    box
        Voxels of level 0 that hold it, (z, y, x), with a little air around.
    window
        Its 0.5 and 99.5 percentile of intensity; the second is always the larger.
    mask
        Which parts of the box hold it; ``None`` where nobody looked: all.
    """

    box: Region
    window: tuple[float, float]
    mask: BodyMask | None = field(default=None, compare=False, repr=False)

    def meets(self, region: Region) -> bool:
        """Whether any of the animal may lie in ``region``, voxels of level 0."""
        return self.trim(region) is not None

    def trim(self, region: Region) -> Region | None:
        """The smallest box in ``region``, voxels of level 0, with all that may be the animal's; ``None``: nothing."""
        part = common(region, self.box)
        return part if part is None or self.mask is None else self.mask.trim(part)

    def inside(self, region: Region) -> npt.NDArray[np.bool_] | None:
        """Which voxels of ``region`` may be the animal's, (z, y, x); ``None``: nobody looked, so all."""
        return None if self.mask is None else self.mask.inside(region)

    def draw(self, random: np.random.Generator) -> tuple[int, int, int]:
        """A voxel of level 0 in the animal, and in its box."""
        if self.mask is None:
            z, y, x = (int(random.integers(side.start, side.stop)) for side in self.box)
        else:
            found = self.mask.draw(random)
            z, y, x = (min(max(at, side.start), side.stop - 1) for at, side in zip(found, self.box, strict=True))
        return z, y, x

    def to_json(self) -> dict[str, Any]:
        return {"box": [[side.start, side.stop] for side in self.box], "window": list(self.window)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        z, y, x = (slice(int(start), int(stop)) for start, stop in data["box"])
        low, high = data["window"]
        return cls((z, y, x), (float(low), float(high)))


def find_body(volume: Volume) -> Body:
    """Where the animal is: the largest thing brighter than air, at the coarsest level that still shows it.

    The whole volume where nothing stands out, or where it was cut out of an animal, with no air around. Reads one
    coarse level (≤ 16.8 M voxels at a time).
    """
    overview = _read_overview(volume)
    smooth = _smooth(overview)
    bright = smooth > _air_threshold(smooth)
    mask = _largest_part(bright)
    if mask.mean() < _SMALLEST_SHARE or _on_faces(bright) > _CUT_OUT:
        return Body(whole(volume.shape), intensity_window(overview))
    return Body(_box(mask, volume.shape), intensity_window(overview[mask]), find_mask(bright, volume.shape))


def normalise(block: npt.NDArray[Any], window: tuple[float, float]) -> npt.NDArray[np.float32]:
    """Intensities as a network sees them: 0 … 1 inside ``window``, clipped to -0.25 … 1.25, always finite."""
    low, high = window
    scaled: npt.NDArray[np.float32] = block.astype(np.float32)
    scaled -= np.float32(low)
    scaled /= np.float32(max(high - low, 1e-30))
    if block.dtype.kind == "f":
        np.nan_to_num(scaled, copy=False, nan=0.0)
    return np.clip(scaled, -0.25, 1.25, out=scaled)


def _read_overview(volume: Volume) -> npt.NDArray[np.float32]:
    """The coarsest level with enough voxels, thinned out where even that is large."""
    sizes = [math.prod(level.shape) for level in volume.levels]
    level = max((number for number, size in enumerate(sizes) if size >= _ENOUGH), default=0)
    step = math.ceil((sizes[level] / _OVERVIEW) ** (1 / 3))
    z, y, x = whole(volume.levels[level].shape)
    if step == 1:
        return volume.read(level=level).astype(np.float32)
    planes = [volume.read((slice(at, at + 1), y, x), level)[:, ::step, ::step] for at in range(0, z.stop, step)]
    return np.concatenate(planes).astype(np.float32)


def _smooth(overview: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    from scipy import ndimage

    smoothed: npt.NDArray[np.float32] = ndimage.gaussian_filter(np.nan_to_num(overview), 1.0)
    return smoothed


def _on_faces(bright: npt.NDArray[np.bool_]) -> float:
    """The bright share of the voxels on the six faces."""
    faces = [bright.take(end, axis).ravel() for axis in range(3) for end in (0, -1)]
    return float(np.concatenate(faces).mean())


def _air_threshold(overview: npt.NDArray[np.float32]) -> float:
    """Otsu's threshold between air and tissue, even where bone is brighter than the rest by far.

    Bone was split off, and the lower split counts, if the darker class is clearly two classes itself, of which the
    brighter one outnumbers what was split off (a body's blurred rim is two classes as well, but never so large).
    """
    threshold, _ = _otsu(overview)
    lower, between = _otsu(overview[overview <= threshold])
    above = np.count_nonzero(overview > threshold)
    tissue = np.count_nonzero(overview > lower) - above
    return lower if between > _TWO_CLASSES and tissue > above else threshold


def _otsu(values: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Otsu's threshold and the share of the variance that lies between its classes (0 for a constant)."""
    if values.size == 0 or values.min() == values.max():
        return float(values.max(initial=0.0)), 0.0
    counts, edges = np.histogram(values, bins=256)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1] / values.size
    sums = np.cumsum(counts * middles) / values.size
    mean = sums[-1]
    weights = below * (1 - below)
    between = np.divide((mean * below - sums[:-1]) ** 2, weights, out=np.zeros_like(weights), where=weights > 0)
    variance = float((counts * (middles - mean) ** 2).sum() / values.size)
    best = int(between.argmax())
    return float(edges[best + 1]), float(between[best] / variance) if variance > 0 else 0.0


def _largest_part(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    from scipy import ndimage

    parts, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    largest: npt.NDArray[np.bool_] = parts == sizes.argmax()
    return largest


def _box(mask: npt.NDArray[np.bool_], shape: Shape) -> Region:
    """The box around ``mask`` in voxels of level 0, with 2 voxels of the overview and 3 % added on each side."""

    def side(axis: int) -> slice:
        inside = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        first, last = int(inside[0]), int(inside[-1]) + 1
        margin = 2 + 0.03 * (last - first)
        scale = shape[axis] / mask.shape[axis]
        return slice(max(math.floor((first - margin) * scale), 0), min(math.ceil((last + margin) * scale), shape[axis]))

    return side(0), side(1), side(2)


def intensity_window(values: npt.NDArray[Any]) -> tuple[float, float]:
    """The 0.5 and 99.5 percentile of ``values``, or the second a little larger where they are constant."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(finite, (0.5, 99.5)))
    return (low, high) if high > low else (low, low + 1)
