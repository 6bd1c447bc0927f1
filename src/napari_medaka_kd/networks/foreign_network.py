"""A network from elsewhere, as one of ours: the same axes in, the logits of the checkpoint's organs out."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_medaka_kd.errors import UserError

from .adapter import AdapterNetwork, open_adapter
from .foreign import FILES, REGISTERED, ForeignSettings
from .unet import UNet
from .weights_file import read_bytes, read_weights

if TYPE_CHECKING:
    from pathlib import Path

    from .foreign import Gives

WEIGHTS = "weights.safetensors"
_NEVER = -1e4  # logit of an organ that the network does not know
_LEAST = 1e-6  # probability
_AT_A_TIME = 8  # slices of a network of torch


class Laid(nn.Module):
    """(B, C, Z, Y, X) in and out, around a network that may know two dimensions and take one image at a time."""

    def __init__(self, network: nn.Module, dimensions: int) -> None:
        super().__init__()
        self.network, self.dimensions = network, dimensions
        self.flat = dimensions == 2 and not isinstance(network, (UNet, AdapterNetwork))
        self.most = 1 if getattr(network, "one_at_a_time", False) else _AT_A_TIME

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, Z, Y, X) → (B, classes, Z, Y, X)."""
        if not self.flat:
            return torch.cat([self.network(one) for one in torch.split(image, 1)])
        slices = image.transpose(1, 2).flatten(0, 1)  # (B·Z, C, Y, X)
        answers = torch.cat([self.network(one) for one in torch.split(slices, self.most)])
        return answers.reshape(image.shape[0], image.shape[2], *answers.shape[1:]).transpose(1, 2)


class Foreign(nn.Module):
    """A network, with its classes merged into those of the checkpoint's organs.

    Parameters
    ----------
    network
        (B, C, Z, Y, X) → (B, its classes, Z, Y, X).
    gives
        What its output is. Of one channel it is the one organ against background.
    table
        For each of its classes the class of ours; several may be one, and their probabilities are added.
    classes
        How many there are of ours; one that ``table`` lacks never comes.
    opaque
        Whether another library or foreign code computes it.
    """

    def __init__(self, network: Laid, looks: ForeignSettings, classes: int) -> None:
        super().__init__()
        self.network, self.dimensions, self.opaque = network, looks.dimensions, looks.opaque
        self.gives, self.table, self.classes = looks.gives, looks.classes, classes

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, Z, Y, X) → logits (B, classes, Z, Y, X)."""
        found = as_logits(self.network(image), self.gives)
        merged = [self._one(found, ours) for ours in range(self.classes)]
        return torch.cat(merged, dim=1)

    def _one(self, found: Tensor, ours: int) -> Tensor:
        theirs = [place for place, each in enumerate(self.table) if each == ours]
        if not theirs:
            return torch.full_like(found[:, :1], _NEVER)
        return found[:, theirs].logsumexp(dim=1, keepdim=True) if len(theirs) > 1 else found[:, theirs]


def as_logits(found: Tensor, gives: Gives) -> Tensor:
    """(B, K, …) of what a network gives → logits (B, K or 2, …)."""
    if gives == "probabilities":
        found = found.clamp(_LEAST, 1 - _LEAST)
        return torch.cat(((1 - found).log(), found.log()), dim=1) if found.shape[1] == 1 else found.log()
    return torch.cat((torch.zeros_like(found), found), dim=1) if found.shape[1] == 1 else found


def load_foreign(looks: ForeignSettings, folder: Path, sha256: str, classes: int) -> nn.Module:
    """The network of the adopted checkpoint in ``folder``, whose file has the hash ``sha256``.

    Raises
    ------
    UserError
        If the file is another one, or cannot be used here.
    """
    file = folder / FILES.get(looks.architecture, WEIGHTS)
    data = read_bytes(file)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{str(file)!r} is not the file that was adopted.", "Restore the folder, or adopt it again.")
    return Foreign(Laid(raw_network(looks, data, file), looks.dimensions), looks, classes).eval()


def raw_network(looks: ForeignSettings, data: bytes, file: Path) -> nn.Module:
    """What ``data``, the content of ``file``, holds, by itself."""
    if looks.architecture in REGISTERED:
        from .registry import fit

        return fit(looks.architecture, looks.arguments, read_weights(data, file.name)).network
    if looks.architecture == "onnx":
        from .onnx_network import OnnxNetwork

        return OnnxNetwork(data)
    if looks.architecture == "torchscript":
        from .script_network import ScriptNetwork

        return ScriptNetwork(data)
    return AdapterNetwork(open_adapter(looks.adapter, file))
