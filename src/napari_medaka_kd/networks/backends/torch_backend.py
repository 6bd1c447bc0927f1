"""Back ends that torch runs by itself: in float32 or bfloat16, on any of its devices, as it is or compiled."""

from __future__ import annotations

import copy
import shutil
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from napari_medaka_kd.networks.cone import cone
from napari_medaka_kd.networks.device import choose_precision

from .verdict import Verdict, folded

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medaka_kd.settings import NetworkSettings
    from napari_medaka_kd.volumes.volume import Region, Shape

    from .backend import Reply

Cone: TypeAlias = list[list[list[list[int]]]]
FLAT, DEEP = torch.channels_last, torch.channels_last_3d
SLICES = 8  # at a time on a CPU, for a 2-D network: with 64 slices of 160² at once it was 1.9 times slower


class TorchBackend:
    """A network as torch runs it, on the device where its weights lie.

    Parameters
    ----------
    name
        Of the back end.
    network
        Is copied; in bfloat16 with its batch norms folded.
    precision
        In which it is computed; probabilities are float32 in any case.
    soft
        Whether soft labels are answered, too.
    """

    def __init__(self, name: str, network: nn.Module, precision: torch.dtype, soft: bool = False) -> None:
        self.name = name
        self.device = next(network.parameters()).device
        ready = copy.deepcopy(network).eval() if precision == torch.float32 else folded(network, precision)
        self.deep = any(isinstance(module, nn.Conv3d) for module in ready.modules())
        ready.to(memory_format=DEEP if self.deep else FLAT)  # type: ignore[call-overload]
        self.verdict = Verdict(ready, precision, soft)

    @torch.inference_mode()
    def __call__(self, image: npt.NDArray[np.float32], inner: Region) -> Reply:
        if not self.deep:  # slices know nothing of one another
            image, inner = image[:, inner[0]], (slice(0, inner[0].stop - inner[0].start), *inner[1:])
        needed: Cone = cone(inner, image.shape[1:], self.verdict.levels).tolist()
        classes, *more = self._ask(torch.from_numpy(image)[None].to(self.device), needed)
        return as_few_bytes(classes.cpu().numpy()), *(each.cpu().numpy() for each in more)

    def _ask(self, image: Tensor, needed: Cone) -> tuple[Tensor, ...]:
        thick = image.shape[2] if self.deep or self.device.type != "cpu" else SLICES
        answers = [self.verdict(slab, needed) for slab in torch.split(image, thick, dim=2)]
        return tuple(torch.cat(parts, dim=-3) for parts in zip(*answers, strict=True))


class CompiledBackend(TorchBackend):
    """The same, compiled for the first core in a tile of one size; others, at a volume's edges, are run as they are."""

    def __init__(self, name: str, network: nn.Module, precision: torch.dtype, tile: Shape, soft: bool = False) -> None:
        super().__init__(name, network, precision, soft)
        self.tile = tile
        self.usual: Cone | None = None
        # The cache on disk is pickled, and lies where others may write.
        self.compiled: Callable[[Tensor, Cone], tuple[Tensor, ...]] = torch.compile(
            self.verdict, dynamic=False, options={"freezing": True, "fx_graph_cache": False}
        )

    def _ask(self, image: Tensor, needed: Cone) -> tuple[Tensor, ...]:
        if tuple(image.shape[2:]) != self.tile:
            return super()._ask(image, needed)
        self.usual = self.usual or needed
        return self.compiled(image, needed) if needed == self.usual else super()._ask(image, needed)


def as_few_bytes(classes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """uint8 as it is; the int32 of networks with more than 256 classes as uint16."""
    return classes if classes.dtype == np.uint8 else classes.astype(np.uint16)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is worth trying on ``device``."""
    return choose_precision("auto", device) == torch.bfloat16


def can_compile(device: torch.device) -> bool:
    """Whether there is a C++ compiler for torch's code for the CPU."""
    return device.type == "cpu" and any(map(shutil.which, ("g++", "clang++")))


def eager(name: str, network: nn.Module, looks: NetworkSettings, tile: Shape, soft: bool = False) -> TorchBackend:
    """The back end ``name``, of any device, whose last word is a precision."""
    return TorchBackend(name, network, precision_of(name), soft)


def compiled(name: str, network: nn.Module, looks: NetworkSettings, tile: Shape, soft: bool = False) -> TorchBackend:
    """The same, compiled for ``tile``."""
    return CompiledBackend(name, network, precision_of(name), tile, soft)


def precision_of(name: str) -> torch.dtype:
    """What the last word of a back end's name says."""
    return torch.bfloat16 if name.endswith("bfloat16") else torch.float32
