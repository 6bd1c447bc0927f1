"""A cohort on a cluster: many scans, cut into groups of blocks that workers answer and write; one owner notes them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.volumes.label_store import begin_labels
from napari_medaka_kd.volumes.volume import extent

from .asked import asked_extras
from .errand import Errand, decide, run_errand
from .run import fingerprint_of, nearest, of_whom

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from distributed import Future

    from napari_medaka_kd.settings import SegmentSettings
    from napari_medaka_kd.volumes.body import Body
    from napari_medaka_kd.volumes.label_generation import LabelGeneration
    from napari_medaka_kd.volumes.volume import Triple, Volume

    from .cluster import Cluster
    from .errand import How

_GROUP = 8  # blocks of an errand at most: 32 MiB of labels each
_SHARES = 4  # errands for each worker, at least: so that none waits long for the last one
_AHEAD = 2  # errands that a worker has at a time, so that it need not wait for the next


@dataclass(frozen=True)
class Scan:
    """One to be segmented.

    Attributes
    ----------
    volume
        Opened from an OME-Zarr store of a project.
    first
        Voxel (z, y, x) that it is begun from.
    left
        How many there are to be segmented from here on, itself included.
    """

    volume: Volume
    body: Body
    first: Triple | None = None
    left: int = 1


def segment_cohort(scans: Iterable[Scan], checkpoint: Path, settings: SegmentSettings, cluster: Cluster) -> Job[None]:
    """Write the label map of the checkpoint in that folder for each scan, as :func:`.run.segment` does alone.

    The ledgers are ours and only we write them; workers write whole shards, each errand its own, and we note them
    when they are on the disk. Blocks of several scans are at work at a time. Killed or closed and called again, here
    or without a cluster, only the blocks not yet noted are computed.

    Raises
    ------
    UserError
        If the workers cannot do it, or all die of it.
    """
    yield from _await_workers(cluster)
    cohort = _Cohort(iter(scans), checkpoint, settings, cluster)
    try:
        yield from cohort.run()
    finally:
        cohort.close()


@dataclass
class _Map:
    """A label map that is being written."""

    scan: Scan
    generation: LabelGeneration
    errand: Errand
    groups: Iterator[tuple[int, ...]]
    begun: float = field(default_factory=time.monotonic)
    voxels: int = 0

    def note(self, found: list[tuple[int, npt.NDArray[np.int64]]]) -> None:
        for number, counts in found:
            self.generation.note(number, counts)
            self.voxels += int(np.prod(extent(self.generation.blocks[number])))

    def progress(self) -> Progress:
        total = len(self.generation.blocks)
        pace = {"voxels/s": self.voxels / (time.monotonic() - self.begun)} if self.voxels else {}
        return Progress(f"segment {self.scan.volume.name}", total - len(self.generation.pending), total, pace)


class _Cohort:
    """The label maps at work, and which errands are out for them."""

    def __init__(self, scans: Iterator[Scan], checkpoint: Path, settings: SegmentSettings, cluster: Cluster) -> None:
        self._scans, self._folder, self._settings, self._cluster = scans, checkpoint.resolve(), settings, cluster
        self._card = Checkpoint.open(checkpoint)
        self._maps: list[_Map] = []
        self._out: dict[Future[Any], _Map] = {}

    def run(self) -> Job[None]:
        while (yield from self._send_out()) or self._out:
            for future in self._cluster.wait(self._out):
                at = self._out.pop(future)
                at.note(self._cluster.result(future))
                yield at.progress()
            yield from self._complete()
            if self._maps:
                yield self._maps[0].progress()  # even if nothing came: whoever wants to cancel is heard

    def close(self) -> None:
        """Let go of all that is unfinished; it can be resumed."""
        self._cluster.cancel(self._out)
        for each in self._maps:
            each.generation.close()

    def _send_out(self) -> Job[bool]:
        """Give every worker enough to do; whether there was anything."""
        sent = False
        room = _AHEAD * max(1, self._cluster.look()) - len(self._out)
        while room > 0 and (found := (yield from self._next())) is not None:
            at, group = found
            self._out[self._cluster.submit(run_errand, at.errand, group)] = at
            sent, room = True, room - 1
        return sent

    def _next(self) -> Job[tuple[_Map, tuple[int, ...]] | None]:
        """The next group of blocks, of a scan that was begun or else of the next one."""
        while True:
            for at in self._maps:
                group = next(at.groups, None)
                if group is not None:
                    return at, group
            scan = next(self._scans, None)
            if scan is None:
                return None
            at = yield from self._begin(scan)
            self._maps.append(at)
            yield at.progress()
            yield from self._complete()

    def _begin(self, scan: Scan) -> Job[_Map]:
        how = yield from self._decide(scan)
        store = scan.volume.source
        assert store is not None
        fingerprint = fingerprint_of(self._card, scan.volume, scan.body, how)
        extras = of_whom(asked_extras(self._settings, self._card.organs.classes), self._card)
        generation = begin_labels(store, self._card.name, self._card.organs, fingerprint, extras)
        labels, weights = (generation.folder.resolve(), fingerprint), self._card.weights_sha256
        errand = Errand(labels, store.resolve(), scan.body, self._folder, weights, how)
        return _Map(scan, generation, errand, _groups(generation, scan.first, self._cluster.look()))

    def _decide(self, scan: Scan) -> Job[How]:
        """As it would be done here; by a worker where workers have GPUs, for this machine may have none."""
        assert scan.volume.source is not None
        given = self._folder, self._settings, scan.volume.source.resolve(), scan.body, scan.left
        if not self._cluster.has_gpus:
            return decide(*given)
        future = self._cluster.submit(decide, *given)
        while not self._cluster.wait([future]):
            yield Progress("Measuring what computes fastest", 0, 0)
        how: How = self._cluster.result(future)
        return how

    def _complete(self) -> Job[None]:
        for each in [each for each in self._maps if not each.generation.pending]:
            yield each.progress()
            yield from each.generation.commit()
            self._maps.remove(each)


def _groups(generation: LabelGeneration, first: Triple | None, workers: int) -> Iterator[tuple[int, ...]]:
    """The blocks to be written, some at a time; each time those nearest to where a person looks now."""
    size = max(1, min(_GROUP, len(generation.pending) // (_SHARES * max(1, workers))))
    group: list[int] = []
    for number, _ in nearest(generation, first):
        group.append(number)
        if len(group) == size:
            yield tuple(group)
            group = []
    if group:
        yield tuple(group)


def _await_workers(cluster: Cluster) -> Job[None]:
    while not cluster.look():
        yield Progress("Waiting for workers", 0, 0)
        time.sleep(0.1)
