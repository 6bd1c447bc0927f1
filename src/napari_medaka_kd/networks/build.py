"""NetworkSettings → module: the closed registry of architectures, and the only place with numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_medaka_kd.errors import UserError

from .foreign import ForeignSettings
from .instances import InstanceNetwork
from .unet import Ensemble, UNet, reach, stride

if TYPE_CHECKING:
    from napari_medaka_kd.settings import NetworkSettings
    from napari_medaka_kd.volumes.volume import Shape

    from .instance_settings import InstanceSettings


def build(settings: NetworkSettings, classes: int, seed: int = 0) -> nn.Module:
    """A network with fresh weights, drawn from ``seed``; an :class:`Ensemble` where it has several members.

    Parameters
    ----------
    settings
        What it looks like.
    classes
        Background included.
    seed
        Member ``k`` is drawn from ``seed + k``.
    """
    members = [_member(settings, classes, seed + number) for number in range(settings.members)]
    return members[0] if len(members) == 1 else Ensemble(members)


def build_instances(settings: NetworkSettings | ForeignSettings, things: InstanceSettings, seed: int = 0) -> nn.Module:
    """A network of things that may overlap with fresh weights, drawn from ``seed``.

    Raises
    ------
    ValueError
        If it is not to be on one U-Net.
    """
    if isinstance(settings, ForeignSettings) or settings.members != 1:
        raise ValueError("things that overlap are found by one U-Net")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = UNet(settings.dimensions, in_channels(settings), 1, settings.widths)
        return InstanceNetwork(backbone, things.reach, things.channels)


def in_channels(settings: NetworkSettings | ForeignSettings) -> int:
    """Intensity, and the three coordinates where the network is told them."""
    return 4 if settings.coordinates else 1


def network_stride(settings: NetworkSettings | ForeignSettings) -> Shape:
    """(z, y, x) of which the sides of every input must be multiples."""
    if isinstance(settings, ForeignSettings):
        return settings.stride
    return stride(settings.dimensions, settings.widths)


def network_reach(settings: NetworkSettings | ForeignSettings) -> Shape:
    """(z, y, x) halo, in voxels, at which a tile's answer is that of the whole volume."""
    if isinstance(settings, ForeignSettings):
        return settings.reach
    return reach(settings.dimensions, settings.widths)


def require_patch(settings: NetworkSettings | ForeignSettings, patch: Shape) -> None:
    """Refuse a training patch (z, y, x) that is no multiple of the network's stride.

    Raises
    ------
    UserError
        With both.
    """
    step = network_stride(settings)
    if any(side % each for side, each in zip(patch, step, strict=True)):
        raise UserError(
            f"A patch of {patch} voxels does not fit a network that halves to steps of {step}.",
            "Set patches.patch to multiples of these.",
        )


def _member(settings: NetworkSettings, classes: int, seed: int) -> nn.Module:
    if len(settings.widths) < 2 or min(settings.widths) < 1:
        raise UserError(f"A U-Net needs at least two widths from 1 on, got {settings.widths}.", "Name one per level.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet(settings.dimensions, in_channels(settings), classes, settings.widths)
