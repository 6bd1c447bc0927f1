"""Image alignment: networks that make scans of one modality look like another's, and networks that judge them."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu
from torch.nn.utils.parametrizations import spectral_norm

from .unet import CONVOLUTIONS

_DILATIONS = (1, 2, 4, 1)  # at half resolution: a voxel is translated by what lies up to 34 voxels around it
_SLOPE = 0.2
_MOST = 1.5  # windows: a translation may turn the darkest into the brightest, and no more


class Translator(nn.Module):
    """A small residual network that changes the intensities of a scan, voxel by voxel, by what lies around.

    Parameters
    ----------
    dimensions
        2: every z-slice is seen alone; 3: patches.
    width
        Channels at full resolution; twice as many at half.

    No norms, so that an answer depends on nothing but the voxels around; it begins near the identity.

    Attributes
    ----------
    line
        (2,) float32: slope and offset of the intensities that it changes; another line makes it begin near that one.
    """

    line: Tensor

    def __init__(self, dimensions: int, width: int) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.register_buffer("line", torch.tensor([1.0, 0.0]))
        convolution = CONVOLUTIONS[dimensions]
        self.stem = convolution(1, width, 3, padding=1)
        self.down = convolution(width, 2 * width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(_Residual(dimensions, 2 * width, dilation) for dilation in _DILATIONS)
        self.grow = nn.Upsample(scale_factor=2, mode="nearest")
        self.up = convolution(3 * width, width, 3, padding=1)
        self.head = convolution(width, 1, 3, padding=1)
        with torch.no_grad():
            self.head.weight *= 0.1

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, Z, Y, X) → the same, with other intensities in channel 0; y and x, and z in 3-D, even.

        The other channels, which say where in the body a voxel lies, are neither seen nor changed.
        """
        scan = _laid_out(image, self.dimensions)
        fine = leaky_relu(self.stem(scan), _SLOPE)
        coarse = leaky_relu(self.down(fine), _SLOPE)
        for block in self.blocks:
            coarse = block(coarse)
        both = leaky_relu(self.up(torch.cat((self.grow(coarse), fine), dim=1)), _SLOPE)
        change = _MOST * torch.tanh(self.head(both) / _MOST)
        changed = self.line[0] * image[:, :1] + self.line[1] + _put_back(change, image, self.dimensions)
        return torch.cat((changed, image[:, 1:].to(changed.dtype)), dim=1)


class Judge(nn.Module):
    """Says of each place of a scan whether it looks like one of its modality (a PatchGAN, Isola et al. 2017).

    Parameters
    ----------
    dimensions, width
        As of :class:`Translator`. Its layers are kept from growing steep (spectral norm, Miyato et al. 2018), which is
        a property of the weights and not of a tile.
    """

    def __init__(self, dimensions: int, width: int) -> None:
        super().__init__()
        self.dimensions = dimensions
        channels = (1, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            convolution = CONVOLUTIONS[dimensions](before, after, 3, stride=2, padding=1)
            layers += [spectral_norm(convolution), nn.LeakyReLU(_SLOPE)]
        last = CONVOLUTIONS[dimensions](channels[-1], channels[-1], 3, padding=1)
        layers += [spectral_norm(last), nn.LeakyReLU(_SLOPE), CONVOLUTIONS[dimensions](channels[-1], 1, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, Z, Y, X) → (n, 1, …), one number a place and slice, 1: looks real; channel 0 alone is seen."""
        judged: Tensor = self.layers(_laid_out(image, self.dimensions))
        return judged


class Pairing(nn.Module):
    """Two networks of a kind, one for each way or each modality."""

    def __init__(self, target: nn.Module, assistant: nn.Module) -> None:
        super().__init__()
        self.target, self.assistant = target, assistant


def translators(dimensions: int, width: int, seed: int) -> Pairing:
    """To the target modality and to the assistant one, with weights drawn from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Pairing(Translator(dimensions, width), Translator(dimensions, width))


def line_between(one: Tensor, other: Tensor) -> Tensor:
    """The line that lays brightnesses ``one`` (n,) onto ``other`` (n,), up or down as they go; its slope 1/2 to 2.

    The line of the standard deviations, which no noise flattens, and whose reverse is the line the other way.
    """
    steep = (other.std() / one.std().clamp_min(1e-6)).clamp(0.5, 2)
    downwards = ((one - one.mean()) * (other - other.mean())).sum() < 0
    slope = -steep if downwards else steep
    return torch.stack((slope, other.mean() - slope * one.mean()))


def judges(dimensions: int, width: int, seed: int) -> Pairing:
    """Of the target modality and of the assistant one, with weights drawn from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Pairing(Judge(dimensions, width), Judge(dimensions, width))


class _Residual(nn.Module):
    """Two convolutions beside a way around them; nothing at first, so that many stand in a row without norms."""

    def __init__(self, dimensions: int, channels: int, dilation: int) -> None:
        super().__init__()
        convolution = CONVOLUTIONS[dimensions]
        self.first = convolution(channels, channels, 3, padding=dilation, dilation=dilation)
        self.second = convolution(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.second.weight *= 0.1

    def forward(self, image: Tensor) -> Tensor:
        added: Tensor = self.second(leaky_relu(self.first(leaky_relu(image, _SLOPE)), _SLOPE))
        return image + added


def _laid_out(image: Tensor, dimensions: int) -> Tensor:
    """Channel 0 as the convolutions want it: (B, 1, Z, Y, X), or in 2-D the slices as (B·Z, 1, Y, X)."""
    return image[:, :1] if dimensions == 3 else image[:, :1].transpose(1, 2).flatten(0, 1)


def _put_back(answer: Tensor, image: Tensor, dimensions: int) -> Tensor:
    """What :func:`_laid_out` took apart."""
    if dimensions == 3:
        return answer
    batch, _, depth = image.shape[:3]
    return answer.reshape(batch, depth, *answer.shape[1:]).transpose(1, 2)
