"""Mouse heads in any pose (micro-CT): one labelled template, twelve strains with skull landmarks but no labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from claims_data import Material, trial_settings
from real import HEAD_PARTS, landmarks
from scipy import ndimage

from napari_medaka_kd.settings import AugmentSettings, NetworkSettings, PatchSettings, QualitySettings
from napari_medaka_kd.volumes.labels import LabelMap, LabelSchema
from napari_medaka_kd.volumes.open import open_labels, open_volume
from napari_medaka_kd.volumes.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from napari_medaka_kd.project import Project

_BONE = (1, 2, 21)
_LOST = 5.0  # mm, where there is no bone at all
_FOLDER = "mouse_head_microct"


def heads(data: Path, seed: int, slices: bool = False) -> Material:
    """Mouse heads at 0.28 mm: a template with labels; twelve strains to learn from without labels, and to be tested.

    ``slices``: networks of two dimensions, and six times as many steps.
    """
    folder, organs = data / _FOLDER, LabelSchema.from_ids(HEAD_PARTS)
    template = open_labels(folder / "template_label.nii.gz", organs)
    labels = LabelMap(_half(template.volume, mean=False), organs)
    strains = {
        file.name.partition(".")[0].rstrip("_"): _half(open_volume(file), mean=True)
        for file in sorted((folder / "targets").glob("*.nii.gz"))
    }
    nothing = {name: LabelMap(_blank(scan), organs) for name, scan in strains.items()}
    found = {name: (scan, nothing[name]) for name, scan in strains.items()}
    network = NetworkSettings(dimensions=3, widths=(8, 16, 32, 64), coordinates=False)
    patches, steps = PatchSettings(patch=(48, 48, 48), batch=2), 500
    if slices:
        network = network.model_copy(update={"dimensions": 2, "widths": (16, 32, 64)})
        patches, steps = PatchSettings(patch=(1, 64, 64), batch=8), 3000
    augment = AugmentSettings(rotation=180, scaling=0.2, noise=0.05)
    trial = trial_settings(seed, QualitySettings(), network=network, patches=patches, augment=augment, steps=steps)
    atlas = {"template": (_half(open_volume(folder / "template_ct.nii.gz"), mean=True), labels)}
    return Material(organs, atlas, found, {"strains": found}, trial)


def landmarks_and_volumes(project: Project, name: str, material: Material, data: Path) -> dict[str, float]:
    """How far (mm) manual skull landmarks lie from the surface of what was called bone; how odd the volumes are.

    The latter is the mean over organs and animals of |ln(volume / the template's)|, at most ln 10 each.
    """
    usual = _volumes(material.labelled["template"][1].volume.read())
    away, odd = [], []
    for case in project.cases:
        if case.held_out:
            labels = case.labels(name).volume.read()
            away.append(_from_bone(labels, _landmarks(data / _FOLDER / "targets", case.id)))
            ratio = np.log(np.maximum(_volumes(labels), 1) / usual)
            odd.append(np.minimum(np.abs(ratio), np.log(10)).mean())
    return {"landmarks to bone, mm": float(np.mean(away)), "|ln volume|": float(np.mean(odd))}


def _from_bone(labels: npt.NDArray[np.int64], places: npt.NDArray[np.float64]) -> float:
    """Mean distance (mm) of the places, in voxels (z, y, x), to the bone's surface."""
    bone = np.isin(labels, _BONE)
    if not bone.any():
        return _LOST
    away = np.where(bone, ndimage.distance_transform_edt(bone), ndimage.distance_transform_edt(~bone)) - 0.5
    at = places.round().astype(int).clip(0, np.array(labels.shape) - 1)
    return float(np.minimum(away[tuple(at.T)] * _HALF_MM, _LOST).mean())


_HALF_MM = 0.282


def _landmarks(targets: Path, case: str) -> npt.NDArray[np.float64]:
    """Places in voxels (z, y, x) of the halved scan."""
    (file,) = targets.glob(f"{case.split('-', 1)[1]}_.mrk.json")
    return (landmarks(file) - 0.5) / 2


def _volumes(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.array([(labels == part).sum() for part in HEAD_PARTS])


def _half(volume: Volume, mean: bool) -> Volume:
    """Half as many voxels each way: means of scans, one of eight of labels."""
    whole = volume.read()
    even = whole[tuple(slice(0, side - side % 2) for side in whole.shape)]
    z, y, x = even.shape
    if mean:
        even = even.reshape(z // 2, 2, y // 2, 2, x // 2, 2).mean((1, 3, 5)).astype(np.float32)
    else:
        even = np.ascontiguousarray(even[::2, ::2, ::2])
    size_z, size_y, size_x = (2 * side for side in volume.voxel_size)
    return Volume((even,), (size_z, size_y, size_x), volume.name)


def _blank(scan: Volume) -> Volume:
    return Volume((np.broadcast_to(np.zeros((), np.uint8), scan.shape),), scan.voxel_size)
