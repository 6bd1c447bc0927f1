"""A network with its vote inside: probabilities, their mean and the choice, so that only bytes leave the graph."""

from __future__ import annotations

import copy
import hashlib
import itertools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_medaka_kd.networks.cone import cut
from napari_medaka_kd.networks.soft import pack
from napari_medaka_kd.networks.unet import Ensemble, UNet

if TYPE_CHECKING:
    from collections.abc import Sequence

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
TRANSPOSED = {nn.Conv2d: nn.ConvTranspose2d, nn.Conv3d: nn.ConvTranspose3d}
NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
_BYTE = 256  # classes that a byte can tell apart


class Verdict(nn.Module):
    """Image → the most probable class of each voxel and the doubt about it.

    Parameters
    ----------
    network
        From (1, C, z, y, x) to logits (1, classes, z, y, x), or an :class:`Ensemble` of such.
    precision
        In which the members are computed; probabilities always are float32.
    soft
        Whether soft labels are answered, too.
    """

    def __init__(self, network: nn.Module, precision: torch.dtype = torch.float32, soft: bool = False) -> None:
        super().__init__()
        self.soft = soft
        self.members = nn.ModuleList(network.members if isinstance(network, Ensemble) else [network])
        self.precision = precision
        self.classes = classes_of(network)

    @property
    def levels(self) -> int:
        """Of the cones that it takes: those of its U-Nets; 1 where nothing is known of a network."""
        return min(len(member.down) if isinstance(member, UNet) else 1 for member in self.members)

    def forward(self, image: Tensor, cone: Tensor | Sequence[Any]) -> tuple[Tensor, ...]:
        """(1, C, z, y, x) float32 → classes (z, y, x) uint8, int32 beyond 256; doubt (z, y, x) uint8; soft labels
        (classes, z, y, x) uint8 where they are asked for (:mod:`~napari_medaka_kd.networks.soft`).

        All are about the part that ``cone`` is about (:func:`~napari_medaka_kd.networks.cone.cone`).

        The mean over the members of the probability of the chosen class is the largest mean probability.
        """
        probabilities = self.probabilities(image, cone)[0]
        agreed, chosen = probabilities.max(dim=0)
        doubt = ((1 - agreed) * 255).round().clamp(0, 255)
        answer = chosen.to(torch.uint8 if self.classes <= _BYTE else torch.int32), doubt.to(torch.uint8)
        return (*answer, pack(probabilities, agreed)) if self.soft else answer

    def probabilities(self, image: Tensor, cone: Tensor | Sequence[Any]) -> Tensor:
        """The mean over the members, (1, classes, z, y, x) float32."""
        seen = image.to(self.precision)
        mean: Tensor | None = None
        for member in self.members:
            logits = member(seen, cone) if self.levels > 1 else cut(member(seen), cone[0][1])
            # Laid out class by class before they are widened, the softmax takes half as long.
            vote = logits.contiguous().float().softmax(dim=1)
            mean = vote if mean is None else mean + vote
        assert mean is not None
        return mean if len(self.members) == 1 else mean / len(self.members)


class WideHead(nn.Module):
    """A U-Net's head that is float32 where the rest is bfloat16.

    Rounded logits are often equal, and then the first class, the background, wins: organs lose
    far more voxels than they win. A transposed convolution, since OpenVINO rounds whatever leaves a convolution.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        assert isinstance(head, CONVOLUTIONS)
        self.head = TRANSPOSED[type(head)](head.in_channels, head.out_channels, 1)
        weights = {"weight": head.weight.transpose(0, 1).contiguous(), "bias": head.bias}
        self.head.load_state_dict(weights)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, …) of any precision → logits (B, classes, …) float32."""
        logits: Tensor = self.head(features.float())
        return logits


def classes_of(network: nn.Module) -> int:
    """How many classes ``network`` tells apart, background included."""
    kinds = (*CONVOLUTIONS, *TRANSPOSED.values())
    heads: list[Any] = [module.out_channels for module in network.modules() if isinstance(module, kinds)]
    return int(getattr(network, "classes", None) or heads[-1])


def folded(network: nn.Module, precision: torch.dtype = torch.float32) -> nn.Module:
    """A copy of ``network`` to be computed in ``precision``, in evaluation mode.

    Each batch norm is multiplied into the convolution before it; the heads stay float32 (:class:`WideHead`).
    """
    network = copy.deepcopy(network).eval().requires_grad_(False)
    for parent in list(network.modules()):
        if isinstance(parent, nn.Sequential):
            _fold(parent)
    members = [module for module in network.modules() if isinstance(module, UNet)]
    heads = [WideHead(member.head) for member in members]
    network.to(precision)
    for member, head in zip(members, heads, strict=True):
        member.head = head
    return network


def fingerprint(network: nn.Module) -> str:
    """SHA-256 of the weights and statistics, by name."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _fold(block: nn.Sequential) -> None:
    for place, (first, second) in enumerate(itertools.pairwise(list(block))):
        if isinstance(first, CONVOLUTIONS) and isinstance(second, NORMS):
            block[place], block[place + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
