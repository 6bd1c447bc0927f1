"""The analytic shapes that the made-up medaka is built of: each tells where it can be and what is inside it.

Body coordinates are (t, v, w): t runs from the snout (0) to the end of the tail fin (3.6), v from belly to back,
w from right to left, in units of about a body height. Only exactly rounded arithmetic is used on voxels, so that
a voxel comes out the same whichever block it is computed in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]
Point: TypeAlias = tuple[float, float, float]

LENGTH = 3.6  # of the body, tail fin included


class Solid(Protocol):
    """A shape: where it can be at most, and a field that is below 1 inside it."""

    @property
    def box(self) -> tuple[Point, Point]: ...

    def field(self, t: Floats, v: Floats, w: Floats) -> Floats: ...

    def moved(self, shift: Point, scale: float) -> Solid: ...


@dataclass(frozen=True)
class Ellipsoid:
    """Field: the squared distance from the centre in units of the radii."""

    centre: Point
    radii: Point

    @property
    def box(self) -> tuple[Point, Point]:
        return _around(self.centre, self.centre, self.radii)

    def field(self, t: Floats, v: Floats, w: Floats) -> Floats:
        total = np.zeros((1, 1, 1), np.float32)
        for axis, centre, radius in zip((t, v, w), self.centre, self.radii, strict=True):
            scaled = (axis - np.float32(centre)) * np.float32(1 / radius)
            total = total + scaled * scaled
        return total

    def moved(self, shift: Point, scale: float) -> Self:
        t, v, w = (radius * scale for radius in self.radii)
        return replace(self, centre=_add(self.centre, shift), radii=(t, v, w))

    def mirrored(self) -> Self:
        return replace(self, centre=_mirror(self.centre))


@dataclass(frozen=True)
class Capsule:
    """All within ``radius`` of the line from ``start`` to ``end``; field: the squared distance in radii."""

    start: Point
    end: Point
    radius: float

    @property
    def box(self) -> tuple[Point, Point]:
        return _around(self.start, self.end, (self.radius,) * 3)

    def field(self, t: Floats, v: Floats, w: Floats) -> Floats:
        along = [np.float32(b - a) for a, b in zip(self.start, self.end, strict=True)]
        away = [axis - np.float32(a) for axis, a in zip((t, v, w), self.start, strict=True)]
        length2 = np.float32(max(sum(float(step) ** 2 for step in along), 1e-12))
        part = (away[0] * along[0] + away[1] * along[1] + away[2] * along[2]) / length2
        part = np.clip(part, np.float32(0), np.float32(1))
        rest = [distance - part * step for distance, step in zip(away, along, strict=True)]
        squared: Floats = (rest[0] * rest[0] + rest[1] * rest[1] + rest[2] * rest[2]) / np.float32(self.radius**2)
        return squared

    def moved(self, shift: Point, scale: float) -> Self:
        return replace(self, start=_add(self.start, shift), end=_add(self.end, shift), radius=self.radius * scale)

    def mirrored(self) -> Self:
        return replace(self, start=_mirror(self.start), end=_mirror(self.end))


@dataclass(frozen=True)
class Fin:
    """A thin plate in a sagittal plane, whose lower and upper edge are straight lines in t."""

    span: tuple[float, float]
    lower: tuple[float, float]
    upper: tuple[float, float]
    middle: float = 0.0
    half: float = 0.022

    @property
    def box(self) -> tuple[Point, Point]:
        low, high = min(self.lower), max(self.upper)
        return (self.span[0], low, self.middle - self.half), (self.span[1], high, self.middle + self.half)

    def field(self, t: Floats, v: Floats, w: Floats) -> Floats:
        part = (t - np.float32(self.span[0])) * np.float32(1 / (self.span[1] - self.span[0]))
        low = np.float32(self.lower[0]) + part * np.float32(self.lower[1] - self.lower[0])
        high = np.float32(self.upper[0]) + part * np.float32(self.upper[1] - self.upper[0])
        holds = (part > 0) & (part < 1) & (v > low) & (v < high)
        off = np.abs(w - np.float32(self.middle)) * np.float32(1 / self.half)
        return np.where(holds, off, np.float32(9))

    def moved(self, shift: Point, scale: float) -> Self:
        return self


@dataclass(frozen=True)
class Spine:
    """Hourglass vertebrae with gaps between them, neural arches above and, in the tail, haemal arches below."""

    pitch: float = 10.5  # vertebrae per unit of t
    lift: float = 0.0

    @property
    def box(self) -> tuple[Point, Point]:
        return (0.86, -0.25 + self.lift, -0.08), (3.28, 0.45 + self.lift, 0.08)

    def field(self, t: Floats, v: Floats, w: Floats) -> Floats:
        up = v - spine_height(t) - np.float32(self.lift)
        phase = t * np.float32(self.pitch)
        phase = phase - np.floor(phase)
        thin = np.float32(0.064) - np.float32(0.013) * (t - np.float32(0.86))
        waist = np.float32(0.7) + np.float32(1.2) * np.abs(phase - np.float32(0.5))
        body = np.where(phase < np.float32(0.14), np.float32(9), (up * up + w * w) / np.square(thin * waist))
        body = np.where((t > np.float32(0.86)) & (t < np.float32(3.28)), body, np.float32(9))
        return np.minimum(body, self._arches(t, up, w))

    def _arches(self, t: Floats, up: Floats, w: Floats) -> Floats:
        slanted = t * np.float32(self.pitch) - np.abs(up) * np.float32(3)
        slanted = slanted - np.floor(slanted)
        reach = np.float32(0.20) - np.float32(0.035) * (t - np.float32(0.86))
        high = (up > 0) & (up < reach)
        low = (up < 0) & (up > -reach) & (t > np.float32(2.05))
        holds = (high | low) & (np.abs(slanted - np.float32(0.5)) < np.float32(0.22))
        holds &= (t > np.float32(0.9)) & (t < np.float32(3.2))
        return np.where(holds, np.abs(w) * np.float32(1 / 0.024), np.float32(9))

    def moved(self, shift: Point, scale: float) -> Self:
        return replace(self, lift=self.lift + shift[1], pitch=self.pitch * scale)


@dataclass(frozen=True)
class Ribs:
    """Bands on the outside of ``cavity``."""

    cavity: Ellipsoid
    pitch: float = 10.5

    @property
    def box(self) -> tuple[Point, Point]:
        return self.cavity.moved((0.0, 0.0, 0.0), 1.12).box

    def field(self, t: Floats, v: Floats, w: Floats) -> Floats:
        shell = self.cavity.field(t, v, w)
        slanted = (t + np.float32(0.3) * v) * np.float32(self.pitch)
        slanted = slanted - np.floor(slanted)
        holds = (shell > 1) & (shell < np.float32(1.2)) & (slanted < np.float32(0.28)) & (v > np.float32(-0.4))
        return np.where(holds, np.float32(0), np.float32(9))

    def moved(self, shift: Point, scale: float) -> Self:
        return replace(self, cavity=self.cavity.moved(shift, scale))


def spine_height(t: Any) -> Any:
    """Where the middle of the spine is at ``t``: its v."""
    away = t - np.float32(1.5)
    return np.float32(0.2) - np.float32(0.05) * away * away


_PROFILE_T = np.array([0.0, 0.06, 0.2, 0.4, 0.6, 0.9, 1.25, 1.6, 2.0, 2.35, 2.7, 3.05, 3.3])
_DORSAL = np.array([0.02, 0.13, 0.23, 0.31, 0.37, 0.43, 0.46, 0.46, 0.43, 0.37, 0.29, 0.20, 0.17])
_VENTRAL = np.array([0.04, 0.15, 0.25, 0.34, 0.42, 0.52, 0.60, 0.60, 0.52, 0.40, 0.27, 0.18, 0.15])
_WIDTH = np.array([0.03, 0.18, 0.28, 0.35, 0.38, 0.40, 0.41, 0.39, 0.33, 0.25, 0.18, 0.11, 0.06])


def body_depth(t: Floats, v: Floats, w: Floats) -> Floats:
    """1 on the body's axis, 0 on its skin, below 0 outside."""
    middle, half, width = (_interpolate(t, knots) for knots in (_DORSAL - _VENTRAL, _DORSAL + _VENTRAL, 2 * _WIDTH))
    up = (2 * v - middle) / half
    aside = 2 * w / width
    depth: Floats = 1 - up * up - aside * aside
    return np.where((t > 0) & (t < np.float32(3.3)), depth, np.float32(-9))


def _interpolate(t: Floats, knots: npt.NDArray[np.float64]) -> Floats:
    fine = np.interp(np.linspace(0, LENGTH, 4097), _PROFILE_T, knots).astype(np.float32)
    place = np.clip(t, 0, LENGTH) * np.float32(4096 / LENGTH)
    return fine[place.astype(np.intp)]


def _around(start: Point, end: Point, radii: tuple[float, ...]) -> tuple[Point, Point]:
    low = [min(a, b) - radius for a, b, radius in zip(start, end, radii, strict=True)]
    high = [max(a, b) + radius for a, b, radius in zip(start, end, radii, strict=True)]
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def _add(point: Point, shift: Point) -> Point:
    return point[0] + shift[0], point[1] + shift[1], point[2] + shift[2]


def _mirror(point: Point) -> Point:
    return point[0], point[1], -point[2]
