"""What ``forecast`` has done in a process of its own: a checkpoint made ready as for a run, and some tiles computed."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.networks.backends.remembered import FILE as BACKEND
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.segment.halo import FILE as HALO
from napari_medaka_kd.segment.halo import find_halo
from napari_medaka_kd.segment.probe import probe
from napari_medaka_kd.segment.segmenter import Segmenter

from . import propose as propose  # a run loads it: its memory and its seconds count

if TYPE_CHECKING:
    from napari_medaka_kd.project import Project
    from napari_medaka_kd.settings import SegmentSettings


def measure(
    project: Project, checkpoint: str, settings: SegmentSettings, case_id: str, volumes: int = 1
) -> Job[dict[str, Any]]:
    """The prices of segmenting cases like this one, of ``volumes``, and when the checkpoint was ready and all was done.

    ``{"chosen": True}`` alone where halo or back end had to be chosen, which takes time and memory that a run will not
    need: ask again, in a process that has not done so. Writes into the project's folder, beside the cases, for as long
    as it takes.
    """
    folder, case = project.checkpoint(checkpoint), project.case(case_id)
    card = Checkpoint.open(folder)
    segmenter = Segmenter(card.load(folder), card.network, settings)
    volume, body, before = case.volume, case.body, _choices(folder)
    yield Progress(f"compute some tiles of {case_id}", 0, 0)
    segmenter.use_halo(find_halo(segmenter, volume, body, folder, card.weights_sha256))
    begun = time.time()
    segmenter.use_backend(volume, body, folder, volumes)
    if _choices(folder) != before:
        return {"chosen": True}
    started = time.time() - begun
    with TemporaryDirectory(prefix=".forecast-", dir=project.folder.resolve(), ignore_cleanup_errors=True) as empty:
        prices = probe(volume, body, card, segmenter, Path(empty))
    whole = replace(prices, ready=prices.ready + started)
    return {"prices": whole.to_json(), "ready_at": begun, "done_at": time.time()}


def _choices(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() if (folder / name).is_file() else b"" for name in (HALO, BACKEND)]
