"""How a scanner sees the made-up medaka: contrast, blur, beam hardening, rings, streaks and noise.

A voxel depends on its place and the seeds alone. Blur looks at a margin around the block, noise is a hash of the
voxel's place, and after the blur only exactly rounded arithmetic is used, so no cut shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.demo_settings import BeamlineSettings

from .anatomy import TISSUES
from .volume import Region, Shape, extent

if TYPE_CHECKING:
    from collections.abc import Callable

    from .solids import Floats

BEAMLINE_A = BeamlineSettings()
BEAMLINE_B = BeamlineSettings(
    gain=0.85, phase=1.0, fringes=0.5, blur=0.9, photons=700.0, noise=0.03, rings=0.03, streaks=0.03, hardening=0.0
)

_ZERO, _ONE = 6000.0, 14000.0  # counts of nothing, and what muscle adds to them at gain 1
_MEDIUM, _TUBE = 0.07, 0.35  # brightness of what is around the fish, and of the holder's wall
_TUBE_RADII = (0.92, 0.965)  # in units of the field's half width
_BINS = 256  # directions of a streak pattern
_TURNOVER = 0.5  # streak patterns within a source's reach


def degraded(beamline: BeamlineSettings, severity: float) -> BeamlineSettings:
    """``beamline`` on a bad day: 0 leaves it as it is, 1 is barely usable."""
    return beamline.model_copy(
        update={
            "gain": beamline.gain * (1 - 0.2 * severity),
            "soft_tissue": beamline.soft_tissue * (1 - 0.4 * severity),
            "blur": beamline.blur + 0.7 * severity,
            "photons": beamline.photons / (1 + 7 * severity),
            "noise": beamline.noise + 0.06 * severity,
            "rings": beamline.rings + 0.06 * severity,
            "streaks": beamline.streaks + 0.05 * severity,
            "hardening": beamline.hardening + 0.20 * severity,
        }
    )


@dataclass(frozen=True)
class Section:
    """What of the body lies in a block, every array (z, y, x) of the block.

    Attributes
    ----------
    tissue
        uint8: places in ``TISSUES``.
    depth
        1 on the body's axis, 0 on its skin, negative outside.
    place
        Body coordinates (t, v, w).
    """

    tissue: npt.NDArray[np.uint8]
    depth: Floats
    place: tuple[Floats, Floats, Floats]


#: Computes a section of any region, also of one that reaches out of the scan.
Paint: TypeAlias = "Callable[[Region], Section | None]"


@dataclass(frozen=True)
class Source:
    """Something dense that throws streaks: its path through the planes, (n, 3) voxels z, y, x by rising z.

    ``reach`` is how many planes beyond its ends it is felt.
    """

    path: npt.NDArray[np.float64]
    reach: float


@dataclass(frozen=True)
class Scanner:
    """One scan of one animal.

    Attributes
    ----------
    variation
        The animal's own factor of each tissue's brightness.
    """

    settings: BeamlineSettings
    shape: Shape
    seed: int
    paint: Paint
    variation: Floats
    sources: tuple[Source, ...]

    def read(self, region: Region) -> npt.NDArray[np.uint16]:
        """The voxels of ``region``. Memory: some 110 bytes a voxel, so read a large one in blocks."""
        image = self._blurred(region)
        noise = np.sqrt(self._variance(image))
        image = image + self._rings(region) + self._streaks(region)
        image += noise * hashed_normal(self.seed, region, self.shape)
        counts = image * np.float32(_ONE) + np.float32(_ZERO)
        scan: npt.NDArray[np.uint16] = np.clip(np.rint(counts), 0, 65_535).astype(np.uint16)
        return scan

    def _blurred(self, region: Region) -> Floats:
        """Brightness after the point spread and the fringes."""
        sigma, fringes = self.settings.blur, self.settings.fringes
        wide = 1.6 * max(sigma, 0.5)
        halo = math.ceil(4 * (sigma + (wide if fringes else 0))) + 2
        grown = _grow(region, halo)
        section = self.paint(grown)
        sharp = self._surroundings(grown)
        if section is not None:
            sharp = np.where(section.tissue > 0, self._body(section), sharp)
        image = _smooth(sharp, sigma)
        if fringes:
            image = image + np.float32(fringes) * (image - _smooth(image, wide))
        inner = image[halo:-halo, halo:-halo, halo:-halo]
        return inner

    def _surroundings(self, region: Region) -> Floats:
        """The holder and what fills it."""
        radius = np.sqrt(self._radius2(region)) * np.float32(2 / min(self.shape[1:]))
        inner, outer = _TUBE_RADII
        plane = np.where(radius < inner, np.float32(_MEDIUM), np.float32(_TUBE))
        plane = np.where(radius > outer, np.float32(0), plane)
        return np.broadcast_to(plane * np.float32(self.settings.gain), extent(region))

    def _body(self, section: Section) -> Floats:
        levels = self._levels()
        image = levels[section.tissue]
        for number, tissue in enumerate(TISSUES):
            if tissue.grain:
                where = np.nonzero(section.tissue == number)
                texture = _texture([axis[where] for axis in section.place], tissue.pitch)
                image[where] *= 1 + np.float32(tissue.grain) * texture
        loss = np.float32(self.settings.hardening) * np.clip(section.depth, 0, 1)
        return image * (1 - loss)

    def _levels(self) -> Floats:
        """Brightness of each tissue in this scan of this animal."""
        settings = self.settings
        mixed = [(1 - settings.phase) * tissue.absorption + settings.phase * tissue.phase for tissue in TISSUES]
        varied = np.asarray(mixed) * self.variation
        soft = np.array([tissue.soft for tissue in TISSUES])
        contrast = np.where(soft, 1 + settings.soft_tissue * (varied - 1), varied)
        return (settings.gain * contrast).astype(np.float32)

    def _variance(self, image: Floats) -> Floats:
        """Of the noise: photons' part grows with brightness, the electronics' does not."""
        poisson = np.float32(1 / self.settings.photons if self.settings.photons else 0)
        return np.clip(image, np.float32(0.02), None) * poisson + np.float32(self.settings.noise**2)

    def _rings(self, region: Region) -> Floats:
        """Faulty detector columns: circles around the axis of rotation, some steady in z, some coming and going."""
        radius = np.sqrt(self._radius2(region))
        bins = math.hypot(*self.shape[1:]) + 16
        steady, passing = _random_table(self.seed, 11, (2, math.ceil(bins)))
        planes = np.arange(region[0].start, region[0].stop)
        slow = _random_table(self.seed, 12, (max(self.shape[0] // 6, 1) + 8,))
        coming = _lookup(slow, np.clip(planes / 6, 0, len(slow) - 2)).astype(np.float32)[:, None, None]
        amplitude = np.float32(self.settings.rings)
        return amplitude * (_lookup(_spiky(steady), radius) + coming * _lookup(_spiky(passing), radius))

    def _radius2(self, region: Region) -> Floats:
        """Squared distance from the axis of rotation in voxels, (y, x)."""
        y, x = (
            (np.arange(side.start, side.stop) - (size - 1) / 2).astype(np.float32)
            for side, size in zip(region[1:], self.shape[1:], strict=True)
        )
        return y[:, None] * y[:, None] + x * x

    def _streaks(self, region: Region) -> Floats:
        image = np.zeros(extent(region), np.float32)
        if self.settings.streaks:
            for number, source in enumerate(self.sources):
                self._add_streaks(image, region, source, _streak_table(self.seed, number))
        return image

    def _add_streaks(self, image: Floats, region: Region, source: Source, table: Floats) -> None:
        """Rays from ``source`` in its plane, fainter with distance; other rays some planes on."""
        planes = np.arange(region[0].start, region[0].stop)
        z, y, x = source.path.T
        beyond = np.maximum(np.maximum(z[0] - planes, planes - z[-1]), 0) / source.reach
        fall = np.clip(1 - beyond * beyond, 0, None) ** 2 * self.settings.streaks
        scale = np.float32(2 / min(self.shape[1:]))
        for plane in np.nonzero(fall > 0)[0]:
            dy, dx = (
                (np.arange(side.start, side.stop) - np.interp(planes[plane], z, path)).astype(np.float32)
                for side, path in ((region[1], y), (region[2], x))
            )
            distance = np.sqrt(dy[:, None] * dy[:, None] + dx * dx) * scale
            rays = _lookup(table, np.array(planes[plane] / source.reach * _TURNOVER % (len(table) - 1)))
            image[plane] += np.float32(fall[plane]) * rays[_direction(dy[:, None], dx)] / (np.float32(0.2) + distance)


def hashed_normal(seed: int, region: Region, shape: Shape) -> Floats:
    """A standard normal number for each voxel: the same for the same voxel, whatever the region."""
    z, y, x = (np.arange(side.start, side.stop, dtype=np.uint64) for side in region)
    planes, rows = np.uint64(shape[1] * shape[2]), np.uint64(shape[2])
    number = (z * planes)[:, None, None] + ((y * rows)[:, None] + x)
    number += np.uint64((seed * 0xD1342543DE82EF95 + 0x632BE59BD9B4E019) % 2**64)
    normal: Floats = _normal_table()[(_mix(number) >> np.uint64(48)).astype(np.intp)]
    return normal


def wave(phase: Floats) -> Floats:
    """Nearly -sin(2π phase), in arithmetic that is rounded alike everywhere."""
    part = phase - np.floor(phase) - np.float32(0.5)
    wavy: Floats = np.float32(8) * part * (1 - 2 * np.abs(part))
    return wavy


def _texture(place: list[Floats], pitch: tuple[float, float, float]) -> Floats:
    """About -1 to 1; every axis's waves are bent by another axis's, so that no lattice shows."""
    t, v, w = place
    bent = (
        t + np.float32(0.31) * v + np.float32(0.05) * wave(v * np.float32(3.1)),
        v + np.float32(0.27) * w + np.float32(0.05) * wave(t * np.float32(3.7)),
        w + np.float32(0.35) * t + np.float32(0.05) * wave(v * np.float32(4.3)),
    )
    waves = [wave(axis * np.float32(cycles)) for axis, cycles in zip(bent, pitch, strict=True) if cycles]
    total: Floats = sum(waves[1:], waves[0]) * np.float32(1 / math.sqrt(len(waves)))
    return total


def _mix(number: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Steele, Lea and Flood's splitmix64, in place."""
    number *= np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        number ^= number >> np.uint64(shift)
        number *= np.uint64(factor)
    number ^= number >> np.uint64(31)
    return number


@cache
def _normal_table() -> Floats:
    """The normal quantiles of 65 536 equal steps."""
    from statistics import NormalDist

    half = [NormalDist().inv_cdf((step + 0.5) / 65_536) for step in range(32_768, 65_536)]
    return np.array([-value for value in reversed(half)] + half, np.float32)


def _random_table(seed: int, purpose: int, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    return np.random.default_rng((seed, purpose)).normal(size=shape)


def _spiky(table: npt.NDArray[np.float64]) -> Floats:
    """Most columns are nearly sound, few are bad."""
    return (np.abs(table) * table * 0.6).astype(np.float32)


def _lookup(table: Floats | npt.NDArray[np.float64], place: npt.NDArray[np.floating]) -> Floats:
    """``table`` between its entries, linearly."""
    at = place.astype(np.intp)
    part = (place - at).astype(np.float32)
    low, high = table[at].astype(np.float32), table[at + 1].astype(np.float32)
    return low + part * (high - low)


def _streak_table(seed: int, number: int) -> Floats:
    """Brightness by pattern and direction, opposite directions alike, of mean zero and spread one."""
    half = np.random.default_rng((seed, 13, number)).normal(size=(64, _BINS // 2))
    soft = half + 0.8 * (np.roll(half, 1, 1) + np.roll(half, -1, 1))
    soft = (soft - soft.mean()) / soft.std()
    return np.tile(soft, 2).astype(np.float32)


def _direction(dy: Floats, dx: Floats) -> npt.NDArray[np.intp]:
    """The bin of a direction, by the angle's stand-in on a diamond instead of an arc."""
    part = dy / (np.abs(dy) + np.abs(dx) + np.float32(1e-6))
    turn = np.where(dx < 0, 2 - part, part) + 4
    return (turn * np.float32(_BINS / 4)).astype(np.intp) % _BINS


def _smooth(image: Floats, sigma: float) -> Floats:
    from scipy import ndimage

    smooth: Floats = ndimage.gaussian_filter(image, sigma, truncate=4.0) if sigma else np.array(image)
    return smooth


def _grow(region: Region, by: int) -> Region:
    z, y, x = (slice(side.start - by, side.stop + by) for side in region)
    return z, y, x
