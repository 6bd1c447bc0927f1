"""What an instance network learns of each thing: where its centre is, and which voxels are its, others' or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from napari_medaka_kd.networks.instances import InstanceNetwork
    from napari_medaka_kd.volumes.volume import Shape

_SLIVER = 6  # voxels: what is less of a thing is not asked for
_SPREAD = 6  # a centre is as wide as a sixth of its thing


@dataclass(frozen=True)
class Things:
    """What is to be found in one patch.

    Attributes
    ----------
    masks
        (N, Z, Y, X) bool; they may overlap.
    centres
        (N, 3) int64: of each thing's voxels the one nearest to their mean.
    """

    masks: Tensor
    centres: Tensor


def things_of(layers: Tensor) -> Things:
    """The things of ``layers`` (layers, Z, Y, X) int64 ids, an id the same thing in all; slivers left out."""
    ids = torch.unique(layers)
    masks = (layers[None] == ids[ids > 0].view(-1, 1, 1, 1, 1)).any(dim=1)
    masks = masks[masks.flatten(1).sum(dim=1) >= _SLIVER]
    centres = [_centre(mask) for mask in masks]
    return Things(masks, torch.stack(centres) if centres else torch.zeros(0, 3, dtype=torch.long, device=layers.device))


def heat(things: Things) -> Tensor:
    """``max_i exp(−d²/2s²)``, (Z, Y, X) float32: 1 at the centres, s a sixth of a thing's side, at least 1 voxel."""
    shape = things.masks.shape[1:]
    if not len(things.masks):
        return torch.zeros(shape, device=things.masks.device)
    return _bumps(things).amax(dim=0)


def focal(logits: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
    """Penalty-reduced focal loss of centres (CenterNet), over ``known`` voxels, a centre; (B, Z, Y, X) each.

    ``−(1−p)²·log p`` where ``wanted`` is 1, else ``−(1−wanted)⁴·p²·log(1−p)``.
    """
    logits = logits.float()
    chance, centre = logits.sigmoid(), wanted >= 1
    there = -((1 - chance) ** 2) * functional.logsigmoid(logits)
    not_there = -((1 - wanted) ** 4) * chance**2 * functional.logsigmoid(-logits)
    losses = torch.where(centre, there, not_there) * known
    return losses.sum() / (centre & known).sum().clamp_min(1)


def mask_loss(network: InstanceNetwork, features: Tensor, things: Things, places: Tensor) -> Tensor:
    """Σ over the things of (1 − soft Dice) + binary cross-entropy, each about the voxels in reach of its place.

    Parameters
    ----------
    features
        Of one row, (F, Z, Y, X).
    places
        (N, 3) int64: where each mask is made.
    """
    if not len(places):
        return features.sum() * 0
    size, corner = _boxes(network, things, places)
    logits = network.masks(features, places, corner, size).flatten(1)
    boxed = [
        mask[tuple(slice(first, first + side) for first, side in zip(begin, size, strict=True))]
        for mask, begin in zip(things.masks, corner.tolist(), strict=True)
    ]
    truth = torch.stack(boxed).flatten(1).float()
    near = logits.detach() > -1e3  # in reach
    chance = logits.sigmoid() * near
    dice = (2 * (chance * truth).sum(1) + 1) / (chance.sum(1) + (truth * near).sum(1) + 1)
    doubt = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none") * near
    return (1 - dice + doubt.sum(1) / near.sum(1).clamp_min(1)).sum()


def near_centres(things: Things, generator: torch.Generator) -> Tensor:
    """(N, 3) int64: for each thing a random voxel of it about its centre, as a peak is not always the very centre."""
    if not len(things.masks):
        return things.centres
    about = (_bumps(things) > 0.6) & things.masks
    noise = torch.rand(about.shape, generator=generator).to(about.device)
    drawn = torch.where(about, noise, -1.0).flatten(1).argmax(dim=1)
    return torch.stack(torch.unravel_index(drawn, about.shape[1:]), dim=1)


def _boxes(network: InstanceNetwork, things: Things, places: Tensor) -> tuple[Shape, Tensor]:
    """How large a box about each place must be to hold its reach, within the patch, and where each begins, (N, 3).

    A whole patch for each thing would take gigabytes in three dimensions.
    """
    patch = things.masks.shape[1:]
    z, y, x = (min(side, 2 * far + 1) for side, far in zip(patch, network.reach, strict=True))
    reach, most = (
        torch.tensor(each, device=places.device)
        for each in (network.reach, [side - size for side, size in zip(patch, (z, y, x), strict=True)])
    )
    return (z, y, x), (places - reach).clamp_min(0).minimum(most)


def _bumps(things: Things) -> Tensor:
    """(N, Z, Y, X): the heat of each thing alone."""
    shape, device = things.masks.shape[1:], things.masks.device
    axes = [torch.arange(side, device=device) for side in shape]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij")).float()  # (3, Z, Y, X)
    away = (places[None] - things.centres.float().view(-1, 3, 1, 1, 1)).square().sum(dim=1)
    sides = 2 if shape[0] == 1 else 3
    wide = (things.masks.flatten(1).sum(1).float() ** (1 / sides) / _SPREAD).clamp_min(1)
    return torch.exp(-away / (2 * wide.view(-1, 1, 1, 1) ** 2))


def _centre(mask: Tensor) -> Tensor:
    voxels = mask.nonzero()
    away = (voxels - voxels.float().mean(dim=0)).square().sum(dim=1)
    return voxels[away.argmin()]
