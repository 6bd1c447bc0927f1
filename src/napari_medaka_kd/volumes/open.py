"""Opening a scan or a label map of any known format: header only; voxels are read when they are asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import InvalidVolume, UserError

from .dicom import dicom_files, is_dicom, open_dicom
from .gate import check_header
from .hdf5_file import open_hdf5
from .labels import LabelMap
from .lazy import DiskArray, as_ids
from .metaimage import open_metaimage
from .nifti import open_nifti
from .nrrd_file import open_nrrd
from .store_array import open_level
from .store_gate import read_image
from .tiff import SUFFIXES, open_slices, open_tiff, slice_files
from .volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from .labels import LabelSchema
    from .volume import Triple

_READERS: dict[str, Callable[[Path, str, Triple | None], Volume]] = {
    ".nii.gz": open_nifti,
    ".nii": open_nifti,
    ".nrrd": open_nrrd,
    ".nhdr": open_nrrd,
    ".mha": open_metaimage,
    ".mhd": open_metaimage,
    ".dcm": open_dicom,
    **dict.fromkeys((".ome.tiff", ".ome.tif", ".ome.btf", ".ome.tf8", *SUFFIXES), open_tiff),
}
_HDF5 = (".h5", ".hdf5", ".hdf", ".nxs")
_ENDINGS = (".ome.zarr", ".zarr", *_READERS, *_HDF5)
_KNOWN = (
    "OME-Zarr (0.4, 0.5), TIFF (a stack or a folder of slices), NIfTI, NRRD, MetaImage (.mha, .mhd), HDF5 (.h5, .hdf5, "
    ".hdf, .nxs) and DICOM (a folder of slices or a multi-frame file)"
)


def open_volume(path: Path, voxel_size: Triple | None = None) -> Volume:
    """Open a scan by its headers: OME-Zarr 0.4/0.5, TIFF (stack or folder of slices), NIfTI (.nii, .nii.gz), NRRD
    (.nrrd, .nhdr), MetaImage (.mha, .mhd), HDF5 (.h5, .hdf5, .hdf, .nxs), DICOM (folder of slices, multi-frame .dcm).

    Returns
    -------
    Volume
        (z, y, x), µm. NIfTI, NRRD, MetaImage and DICOM lie as z to superior, y to anterior, x to right (the closest
        canonical RAS), however they are stored. OME-Zarr keeps its levels; the others have one.

    Parameters
    ----------
    path
        ``scan.h5::/path/in/file`` says which dataset of an HDF5 file is meant, where there are several.
    voxel_size
        (z, y, x) in µm, instead of what the file says or does not say.

    Raises
    ------
    UserError
        If there is nothing, or nothing known, at ``path``.
    InvalidVolume
        If the gate refuses it.
    """
    path, inside = split_inside(Path(path))
    if not (path.is_file() or path.is_dir()):
        raise UserError(f"There is no {str(path)!r}.", "Check the path.")
    if inside or (path.is_file() and _ending(path) in _HDF5):
        volume = _open_hdf5(path, inside, voxel_size)
    else:
        volume = _open_folder(path, voxel_size) if path.is_dir() else _open_file(path, voxel_size)
    check_header(volume.shape, volume.dtype, volume.voxel_size, str(path))
    return volume


def split_inside(path: Path) -> tuple[Path, str]:
    """``scan.h5::/path/in/file`` → (the file, the path in it), which is "" where none is given."""
    if path.exists():
        return path, ""
    file, _, inside = str(path).partition("::")
    return Path(file), inside


def open_labels(path: Path, schema: LabelSchema, voxel_size: Triple | None = None) -> LabelMap:
    """Open a label map of the same formats; ids come in the schema's type.

    Floating-point files are accepted, as many tools write them. An id that ``schema`` lacks (or 1.5) is refused when
    it is met, here or in :func:`~napari_medaka_kd.volumes.label_store.save_labels`.

    Raises
    ------
    UserError, InvalidVolume
        As for :func:`open_volume`.
    """
    volume = open_volume(path, voxel_size)
    levels = tuple(
        as_ids(level, schema, str(path)) if isinstance(level, DiskArray) else level for level in volume.levels
    )
    return LabelMap(replace(volume, levels=levels), schema)


def open_store(path: Path, voxel_size: Triple | None = None) -> Volume:
    """Open an OME-Zarr image; its levels share one cache of decoded chunks."""
    image = read_image(path)
    size = voxel_size or image.voxel_size
    if size is None:
        raise InvalidVolume(
            f"{str(path)!r} does not say in which unit its voxels are measured.",
            "Give the voxel size in µm, in the order z, y, x.",
        )
    check_header(tuple(image.arrays[0].shape[axis] for axis in image.axes), image.arrays[0].dtype, size, str(path))
    levels = tuple(open_level(image, level) for level in range(len(image.arrays)))
    return Volume(levels, size, image.name or _name(path), path)


def _open_folder(path: Path, voxel_size: Triple | None) -> Volume:
    if any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zattrs", ".zarray")):
        return open_store(path, voxel_size)
    if slice_files(path):
        return open_slices(path, _name(path), voxel_size)
    if dicom_files(path):
        return open_dicom(path, _name(path), voxel_size)
    raise UserError(
        f"The folder {str(path)!r} holds neither an OME-Zarr nor slices as TIFF or DICOM.", f"Known are {_KNOWN}."
    )


def _open_file(path: Path, voxel_size: Triple | None) -> Volume:
    read = _READERS.get(_ending(path))
    if read is None and path.is_file() and is_dicom(path):
        read = open_dicom
    if read is None:
        raise UserError(f"{str(path)!r} is of no known format.", f"Known are {_KNOWN}.")
    return read(path, _name(path), voxel_size)


def _open_hdf5(path: Path, inside: str, voxel_size: Triple | None) -> Volume:
    if not path.is_file() or _ending(path) not in _HDF5:
        raise UserError(f"{str(path)!r} is no HDF5 file, so it has no part {inside!r}.", "Leave '::' and it out.")
    name = f"{_name(path)} {inside}" if inside else _name(path)
    return open_hdf5(path, inside, name, voxel_size)


def _ending(path: Path) -> str:
    return next((ending for ending in _ENDINGS if path.name.lower().endswith(ending)), "")


def _name(path: Path) -> str:
    """The file's name without its ending."""
    ending = _ending(path)
    return path.name[: -len(ending)] if ending and len(path.name) > len(ending) else path.name
