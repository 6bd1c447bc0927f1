"""The back end of networks from elsewhere: run as they came, on whole tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.networks.soft import pack

from .torch_backend import as_few_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn

    from napari_medaka_kd.volumes.volume import Region

    from .backend import Reply

_BYTE = 256  # classes that a byte can tell apart


class ForeignBackend:
    """A network of :class:`~napari_medaka_kd.networks.foreign_network.Foreign`, on the device where its weights lie.

    Parameters
    ----------
    precision
        To which torch's own operators may be rounded; what other libraries compute stays float32.
    soft
        Whether soft labels are answered, too.
    """

    def __init__(self, network: nn.Module, precision: torch.dtype, soft: bool = False) -> None:
        self.network, self.soft = network, soft
        self.device = next(network.parameters()).device
        self.precision = torch.float32 if getattr(network, "opaque", False) else precision
        self.name = f"as it came {str(self.precision).removeprefix('torch.')}"

    @torch.inference_mode()
    def __call__(self, image: npt.NDArray[np.float32], inner: Region) -> Reply:
        probabilities = self.probabilities(image)[(slice(None), *inner)]
        agreed, chosen = probabilities.max(dim=0)
        doubt = ((1 - agreed) * 255).round().clamp(0, 255).to(torch.uint8)
        kind = torch.uint8 if getattr(self.network, "classes", _BYTE + 1) <= _BYTE else torch.int32
        answer = as_few_bytes(chosen.to(kind).cpu().numpy()), doubt.cpu().numpy()
        return (*answer, pack(probabilities, agreed).cpu().numpy()) if self.soft else answer

    @torch.inference_mode()
    def probabilities(self, image: npt.NDArray[np.float32]) -> torch.Tensor:
        """(C, z, y, x) → (classes, z, y, x) float32, on the network's device."""
        seen = torch.from_numpy(image)[None].to(self.device)
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            logits: torch.Tensor = self.network(seen)
        return logits[0].float().softmax(dim=0)


def require_no_other(name: str) -> None:
    """Refuse the back end ``name`` for a network from elsewhere, unless it is left to choose."""
    if name not in ("auto", "torch float32"):
        raise UserError(f"A network from elsewhere is not run by {name!r}.", "Leave the back end at auto.")
