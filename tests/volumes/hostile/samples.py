"""What is made hostile: for each format a function that writes a small valid volume and says where. A row a format."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any

import nibabel
import nrrd
import numpy as np
import tifffile
import zarr
from numcodecs import Blosc, GZip, Zstd

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    #: Writes the voxels (z, y, x), uint8, of 2 x 3 x 4 µm into an empty folder.
    Write = Callable[[Path, npt.NDArray[np.uint8]], Path]

SHAPE = (6, 10, 12)
SECRET = 77  # the one value of the voxels that lie outside; the others are below


def voxels(secret: bool = False) -> npt.NDArray[np.uint8]:
    plain = np.random.default_rng(0).integers(0, 60, SHAPE).astype(np.uint8)
    return np.full_like(plain, SECRET) if secret else plain


def _zarr(zarr_format: int, **how: Any) -> Write:
    def write(folder: Path, array: npt.NDArray[np.uint8]) -> Path:
        path = folder / "a.ome.zarr"
        group = zarr.create_group(path, zarr_format=zarr_format)  # type: ignore[arg-type]
        datasets = []
        for level in (0, 1):
            group.create_array(
                str(level), data=array[:: level + 1, :: level + 1, :: level + 1], chunks=(6, 6, 6), **how
            )
            scale = {"type": "scale", "scale": [size * (level + 1) for size in (2.0, 3.0, 4.0)]}
            datasets.append({"path": str(level), "coordinateTransformations": [scale]})
        axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
        image: dict[str, Any] = {"axes": axes, "datasets": datasets, "name": "a"}
        if zarr_format == 3:
            group.attrs.update({"ome": {"version": "0.5", "multiscales": [image]}})
        else:
            group.attrs.update({"multiscales": [image | {"version": "0.4"}]})
        return path

    return write


def _labelled(folder: Path, array: npt.NDArray[np.uint8]) -> Path:
    path = _zarr(3)(folder, array)
    _zarr(3)(folder / "labels", array % 3)
    (path / "labels").mkdir()
    (folder / "labels" / "a.ome.zarr").rename(path / "labels" / "teacher.1")
    listed = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {"ome": {"version": "0.5", "labels": ["teacher.1"]}},
    }
    (path / "labels" / "zarr.json").write_text(json.dumps(listed))
    return path


def _tiff(name: str, **how: Any) -> Write:
    def write(folder: Path, array: npt.NDArray[np.uint8]) -> Path:
        tifffile.imwrite(folder / name, array, resolution=(2500, 2500), resolutionunit=3, **how)
        return folder / name

    return write


def _imagej(folder: Path, array: npt.NDArray[np.uint8]) -> Path:
    how = {"resolution": (1 / 4, 1 / 3), "metadata": {"axes": "ZYX", "spacing": 2.0, "unit": "um"}}
    tifffile.imwrite(folder / "a.tif", array, imagej=True, **how)
    return folder / "a.tif"


def _slices(folder: Path, array: npt.NDArray[np.uint8]) -> Path:
    (folder / "scan").mkdir()
    for number, page in enumerate(array):
        how = {"resolution": (1e4, 1e4), "resolutionunit": 3, "compression": "zlib"}
        tifffile.imwrite(folder / "scan" / f"{number}.tif", page, **how)
    return folder / "scan"


def _nifti(name: str, kind: Any = nibabel.Nifti1Image) -> Write:
    def write(folder: Path, array: npt.NDArray[np.uint8]) -> Path:
        image = kind(array.transpose(2, 1, 0), np.diag([4.0, 3.0, 2.0, 1.0]))
        image.header.set_xyzt_units("micron")
        nibabel.save(image, folder / "a.nii")
        if name.endswith(".gz"):
            (folder / name).write_bytes(gzip.compress((folder / "a.nii").read_bytes(), mtime=0))
            (folder / "a.nii").unlink()
        return folder / name

    return write


def _nrrd(name: str, encoding: str) -> Write:
    def write(folder: Path, array: npt.NDArray[np.uint8]) -> Path:
        header = {"space": "RAS", "space directions": np.diag([4e-3, 3e-3, 2e-3]), "encoding": encoding}
        nrrd.write(str(folder / name), array.transpose(2, 1, 0), header, detached_header=name.endswith("nhdr"))
        return folder / name

    return write


def _metaimage(name: str, packed: bool) -> Write:
    def write(folder: Path, array: npt.NDArray[np.uint8]) -> Path:
        data = zlib.compress(array.tobytes()) if packed else array.tobytes()
        detached = name.endswith(".mhd")
        header = (
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
            f"CompressedData = {packed}\n"
            "TransformMatrix = -1 0 0 0 -1 0 0 0 1\nElementSpacing = 0.004 0.003 0.002\n"
            f"DimSize = {' '.join(map(str, array.shape[::-1]))}\nElementType = MET_UCHAR\n"
            f"ElementDataFile = {'a.raw' if detached else 'LOCAL'}\n"
        )
        (folder / name).write_bytes(header.encode() + (b"" if detached else data))
        if detached:
            (folder / "a.raw").write_bytes(data)
        return folder / name

    return write


def _hdf5(**how: Any) -> Write:
    def write(folder: Path, array: npt.NDArray[np.uint8]) -> Path:
        import h5py

        with h5py.File(folder / "a.h5", "w") as file:
            file.create_dataset("scan", data=array, **how).attrs["element_size_um"] = (2.0, 3.0, 4.0)
        return folder / "a.h5"

    return write


def _dicom(syntax: str) -> Write:
    def write(folder: Path, array: npt.NDArray[np.uint8]) -> Path:
        (folder / "series").mkdir()
        for number, page in enumerate(array):
            _dicom_slice(page, number, syntax).save_as(folder / "series" / f"{number}.dcm", enforce_file_format=True)
        return folder / "series"

    return write


def _dicom_slice(page: npt.NDArray[np.uint8], number: int, syntax: str) -> Any:
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset

    data, data.file_meta = Dataset(), FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = pydicom.uid.CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = f"1.2.3.{number}"
    data.SeriesInstanceUID, data.InstanceNumber = "1.2.3", number + 1
    data.Rows, data.Columns = page.shape
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.ImagePositionPatient = [0.0, 0.0, number * 2e-3]
    data.ImageOrientationPatient = [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0]
    data.PixelSpacing = ["0.003", "0.004"]
    data.PixelData = page.tobytes()
    data["PixelData"].VR = "OB"
    if syntax == "RLE":
        data.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    return data


_OME: dict[str, Any] = {"axes": "ZYX", "PhysicalSizeX": 4.0, "PhysicalSizeY": 3.0, "PhysicalSizeZ": 2.0}
_BLOSC, _SHARDS = zarr.codecs.BloscCodec(), {"shards": (6, 12, 12)}

FORMATS: dict[str, Write] = {
    "OME-Zarr 0.4, zstd": _zarr(2, compressors=Zstd(1)),
    "OME-Zarr 0.4, blosc": _zarr(2, compressors=Blosc("lz4")),
    "OME-Zarr 0.4, gzip": _zarr(2, compressors=GZip(1), chunk_key_encoding={"name": "v2", "separator": "/"}),
    "OME-Zarr 0.4, plain": _zarr(2, compressors=None),
    "OME-Zarr 0.5, zstd": _zarr(3),
    "OME-Zarr 0.5, blosc": _zarr(3, compressors=_BLOSC),
    "OME-Zarr 0.5, gzip": _zarr(3, compressors=zarr.codecs.GzipCodec()),
    "OME-Zarr 0.5, plain": _zarr(3, compressors=None),
    "OME-Zarr 0.5, shards": _zarr(3, **_SHARDS),
    "OME-Zarr 0.5, shards of blosc": _zarr(3, compressors=_BLOSC, **_SHARDS),
    "OME-Zarr 0.5, labels": _labelled,
    "TIFF": _tiff("a.tif", metadata=None),
    "TIFF, zlib": _tiff("a.tif", compression="zlib", rowsperstrip=5),
    "TIFF, LZW tiles": _tiff("a.tif", compression="lzw", predictor=2, tile=(16, 16), bigtiff=True),
    "TIFF, packbits": _tiff("a.tif", compression="packbits", byteorder=">"),
    "TIFF, zstd": _tiff("a.tif", compression="zstd"),
    "TIFF, JPEG": _tiff("a.tif", compression="jpeg"),
    "OME-TIFF": _tiff("a.ome.tif", metadata=_OME),
    "ImageJ TIFF": _imagej,
    "slices": _slices,
    "NIfTI": _nifti("a.nii"),
    "NIfTI-2": _nifti("a.nii", nibabel.Nifti2Image),
    "NIfTI, gzip": _nifti("a.nii.gz"),
    "NRRD": _nrrd("a.nrrd", "raw"),
    "NRRD, gzip": _nrrd("a.nrrd", "gzip"),
    "NRRD, bzip2": _nrrd("a.nrrd", "bzip2"),
    "NRRD, detached": _nrrd("a.nhdr", "raw"),
    "MetaImage": _metaimage("a.mha", packed=False),
    "MetaImage, zlib": _metaimage("a.mha", packed=True),
    "MetaImage, detached": _metaimage("a.mhd", packed=False),
    "HDF5": _hdf5(),
    "HDF5, gzip": _hdf5(chunks=(3, 5, 6), compression="gzip", shuffle=True, fletcher32=True),
    "HDF5, LZF": _hdf5(chunks=(3, 5, 6), compression="lzf"),
    "DICOM": _dicom("plain"),
    "DICOM, RLE": _dicom("RLE"),
}
