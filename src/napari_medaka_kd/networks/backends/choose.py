"""Which back end is the fastest here that answers as float32 does: measured on a tile, and remembered."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from napari_medaka_kd.networks.build import network_stride
from napari_medaka_kd.networks.cone import cone
from napari_medaka_kd.volumes.volume import whole

from .remembered import facts, recall, remember
from .table import EXACT, TABLE, available, make
from .verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medaka_kd.settings import NetworkSettings
    from napari_medaka_kd.volumes.volume import Region, Shape

    from .backend import Backend

DIFFERENT = 2e-4  # share of the voxels that may get another class
ROUNDS = 3
TILES = 100  # of an ordinary scan, over which the start is spread
LONG = 60.0  # seconds of float32 from which on it may pay to try a compiler, which takes up to half a minute
DOUBT = 3.0  # of 255: how far the doubt may be off on average

Image = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Ahead:
    """What is to be computed: the size of most tiles, (z, y, x), and how many voxels there are in all of them."""

    tile: Shape
    voxels: int


@dataclass(frozen=True)
class Sample:
    """An encoded tile (C, z, y, x), and its core, which is to be answered."""

    image: Image
    inner: Region


@dataclass(frozen=True)
class Truth:
    """What float32 says of the cores of ``samples``, and how long it took."""

    samples: tuple[Sample, ...]
    classes: tuple[npt.NDArray[Any], ...]
    doubt: tuple[npt.NDArray[np.uint8], ...]
    seconds: float

    @property
    def size(self) -> Shape:
        """Of the first sample, (z, y, x)."""
        z, y, x = self.samples[0].image.shape[1:]
        return z, y, x

    def takes(self, ahead: Ahead) -> float:
        """Seconds that float32 would take for all that is to be computed."""
        shown = sum(math.prod(sample.image.shape[1:]) for sample in self.samples)
        return self.seconds * ahead.voxels / shown


@dataclass(frozen=True)
class Trial:
    """A back end that agrees, and the seconds it took to start and to do the images once."""

    backend: Backend
    start: float


def choose(network: nn.Module, looks: NetworkSettings, ahead: Ahead, sample: Sample, folder: Path | None) -> Backend:
    """The fastest back end, on the device of ``network``, whose answers are those of float32.

    Takes about five times as long as float32 takes for ``sample``, and half a minute more where much is to be computed
    and only a compiler is to be had; no time if it was chosen before, for these weights, this tile, this processor and
    these libraries.

    Parameters
    ----------
    ahead
        What it is for. Where that is soon done without a compiler, none is tried, and the choice is not kept.
    sample
        A tile with some of an animal in it; it may be smaller than those ahead: float32 takes most memory of all.
    folder
        Where the choice is kept, as ``backend.json``; None: nowhere.
    """
    device, tile = next(network.parameters()).device, ahead.tile
    names = available(network, looks, device)
    known = facts(network, tile, device, names)
    name = recall(folder, known)
    if name in names:
        return make(name, network, looks, tile)
    truth = ask_float32(network, (sample, _sliver(sample, looks)))
    tried = [name for name in names if not TABLE[name].slow_to_start or truth.takes(ahead) >= LONG]
    trials = _trials(tried, network, looks, truth)
    measured = {EXACT: truth.seconds, **_race(trials[1:], truth.samples)}
    best = min(trials, key=lambda trial: measured[trial.backend.name] + trial.start / TILES)
    if len(tried) == len(names) or _another_library(trials):
        remember(folder, known, best.backend.name, measured)
    made_for_another = TABLE[best.backend.name].slow_to_start and truth.size != tile
    return make(best.backend.name, network, looks, tile) if made_for_another else best.backend


def is_chosen(network: nn.Module, looks: NetworkSettings, tile: Shape, folder: Path | None) -> bool:
    """Whether :func:`choose` need not measure."""
    device = next(network.parameters()).device
    names = available(network, looks, device)
    return recall(folder, facts(network, tile, device, names)) in names


@torch.inference_mode()
def ask_float32(network: nn.Module, samples: tuple[Sample, ...]) -> Truth:
    """What ``network`` itself says of each core."""
    verdict, device = Verdict(network.eval()), next(network.parameters()).device
    begun = time.perf_counter()
    answers = []
    for sample in samples:
        needed = cone(sample.inner, sample.image.shape[1:], verdict.levels).tolist()
        answers.append(verdict.probabilities(torch.from_numpy(sample.image)[None].to(device), needed)[0])
    seconds = time.perf_counter() - begun
    tops = [answer.max(dim=0) for answer in answers]
    return Truth(
        samples,
        tuple(top.indices.cpu().numpy() for top in tops),
        tuple(((1 - top.values) * 255).round().to(torch.uint8).cpu().numpy() for top in tops),
        seconds,
    )


def agrees(backend: Backend, truth: Truth) -> bool:
    """Whether ``backend`` gives the classes and the doubt of float32, up to what no one would see."""
    different, off = distance(backend, truth)
    return different <= DIFFERENT and off <= DOUBT


def distance(backend: Backend, truth: Truth) -> tuple[float, float]:
    """(share of the voxels that get another class than from float32, how far the doubt is off on average, of 255)."""
    different = voxels = 0
    off = 0.0
    for sample, classes, doubt in zip(truth.samples, truth.classes, truth.doubt, strict=True):
        its_classes, its_doubt, *_ = backend(sample.image, sample.inner)
        different += int(np.count_nonzero(its_classes != classes))
        off += float(np.abs(its_doubt.astype(np.int16) - doubt).sum())
        voxels += classes.size
    return different / voxels, off / voxels


def _trials(names: Sequence[str], network: nn.Module, looks: NetworkSettings, truth: Truth) -> list[Trial]:
    """Float32, and those of ``names`` that agree with it; compilers only where no other library does."""
    trials = [Trial(make(EXACT, network, looks, truth.size), 0.0)]
    for name in names:
        if name == EXACT or (TABLE[name].slow_to_start and _another_library(trials)):
            continue
        if (trial := _try(name, network, looks, truth.size, truth)) is not None:
            trials.append(trial)
    return trials


def _another_library(trials: Sequence[Trial]) -> bool:
    return any(not trial.backend.name.startswith("torch") for trial in trials)


def _try(name: str, network: nn.Module, looks: NetworkSettings, tile: Shape, truth: Truth) -> Trial | None:
    """The back end ``name``, started; None if it cannot, or is wrong about the images of ``truth``."""
    begun = time.perf_counter()
    try:
        backend = make(name, network, looks, tile)
        right = agrees(backend, truth)
    except Exception:  # a library that fails here, in whatever way, is not to be used here
        return None
    return Trial(backend, time.perf_counter() - begun) if right else None


def _race(trials: Sequence[Trial], samples: tuple[Sample, ...]) -> dict[str, float]:
    """Seconds of each for the samples, the best of some rounds by turns, since other programs run too."""
    best: dict[str, float] = {}
    for trial in list(trials) * ROUNDS:
        begun = time.perf_counter()
        for sample in samples:
            trial.backend(sample.image, sample.inner)
        best[trial.backend.name] = min(best.get(trial.backend.name, math.inf), time.perf_counter() - begun)
    return best


def _sliver(sample: Sample, looks: NetworkSettings) -> Sample:
    """One step of the network wide, as tiles at a volume's edge may be.

    In torch 2.13 some convolutions in bfloat16 go wrong where the answer is one voxel wide (pytorch#169688).
    """
    image = np.ascontiguousarray(sample.image[..., : network_stride(looks)[2]])
    z, y, x = image.shape[1:]
    return Sample(image, whole((z, y, x)))
