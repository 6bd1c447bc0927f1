"""Adapter: what a program must offer for its network to be a teacher here; found by its entry point."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from napari_medaka_kd.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medaka_kd.volumes.volume import Shape

GROUP = "napari_medaka_kd.adapters"


@runtime_checkable
class Adapter(Protocol):
    """A network of another program.

    Attributes
    ----------
    dimensions
        2: every z-slice is seen alone, with z = 1; 3: patches.
    in_channels, classes
        Channels of the input, 1; classes of the answer, background, as the first, included.
    stride
        (z, y, x) of which the sides of a patch must be multiples.
    reach
        (z, y, x) how far, in voxels, another voxel can matter to the answer; ``None``: to be measured.
    tile_statistics
        Whether it normalises by statistics of the patch, as instance norm does.
    """

    dimensions: int
    in_channels: int
    classes: int
    stride: Shape
    reach: Shape | None
    tile_statistics: bool

    def logits(self, patch: Tensor) -> Tensor:
        """(1, in_channels, z, y, x) float32 on the CPU → logits (1, classes, z, y, x)."""
        ...


class AdapterNetwork(nn.Module):
    """An :class:`Adapter` as a network."""

    one_at_a_time = True

    def __init__(self, adapter: Adapter) -> None:
        super().__init__()
        self.adapter = adapter
        self.here = nn.Parameter(torch.zeros(1), requires_grad=False)  # says on which device it is asked

    def forward(self, image: Tensor) -> Tensor:
        """(1, C, z, y, x) → (1, classes, z, y, x), on the device of ``image``."""
        thick = 1 if self.adapter.dimensions == 2 else image.shape[2]
        with torch.autocast(image.device.type, enabled=False):
            answers = [self.adapter.logits(part) for part in torch.split(image.float().cpu(), thick, dim=2)]
        return torch.cat(answers, dim=2).to(image.device)


def open_adapter(name: str, file: Path) -> Adapter:
    """The adapter that the entry point ``name`` makes for ``file``. Installing it was the consent to run its code.

    Raises
    ------
    UserError
        If there is none of that name, or it offers less than an adapter must.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        raise UserError(
            f"There is no adapter {name!r}; installed are: {', '.join(sorted(found)) or 'none'}.",
            "Install the package that brings it: docs/adapters.md.",
        )
    adapter = found[name].load()(file)
    if not isinstance(adapter, Adapter):
        lacking = [part for part in (*Adapter.__annotations__, "logits") if not hasattr(adapter, part)]
        raise UserError(f"The adapter {name!r} lacks {', '.join(lacking)}.", "Mend it by docs/adapters.md.")
    return adapter
