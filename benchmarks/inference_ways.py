"""The ways of segmenting that ``inference.py`` compares: each from a zarr store to labels and doubt in a zarr store."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.networks.inputs import encode
from napari_medaka_kd.segment.halo import find_halo
from napari_medaka_kd.segment.pipeline import CACHE
from napari_medaka_kd.segment.run import segment
from napari_medaka_kd.segment.segmenter import Segmenter
from napari_medaka_kd.settings import SegmentSettings
from napari_medaka_kd.volumes.open import open_volume
from napari_medaka_kd.volumes.store_array import own_cache
from napari_medaka_kd.volumes.volume import whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor, nn

    from napari_medaka_kd.networks.backends.backend import Backend
    from napari_medaka_kd.volumes.body import Body
    from napari_medaka_kd.volumes.volume import Region, Volume

SIDES = (64, 96, 128, 192, 256)  # voxels, of tiles for the network alone
WINDOW = 96  # voxels: MONAI's usual roi_size, and near nnU-Net's usual patch


@dataclass(frozen=True)
class Scene:
    """What is segmented, and by what."""

    scan: Path
    body: Body
    checkpoint: Path
    target: Path

    @property
    def volume(self) -> Volume:
        with own_cache(CACHE):  # as the verb does
            return open_volume(self.scan)

    @property
    def card(self) -> Checkpoint:
        return Checkpoint.open(self.checkpoint)

    def network(self) -> nn.Module:
        return self.card.load(self.checkpoint).eval()

    def encoded(self) -> Tensor:
        """The whole scan as the network sees it, (1, C, z, y, x): what its users hand to MONAI."""
        volume = self.volume
        seen = encode(volume.read(), whole(volume.shape), self.body, self.card.network)
        return torch.from_numpy(seen)[None]

    def write(self, classes: npt.NDArray[np.uint8], doubt: npt.NDArray[np.uint8]) -> None:
        import zarr

        ids = self.card.organs.to_ids(classes)
        for name, values in (("labels", ids), ("doubt", doubt)):
            array = zarr.create_array(self.target / name, shape=values.shape, chunks=(64,) * 3, dtype=values.dtype)
            array[:] = values


def ours(backend: str) -> Callable[[Scene], dict[str, Any]]:
    """The product's own way, pyramids of both maps included; what it measures once a checkpoint is measured before."""

    def way(scene: Scene) -> dict[str, Any]:
        segmenter = ready(scene, backend)
        clock = segmenter.backend = Clock(segmenter.backend)
        tiles = segmenter.tiles(scene.volume.shape, scene.body, whole(scene.volume.shape))
        return {
            "run": lambda: drain(segment(scene.volume, scene.body, scene.card, segmenter)),
            "network": lambda: clock.seconds,
            "computes": segmenter.computes,
            "halo": segmenter.halo,
            "tiles": len(tiles),
            "core": sum(math.prod(side.stop - side.start for side in tile.core) for tile in tiles),
        }

    return way


def bare(scene: Scene) -> dict[str, Any]:
    """The network alone on a tile in memory, every voxel of whose answer counts, at the size that suits it best."""
    backend, image = ready(scene, "auto").backend, scene.encoded()[0].numpy()
    size = min(SIDES, key=lambda side: _seconds_a_voxel(backend, image, side))
    tile = np.ascontiguousarray(image[:, :size, :size, :size])
    inner = whole((size,) * 3)
    return {"run": lambda: backend(tile, inner), "computes": backend.name, "voxels": size**3}


def _seconds_a_voxel(backend: Backend, image: npt.NDArray[np.float32], side: int) -> float:
    tile = np.ascontiguousarray(image[:, :side, :side, :side])
    backend(tile, whole((side,) * 3))  # what a first time costs more
    begun = time.process_time()
    backend(tile, whole((side,) * 3))
    return (time.process_time() - begun) / side**3


class Clock:
    """A back end that knows for how long the processor was busy with it; right for one thread."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.name, self.seconds = backend, backend.name, 0.0

    def __call__(self, image: npt.NDArray[np.float32], inner: Region) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
        begun = time.thread_time()
        answer = self.backend(image, inner)
        self.seconds += time.thread_time() - begun
        return answer


def ready(scene: Scene, backend: str) -> Segmenter:
    settings = SegmentSettings(backend=backend, device="cpu")
    segmenter = Segmenter(scene.network(), scene.card.network, settings)
    halo = find_halo(segmenter, scene.volume, scene.body, scene.checkpoint, scene.card.weights_sha256)
    segmenter.use_halo(halo)
    segmenter.use_backend(scene.volume, scene.body, scene.checkpoint, volumes=100)
    return segmenter


def monai(overlap: float, bfloat16: bool = False) -> Callable[[Scene], dict[str, Any]]:
    """``SlidingWindowInferer`` as in its tutorials: all in memory, windows of 96³, four at a time, Gaussian weights."""

    def way(scene: Scene) -> dict[str, Any]:
        from monai.inferers import SlidingWindowInferer

        inferer = SlidingWindowInferer((WINDOW,) * 3, sw_batch_size=4, overlap=overlap, mode="gaussian")
        network = scene.network()
        if bfloat16:
            network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

        @torch.inference_mode()
        def run() -> None:
            with torch.autocast("cpu", torch.bfloat16) if bfloat16 else nullcontext():
                logits = inferer(scene.encoded(), network)
            scene.write(*_verdict(logits))

        return {"run": run, "computes": f"torch {'bfloat16, channels last' if bfloat16 else 'float32'}"}

    return way


def nnunet(scene: Scene) -> dict[str, Any]:
    """The settings of nnU-Net's predictor: overlap 0.5, Gaussian weights, sums in float16, a window at a time."""
    network, gauss = scene.network(), _gauss()

    @torch.inference_mode()
    def run() -> None:
        image = scene.encoded()
        shape = image.shape[2:]
        sums = torch.zeros((scene.card.organs.classes, *shape), dtype=torch.float16)
        weights = torch.zeros(shape, dtype=torch.float16)
        for z in _starts(shape[0]):
            for y in _starts(shape[1]):
                for x in _starts(shape[2]):
                    place = tuple(slice(at, at + WINDOW) for at in (z, y, x))
                    sums[(slice(None), *place)] += (network(image[(..., *place)])[0] * gauss).half()
                    weights[place] += gauss.half()
        scene.write(*_verdict((sums / weights)[None]))

    return {"run": run, "computes": "torch float32, sums in float16"}


def whole_volume(scene: Scene) -> dict[str, Any]:
    """Without any window, in float32: the truth that all ways are held against."""
    network = scene.network()

    @torch.inference_mode()
    def run() -> None:
        scene.write(*_verdict(network(scene.encoded())))

    return {"run": run, "computes": "torch float32"}


def _verdict(logits: Tensor) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Classes and doubt; plane by plane, or the softmax doubles the memory."""
    classes, doubts = [], []
    for plane in logits[0].split(16, dim=1):
        top, chosen = plane.float().softmax(dim=0).max(dim=0)
        classes.append(chosen.to(torch.uint8).numpy())
        doubts.append(((1 - top) * 255).round().to(torch.uint8).numpy())
    return np.concatenate(classes), np.concatenate(doubts)


def _gauss() -> Tensor:
    """nnU-Net's importance map: sigma an eighth of the window."""
    at = torch.arange(WINDOW) - (WINDOW - 1) / 2
    line = torch.exp(-(at**2) / (2 * (WINDOW / 8) ** 2))
    gauss = line[:, None, None] * line[:, None] * line
    return (gauss / gauss.max()).clamp_min(1e-3)


def _starts(size: int) -> list[int]:
    steps = math.ceil((size - WINDOW) / (WINDOW / 2)) + 1
    return [round(at) for at in np.linspace(0, size - WINDOW, steps)]


WAYS: dict[str, Callable[[Scene], dict[str, Any]]] = {
    "whole volume at once": whole_volume,
    "MONAI, overlap 0.5": monai(0.5),
    "MONAI, overlap 0.5, bfloat16": monai(0.5, bfloat16=True),
    "MONAI, overlap 0.25": monai(0.25),
    "MONAI, overlap 0.25, bfloat16": monai(0.25, bfloat16=True),
    "nnU-Net's settings": nnunet,
    "medaka-kd, torch float32": ours("torch float32"),
    "medaka-kd, torch bfloat16": ours("torch bfloat16"),
    "medaka-kd": ours("auto"),
    "the network alone": bare,
}
