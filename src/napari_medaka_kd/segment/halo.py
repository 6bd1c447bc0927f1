"""The halo of a checkpoint: how far around a tile its network must look for the cut to leave no trace."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.networks.build import network_reach
from napari_medaka_kd.volumes.atomic import replace_file
from napari_medaka_kd.volumes.tiles import tile_grid

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from napari_medaka_kd.volumes.body import Body
    from napari_medaka_kd.volumes.volume import Region, Shape, Volume

    from .segmenter import Segmenter

FILE = "halo.json"
_TRACE = 1e-5  # share of voxels whose class may differ from the whole volume's answer
_CORE = {2: (4, 128, 128), 3: (64, 64, 64)}  # voxels of a core that is looked at, by the network's dimensions
_PLACES = 2  # along the body


def find_halo(segmenter: Segmenter, volume: Volume, body: Body, folder: Path, weights: str) -> Shape:
    """The halo kept in ``folder`` for ``weights`` (a hash); measured on ``volume``, and kept, where there is none."""
    file = folder / FILE
    try:
        known = json.loads(file.read_text("utf-8"))
        if known["weights"] == weights:
            z, y, x = (int(side) for side in known["halo"])
            return z, y, x
    except (OSError, ValueError, LookupError, TypeError):
        pass  # none yet, or damaged
    halo = measure_halo(segmenter, volume, body)
    replace_file(file, json.dumps({"weights": weights, "halo": halo}).encode())
    return halo


def measure_halo(segmenter: Segmenter, volume: Volume, body: Body) -> Shape:
    """The smallest halo, in strides, with which 99.999 % of the voxels are answered as with the network's whole reach.

    The cores are smaller than a tile's, so that more of their voxels lie near a seam.
    """
    reach, step = network_reach(segmenter.looks), segmenter.stride
    cores = _cores(volume.shape, body, _CORE[segmenter.looks.dimensions])
    truth = [_classes(segmenter, volume, body, core, reach) for core in cores]
    for strides in range(1, max(-(-far // each) for far, each in zip(reach, step, strict=True))):
        z, y, x = (min(strides * each, far) for far, each in zip(reach, step, strict=True))
        found = [_classes(segmenter, volume, body, core, (z, y, x)) for core in cores]
        differ = sum(int(np.count_nonzero(a != b)) for a, b in zip(found, truth, strict=True))
        if differ <= _TRACE * sum(a.size for a in truth):
            return z, y, x
    return reach


def _cores(shape: Shape, body: Body, core: Shape) -> list[Region]:
    """Boxes of ``core`` voxels along the body's longest axis, clipped to the volume."""
    longest = max(range(3), key=lambda axis: body.box[axis].stop - body.box[axis].start)
    cores = []
    for place in range(_PLACES):
        sides = []
        for axis, (side, size, total) in enumerate(zip(body.box, core, shape, strict=True)):
            share = (place + 1) / (_PLACES + 1) if axis == longest else 0.5
            start = round(side.start + share * (side.stop - side.start) - size / 2)
            start = max(0, min(start, total - size))
            sides.append(slice(start, min(start + size, total)))
        cores.append((sides[0], sides[1], sides[2]))
    return cores


def _classes(segmenter: Segmenter, volume: Volume, body: Body, core: Region, halo: Shape) -> npt.NDArray[Any]:
    z, y, x = (
        side.stop - side.start + 2 * (rim + step) for side, rim, step in zip(core, halo, segmenter.stride, strict=True)
    )
    (tile,) = tile_grid(core, (z, y, x), halo, segmenter.stride, volume.shape)
    return segmenter.backend(segmenter.look(volume, body, tile), tile.inner)[0]
