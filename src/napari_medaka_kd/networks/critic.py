"""The critic: an image with a label map laid over it → how acceptable each organ is."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Critic(nn.Module):
    """A small residual network over (image, one-hot labels), one logit per organ.

    A logit is read off the features averaged *inside and around that organ*, so that one organ's fault
    does not speak for its neighbour.
    """

    def __init__(self, organs: int, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv3d(1 + organs + 1, width, 3, padding=1)
        self.blocks = nn.ModuleList(_Residual(width * 2**depth) for depth in range(3))
        self.widen = nn.ModuleList(nn.Conv3d(width * 2**depth, width * 2 ** (depth + 1), 1) for depth in range(2))
        self.head = nn.Linear(width * 4 * 2, organs)

    def forward(self, image: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, organs) of (B, 1, Z, Y, X) intensities under (B, 1 + organs, Z, Y, X) one-hot labels."""
        organs = labels[:, 1:]
        x = self.stem(torch.cat((image, labels), dim=1))
        for depth, block in enumerate(self.blocks):
            x = block(x)
            if depth < len(self.widen):
                x = nn.functional.max_pool3d(self.widen[depth](x), 2)
        inside = nn.functional.adaptive_max_pool3d(organs, x.shape[2:])  # (B, organs, z, y, x)
        local = torch.einsum("bozyx,bczyx->boc", inside, x) / inside.sum((2, 3, 4)).clamp_min(1)[..., None]
        everywhere = x.mean((2, 3, 4))[:, None].expand_as(local)
        features = torch.cat((local, everywhere), dim=2)  # (B, organs, 2·channels)
        logits: Tensor = (features * self.head.weight).sum(dim=2) + self.head.bias
        return logits


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv3d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm3d(channels),
            nn.ReLU(inplace=True),
            nn.Conv3d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm3d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.path(x))
