"""The cone of a tile's core: what of each level of a U-Net the core depends on. The rest need not be computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_medaka_kd.volumes.volume import Region, Shape

_RIM = 2  # voxels of its level that a block of two 3 × 3 × 3 convolutions looks around


def cone(inner: Region, shape: Shape, levels: int) -> npt.NDArray[np.int64]:
    """What a decoder of ``levels`` (the coarsest included) must compute for ``inner`` of a tile of ``shape``.

    The encoder sees the whole tile, as the context of the core; the decoder, three quarters of the work, would compute
    the finest levels of the halo in vain.

    Parameters
    ----------
    inner
        Voxels (z, y, x) of the tile.
    shape
        Of the tile, voxels; multiples of the network's stride along the axes that it halves.
    levels
        1: a network of which nothing is known, whose whole answer is cut.

    Returns
    -------
    (levels, 2, 2, 3) int64: for each level, fine to coarse, the start and stop (z, y, x) of what is taken of the
    bridge, and of what is taken of the block's answer, in voxels of what it is taken from.
    """
    table = np.zeros((levels, 2, 2, 3), np.int64)
    for axis, (side, size) in enumerate(zip(inner, shape, strict=True)):
        start, stop = side.start, side.stop
        for level in range(levels - 1):
            first = max((start - _RIM) // 2 * 2, 0)
            last = min(-(-(stop + _RIM) // 2) * 2, size)
            table[level, :, :, axis] = (first, last), (start - first, stop - first)
            start, stop, size = first // 2, last // 2, size // 2
        table[-1, :, :, axis] = (0, size), (start, stop)
    return table


def cut(image: Tensor, window: Tensor | Sequence[Any]) -> Tensor:
    """``image[..., z, y, x]`` between ``window``'s start and stop; its last axes only, where it has fewer of them."""
    axes = image.ndim - 2
    start, stop = window[0][-axes:], window[1][-axes:]
    sides: list[Any] = [slice(start[axis], stop[axis]) for axis in range(axes)]
    return image[(..., *sides)]
