"""What napari saves labels with: into the store of their scan, as an OME-Zarr of their own, or as NIfTI."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain

from .agree import agree
from .painted import Painted, painted
from .tell import inform, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

FullLayerData: TypeAlias = tuple[Any, dict[str, Any], str]
_ENDING = ".ome.zarr"
_SAME = 1e-3  # relative; by so much two voxel sizes may differ, for headers hold few digits


def write_store(path: str, layers: Sequence[FullLayerData]) -> list[str]:
    """Save labels layers: as label maps of a scan if ``path`` is, is in, or lies beside its store, else on their own.

    A scan lies beside ``path`` if its folder holds exactly one OME-Zarr of as many voxels. Returns what was written.

    Raises
    ------
    UserError
        If anything is there already, a layer does not fit the scan, is not a volume, or is measured in pixels.
    """
    found = [painted(data, words) for data, words, _ in layers]
    target = Path(path if path.lower().endswith(".zarr") else f"{path}{_ENDING}").absolute()
    store = _find_store(target, found)
    if store is None:
        return [_write_alone(target, found)]
    named = len(found) == 1 and target not in (store, store / "labels")
    wanted = [_stem(target)] if named else [one.name for one in found]
    written = _write_into(store, found, [_plain(name) for name in wanted])
    inform(f"Saved in the store of the scan: {', '.join(written)}.")
    return written


def write_nifti(path: str, layers: Sequence[FullLayerData]) -> list[str]:
    """Save the only layer, of labels, as ``.nii.gz`` or ``.nii`` with its voxel size; names and colours are left out.

    Raises
    ------
    UserError
        If there is such a file, or the layer is not a volume or measured in pixels.
    """
    from napari_medaka_kd.volumes.nifti import save_nifti
    from napari_medaka_kd.volumes.save import refuse_existing

    ((data, words, _),) = layers
    found = painted(data, words)
    target = Path(path if path.lower().endswith((".nii", ".nii.gz")) else f"{path}.nii.gz")
    refuse_existing(target)
    size = found.measured()
    ids = found.present()
    if ids and ids[0] < 0:
        raise UserError(f"The layer {found.name!r} holds the id {ids[0]}.", "Ids are 0 or above: relabel it.")
    dtype = np.min_scalar_type(max(ids, default=0))
    drain(save_nifti(found.volume(size, dtype), target))
    if found.origin is not None and any(found.origin):
        warn(f"{target.name!r} begins at 0, 0, 0: the layer's translation of {found.origin} µm is not in it.")
    return [str(target)]


def _write_alone(target: Path, found: list[Painted]) -> str:
    from napari_medaka_kd.volumes.label_image import save_label_image
    from napari_medaka_kd.volumes.labels import LabelMap
    from napari_medaka_kd.volumes.save import refuse_existing

    refuse_existing(target)
    if len(found) > 1:
        raise UserError(
            f"{target.name!r} can hold one label map, and there are {len(found)}.",
            "Save them one by one, or into the OME-Zarr of their scan.",
        )
    (one,) = found
    size, schema = one.measured(), one.schema()
    labels = LabelMap(one.volume(size, schema.dtype), schema)
    drain(save_label_image(labels, target, one.origin or (0.0, 0.0, 0.0)))
    return str(target)


def _write_into(store: Path, found: list[Painted], names: list[str]) -> list[str]:
    """Everything is checked before anything is written."""
    from napari_medaka_kd.volumes.label_store import generation, save_labels
    from napari_medaka_kd.volumes.labels import LabelMap

    _check_names(store, names)
    size = _check_fit(store, found)
    schemas = [agree(store, name, one) for one, name in zip(found, names, strict=True)]
    written = []
    for one, schema, name in zip(found, schemas, names, strict=True):
        drain(save_labels(LabelMap(one.volume(size, schema.dtype), schema), store, name))
        written.append(str(store / "labels" / generation(store, name)))
    return written


def _check_names(store: Path, names: list[str]) -> None:
    from napari_medaka_kd.volumes.label_store import label_names

    if not (store / "zarr.json").is_file():
        raise UserError(
            f"{str(store)!r} is OME-Zarr 0.4; label maps are written into 0.5 only.", "Save them in another folder."
        )
    taken = [name for place, name in enumerate(names) if name in (*label_names(store), *names[:place])]
    if taken:
        raise UserError(f"{str(store)!r} has a label map {taken[0]!r} already.", "Save it under another name.")


def _check_fit(store: Path, found: list[Painted]) -> tuple[float, float, float]:
    """The scan's voxel size."""
    from napari_medaka_kd.volumes.open import open_store

    scan = open_store(store)
    for one in found:
        if one.shape != scan.shape:
            raise UserError(
                f"The layer {one.name!r} has {one.shape} voxels (z, y, x), the scan {scan.shape}.",
                "Save it in another folder, or take the labels of this scan.",
            )
        sizes = zip(one.voxel_size or scan.voxel_size, scan.voxel_size, strict=True)
        if not all(math.isclose(mine, its, rel_tol=_SAME) for mine, its in sizes):
            raise UserError(
                f"A voxel of the layer {one.name!r} measures {one.voxel_size} µm, one of the scan {scan.voxel_size}.",
                "Mend the layer's scale, or save it in another folder.",
            )
    return scan.voxel_size


def _find_store(target: Path, found: list[Painted]) -> Path | None:
    """The scan's store that ``target`` is, lies in, or lies beside."""
    for place in (target, *target.parents):
        if _is_scan(place):
            return place
    if target.exists() or not target.parent.is_dir():
        return None
    beside = [place for place in sorted(target.parent.glob("*.zarr")) if _is_scan(place) and _fits(place, found)]
    return beside[0] if len(beside) == 1 else None


def _is_scan(place: Path) -> bool:
    from napari_medaka_kd.volumes.store_gate import read_group

    try:
        told = read_group(place, place)
    except UserError:
        return False
    return "multiscales" in told and "image-label" not in told


def _fits(place: Path, found: list[Painted]) -> bool:
    from napari_medaka_kd.volumes.store_gate import read_image

    try:
        image = read_image(place)
    except UserError:
        return False
    return all(one.shape == tuple(image.arrays[0].shape[axis] for axis in image.axes) for one in found)


def _stem(target: Path) -> str:
    return re.sub(r"(\.ome)?\.zarr$", "", target.name, flags=re.IGNORECASE)


def _plain(name: str) -> str:
    """As label maps are called: letters, digits, - and _."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_-")[:64] or "labels"
