"""segment: the labels of a whole volume, block by block onto the disk; a killed run goes on where it was."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.volumes.growing import looked_at
from napari_medaka_kd.volumes.label_store import begin_labels
from napari_medaka_kd.volumes.tiles import distance

from .blended import BlendedSegmenter
from .several import answers_of_several, assemble, other_devices

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari_medaka_kd.networks.checkpoint import Checkpoint
    from napari_medaka_kd.volumes.body import Body
    from napari_medaka_kd.volumes.label_extras import Extra
    from napari_medaka_kd.volumes.label_generation import LabelGeneration
    from napari_medaka_kd.volumes.labels import LabelMap
    from napari_medaka_kd.volumes.volume import Region, Triple, Volume

    from .errand import How
    from .segmenter import Answer, Segmenter


def segment(
    volume: Volume, body: Body, checkpoint: Checkpoint, segmenter: Segmenter, first: Triple | None = None
) -> Job[LabelMap]:
    """Write the organs of ``volume`` into its store as the label map ``checkpoint.name``, with its uncertainty,
    and the disagreement and soft labels that the segmenter was made to give.

    Reading, computing and writing overlap; memory does not grow with the volume: it holds two blocks of 256³ voxels,
    one that is computed and one that is written, of 4 bytes a voxel, and one more for each class where soft labels are
    kept (8 classes: 400 MB in all). Killed and called again with the same checkpoint and volume, only the blocks not
    yet written are computed; closed, what is being written is kept.

    Parameters
    ----------
    volume
        Opened from an OME-Zarr store of a project.
    first
        Voxel (z, y, x) that the blocks are begun from, outwards; the labels do not depend on it. Whoever looks
        elsewhere meanwhile says so by :meth:`~napari_medaka_kd.volumes.growing.Growing.look_at`.
    """
    store = volume.source
    assert store is not None
    extras = of_whom(segmenter.extras, checkpoint)
    fingerprint = fingerprint_of(checkpoint, volume, body, segmenter)
    generation = begin_labels(store, checkpoint.name, checkpoint.organs, fingerprint, extras)
    total, done = len(generation.blocks), len(generation.blocks) - len(generation.pending)
    yield Progress(f"segment {volume.name}", done, total)
    if isinstance(segmenter, BlendedSegmenter):
        pending = tuple((index, generation.blocks[index]) for index in generation.pending)
        found = _timed(segmenter, segmenter.answers(volume, body, pending))
    else:
        team = assemble(segmenter, other_devices(segmenter.settings.device))
        found = _timed(segmenter, answers_of_several(team, volume, body, nearest(generation, first)))
    for _ in _write(generation, checkpoint, found):
        done += 1
        if done < total:
            pace = {"voxels/s": segmenter.voxels / segmenter.seconds}
            yield Progress(": ".join(filter(None, (f"segment {volume.name}", segmenter.said))), done, total, pace)
    labels = yield from generation.commit()
    pace = {"voxels/s": segmenter.voxels / segmenter.seconds} if segmenter.seconds else {}
    yield Progress(f"segment {volume.name}", total, total, pace)
    return labels


def nearest(generation: LabelGeneration, first: Triple | None) -> Iterator[tuple[int, Region]]:
    """(number, region) of the blocks to be written, each time the nearest to where a person looks now."""
    pending = list(generation.pending)
    while pending:
        point = looked_at(generation.folder) or first
        index = pending[0] if point is None else min(pending, key=lambda i: distance(generation.blocks[i], point))
        pending.remove(index)
        yield index, generation.blocks[index]


def fingerprint_of(checkpoint: Checkpoint, volume: Volume, body: Body, segmenter: Segmenter | How) -> str:
    """Of all that determines the labels; who computes them, and on how many machines, does not."""
    facts = (
        checkpoint.weights_sha256,
        volume.shape,
        str(volume.source),
        body,
        body.mask and hashlib.sha256(body.mask.coarse.tobytes()).hexdigest(),
        segmenter.tile,
        segmenter.halo,
        segmenter.computes,
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _write(generation: LabelGeneration, checkpoint: Checkpoint, found: Iterator[tuple[int, Answer]]) -> Iterator[int]:
    """The numbers of the blocks, as they reach the disk; one is written while the next is computed."""
    begun: tuple[int, Future[None]] | None = None
    with ThreadPoolExecutor(1, "write blocks") as writer:
        for index, answer in found:
            if begun is not None:
                begun[1].result()
                yield begun[0]
            ids = checkpoint.organs.to_ids(answer.classes)
            begun = index, writer.submit(generation.write, index, ids, answer.maps)
        if begun is not None:
            begun[1].result()
            yield begun[0]


def _timed(segmenter: Segmenter, found: Iterator[tuple[int, Answer]]) -> Iterator[tuple[int, Answer]]:
    """Note how many voxels were answered, and how long that took."""
    begun = time.monotonic()
    for index, answer in found:
        segmenter.voxels += answer.classes.size
        segmenter.seconds += time.monotonic() - begun
        yield index, answer
        begun = time.monotonic()


def of_whom(extras: Iterable[Extra], checkpoint: Checkpoint) -> tuple[Extra, ...]:
    """What is kept beside the labels, each with whose answer it is."""
    weights = {"weights": checkpoint.weights_sha256}
    return tuple(replace(extra, facts={**extra.facts, **weights}) for extra in extras)
