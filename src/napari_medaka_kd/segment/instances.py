"""Volume → instances that may overlap: tile by tile, without seams, memory for one tile and for what was found.

A centre lies in the core of one tile only, and the halo holds all that its mask and its features depend on: what is
found is that of the whole volume. A thing that reaches farther from its centre than the network's masks do is cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.networks.build import network_reach, network_stride
from napari_medaka_kd.networks.inputs import encode
from napari_medaka_kd.networks.instances import peaks
from napari_medaka_kd.volumes.instances import Instance, instance, without_doubles
from napari_medaka_kd.volumes.tiles import tile_grid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from napari_medaka_kd.networks.instances import InstanceNetwork
    from napari_medaka_kd.settings import NetworkSettings
    from napari_medaka_kd.volumes.body import Body
    from napari_medaka_kd.volumes.tiles import Tile
    from napari_medaka_kd.volumes.volume import Shape, Volume

_AT_A_TIME = 64  # masks


def find_instances(
    network: InstanceNetwork, looks: NetworkSettings, volume: Volume, body: Body, core: Shape = (64, 64, 64)
) -> Job[tuple[Instance, ...]]:
    """The things in ``volume``, the surest first; of two that are alike by more than half, the surer.

    Parameters
    ----------
    looks
        What the network's backbone looks like.
    core
        Voxels (z, y, x) that a tile answers for.
    """
    stride = network_stride(looks)
    halo = [reach + far for reach, far in zip(network_reach(looks), network.reach, strict=True)]
    rim = [-(-side // step) * step for side, step in zip(halo, stride, strict=True)]
    window = [-(-side // step) * step + 2 * far for side, step, far in zip(core, stride, rim, strict=True)]
    tiles = tile_grid(volume.shape, _shape(window), _shape(rim), stride)
    found: list[Instance] = []
    doing = f"find things in {volume.name}".rstrip()
    device = next(network.parameters()).device
    network.eval()
    for number, tile in enumerate(tiles):
        yield Progress(doing, number, len(tiles))
        block = encode(volume.read(tile.read), tile.read, body, looks)
        image = torch.from_numpy(_filled(block, stride)).to(device)
        with torch.inference_mode():
            found += _of_tile(network, image[None], tile)
    yield Progress(doing, len(tiles), len(tiles))
    return without_doubles(found, 0.5)


def _of_tile(network: InstanceNetwork, image: Tensor, tile: Tile, threshold: float = 0.3) -> Iterator[Instance]:
    logits, features = network(image)
    score = logits[:, 0].float().sigmoid()
    seen = tuple(slice(0, side.stop - side.start) for side in tile.read)  # what was filled in holds no centre
    score = score[:, *seen]
    core = torch.zeros_like(score, dtype=torch.bool)
    core[:, *tile.inner] = True
    places = (peaks(score, network.backbone.dimensions == 2) & (score > threshold) & core)[0].nonzero()
    first = [side.start for side in tile.read]
    size = _shape([2 * side + 1 for side in network.reach])
    reach = torch.tensor(network.reach, device=places.device)
    known = features[0][:, *seen]
    for part in places.split(_AT_A_TIME):
        masks = (network.masks(known, part, part - reach, size) > 0).cpu().numpy()
        for mask, place in zip(masks, part.tolist(), strict=True):
            corner = [a + b - c for a, b, c in zip(place, first, network.reach, strict=True)]
            made = instance(mask, _shape(corner), float(score[0][tuple(place)]))
            if made is not None:
                yield made


def _filled(block: npt.NDArray[np.float32], stride: Shape) -> npt.NDArray[np.float32]:
    """``block`` (C, z, y, x) with its last voxels repeated up to multiples of ``stride``."""
    more = [(0, 0), *((0, -side % step) for side, step in zip(block.shape[1:], stride, strict=True))]
    return np.pad(block, more, mode="edge")


def _shape(sides: list[int]) -> Shape:
    z, y, x = sides
    return z, y, x
