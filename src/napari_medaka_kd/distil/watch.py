"""Watch: how a network does on a few fixed places while it learns, in animals it never sees and in known ones."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from napari_medaka_kd.networks.inputs import encode
from napari_medaka_kd.volumes.atomic import replace_file
from napari_medaka_kd.volumes.body import normalise

from .batches import Source, reader
from .metrics import KNOWN, ORGAN, PREVIEW, TEACHER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_medaka_kd.settings import NetworkSettings, PatchSettings
    from napari_medaka_kd.volumes.labels import LabelSchema

_PLACES, _EACH = 24, 8  # patches in all, and of one animal at most
_AT_A_TIME = 8
_SALT = 23  # other random numbers than those of the batches, which are drawn by (seed, step)


@dataclass(frozen=True)
class Places:
    """Patches that are looked at again and again.

    Attributes
    ----------
    image
        (N, C, Z, Y, X) float32, as a network sees them, unbent.
    truth
        (N, Z, Y, X) int64 classes.
    grey
        (N, Z, Y, X) uint8, to be shown to people.
    """

    image: Tensor
    truth: Tensor
    grey: npt.NDArray[np.uint8]

    @cached_property
    def richest(self) -> tuple[int, ...]:
        """The slice with most organs: (n, z)."""
        truth = self.truth.numpy()
        return max(np.ndindex(*truth.shape[:2]), key=lambda place: len(np.unique(truth[place])))


class Watch:
    """Figures of a network on fixed places, and a preview of one of them.

    Parameters
    ----------
    schema
        The organs; figures are called by their names.
    watched
        Animals that are only looked at: nothing is learned from them, and nothing is chosen by them.
    known
        Animals with labels that the network learns from; the best weights are chosen by these.
    """

    def __init__(
        self, schema: LabelSchema, watched: Places | None, known: Places, teacher: nn.Module | None = None
    ) -> None:
        self.schema, self.watched, self.known = schema, watched, known
        self._teacher = teacher
        self._taught: dict[str, float] = {}
        self._shown: npt.NDArray[Any] | None = None

    def figures(self, network: nn.Module, folder: Path) -> dict[str, float]:
        """IoU of each organ on the watched animals, the teacher's too, and their mean on known labels.

        A preview is left in ``folder``. The network is in training mode afterwards, as it was.
        """
        organs = len(self.schema.names)
        figures = {KNOWN: _mean(_ious(_answers(network, self.known.image), self.known.truth, organs))}
        if self.watched is not None:
            answers = _answers(network, self.watched.image)
            figures |= self._named(ORGAN, _ious(answers, self.watched.truth, organs))
            figures |= self._of_teacher(self.watched)
            self._preview(self.watched, answers, folder)
        network.train()
        return figures

    def _of_teacher(self, watched: Places) -> Mapping[str, float]:
        if self._teacher is not None and not self._taught:
            answers = _answers(self._teacher, watched.image)
            self._shown = answers.numpy()
            self._taught = self._named(TEACHER, _ious(answers, watched.truth, len(self.schema.names)))
        return self._taught

    def _named(self, prefix: str, ious: npt.NDArray[np.float64]) -> dict[str, float]:
        named = zip(self.schema.names, ious.tolist(), strict=True)
        return {f"{prefix}{name}": iou for name, iou in named if not math.isnan(iou)}

    def _preview(self, watched: Places, answers: Tensor, folder: Path) -> None:
        """The slice with most organs, and its organ ids under each label map, as ``preview.npz``."""
        maps = {"truth": watched.truth.numpy(), "student": answers.numpy()}
        if self._shown is not None:
            maps["teacher"] = self._shown
        stream = io.BytesIO()
        planes = {name: self.schema.to_ids(each[watched.richest]).astype(np.uint16) for name, each in maps.items()}
        np.savez_compressed(stream, allow_pickle=False, image=watched.grey[watched.richest], **planes)
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / PREVIEW, stream.getvalue())


def draw_places(sources: Sequence[Source], patches: PatchSettings, looks: NetworkSettings, seed: int) -> Places | None:
    """Some patches around organs of each of ``sources``, the same for the same seed; ``None`` without a source."""
    if not sources:
        return None
    each = max(1, min(_EACH, _PLACES // len(sources)))
    around = patches.model_copy(update={"foreground": 1.0, "patches_per_block": 1})
    images, truths, greys = [], [], []
    for number, source in enumerate(sources[:_PLACES]):
        for patch in reader((source,), around, each, (seed, _SALT)).read(number):
            images.append(torch.from_numpy(encode(patch.image, patch.region, source.body, looks)))
            truths.append(torch.from_numpy(source.labels.schema.to_classes(patch.labels)))
            greys.append((normalise(patch.image, source.body.window).clip(0, 1) * 255).astype(np.uint8))
    return Places(torch.stack(images), torch.stack(truths), np.stack(greys))


@torch.inference_mode()
def _answers(network: nn.Module, images: Tensor) -> Tensor:
    """The most probable class of each voxel, (N, Z, Y, X) int64 on the CPU."""
    device = next(network.parameters()).device
    network.eval()
    parts = [network(part.to(device)).argmax(dim=1).cpu() for part in torch.split(images, _AT_A_TIME)]
    return torch.cat(parts)


def _ious(answers: Tensor, truth: Tensor, organs: int) -> npt.NDArray[np.float64]:
    """By organ, over all places together; NaN where it is in none of them, so that the same ones always count."""
    pairs = (truth * (organs + 1) + answers).flatten()
    table = torch.bincount(pairs, minlength=(organs + 1) ** 2).reshape(organs + 1, organs + 1).double().numpy()
    both, there = np.diag(table)[1:], table.sum(axis=1)[1:]
    either = table.sum(axis=0)[1:] + there - both
    ious: npt.NDArray[np.float64] = both / np.where(there > 0, either, np.nan)
    return ious


def _mean(ious: npt.NDArray[np.float64]) -> float:
    return float(np.nanmean(ious)) if np.isfinite(ious).any() else 0.0
