"""Facts of a label map: of each organ its volume, place, pieces, holes and worst jump, and which organs touch."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

_SPECK = 0.02  # of an organ; a smaller piece is not counted
_MOST = 32  # pieces that are remembered
_THICK = 32  # slices that are compared at a time

Classes = npt.NDArray[np.int64]
Triple = tuple[float, float, float]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class OrganFacts(BaseModel):
    """What is so of one organ.

    Attributes
    ----------
    volume
        µm³.
    centre
        (z, y, x) of its centroid in µm, from the corner of the first voxel.
    pieces
        µm³ of its pieces (which do not touch, not even at a corner), largest first, without specks; at most 32.
    holes
        Enclosed background as a share of the organ.
    jump
        How much its cross-section changes from one slice to the next at the worst place: voxels in one of the two
        only, as a share of the largest cross-section.
    jump_at
        The slice of level 0 behind that place.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    volume: Amount
    centre: tuple[Number, Number, Number]
    pieces: tuple[Amount, ...] = Field(min_length=1, max_length=_MOST)
    holes: Amount
    jump: Amount
    jump_at: int


class Facts(BaseModel):
    """What is so of a label map.

    Attributes
    ----------
    organs
        By class, of those that are there.
    contacts
        By (class, larger class): the area in which two organs touch, one voxel between them allowed, as a share of
        the surface of the one with the smaller surface; of those that touch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    organs: dict[int, OrganFacts]
    contacts: tuple[tuple[int, int, Amount], ...]

    def contact(self, one: int, other: int) -> float:
        """0 where they do not touch."""
        wanted = (min(one, other), max(one, other))
        return next((share for a, b, share in self.contacts if (a, b) == wanted), 0.0)


def look_at(classes: Classes, voxel_size: Triple, step: float = 1.0) -> Facts:
    """The facts of ``classes`` (z, y, x), whose voxels measure ``voxel_size`` µm.

    Takes some 12 bytes of memory a voxel of the largest organ's box beside ``classes``.

    Parameters
    ----------
    step
        Slices of level 0 in one of these.
    """
    from scipy import ndimage

    organs = {}
    for organ, box in enumerate(ndimage.find_objects(classes), start=1):
        if box is not None:
            organs[organ] = _organ(classes, organ, (box[0], box[1], box[2]), voxel_size, step)
    return Facts(organs=organs, contacts=_contacts(classes, voxel_size))


def worst_jump(mask: npt.NDArray[np.bool_], ends: tuple[bool, bool]) -> tuple[float, int]:
    """The worst change between neighbouring slices, 0…2, and the slice behind it.

    Parameters
    ----------
    ends
        Whether there are slices before the first and behind the last, in which nothing is; at the scan's end an organ
        is not cut off by whoever drew it.
    """
    padded = np.pad(mask, ((int(ends[0]), int(ends[1])), (0, 0), (0, 0)))
    if len(padded) < 2:
        return 0.0, 0
    changes = np.array([np.count_nonzero(a ^ b) for a, b in pairwise(padded)])
    worst = int(changes.argmax())
    return float(changes[worst] / mask.sum((1, 2)).max()), worst + 1 - int(ends[0])


def _organ(
    classes: Classes, organ: int, box: tuple[slice, slice, slice], voxel_size: Triple, step: float
) -> OrganFacts:
    mask = classes[box] == organ
    voxel = float(np.prod(voxel_size))
    ends = (box[0].start > 0, box[0].stop < len(classes))
    worst, place = worst_jump(mask, ends)
    return OrganFacts(
        volume=int(mask.sum()) * voxel,
        centre=_centre(mask, box, voxel_size),
        pieces=tuple(float(count) * voxel for count in _pieces(mask)),
        holes=_holes(classes[box] == 0, mask),
        jump=worst,
        jump_at=round((box[0].start + place) * step),
    )


def _centre(mask: npt.NDArray[np.bool_], box: tuple[slice, slice, slice], voxel_size: Triple) -> Triple:
    middles = []
    for axis in range(3):
        counts = mask.sum(tuple(other for other in range(3) if other != axis))
        at = float((np.arange(len(counts)) * counts).sum() / counts.sum())
        middles.append((at + box[axis].start + 0.5) * voxel_size[axis])
    return middles[0], middles[1], middles[2]


def _pieces(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Voxels of each piece, largest first, without specks."""
    from scipy import ndimage

    sizes = np.sort(np.bincount(ndimage.label(mask, np.ones((3, 3, 3)))[0].ravel())[1:])[::-1]
    return np.asarray(sizes[sizes >= max(_SPECK * sizes.sum(), min(2, sizes[0]))][:_MOST])


def _holes(empty: npt.NDArray[np.bool_], mask: npt.NDArray[np.bool_]) -> float:
    """The background in what the organ encloses, as a share of it; both (z, y, x) in the organ's box."""
    from scipy import ndimage

    outside = np.pad(~mask, 1, constant_values=True)
    parts, count = ndimage.label(outside)
    if count == 1:
        return 0.0
    inner = parts[1:-1, 1:-1, 1:-1]
    return float(np.count_nonzero(empty & (inner > 0) & (inner != parts[0, 0, 0])) / mask.sum())


def _contacts(classes: Classes, voxel_size: Triple) -> tuple[tuple[int, int, float], ...]:
    count = int(classes.max(initial=0)) + 1
    touching, surface = np.zeros((count, count)), np.zeros(count)
    for axis in range(3):
        area = float(np.prod(voxel_size) / voxel_size[axis])
        faces, near = _faces(np.moveaxis(classes, axis, 0), count)
        surface += area * (faces.sum(0) + faces.sum(1))
        touching += area * (near + near.T)
    shares = []
    for one, other in np.argwhere(np.triu(touching[1:, 1:], 1) > 0) + 1:
        share = touching[one, other] / min(surface[one], surface[other])
        shares.append((int(one), int(other), float(min(share, 1.0))))
    return tuple(shares)


def _faces(classes: Classes, count: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """How many faces between slices part each two classes; and so with single voxels of background left out."""
    plain, near = np.zeros(count * count), np.zeros(count * count)
    for start in range(0, len(classes) - 1, _THICK):
        stop = min(start + _THICK, len(classes) - 1)
        here, next_ = classes[start:stop], classes[start + 1 : stop + 1]
        behind = np.concatenate((classes[start + 2 : stop + 2], next_[-1:]))[: len(here)]
        differ, gap = here != next_, (here > 0) & (next_ == 0) & (behind > 0) & (behind != here)
        code = (here * count + next_)[differ]
        plain += np.bincount(code, minlength=count * count)
        near += np.bincount(code, minlength=count * count)
        near += np.bincount((here * count + behind)[gap], minlength=count * count)
    return plain.reshape(count, count), near.reshape(count, count)
