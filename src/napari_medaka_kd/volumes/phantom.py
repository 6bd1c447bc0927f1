"""A procedural adult medaka in a micro-CT scanner, with its truth: any size, any region, computed on demand.

The fish stands along z, its snout at low z; rings and streaks lie in the planes across. A voxel is a function of the
settings and its place alone, so a scan of 2000 x 2000 x 4000 costs nothing until it is read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .anatomy import BODY_BOX, TISSUES, Part, build_parts, tissue_variation
from .beamline import BEAMLINE_A, BEAMLINE_B, Scanner, Section, Source, degraded, wave
from .labels import LabelMap, LabelSchema
from .lazy import DiskArray
from .solids import LENGTH, Floats, Point, body_depth, spine_height
from .volume import Region, Volume, extent, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medaka_kd.demo_settings import PhantomSettings

__all__ = ["BEAMLINE_A", "BEAMLINE_B", "MEDAKA", "PhantomAnimal", "degraded", "phantom_animal"]

MEDAKA = LabelSchema.from_names([
    "eyes", "lenses", "otoliths", "brain", "gills", "heart",
    "liver", "gut", "swim bladder", "kidney", "spine", "gonad",
])  # fmt: skip

_ORGAN = np.array([MEDAKA.names.index(tissue.organ) + 1 if tissue.organ else 0 for tissue in TISSUES], np.uint8)
_BLOCK = 96  # voxels of an edge that are computed at a time
_SKIN = 0.13  # depth of the skin


@dataclass(frozen=True)
class PhantomAnimal:
    """One animal: what the scanner saw (uint16, one level) and what it really was (uint8 ids of ``MEDAKA``)."""

    settings: PhantomSettings
    volume: Volume
    labels: LabelMap


def phantom_animal(settings: PhantomSettings) -> PhantomAnimal:
    """The animal of ``settings``, lazily: reading a region computes it, in memory bounded by the region."""
    random = np.random.default_rng((settings.animal, 1))
    body = Body(_draw_pose(random, settings), build_parts(random, settings.pose))
    scanner = Scanner(
        settings.beamline,
        settings.shape,
        settings.animal * 1_000_003 + settings.scan,
        body.paint,
        tissue_variation(random, settings.pose),
        _dense_sources(body.pose),
    )
    name = f"phantom {settings.animal}"
    size = (settings.voxel_size,) * 3
    scan = DiskArray(settings.shape, np.dtype(np.uint16), InBlocks(scanner.read, np.dtype(np.uint16)).read)
    truth = DiskArray(settings.shape, MEDAKA.dtype, InBlocks(body.labels, MEDAKA.dtype).read)
    return PhantomAnimal(settings, Volume((scan,), size, name), LabelMap(Volume((truth,), size, name), MEDAKA))


@dataclass(frozen=True)
class Pose:
    """Where the body lies in the scan: a turn and a scaling, then a smooth bend.

    Attributes
    ----------
    matrix
        (3, 3): body coordinates (t, v, w) per voxel (z, y, x).
    origin
        Body coordinates at ``centre``, the middle of the scan in voxels.
    bends, waves
        The smooth deformation: by (a square, a cube) of z, and waves of (amplitude, cycles and phase along z, y, x),
        each for t, v and w.
    """

    matrix: npt.NDArray[np.float64]
    origin: Point
    centre: Point
    bends: npt.NDArray[np.float64]  # (3, 2)
    waves: npt.NDArray[np.float64]  # (3, waves, 7)

    def locate(self, region: Region) -> tuple[Floats, Floats, Floats]:
        """Body coordinates of every voxel of ``region``."""
        offsets = [np.arange(side.start, side.stop) - middle for side, middle in zip(region, self.centre, strict=True)]
        t, v, w = (self._coordinate(number, offsets) for number in range(3))
        return t, v, w

    def _coordinate(self, number: int, offsets: list[npt.NDArray[Any]]) -> Floats:
        z, y, x = (offset * step for offset, step in zip(offsets, self.matrix[number], strict=True))
        along = offsets[0] / (self.centre[0] + 0.5)
        z += self.origin[number] + self.bends[number, 0] * along**2 + self.bends[number, 1] * along * along**2
        plane = y.astype(np.float32)[:, None] + x.astype(np.float32)
        total: Floats = z.astype(np.float32)[:, None, None] + plane
        for amplitude, *rest in self.waves[number]:
            down, aside, across = (
                wave(offset / (2 * middle + 1) * cycles + phase).astype(np.float32)
                for offset, middle, cycles, phase in zip(offsets, self.centre, rest[:3], rest[3:], strict=True)
            )
            total += (np.float32(amplitude) * down)[:, None, None] * (aside[:, None] * across)
        return total

    @property
    def slack(self) -> npt.NDArray[np.float64]:
        """The most that the deformation moves anything, in body coordinates (3,)."""
        slack: npt.NDArray[np.float64] = np.abs(self.bends).sum(1) * 1.5 + np.abs(self.waves[:, :, 0]).sum(1)
        return slack

    def box(self, solid: tuple[Point, Point], region: Region) -> Region | None:
        """What of ``region`` the body coordinates' box ``solid`` can lie in, relative to it; ``None``: nothing."""
        low, high = np.array(solid[0]) - self.slack, np.array(solid[1]) + self.slack
        inverse = np.linalg.inv(self.matrix)
        middle = inverse @ ((low + high) / 2 - self.origin) + self.centre
        half = np.abs(inverse) @ ((high - low) / 2) + 1
        starts = [max(math.floor(m - h) - side.start, 0) for m, h, side in zip(middle, half, region, strict=True)]
        stops = [
            min(math.ceil(m + h) + 1, side.stop) - side.start for m, h, side in zip(middle, half, region, strict=True)
        ]
        if any(stop <= start for start, stop in zip(starts, stops, strict=True)):
            return None
        return slice(starts[0], stops[0]), slice(starts[1], stops[1]), slice(starts[2], stops[2])

    def place(self, point: Point) -> npt.NDArray[np.float64]:
        """The voxel, (z, y, x), at which a point of the body lies."""
        inverse = np.linalg.inv(self.matrix)
        voxel = np.asarray(self.centre)
        for _ in range(6):
            z, y, x = (int(side) for side in np.rint(voxel))
            here = self.locate((slice(z, z + 1), slice(y, y + 1), slice(x, x + 1)))
            error = np.array(point) - [float(axis[0, 0, 0]) for axis in here]
            voxel = np.array([z, y, x]) + inverse @ error
        return voxel


@dataclass(frozen=True)
class Body:
    """One animal in its pose."""

    pose: Pose
    parts: tuple[Part, ...]

    def labels(self, region: Region) -> npt.NDArray[np.uint8]:
        """Organ ids of ``region``."""
        section = self.paint(region)
        return np.zeros(extent(region), np.uint8) if section is None else _ORGAN[section.tissue]

    def paint(self, region: Region) -> Section | None:
        """The tissues of ``region``; ``None`` where the body does not reach."""
        if self.pose.box(BODY_BOX, region) is None:
            return None
        place = self.pose.locate(region)
        depth = body_depth(*place)
        tissue = np.where(depth > 0, np.where(depth > _SKIN, np.uint8(1), np.uint8(2)), np.uint8(0))
        for part in self.parts:
            self._paint_part(part, tissue, region, place)
        return Section(tissue, depth, place)

    def _paint_part(
        self, part: Part, tissue: npt.NDArray[np.uint8], region: Region, place: tuple[Floats, Floats, Floats]
    ) -> None:
        fields = []
        for solid in part.solids:
            box = self.pose.box(solid.box, region)
            if box is not None:
                t, v, w = (axis[box] for axis in place)
                fields.append((tissue[box], solid.field(t, v, w)))
        for limit, number in part.painted:
            for view, field in fields:
                holds = field < np.float32(limit)
                if part.inside:
                    holds &= view > 0
                view[holds] = number


@dataclass(frozen=True)
class InBlocks:
    """Reads a region block by block, so that what is needed on the way stays small."""

    compute: Callable[[Region], npt.NDArray[Any]]
    dtype: np.dtype[Any]

    def read(self, region: Region) -> npt.NDArray[Any]:
        whole = np.empty(extent(region), self.dtype)
        for z in _cuts(region[0]):
            for y in _cuts(region[1]):
                for x in _cuts(region[2]):
                    whole[within((z, y, x), region)] = self.compute((z, y, x))
        return whole


def _cuts(side: slice) -> list[slice]:
    pieces = max(math.ceil((side.stop - side.start) / _BLOCK), 1)
    edges = [side.start + (side.stop - side.start) * piece // pieces for piece in range(pieces + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _draw_pose(random: np.random.Generator, settings: PhantomSettings) -> Pose:
    shape, spread = settings.shape, settings.pose
    drawn = np.clip(random.normal(size=8), -2, 2) * spread
    turn = _rotation(drawn[:3] * np.deg2rad((12.0, 2.5, 2.5)))
    size = 1 + 0.04 * drawn[3]
    along = 0.88 * shape[0] * size * (1 + 0.01 * drawn[4]) / LENGTH  # voxels per unit
    across = 0.58 * min(shape[1:]) * size * (1 + 0.03 * drawn[5])
    matrix = turn / np.array([[along], [across], [across]])
    origin = (LENGTH / 2 + 0.04 * drawn[6], -0.06 + 0.03 * drawn[7], 0.03 * float(random.uniform(-1, 1)) * spread)
    bends = np.clip(random.normal(size=(3, 2)), -2, 2) * spread * ((0.02, 0.02), (0.035, 0.02), (0.06, 0.03))
    centre = ((shape[0] - 1) / 2, (shape[1] - 1) / 2, (shape[2] - 1) / 2)
    return Pose(matrix, origin, centre, bends, _draw_waves(random, spread))


def _draw_waves(random: np.random.Generator, spread: float) -> npt.NDArray[np.float64]:
    count = 3
    amplitude = np.clip(random.normal(size=(3, count, 1)), -2, 2) * np.array([0.03, 0.014, 0.014])[:, None, None]
    cycles = random.uniform(0.4, 1.4, (3, count, 3)) * (1.5, 1.0, 1.0)
    return np.concatenate([amplitude * spread, cycles, random.uniform(0, 1, (3, count, 3))], axis=2)


def _rotation(angles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The matrix of turns about z, y and x in this order, in radians."""
    turned = np.eye(3)
    for axis, angle in enumerate(angles):
        one, other = [number for number in range(3) if number != axis]
        turn = np.eye(3)
        turn[one, one] = turn[other, other] = math.cos(angle)
        turn[one, other], turn[other, one] = -math.sin(angle), math.sin(angle)
        turned = turn @ turned
    return turned


def _dense_sources(pose: Pose) -> tuple[Source, ...]:
    """What throws streaks: the two large otoliths and the spine."""
    reach = 0.12 / float(np.abs(pose.matrix[0, 0]))
    ears = [pose.place((0.70, 0.06, side))[None] for side in (0.115, -0.115)]
    spine = np.array([pose.place((t, float(spine_height(t)), 0.0)) for t in np.linspace(0.9, 3.2, 12)])
    return tuple(Source(path, reach) for path in (*ears, spine))
