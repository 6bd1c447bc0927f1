"""The made-up medaka's body: its tissues and parts, and how one animal differs from the next.

Places are in the body coordinates of ``solids.py``. A stocky fish with a medaka's plan, not a measured one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .solids import LENGTH, Capsule, Ellipsoid, Fin, Point, Ribs, Solid, Spine

BODY_BOX = ((0.0, -0.95, -0.5), (LENGTH, 0.75, 0.5))  # holds everything that is painted


@dataclass(frozen=True)
class Tissue:
    """How one material looks.

    Attributes
    ----------
    organ
        The organ that its voxels are labelled as; empty for what nobody labels.
    absorption, phase
        Brightness, muscle = 1, in an absorption and in a phase-contrast scan.
    grain, pitch
        Relative amplitude of its texture and cycles per unit along (t, v, w).
    soft
        Whether a scan's soft-tissue contrast and an animal's own variation change it.
    """

    name: str
    organ: str
    absorption: float
    phase: float
    grain: float = 0.0
    pitch: Point = (6.0, 6.0, 6.0)
    soft: bool = True


#: Place 0 is what lies outside the body; the numbers of all others are their places here.
TISSUES = (
    Tissue("outside", "", 0.0, 0.0, soft=False),
    Tissue("muscle", "", 1.0, 1.0, 0.06, (9.0, 3.0, 0.0)),
    Tissue("skin", "", 1.25, 1.3, 0.10, (14.0, 12.0, 0.0)),
    Tissue("fat", "", 0.83, 0.96, 0.08, (5.0, 5.0, 5.0)),
    Tissue("fluid", "", 0.74, 0.80),
    Tissue("nerve", "", 0.95, 1.06),
    Tissue("bone", "", 1.9, 1.6, 0.10, (5.0, 5.0, 5.0), soft=False),
    Tissue("teeth", "", 2.9, 2.2, 0.2, (9.0, 9.0, 9.0), soft=False),
    Tissue("fin", "", 0.95, 0.95, 0.5, (8.0, 0.0, 0.0)),
    Tissue("retina", "eyes", 1.35, 1.2),
    Tissue("vitreous", "eyes", 0.78, 0.90),
    Tissue("lens", "lenses", 1.6, 1.4, soft=False),
    Tissue("otolith", "otoliths", 3.3, 2.5, soft=False),
    Tissue("brain", "brain", 0.98, 1.08, 0.05, (4.0, 6.0, 4.0)),
    Tissue("gill", "gills", 1.04, 0.95, 0.35, (6.5, 2.0, 0.0)),
    Tissue("heart", "heart", 1.14, 1.18, 0.08, (6.0, 6.0, 6.0)),
    Tissue("liver", "liver", 1.18, 1.03, 0.04, (5.0, 5.0, 5.0)),
    Tissue("gut wall", "gut", 1.08, 1.10, 0.06, (7.0, 7.0, 7.0)),
    Tissue("gut content", "gut", 0.92, 1.0, 0.25, (4.5, 5.0, 5.0)),
    Tissue("bladder wall", "swim bladder", 1.05, 1.10),
    Tissue("gas", "swim bladder", 0.10, 0.25, soft=False),
    Tissue("kidney", "kidney", 1.10, 1.08, 0.10, (8.0, 8.0, 8.0)),
    Tissue("vertebra", "spine", 2.3, 1.8, 0.10, (5.0, 5.0, 5.0), soft=False),
    Tissue("gonad", "gonad", 1.02, 1.10, 0.14, (4.5, 4.5, 4.5)),
)
_NUMBER = {tissue.name: number for number, tissue in enumerate(TISSUES)}


@dataclass(frozen=True)
class Part:
    """Solids that are painted together, layer by layer from outside to inside.

    Attributes
    ----------
    layers
        (field below which it holds, tissue), outermost first.
    inside
        Whether only what is body already is painted over.
    """

    solids: tuple[Solid, ...]
    layers: tuple[tuple[float, str], ...]
    inside: bool = True

    @property
    def painted(self) -> tuple[tuple[float, int], ...]:
        """``layers`` with the numbers of the tissues."""
        return tuple((limit, _NUMBER[name]) for limit, name in self.layers)


def build_parts(random: np.random.Generator, spread: float) -> tuple[Part, ...]:
    """One animal's parts in the order of painting: context first, organs over it.

    Parameters
    ----------
    spread
        How far organs vary in place and size; 0: every animal is the textbook's.
    """
    return tuple(_vary(part, random, spread) for part in _textbook(random, spread))


def tissue_variation(random: np.random.Generator, spread: float) -> npt.NDArray[np.float32]:
    """Factor of each tissue's brightness in one animal; organs' order of brightness changes between animals."""
    drawn = 1 + 0.04 * spread * _within(random, len(TISSUES))
    return np.where([tissue.soft for tissue in TISSUES], drawn, 1.0).astype(np.float32)


def _vary(part: Part, random: np.random.Generator, spread: float) -> Part:
    """The part's solids moved and scaled, a pair alike but for a little."""
    t, v, w = 0.016 * spread * _within(random, 3) * (1.6, 1.0, 0.4)
    scale = float(1 + 0.06 * spread * _within(random, 1)[0])
    if len(part.solids) > 8:  # ribs, spine, gut: a long thing is not scaled as one
        scale = 1 + 0.3 * (scale - 1)
    return Part(tuple(solid.moved((t, v, w), scale) for solid in part.solids), part.layers, part.inside)


def _within(random: np.random.Generator, size: int) -> npt.NDArray[np.float64]:
    """Normal, cut off at two standard deviations so that no organ is lost."""
    return np.clip(random.normal(size=size), -2, 2)


def _textbook(random: np.random.Generator, spread: float) -> tuple[Part, ...]:
    coelom = Ellipsoid((1.45, -0.20, 0.0), (0.75, 0.38, 0.31))
    return (*_fins(), *_head_bones(), *_trunk(coelom), *_head_organs(), *_belly_organs(_gut(random, spread)))


def _fins() -> tuple[Part, ...]:
    blades = (
        Fin((2.45, 2.90), (0.2, 0.1), (0.50, 0.38)),
        Fin((2.05, 2.95), (-0.70, -0.36), (-0.3, -0.1)),
        Fin((3.20, LENGTH), (-0.16, -0.42), (0.16, 0.42)),
        Fin((0.98, 1.35), (-0.16, -0.32), (-0.06, 0.02), 0.43),
        Fin((0.98, 1.35), (-0.16, -0.32), (-0.06, 0.02), -0.43),
    )
    return (Part(blades, ((1.0, "fin"),), inside=False),)


def _head_bones() -> tuple[Part, ...]:
    jaws = (
        *_pair(Capsule((0.05, -0.07, 0.04), (0.36, -0.22, 0.16), 0.026)),
        *_pair(Capsule((0.04, 0.02, 0.04), (0.20, 0.06, 0.10), 0.024)),
    )
    girdle = (
        *_pair(Capsule((0.94, 0.14, 0.30), (0.90, -0.14, 0.31), 0.028)),
        *_pair(Capsule((0.90, -0.14, 0.31), (0.84, -0.44, 0.08), 0.028)),
    )
    return (
        Part((Ellipsoid((0.30, -0.08, 0.0), (0.28, 0.05, 0.10)),), ((1.0, "fluid"),)),
        Part(_pair(Ellipsoid((0.70, -0.12, 0.20), (0.22, 0.24, 0.14))), ((1.0, "bone"), (0.76, "fluid"))),
        Part((Ellipsoid((0.56, 0.15, 0.0), (0.42, 0.21, 0.21)),), ((1.0, "bone"), (0.74, "fluid"))),
        Part((*jaws, *girdle), ((1.0, "bone"),)),
        Part(_pair(Ellipsoid((0.84, -0.03, 0.06), (0.05, 0.05, 0.05))), ((1.0, "teeth"),)),
    )


def _trunk(coelom: Ellipsoid) -> tuple[Part, ...]:
    return (
        Part((Ribs(coelom),), ((1.0, "bone"),)),
        Part((coelom,), ((1.0, "fat"),)),
        Part((Capsule((0.8, 0.24, 0.0), (1.7, 0.30, 0.0), 0.035),), ((1.0, "nerve"),)),
        Part((Spine(),), ((1.0, "vertebra"),)),
    )


def _head_organs() -> tuple[Part, ...]:
    brain = (
        Ellipsoid((0.42, 0.18, 0.0), (0.11, 0.07, 0.08)),
        *_pair(Ellipsoid((0.55, 0.20, 0.07), (0.11, 0.09, 0.09))),
        Ellipsoid((0.53, 0.09, 0.0), (0.10, 0.06, 0.10)),
        Ellipsoid((0.68, 0.21, 0.0), (0.08, 0.08, 0.08)),
        Capsule((0.66, 0.14, 0.0), (0.90, 0.21, 0.0), 0.055),
    )
    eyes = _pair(Ellipsoid((0.34, 0.06, 0.235), (0.185, 0.17, 0.12)))
    otoliths = (
        *_pair(Ellipsoid((0.70, 0.06, 0.115), (0.062, 0.056, 0.046))),
        *_pair(Ellipsoid((0.80, 0.08, 0.09), (0.04, 0.04, 0.035))),
    )
    return (
        Part(_pair(Ellipsoid((0.70, -0.13, 0.20), (0.17, 0.19, 0.095))), ((1.0, "gill"),)),
        Part(brain, ((1.0, "brain"),)),
        Part(eyes, ((1.0, "retina"), (0.66, "vitreous")), inside=False),
        Part(_pair(Ellipsoid((0.34, 0.06, 0.265), (0.080, 0.076, 0.068))), ((1.0, "lens"),)),
        Part(otoliths, ((1.0, "otolith"),)),
    )


def _belly_organs(gut: tuple[Solid, ...]) -> tuple[Part, ...]:
    kidney = (
        *_pair(Ellipsoid((0.99, 0.09, 0.10), (0.10, 0.08, 0.07))),
        *_pair(Capsule((1.05, 0.09, 0.06), (2.0, 0.10, 0.05), 0.052)),
    )
    heart = (
        Ellipsoid((0.91, -0.36, 0.0), (0.09, 0.09, 0.09)),
        Ellipsoid((0.97, -0.26, 0.03), (0.08, 0.07, 0.08)),
        Ellipsoid((0.82, -0.35, 0.0), (0.06, 0.045, 0.045)),
    )
    liver = (
        Ellipsoid((1.15, -0.23, 0.15), (0.24, 0.20, 0.14)),
        Ellipsoid((1.10, -0.26, -0.15), (0.17, 0.15, 0.10)),
        Ellipsoid((1.06, -0.20, 0.0), (0.09, 0.13, 0.15)),
    )
    return (
        Part((Ellipsoid((0.91, -0.33, 0.0), (0.15, 0.15, 0.13)),), ((1.0, "fluid"),)),
        Part(heart, ((1.0, "heart"),)),
        Part(liver, ((1.0, "liver"),)),
        Part((Ellipsoid((1.74, -0.26, 0.0), (0.34, 0.15, 0.17)),), ((1.0, "gonad"),)),
        Part(gut, ((1.0, "gut wall"), (0.42, "gut content"))),
        Part(kidney, ((1.0, "kidney"),)),
        Part((Ellipsoid((1.55, -0.06, 0.0), (0.38, 0.115, 0.15)),), ((1.0, "bladder wall"), (0.74, "gas"))),
    )


_GUT = np.array([
    (0.92, -0.08, 0.0), (1.05, -0.15, -0.03), (1.20, -0.30, -0.06), (1.42, -0.40, -0.15), (1.62, -0.42, -0.05),
    (1.50, -0.46, 0.10), (1.28, -0.46, 0.10), (1.36, -0.53, -0.02), (1.70, -0.50, 0.0), (2.08, -0.42, 0.0),
])  # fmt: skip


def _gut(random: np.random.Generator, spread: float) -> tuple[Solid, ...]:
    """Capsules along a smooth curve through the loops, which lie a little elsewhere in every animal."""
    bent = _GUT + 0.02 * spread * np.clip(random.normal(size=_GUT.shape), -2, 2) * (2.0, 0.7, 1.2)
    places = np.linspace(0, len(_GUT) - 1, 28)
    curve = _through(bent, places)
    radii = 0.086 - 0.02 * np.linspace(0, 1, len(places)) + 0.012 * np.sin(places * 2.3)
    return tuple(
        Capsule((a[0], a[1], a[2]), (b[0], b[1], b[2]), float(radius))
        for a, b, radius in zip(curve[:-1].tolist(), curve[1:].tolist(), radii, strict=False)
    )


def _through(knots: npt.NDArray[np.float64], places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Catmull and Rom's curve through ``knots`` at ``places`` (0 is the first knot)."""
    padded = np.vstack([2 * knots[0] - knots[1], knots, 2 * knots[-1] - knots[-2]])
    at = np.minimum(places.astype(int), len(knots) - 2)
    f = (places - at)[:, None]
    a, b, c, d = (padded[at + step] for step in range(4))
    inner = 2 * a - 5 * b + 4 * c - d + f * (3 * (b - c) + d - a)
    curve: npt.NDArray[np.float64] = b + 0.5 * f * (c - a + f * inner)
    return curve


def _pair(right: Ellipsoid | Capsule) -> tuple[Solid, Solid]:
    """``right`` and its mirror image across the middle plane."""
    return right, right.mirrored()
