"""Errand: what a worker somewhere is told, and does: answer some blocks of a scan, and write them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Self

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.settings import SegmentSettings
from napari_medaka_kd.volumes.label_blocks import join_labels
from napari_medaka_kd.volumes.open import open_volume
from napari_medaka_kd.volumes.store_array import own_cache

from .halo import find_halo
from .pipeline import CACHE, answers
from .segmenter import Segmenter

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from napari_medaka_kd.volumes.body import Body
    from napari_medaka_kd.volumes.volume import Shape

_KEPT = 2  # networks that a worker keeps ready
_ready: OrderedDict[tuple[Path, str, How], Segmenter] = OrderedDict()
_one_at_a_time = threading.Lock()  # the device is one, and a segmenter shrinks its tiles where memory is short


@dataclass(frozen=True)
class How:
    """All that decides, beside the weights, what is said of a voxel; decided once, the same for all workers.

    Attributes
    ----------
    tile, halo
        Voxels, (z, y, x).
    precision
        ``float32`` or ``bfloat16``.
    backend
        Its name.
    computes
        What is in the fingerprint of the labels.
    soft, disagreement, rounds
        What is asked beside them, as the settings have it.
    """

    tile: Shape
    halo: Shape
    device: str
    precision: str
    backend: str
    computes: str
    soft: bool
    disagreement: str
    rounds: int

    @classmethod
    def of(cls, segmenter: Segmenter) -> Self:
        return cls(
            segmenter.tile,
            segmenter.halo,
            str(segmenter.device),
            str(segmenter.precision).removeprefix("torch."),
            segmenter.backend.name,
            segmenter.computes,
            segmenter.settings.soft,
            segmenter.settings.disagreement,
            segmenter.settings.rounds,
        )


@dataclass(frozen=True)
class Errand:
    """What a worker is told of one label map.

    Attributes
    ----------
    labels
        Folder of the generation, and the fingerprint of what is being written there.
    scan
        The scan's OME-Zarr.
    checkpoint, weights
        Its folder, and the hash of the weights that are meant.
    version
        Of this program: others may answer otherwise.
    """

    labels: tuple[Path, str]
    scan: Path
    body: Body
    checkpoint: Path
    weights: str
    how: How
    version: str = version("napari-medaka-kd")


def decide(checkpoint: Path, settings: SegmentSettings, scan: Path, body: Body, volumes: int = 1) -> How:
    """How a scan, one of so many ``volumes``, is to be segmented on a machine like this one.

    What had to be measured is kept in ``checkpoint``.
    """
    card, volume = Checkpoint.open(checkpoint), open_volume(scan)
    segmenter = Segmenter(card.load(checkpoint), card.network, settings)
    segmenter.use_halo(find_halo(segmenter, volume, body, checkpoint, card.weights_sha256))
    segmenter.use_backend(volume, body, checkpoint, volumes)
    return How.of(segmenter)


def run_errand(errand: Errand, numbers: tuple[int, ...]) -> list[tuple[int, npt.NDArray[np.int64]]]:
    """Answer and write the blocks of these numbers; they are on the disk on return, for the owner to note.

    Returns the number of each block and where its organs are (see :meth:`LabelBlocks.write`).

    Raises
    ------
    UserError
        If this machine cannot do it as it was decided, or the label map is no longer wanted.
    """
    if errand.version != version("napari-medaka-kd"):
        raise UserError(
            f"A worker has version {version('napari-medaka-kd')} of napari-medaka-kd, {errand.version} was asked for.",
            "Install the same version for all workers.",
        )
    with _one_at_a_time, join_labels(*errand.labels) as labels:
        segmenter = _segmenter(errand)
        organs = Checkpoint.open(errand.checkpoint).organs
        with own_cache(CACHE):
            volume = open_volume(errand.scan)
        wanted = ((number, labels.blocks[number]) for number in numbers)
        return [
            (number, labels.write(number, organs.to_ids(answer.classes), answer.maps))
            for number, answer in answers(segmenter, volume, errand.body, wanted)
        ]


def _segmenter(errand: Errand) -> Segmenter:
    """A segmenter as it was decided; one of the last few, or a new one."""
    key = errand.checkpoint, errand.weights, errand.how
    if key not in _ready:
        _ready[key] = _prepare(errand)
    _ready.move_to_end(key)
    while len(_ready) > _KEPT:
        _ready.popitem(last=False)
    return _ready[key]


def _prepare(errand: Errand) -> Segmenter:
    how, card = errand.how, Checkpoint.open(errand.checkpoint)
    if card.weights_sha256 != errand.weights:
        raise UserError(f"The checkpoint {card.name!r} was changed meanwhile.", "Run the same command again.")
    names = ("device", "precision", "tile", "soft", "disagreement", "rounds")
    settings = SegmentSettings.model_validate({name: getattr(how, name) for name in names})
    segmenter = Segmenter(card.load(errand.checkpoint), card.network, settings, how.halo)
    segmenter.compute_by(how.backend)
    if segmenter.computes != how.computes:
        raise UserError(
            f"A worker computes by {segmenter.computes!r}, the others by {how.computes!r}.",
            "Use workers of one kind, or name a back end that all have: --set backend='torch float32'.",
        )
    return segmenter
