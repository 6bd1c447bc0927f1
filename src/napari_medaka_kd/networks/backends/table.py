"""The back ends that there are, by name: which of them this machine has, and how each is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import UserError

from .openvino_backend import OpenVinoBackend, openvino_is_here
from .torch_backend import can_compile, compiled, eager, multiplies_bfloat16

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import nn

    from napari_medaka_kd.settings import NetworkSettings
    from napari_medaka_kd.volumes.volume import Shape

    from .backend import Backend

EXACT = "torch float32"


@dataclass(frozen=True)
class Entry:
    """How one back end is had.

    Attributes
    ----------
    here
        Whether this machine has it, for a network on that device.
    make
        Name, network, its looks, the usual tile (z, y, x), whether soft labels are wanted → the back end.
    slow_to_start
        Whether it is only worth a trial where no other library is faster than torch.
    """

    here: Callable[[torch.device], bool]
    make: Callable[[str, nn.Module, NetworkSettings, Shape, bool], Backend]
    slow_to_start: bool = False


TABLE: dict[str, Entry] = {
    EXACT: Entry(lambda on: True, eager),
    "torch bfloat16": Entry(lambda on: on.type == "mps" or multiplies_bfloat16(on), eager),
    "openvino float32": Entry(openvino_is_here, OpenVinoBackend),
    "openvino bfloat16": Entry(lambda on: openvino_is_here(on) and multiplies_bfloat16(on), OpenVinoBackend),
    "compiled bfloat16": Entry(lambda on: can_compile(on) and multiplies_bfloat16(on), compiled, slow_to_start=True),
}


def available(network: nn.Module, looks: NetworkSettings, device: torch.device) -> tuple[str, ...]:
    """Names of the back ends that can run ``network`` on ``device``, the exact one first."""
    return tuple(name for name, entry in TABLE.items() if entry.here(device))


def make(name: str, network: nn.Module, looks: NetworkSettings, tile: Shape, soft: bool = False) -> Backend:
    """The back end ``name`` for ``network``, which stays as it is, on the device where its weights lie.

    Parameters
    ----------
    tile
        (z, y, x) of most images to come, in voxels; a multiple of the network's stride.
    soft
        Whether it is to answer soft labels, too.

    Raises
    ------
    UserError
        If there is no such back end here.
    """
    names = available(network, looks, next(network.parameters()).device)
    if name not in names:
        raise UserError(f"There is no back end {name!r} here.", f"Say auto, or one of: {', '.join(names)}.")
    return TABLE[name].make(name, network, looks, tile, soft)
