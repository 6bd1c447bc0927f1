"""In which order DICOM slices lie, how far apart, and which way they are turned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medaka_kd.errors import InvalidVolume

from .orientation import RAS_UM_FROM_LPS_MM

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from .dicom_header import Frame
    from .volume import Triple

_TOLERANCE = 0.01  # of the distance between two slices


def arrange(
    frames: Sequence[Frame], path: Path, voxel_size: Triple | None
) -> tuple[list[Frame], npt.NDArray[np.float64] | None]:
    """(the frames from first to last, (3, 3): the steps between slices, rows and columns in RAS and µm).

    The steps are ``None`` where the frames do not say where they lie; then they go by their numbers.

    Raises
    ------
    InvalidVolume
        If they are not turned alike or not evenly spaced, or neither they nor ``voxel_size`` say how large a voxel is.
    """
    placed = all(frame.position and frame.orientation for frame in frames)
    if voxel_size is None and not (placed and all(frame.spacing for frame in frames)):
        raise InvalidVolume(
            f"{str(path)!r} does not say how large its voxels are.", "Give the voxel size in µm, in the order z, y, x."
        )
    if not placed:
        return sorted(frames, key=lambda frame: frame.order), None
    along_row, along_column = _orientation(frames, path)
    normal = np.cross(along_row, along_column)
    ordered = sorted(frames, key=lambda frame: float(np.dot(frame.position or (), normal)))
    gap = _gap(ordered, normal, path)
    between_rows, between_columns = frames[0].spacing or (1.0, 1.0)
    lps = np.stack([normal * gap, along_column * between_rows, along_row * between_columns], axis=1)
    directions: npt.NDArray[np.float64] = lps * RAS_UM_FROM_LPS_MM
    return ordered, directions


def _orientation(frames: Sequence[Frame], path: Path) -> npt.NDArray[np.float64]:
    """(2, 3): unit vectors along a row and along a column, the same for all frames."""
    turned = np.array([frame.orientation for frame in frames], np.float64)
    spacing = np.array([frame.spacing or (1.0, 1.0) for frame in frames], np.float64)
    if np.abs(turned - turned[0]).max() > 1e-3 or not np.allclose(spacing, spacing[0], rtol=1e-3, atol=0):
        raise InvalidVolume(
            f"The slices of {str(path)!r} are not turned alike or have pixels of several sizes.",
            "Put those that belong together into a folder of their own.",
        )
    axes: npt.NDArray[np.float64] = turned[0].reshape(2, 3)
    if np.abs(axes @ axes.T - np.eye(2)).max() > 1e-3:
        raise InvalidVolume(
            f"{str(path)!r} says that its rows and columns lie along {np.round(axes, 4).tolist()}.",
            "These must be of length 1 and at right angles: export it again.",
        )
    return axes


def _gap(ordered: Sequence[Frame], normal: npt.NDArray[np.float64], path: Path) -> float:
    """Mm from one slice to the next, the same for all of them."""
    steps = np.diff(np.array([frame.position for frame in ordered], np.float64), axis=0)
    gaps = steps @ normal
    gap = float(gaps.mean())
    uneven = np.abs(steps - normal * gap).max(axis=1) > _TOLERANCE * gap
    if not uneven.any() and gap > 0:
        return gap
    worst = int(np.argmax(np.abs(steps - normal * gap).max(axis=1)))
    shift = float(np.linalg.norm(steps[worst] - normal * gaps[worst]))
    raise InvalidVolume(
        f"The slices of {str(path)!r} are not evenly spaced: most are {np.median(gaps):.6g} mm apart, those at "
        f"{ordered[worst].path.name!r} and {ordered[worst + 1].path.name!r} {gaps[worst]:.6g} mm, shifted sideways by "
        f"{shift:.6g} mm.",
        "Slices may be missing, there twice or tilted: complete the folder, or export it again.",
    )
