"""Crops of a review pack: which part of which animal goes in, how coarse, and the copying of it."""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.project import write_case
from napari_medaka_kd.quality.record import FILE, Record, open_record, save_record
from napari_medaka_kd.volumes.body import Body
from napari_medaka_kd.volumes.label_digest import digest_labels
from napari_medaka_kd.volumes.label_extras import UNCERTAINTY, Extra
from napari_medaka_kd.volumes.label_store import begin_labels, open_saved_labels, open_uncertainty
from napari_medaka_kd.volumes.lazy import DiskArray
from napari_medaka_kd.volumes.pyramid import plan_levels, write_group
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume, extent, whole

from .look import place
from .pack_card import PackedCase

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_medaka_kd.job import Job
    from napari_medaka_kd.project import Case, Project
    from napari_medaka_kd.quality.quality import QualityScore
    from napari_medaka_kd.review import ReviewItem
    from napari_medaka_kd.volumes.volume import Region, Shape

_LEAST = 64  # voxels along each side of a crop, where the scan has them
_SLICE = re.compile(r"\bz = (\d+)")
_PYRAMID = 1.2  # a scan with its coarser levels against level 0 alone


@dataclass(frozen=True)
class Crop:
    """What of an animal goes into a pack.

    Attributes
    ----------
    labels
        The generation of the label map that is judged: ``teacher.2``.
    items
        What is to be reviewed in it.
    region
        In voxels of level 0.
    known
        Slices at which some proposed slab of the animal begins or ends.
    """

    case: Case
    labels: str
    items: tuple[ReviewItem, ...]
    region: Region
    known: frozenset[int]

    @cached_property
    def frames(self) -> tuple[PackedCase, ...]:
        """How it lies in the scan at each level that still tells all its slabs apart, the finest first."""
        volume = self.case.volume
        factors = [level.factor for level in plan_levels(volume.shape, volume.voxel_size)[: len(volume.levels)]]
        frames: list[PackedCase] = []
        digest = digest_labels(self.case.store / "labels" / self.labels)
        for factor in factors:
            start, stop = _aligned(self.region, factor, volume.shape)
            edges = lay_edges(self.known, (start[0], stop[0]), factor[0])
            if any(one[1] >= other[1] for one, other in pairwise(edges)):
                break
            frames.append(
                PackedCase(
                    scan=scan_identity(self.case),
                    labels=self.labels,
                    digest=digest,
                    packed=f"{self.labels.rpartition('.')[0]}.1",
                    depth=volume.shape[0],
                    start=start,
                    stop=stop,
                    factor=factor,
                    edges=edges,
                )
            )
        return tuple(frames)

    def frame(self, level: int) -> PackedCase:
        """As :attr:`frames` has it, or the coarsest of them."""
        return self.frames[min(level, len(self.frames) - 1)]

    def estimate(self, level: int) -> float:
        """Bytes that it will take, as its level is packed on the disk now."""
        level = min(level, len(self.frames) - 1)
        names = (str(level), f"labels/{self.labels}/{level}", f"labels/{self.labels}/{UNCERTAINTY}/{level}")
        packed = sum(file.stat().st_size for name in names for file in (self.case.store / name).rglob("*"))
        share = np.prod(self.frame(level).shape) / np.prod(self.case.volume.levels[level].shape)
        return float(_PYRAMID * packed * share)


def plan_crop(project: Project, items: Sequence[ReviewItem], labels: str, margin: int, known: frozenset[int]) -> Crop:
    """The crop around ``items``, all of one animal, with ``margin`` voxels of level 0 around.

    All slices where an item is about the whole animal.
    """
    case, checkpoint = project.case(items[0].case), labels.rpartition(".")[0]
    shape = case.volume.shape
    boxes = [place(project, item, checkpoint).box for item in items]
    slabs = [item.slab for item in items if item.slab is not None]
    sides = [(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes)) for axis in range(3)]
    sides[0] = (0, shape[0])
    if len(slabs) == len(items):
        sides[0] = (min(slab[0] for slab in slabs), max(slab[1] for slab in slabs))
    z, y, x = (_grow(low, high, margin, size) for (low, high), size in zip(sides, shape, strict=True))
    return Crop(case, labels, tuple(items), (z, y, x), known)


def copy_crop(crop: Crop, level: int, pack: Project) -> Job[PackedCase]:
    """Make the crop a case of the project ``pack``: scan, labels, doubt and scores, all that was cut away left out."""
    frame, case = crop.frame(level), crop.case
    level = case_level(crop, frame)
    folder = pack.folder / "cases" / case.id
    volume, checkpoint = case.volume, crop.labels.rpartition(".")[0]
    scan = _cut(volume, level, frame)
    yield from save_volume(replace(scan, name=case.id), folder / "volume.ome.zarr")
    doubt = open_uncertainty(case.store, crop.labels)
    extras = (Extra(UNCERTAINTY),) if doubt is not None else ()
    begun = begin_labels(folder / "volume.ome.zarr", checkpoint, pack.schema, f"pack {uuid.uuid4()}", extras)
    labels = _cut(open_saved_labels(case.store, crop.labels, case.schema).volume, level, frame)
    beside = {UNCERTAINTY: _cut(doubt, level, frame)} if doubt is not None else {}
    for index in begun.pending:
        block = begun.blocks[index]
        begun.write(index, labels.read(block), {name: extra.read(block) for name, extra in beside.items()})
    yield from begun.commit()
    write_case(folder, scan, _body(case.body, frame), held_out=False)
    _copy_scores(crop, frame, folder)
    write_group(folder, {})
    return frame


def case_level(crop: Crop, frame: PackedCase) -> int:
    """Which level of the scan ``frame`` is of."""
    return crop.frames.index(frame)


def scan_identity(case: Case) -> str:
    """SHA-256 of what a scan says of itself: its grid, where it came from, and a checksum of its voxels."""
    return hashlib.sha256((case.store / "zarr.json").read_bytes()).hexdigest()


def _copy_scores(crop: Crop, frame: PackedCase, folder: Path) -> None:
    """The scores of what is to be reviewed, and of nothing else: the others are not in the queue."""
    case = crop.case
    record = open_record(case.folder, case.schema) if (case.folder / FILE).is_file() else None
    if record is None or record.labels != crop.labels:
        return
    wanted = {(item.organ, item.slab) for item in crop.items}
    kept = [score for score in record.scores if (case.schema.ids[score.organ - 1], tuple(score.slab)) in wanted]
    moved = tuple(_moved(score, frame) for score in kept)
    thick = record.slab and max(1, record.slab // frame.factor[0])
    said: Record = replace(record, labels=frame.packed, slab=thick, scores=moved)
    save_record(said, folder, case.schema)


def _moved(score: QualityScore, frame: PackedCase) -> QualityScore:
    """A score whose slab, and the slices that its reasons name, are counted as in the pack."""

    def shown(z: re.Match[str]) -> str:
        return f"z = {max(0, int(z[1]) - frame.start[0]) // frame.factor[0]}"

    reasons = tuple(_SLICE.sub(shown, reason) for reason in score.reasons)
    return replace(score, slab=frame.into(score.slab) or score.slab, reasons=reasons)


def _cut(volume: Volume, level: int, frame: PackedCase) -> Volume:
    """The crop of one level, read lazily; it does not say where it came from."""
    array, shape = volume.levels[level], frame.shape
    first = [at // by for at, by in zip(frame.start, frame.factor, strict=True)]

    def read(box: Region) -> npt.NDArray[Any]:
        z, y, x = (slice(at + side.start, at + side.stop) for at, side in zip(first, box, strict=True))
        return np.asarray(array[z, y, x])

    z, y, x = (size * by for size, by in zip(volume.voxel_size, frame.factor, strict=True))
    return Volume((DiskArray(shape, np.dtype(array.dtype), read),), (z, y, x))


def _body(body: Body, frame: PackedCase) -> Body:
    """Where of the crop the animal is, with the window that the whole scan has."""
    sides = []
    for side, start, by, size in zip(body.box, frame.start, frame.factor, frame.shape, strict=True):
        sides.append(slice(max(0, (side.start - start) // by), min(size, -(-(side.stop - start) // by))))
    z, y, x = sides
    return Body((z, y, x) if min(extent((z, y, x))) > 0 else whole(frame.shape), body.window)


def _aligned(region: Region, factor: Shape, shape: Shape) -> tuple[Shape, Shape]:
    """(start, stop) of the region of whole coarse voxels around ``region``."""
    z, y, x = (side.start // by * by for side, by in zip(region, factor, strict=True))
    d, h, w = (min(-(-side.stop // by) * by, size) for side, by, size in zip(region, factor, shape, strict=True))
    return (z, y, x), (d, h, w)


def lay_edges(known: frozenset[int], side: tuple[int, int], by: int) -> tuple[tuple[int, int], ...]:
    """(slice of the scan, slice of the pack) of the slabs' ends within ``side``, and of its own."""
    start, stop = side
    inner = sorted({start, *(at for at in known if start < at < stop)})
    return (*((at, (at - start) // by) for at in inner), (stop, -(-(stop - start) // by)))


def _grow(low: int, high: int, margin: int, size: int) -> slice:
    """From ``low`` to ``high`` and ``margin`` more on each side, and no shorter than there is use for."""
    lacking = max(0, min(_LEAST, size) - (high - low + 2 * margin))
    start = max(0, min(low - margin - lacking // 2, size - min(_LEAST, size)))
    return slice(start, min(size, max(high + margin, start + min(_LEAST, size))))
