"""Probing: what a network from elsewhere takes and gives, found by running it on small patches."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from napari_medaka_kd.errors import UserError

from .foreign_network import Laid

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_medaka_kd.volumes.volume import Shape

    from .foreign import Gives

STEPS = (8, 16, 32)  # 1, 2 and 4 are taken as 8: halos are measured in strides
_BASE = 32  # voxels of a patch across
_LONG = 192  # voxels of it along the axis that is looked at; half of them are changed
_CAP = 88  # voxels from the change beyond which an answer depends on all of the tile
_TRACE = 1e-3  # of the spread of the answers
_ALIKE = 1e-2  # of it
_WINDOW = 96
TILE_NORMS = (nn.GroupNorm, nn.LayerNorm)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


@dataclass(frozen=True)
class Guess:
    """What a file says itself: dimensions and channels where it does, a fixed window, norms of the tile."""

    dimensions: int | None = None
    channels: int | None = None
    window: Shape | None = None
    normalises: bool = False
    stride: Shape | None = None
    reach: Shape | None = None


@dataclass(frozen=True)
class Probed:
    """What was found: see :class:`~napari_medaka_kd.networks.foreign.ForeignSettings`; ``outputs``: channels."""

    dimensions: Literal[2, 3]
    channels: int
    outputs: int
    gives: Gives
    stride: Shape
    reach: Shape
    tile_statistics: bool
    window: Shape | None


@torch.inference_mode()
def probe(network: nn.Module, guess: Guess) -> Probed:
    """Find out what ``network`` takes and gives.

    Raises
    ------
    UserError
        If it runs on nothing that a scan has, or does not answer voxel by voxel.
    """
    laid, channels, patch = _first_that_runs(network, guess)
    answer = laid(_noise((1, channels, *patch)))
    if answer.ndim != 5 or tuple(answer.shape[2:]) != patch:
        raise UserError(
            f"The network answers {tuple(answer.shape)} to {patch} voxels.",
            "It must answer one channel a class, of the size of its input.",
        )
    outputs, gives = int(answer.shape[1]), _gives(answer)
    planes: Literal[2, 3] = 3 if laid.dimensions == 3 else 2
    statistics = guess.normalises or normalises(network)
    if guess.window is not None:
        return Probed(planes, channels, outputs, gives, (1, 1, 1), (0, 0, 0), statistics, guess.window)
    trial = _Trial(laid, channels)
    axes = range(3 - planes, 3)
    reach = guess.reach or _shape([trial.reach(axis) if axis in axes else 0 for axis in range(3)])
    statistics |= max(reach) >= _CAP
    stride = guess.stride or _shape([trial.stride(axis, not statistics) if axis in axes else 1 for axis in range(3)])
    if not statistics:
        return Probed(planes, channels, outputs, gives, stride, reach, False, None)
    window = _shape([-(-_WINDOW // step) * step if axis in axes else 1 for axis, step in enumerate(stride)])
    return Probed(planes, channels, outputs, gives, stride, (0, 0, 0), True, window)


def normalises(network: nn.Module) -> bool:
    """Whether a module of ``network`` takes statistics of what it is shown."""
    return any(
        isinstance(module, TILE_NORMS) or (isinstance(module, INSTANCE_NORMS) and not module.track_running_stats)
        for module in network.modules()
    )


class _Trial:
    """A network that is tried along one axis at a time."""

    def __init__(self, network: nn.Module, channels: int) -> None:
        self.network, self.channels = network, channels

    def reach(self, axis: int) -> int:
        """How far from a change, along ``axis``, the answer still differs; at most half of the patch."""
        before = _noise(self._shape_of(axis, _LONG))
        after = before.clone()
        middle = _LONG // 2
        after.narrow(axis + 2, middle, middle).mul_(-2).add_(1.5)
        first, second = self.network(before), self.network(after)
        change = (first - second).abs().movedim(axis + 2, 0).flatten(1).amax(dim=1)[:middle]
        differs = torch.nonzero(change > _TRACE * float(first.std().clamp_min(1e-6)))
        return middle - int(differs[0]) if len(differs) else 0

    def stride(self, axis: int, alike: bool) -> int:
        """The smallest step by which a patch may grow and, if ``alike`` matters, move along ``axis``."""
        fits = [step for step in STEPS if self._runs(axis, _BASE + step)]
        if not fits:
            raise UserError(
                f"The network takes no patch that is a multiple of {STEPS[-1]} voxels.",
                "Say what it takes: --set window=[96,96,96].",
            )
        return next((step for step in fits if not alike or self._moves(axis, step)), STEPS[-1])

    def _runs(self, axis: int, side: int) -> bool:
        shape = self._shape_of(axis, side)
        try:
            return tuple(self.network(torch.zeros(shape)).shape[2:]) == shape[2:]
        except Exception:  # a network says in its own way that a size does not fit
            return False

    def _moves(self, axis: int, step: int) -> bool:
        """Whether the answer moves along when the patch is moved by ``step``."""
        side = _LONG - 2 * STEPS[-1]
        patch = _noise(self._shape_of(axis, side + STEPS[-1]))
        whole = self.network(patch.narrow(axis + 2, 0, side))
        moved = self.network(patch.narrow(axis + 2, step, side))
        middle, few = side // 2, 16
        difference = whole.narrow(axis + 2, middle + step, few) - moved.narrow(axis + 2, middle, few)
        return float(difference.abs().max()) <= _ALIKE * float(whole.std().clamp_min(1e-6))

    def _shape_of(self, axis: int, side: int) -> tuple[int, ...]:
        sides = [side if place == axis else _BASE for place in range(3)]
        if getattr(self.network, "dimensions", 3) == 2:
            sides[0] = 1
        return (1, self.channels, *sides)


def _first_that_runs(network: nn.Module, guess: Guess) -> tuple[Laid, int, Shape]:
    """The network laid out, its channels, and the patch that it took."""
    said = ""
    dimensions: Iterable[int] = (guess.dimensions,) if guess.dimensions else (3, 2)
    channels: Iterable[int] = (guess.channels,) if guess.channels else (1, 2, 3, 4)
    for number, planes in itertools.product(channels, dimensions):
        patch = guess.window or (_BASE if planes == 3 else 1, _BASE, _BASE)
        laid = Laid(network, planes)
        try:
            laid(torch.zeros(1, number, *patch))
        except Exception as error:  # a network says in its own way that an input does not fit
            said = said or " ".join(str(error).split())[:200]
            continue
        return laid, number, patch
    raise UserError(
        f"The network does not run on small patches of one to four channels: {said}.",
        "If it takes one size only, say so: --set window=[96,96,96].",
    )


def _gives(answer: Tensor) -> Gives:
    """Probabilities lie in 0 … 1 and add up to 1; those of one channel only do the first."""
    inside = bool(((answer >= 0) & (answer <= 1)).all())
    alone = answer.shape[1] == 1
    sums = bool(((answer.sum(dim=1) - 1).abs() < 1e-3).all())
    return "probabilities" if inside and (alone or sums) else "logits"


def _noise(shape: tuple[int, ...]) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def _shape(sides: list[int]) -> Shape:
    z, y, x = sides
    return z, y, x
