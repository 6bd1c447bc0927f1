"""Instances that may overlap: a U-Net says where things have their centres, and each centre makes its own mask.

Known: a mask by convolutions whose weights are made at the thing's place (CondInst, Tian et al. 2020), centres as peaks
of a heat map (CenterNet, Zhou et al. 2019). Ours: both at full resolution on the last feature of this house's U-Net,
in two or three dimensions, one kind of thing.

Why this and not another: masks are made apart from one another, so that they may share voxels, which label maps and
embeddings of voxels cannot say; there are no anchor boxes and no crops to resample, as in Mask R-CNN; a thing need not
be star-shaped, as in StarDist; and each centre lies in one tile's core, so that tiles need not be stitched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from napari_medaka_kd.volumes.volume import Shape

    from .unet import UNet

_HIDDEN = 8  # channels of a centre's own layer
_GEOMETRY = 4  # offset from the centre (z, y, x), and its square
_RARE = -3.0  # a fresh network takes few voxels for centres (Lin et al. 2017)


class InstanceNetwork(nn.Module):
    """Centres and masks of things of one kind.

    Parameters
    ----------
    backbone
        A U-Net of one class: the centre.
    reach
        How far in voxels a mask may go from its centre along each axis that the network looks along.
    channels
        Of the features that masks are made of.
    """

    def __init__(self, backbone: UNet, reach: int, channels: int = 8) -> None:
        super().__init__()
        self.backbone, self.channels = backbone, channels
        self.reach: Shape = (reach if backbone.dimensions == 3 else 0, reach, reach)
        self.embed = nn.Conv3d(backbone.width, channels, 1)
        first, second = _HIDDEN * (channels + _GEOMETRY + 1), _HIDDEN + 1
        self.controller = nn.Linear(backbone.width, first + second)
        last = list(backbone.head.parameters())[-1]
        nn.init.constant_(last, _RARE)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, Z, Y, X) → logits of centres (B, 1, Z, Y, X), features (B, F, Z, Y, X)."""
        return self.backbone.with_features(image)

    def masks(self, features: Tensor, places: Tensor, corner: Tensor, size: Shape) -> Tensor:
        """Logits (N, z, y, x) of the masks of N things, each over a box of ``size``; far away is not theirs.

        Parameters
        ----------
        features
            Of one row, (F, Z, Y, X).
        places
            (N, 3) int64 voxels: their centres.
        corner
            (N, 3) int64 voxels: where each box begins; it may reach beyond the features, where the mask is not.
        size
            (z, y, x) of every box.
        """
        device = features.device
        with torch.autocast(device.type, enabled=False):
            features = features.float()
            told = self.controller(features[:, places[:, 0], places[:, 1], places[:, 2]].T)
            axes = [torch.arange(side, device=device) for side in size]
            box = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)  # (3, V)
            voxels = corner[:, :, None] + box[None]  # (N, 3, V)
            limits = torch.tensor(features.shape[1:], device=device)[:, None]
            inside = ((voxels >= 0) & (voxels < limits)).all(dim=1)
            z, y, x = voxels.clamp_min(0).minimum(limits - 1).unbind(1)
            around = self.embed(features[None])[0][:, z, y, x].movedim(0, 1)  # (N, channels, V)
            offset = voxels - places[:, :, None]
            scale = torch.tensor([max(1, side) for side in self.reach], device=device)[:, None]
            near = (offset.abs() <= torch.tensor(self.reach, device=device)[:, None]).all(dim=1)
            relative = offset / scale
            seen = torch.cat((around, relative, relative.square().sum(1, keepdim=True)), dim=1)
            logits = _own_layers(seen, told)
        return torch.where(inside & near, logits, -1e4).view(-1, *size)


def peaks(score: Tensor, flat: bool) -> Tensor:
    """Mask of the voxels of (B, Z, Y, X) that none of their neighbours exceeds; in their slice only if ``flat``."""
    size = (1, 3, 3) if flat else (3, 3, 3)
    padding = (0, 1, 1) if flat else (1, 1, 1)
    highest = functional.max_pool3d(score[:, None].float(), size, stride=1, padding=padding)[:, 0]
    return score.float() >= highest


def _own_layers(seen: Tensor, told: Tensor) -> Tensor:
    """Two layers whose weights are ``told`` (N, P), of what each thing has ``seen`` (N, channels, V): (N, V)."""
    count, channels = seen.shape[:2]
    first, bias, second, last = torch.split(told, [_HIDDEN * channels, _HIDDEN, _HIDDEN, 1], dim=1)
    hidden = torch.relu(torch.baddbmm(bias[:, :, None], first.view(count, _HIDDEN, channels), seen))
    answer: Tensor = (second[:, :, None] * hidden).sum(dim=1) + last
    return answer
