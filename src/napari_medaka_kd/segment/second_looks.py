"""Second looks: how far a network's answer to a tile differs when it is mirrored, or when a part of it is left out.

**Disagreement** is 255·Σ pᵥ[cᵥ ≠ c] / Σ pᵥ over all looks, the first included: c is the label, cᵥ the class that look v
finds most probable, pᵥ its probability. It is the variation ratio (Freeman 1965), which Gal & Ghahramani (2016) take
for networks with dropout, with each look weighed by how sure it is. The labels are those of the first look.

**Flips** (Wang et al. 2019): the tile is mirrored along each axis that the network looks along, coordinates and all,
so that each voxel still says truly where in the body it lies. That is a mirrored scan of the same animal, as training
shows it where the settings allow mirrors. Each costs as much as the first look; any back end can do it.

**Dropout** (Gal & Ghahramani 2016): in each round a fifth of the channels that each block of the decoder gives is left
out, and the others made louder to make up for it. Networks are trained without it here: it asks how far an answer
hangs by single channels, and is no draw from a posterior. The channels of a round are the same in every tile and every
run, so there are no seams between tiles, and a killed run goes on to the same bytes in whatever order. Only in torch.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.networks.backends.torch_backend import TorchBackend
from napari_medaka_kd.networks.unet import UNet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    from napari_medaka_kd.networks.backends.backend import Backend, Reply
    from napari_medaka_kd.networks.foreign import Looks
    from napari_medaka_kd.settings import SegmentSettings
    from napari_medaka_kd.volumes.volume import Region

_LEFT_OUT = 0.2  # share of the channels


class SecondLooks(Protocol):
    """Further answers to a tile (C, z, y, x) about its core, as a :class:`Backend` gives them."""

    def __call__(self, backend: Backend, image: npt.NDArray[np.float32], inner: Region) -> Iterator[Reply]: ...


def second_looks(network: nn.Module, looks: Looks, settings: SegmentSettings, precision: torch.dtype) -> SecondLooks:
    """Those that ``settings`` asks for.

    Raises
    ------
    UserError
        If they are dropout, and the network has no decoder that is known.
    """
    if settings.disagreement == "dropout":
        return Dropout(network, settings.rounds, precision)
    return Flips((1, 2, 3) if looks.dimensions == 3 else (2, 3))


def disagree(classes: npt.NDArray[Any], doubt: npt.NDArray[np.uint8], others: Iterable[Reply]) -> npt.NDArray[np.uint8]:
    """The disagreement, (z, y, x) uint8, of ``others`` with the label; see the head of the file."""
    total = 255.0 - doubt
    against = np.zeros_like(total)
    for other, its_doubt, *_ in others:
        sure = 255.0 - its_doubt
        total += sure
        against += sure * (other != classes)
    share: npt.NDArray[np.uint8] = np.rint(255 * against / np.maximum(total, 1)).astype(np.uint8)
    return share


class Flips:
    """Looks at the tile mirrored along each of ``axes`` of (C, z, y, x), one after the other."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def __call__(self, backend: Backend, image: npt.NDArray[np.float32], inner: Region) -> Iterator[Reply]:
        for axis in self.axes:
            sides, size = list(inner), image.shape[axis]
            side = sides[axis - 1]
            sides[axis - 1] = slice(size - side.stop, size - side.start)
            mirrored = backend(np.ascontiguousarray(np.flip(image, axis)), (sides[0], sides[1], sides[2]))
            yield tuple(np.flip(each, axis - 4) for each in mirrored[:2])


class Dropout:
    """Looks at the tile with ``rounds`` networks that lack a part of ``network``'s decoder each."""

    def __init__(self, network: nn.Module, rounds: int, precision: torch.dtype) -> None:
        self.backends = [
            TorchBackend(f"dropout {number}", thinned(network, number), precision) for number in range(rounds)
        ]

    def __call__(self, backend: Backend, image: npt.NDArray[np.float32], inner: Region) -> Iterator[Reply]:
        for each in self.backends:
            yield each(image, inner)


def thinned(network: nn.Module, number: int) -> nn.Module:
    """A copy of ``network`` whose decoder lacks a fifth of its channels: others for each ``number``, always the same.

    Raises
    ------
    UserError
        If it has no decoder that is known.
    """
    network = copy.deepcopy(network)
    blocks = [block for module in network.modules() if isinstance(module, UNet) for block in module.up]
    if not blocks:
        raise UserError("This network has no decoder to leave channels out of.", 'Set disagreement to "flips".')
    for place, block in enumerate(blocks):
        block.register_forward_hook(_Gate(number, place))
    return network


class _Gate:
    """A forward hook that leaves out the same channels of a block's answer whenever it is asked."""

    def __init__(self, number: int, place: int) -> None:
        self._seed = (number, place, 1)  # the 1: trailing zeros would not tell seeds apart

    def __call__(self, _: nn.Module, __: Any, answer: Tensor) -> Tensor:
        channels = answer.shape[1]
        kept = np.random.default_rng(self._seed).random(channels).argsort() >= round(_LEFT_OUT * channels)
        gains = torch.from_numpy(kept / kept.mean()).to(answer)
        return answer * gains.view(-1, *[1] * (answer.ndim - 2))
