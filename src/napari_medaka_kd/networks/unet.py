"""U-Net in two or three dimensions, without any statistic of the tile, so that a cut does not change the answer."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .cone import cut

if TYPE_CHECKING:
    from collections.abc import Sequence

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
POOLS = {2: nn.MaxPool2d, 3: nn.MaxPool3d}


class UNet(nn.Module):
    """Encoder, decoder and the bridges between them (Ronneberger et al. 2015), one level a width.

    Parameters
    ----------
    dimensions
        2: every z-slice is seen alone; 3: patches.
    in_channels, classes
        Channels of the input; classes of the answer, background included.
    widths
        Channels of each level, fine to coarse.
    skips
        Whether the decoder sees the encoder's features; without them all must pass through the coarsest level.

    Batch norm rather than instance norm: its answer does not depend on the tile. Up-sampling by repetition
    and convolution rather than a transposed one: cheaper, and without a checkerboard.
    """

    def __init__(
        self, dimensions: int, in_channels: int, classes: int, widths: tuple[int, ...], skips: bool = True
    ) -> None:
        super().__init__()
        self.dimensions, self.skips, self.width = dimensions, skips, widths[0]
        inputs = (in_channels, *widths[:-1])
        self.down = nn.ModuleList(_block(dimensions, i, o) for i, o in zip(inputs, widths, strict=True))
        self.up = nn.ModuleList(
            _block(dimensions, coarse + (fine if skips else 0), fine) for fine, coarse in itertools.pairwise(widths)
        )
        self.pool = POOLS[dimensions](2)
        self.grow = nn.Upsample(scale_factor=2, mode="nearest")
        self.head: nn.Module = CONVOLUTIONS[dimensions](widths[0], classes, 1)

    def forward(self, image: Tensor, cone: Tensor | Sequence[Any] | None = None) -> Tensor:
        """(B, C, Z, Y, X) → logits (B, classes, Z, Y, X); y and x, and z in 3-D, multiples of the stride.

        Of the part alone that ``cone`` is about, if given (:func:`.cone.cone`): the same, in half the time.
        """
        return self.with_features(image, cone)[0]

    def with_features(self, image: Tensor, cone: Tensor | Sequence[Any] | None = None) -> tuple[Tensor, Tensor]:
        """The logits, and the last decoder feature (B, widths[0], Z, Y, X) that they are read from."""
        if self.dimensions == 3:
            features = self.features(image.contiguous(memory_format=torch.channels_last_3d), cone)
            return self.head(features), features
        if cone is not None:
            before, first, last = cone[0][0][0][0], cone[0][1][0][0], cone[0][1][1][0]
            image = image[:, :, before + first : before + last]
        batch = image.shape[0]
        slices = image.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)  # (B·Z, C, Y, X)
        features = self.features(slices, cone)
        logits, features = (_stacked(each, batch) for each in (self.head(features), features))
        return logits, features

    def with_levels(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The logits, and the feature of each level of the decoder, fine to coarse.

        That of level k is (B, widths[k], Z / 2ᵏ, Y / 2ᵏ, X / 2ᵏ), of a 2-D network with all of Z.
        """
        levels: list[Tensor] = []
        if self.dimensions == 3:
            features = self.features(image.contiguous(memory_format=torch.channels_last_3d), levels=levels)
            return self.head(features), tuple(reversed(levels))
        slices = image.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        logits = self.head(self.features(slices, levels=levels))
        return _stacked(logits, len(image)), tuple(_stacked(each, len(image)) for each in reversed(levels))

    def features(
        self, image: Tensor, cone: Tensor | Sequence[Any] | None = None, levels: list[Tensor] | None = None
    ) -> Tensor:
        """The last decoder feature, at full resolution; ``levels`` is given those of all levels, coarse to fine."""
        bridges: list[Tensor] = []
        for depth, block in enumerate(self.down):
            image = block(self.pool(image) if depth else image)
            bridges.append(image)
        image = bridges.pop()
        for level in reversed(range(len(self.up))):
            bridge = bridges.pop()
            if cone is not None:
                image, bridge = cut(image, cone[level + 1][1]), cut(bridge, cone[level][0])
            grown = self.grow(image)
            image = self.up[level](torch.cat((grown, bridge), dim=1) if self.skips else grown)
            if levels is not None:
                levels.append(image)
        return image if cone is None else cut(image, cone[0][1])


class Ensemble(nn.Module):
    """Networks that vote: the answer is the logarithm of their mean probability."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, Z, Y, X) → log-probabilities (B, classes, Z, Y, X)."""
        return self.votes(image).mean(dim=0).clamp_min(1e-6).log()

    def votes(self, image: Tensor) -> Tensor:
        """The probabilities of each, (members, B, classes, Z, Y, X)."""
        return torch.stack([member(image).float().softmax(dim=1) for member in self.members])


def stride(dimensions: int, widths: tuple[int, ...]) -> tuple[int, int, int]:
    """(z, y, x) of which every tile must be a multiple, and its origin too if the cut is not to matter."""
    step = 2 ** (len(widths) - 1)
    return (step if dimensions == 3 else 1), step, step


def reach(dimensions: int, widths: tuple[int, ...]) -> tuple[int, int, int]:
    """How far, (z, y, x) in voxels, a voxel's answer can depend on others: the halo of an exact tile.

    Each block convolves twice with radius 1 at its own stride; pooling and repetition add less than one stride.
    """
    deepest = len(widths) - 1
    radius = sum(2 * 2**depth for depth in range(deepest)) * 2 + 2 * 2**deepest + 2**deepest
    return (radius if dimensions == 3 else 0), radius, radius


def _stacked(slices: Tensor, batch: int) -> Tensor:
    """(B·Z, C, Y, X) → (B, C, Z, Y, X)."""
    return slices.reshape(batch, -1, *slices.shape[1:]).transpose(1, 2)


def _block(dimensions: int, inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        convolution = CONVOLUTIONS[dimensions](channels, outputs, 3, padding=1, bias=False)
        layers += [convolution, NORMS[dimensions](outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
