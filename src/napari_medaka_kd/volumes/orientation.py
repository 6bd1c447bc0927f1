"""How arrays with an anatomy, stored in any of 48 ways, come to lie alike: z-y-x of the closest canonical RAS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .lazy import DiskArray, orient

if TYPE_CHECKING:
    import numpy.typing as npt

    from .volume import Triple

#: (3, 1): a direction in LPS and mm, as MetaImage and DICOM have it, times this is one in RAS and µm.
RAS_UM_FROM_LPS_MM = np.array([[-1e3], [-1e3], [1e3]])


def to_canonical(array: DiskArray, directions: npt.NDArray[np.float64]) -> tuple[DiskArray, Triple]:
    """``array`` presented as z (to superior), y (to anterior), x (to right), lazily, and its voxel size.

    Parameters
    ----------
    array
        Its axes in the order of the file.
    directions
        (3, 3): column ``i`` is the step, in any unit and in RAS, from one voxel to the next along axis ``i``.

    Raises
    ------
    ValueError
        If the directions do not span space.
    """
    from nibabel.orientations import io_orientation

    if not np.isfinite(directions).all() or abs(np.linalg.det(directions)) < 1e-12 * np.linalg.norm(directions) ** 3:
        raise ValueError(f"its axes do not span space: {np.round(directions, 6).tolist()}")
    affine = np.eye(4)
    affine[:3, :3] = directions
    turned: npt.NDArray[Any] = io_orientation(affine)  # type: ignore[no-untyped-call]  # for each axis of the file: (world axis, direction)
    steps = np.linalg.norm(directions, axis=0)
    places = [int(np.flatnonzero(turned[:, 0] == world)[0]) for world in (2, 1, 0)]
    z, y, x = (bool(turned[place, 1] < 0) for place in places)
    # Headers hold 32-bit floats: six digits are what they mean.
    size_z, size_y, size_x = (float(f"{steps[place]:.6g}") for place in places)
    return orient(array, (places[0], places[1], places[2]), (z, y, x)), (size_z, size_y, size_x)
