"""Label maps in a scan's OME-Zarr store: each a new generation, resumable while written, listed when complete.

``<store>/labels/<name>.<n>/`` holds generation ``n`` of ``name``; ``labels/zarr.json`` lists the one that counts.
"""

from __future__ import annotations

import math
import re
import shutil
import uuid
from typing import TYPE_CHECKING, Any

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Progress

from .atomic import in_use, locked
from .channels import open_channels
from .gate import check_ids
from .label_extras import UNCERTAINTY, extra_folder
from .label_generation import LabelGeneration, open_generation
from .label_list import delist, generations, listed, next_generation, resolve, split_name
from .ledger import LEDGER, read_plan
from .open import open_store
from .pyramid import plan_levels
from .save import check_space, space_for
from .store_array import LABEL_SHARD

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medaka_kd.job import Job

    from .channels import Channels
    from .label_extras import Extra
    from .labels import LabelMap, LabelSchema
    from .volume import Volume

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def begin_labels(
    store: Path, name: str, schema: LabelSchema, fingerprint: str, extras: Sequence[Extra] = ()
) -> LabelGeneration:
    """Begin, or resume, a label map of the scan in ``store``.

    An unfinished generation of the same ``name`` and ``fingerprint`` is resumed; other unfinished ones of that name are
    removed, unless another process is writing them. Nothing is listed before :meth:`LabelGeneration.commit`.

    Parameters
    ----------
    store
        The ``.ome.zarr`` of the scan.
    fingerprint
        Of all that determines the labels (checkpoint, settings): the same fingerprint promises the same labels.
    extras
        What each block comes with beside its labels.

    Raises
    ------
    UserError
        If ``store`` is no scan, the name is not made of letters, digits, - and _, or the disk is too full.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"A label map cannot be called {name!r}.", "Use up to 64 letters, digits, - and _.")
    scan = open_store(store)
    labels = store / "labels"
    labels.mkdir(exist_ok=True)
    plan = plan_labels(scan, schema, fingerprint, extras)
    with locked(labels / ".lock"):
        folder = _resumable(labels, name, plan)
        if folder is None:
            _check_room(labels, scan, schema, extras)
            folder = next_generation(labels, name)
        return LabelGeneration(folder, scan, plan, schema)


def save_labels(labels: LabelMap, store: Path, name: str) -> Job[LabelMap]:
    """Copy ``labels`` into the store of its scan as ``name``; when the job fails or is closed, nothing is left.

    Raises
    ------
    UserError
        If their shape is not the scan's.
    InvalidVolume
        If they hold an id that their schema lacks.
    """
    scan = open_store(store)
    if labels.volume.shape != scan.shape:
        raise UserError(
            f"The labels have {labels.volume.shape} voxels (z, y, x), the scan {scan.shape}.",
            "Give the label map of this scan, at its full resolution.",
        )
    generation = begin_labels(store, name, labels.schema, f"copy {uuid.uuid4()}")
    try:
        for index in generation.pending:
            yield Progress(f"Copying labels {name!r}", index, len(generation.blocks))
            block = labels.volume.read(generation.blocks[index])
            check_ids(block, labels.schema, labels.volume.name or name)
            generation.write(index, block)
        return (yield from generation.commit())
    except BaseException:
        if generation.name not in listed(store / "labels"):
            generation.discard()
        raise


def write_labels(labels: LabelMap, store: Path, name: str, fingerprint: str, doing: str) -> Job[LabelMap]:
    """Write ``labels``, block by block, into the store of their scan as ``name``; ``doing`` says so for people.

    Interrupted and called again with the same ``fingerprint``, see :func:`begin_labels`, it goes on where it stopped.
    """
    generation = begin_labels(store, name, labels.schema, fingerprint)
    try:
        for index in generation.pending:
            yield Progress(doing, index, len(generation.blocks))
            generation.write(index, labels.volume.read(generation.blocks[index]))
    finally:
        if generation.pending:
            generation.close()
    return (yield from generation.commit())


def label_names(store: Path) -> tuple[str, ...]:
    """Names of the complete label maps in ``store``, sorted, without their generations."""
    return tuple(sorted({split_name(name)[0] for name in listed(store / "labels")}))


def generation(store: Path, name: str) -> str:
    """Which generation of ``name`` counts: ``teacher.3``.

    Raises
    ------
    UserError
        If ``store`` has no complete label map of that name.
    """
    return resolve(store / "labels", name)


def fingerprint(store: Path, name: str) -> str:
    """What label map ``name`` was begun with, see :func:`begin_labels`; empty where that was not kept.

    Raises
    ------
    UserError
        If there is none.
    """
    plan = read_plan(store / "labels" / generation(store, name))
    return "" if plan is None else str(plan.get("fingerprint", ""))


def remove_labels(store: Path, name: str) -> None:
    """Remove label map ``name``, if there is one; killed at any moment, it is either whole or not listed."""
    for former in delist(store / "labels", name):
        shutil.rmtree(store / "labels" / former, ignore_errors=True)


def plan_labels(scan: Volume, schema: LabelSchema, fingerprint: str, extras: Sequence[Extra]) -> dict[str, Any]:
    """What the ledger of a label map of ``scan`` begins with; see :func:`begin_labels`."""
    return {
        "fingerprint": fingerprint,
        "shape": list(scan.shape),
        "organs": [organ.model_dump() for organ in schema.organs],
        "extras": [extra.plan() for extra in extras],
        "shard": list(LABEL_SHARD),
    }


def room_for(scan: Volume, schema: LabelSchema, extras: Sequence[Extra]) -> int:
    """Bytes that must be free before :func:`begin_labels` begins a label map of ``scan``."""
    return space_for(_unpacked(scan, schema, extras))


def open_saved_labels(store: Path, name: str, schema: LabelSchema) -> LabelMap:
    """The label map ``name`` of the scan in ``store``.

    Raises
    ------
    UserError
        If there is none.
    InvalidVolume
        If it is damaged, or not on the scan's grid.
    """
    return open_generation(store / "labels" / generation(store, name), schema)


def open_extra(store: Path, name: str, extra: str) -> Volume | None:
    """What label map ``name`` keeps beside its labels as ``extra``, a map of bytes; ``None`` where it has none.

    Raises
    ------
    UserError
        If there is no such label map.
    InvalidVolume
        If it is damaged.
    """
    folder = extra_folder(store / "labels" / generation(store, name), extra)
    return None if folder is None else open_store(folder)


def open_uncertainty(store: Path, name: str) -> Volume | None:
    """The map of doubt of label map ``name``, uint8 from 0 (sure) to 255; ``None`` where it has none."""
    return open_extra(store, name, UNCERTAINTY)


def open_extra_channels(store: Path, name: str, extra: str) -> Channels | None:
    """The same of an extra with channels."""
    folder = extra_folder(store / "labels" / generation(store, name), extra)
    return None if folder is None else open_channels(folder)


def _resumable(labels: Path, name: str, plan: dict[str, Any]) -> Path | None:
    """The unfinished generation that ``plan`` continues; the others of ``name`` that nobody writes are removed."""
    found = None
    done = listed(labels)
    newest = max((number for number, folder in generations(labels, name) if folder.name in done), default=0)
    for number, folder in generations(labels, name):
        if folder.name in done:
            continue
        if number > newest and found is None and read_plan(folder) == plan:
            found = folder
        elif not ((folder / LEDGER).exists() and in_use(folder / LEDGER)):
            shutil.rmtree(folder, ignore_errors=True)
    return found


def _unpacked(scan: Volume, schema: LabelSchema, extras: Sequence[Extra]) -> int:
    voxels = sum(math.prod(level.shape) for level in plan_levels(scan.shape, scan.voxel_size))
    return round(voxels * (schema.dtype.itemsize + sum(extra.bytes_a_voxel() for extra in extras)))


def _check_room(labels: Path, scan: Volume, schema: LabelSchema, extras: Sequence[Extra]) -> None:
    check_space(labels, _unpacked(scan, schema, extras))
