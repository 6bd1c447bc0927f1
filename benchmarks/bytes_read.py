"""How much is read from disk when a scan is opened, when a slice is read, and when a 64³ box is: format by format.

.venv/bin/python benchmarks/bytes_read.py

Each file is thrown out of the system's cache before each step, and the kernel is asked how much the process then
fetched from the disk (Linux; not on a memory disk). The kernel reads ahead, so it is more than what was asked for.
"""

import argparse
import os
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import nrrd
import numpy as np
import numpy.typing as npt
import pydicom
import tifffile
from pydicom.dataset import Dataset, FileMetaDataset
from table import print_table, say_json

from napari_medaka_kd.job import drain
from napari_medaka_kd.volumes.open import open_volume
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume, extent

Array = npt.NDArray[Any]


def zarr(folder: Path, array: Array) -> Path:
    drain(save_volume(Volume((array,), (5.0, 5.0, 5.0), "scan"), folder / "scan.ome.zarr"))
    return folder / "scan.ome.zarr"


def tiff(folder: Path, array: Array) -> Path:
    tifffile.imwrite(folder / "scan.tif", array, compression="zlib", metadata={"axes": "ZYX"})
    return folder / "scan.tif"


def tiff_slices(folder: Path, array: Array) -> Path:
    (folder / "tiffs").mkdir()
    for number, page in enumerate(array):
        tifffile.imwrite(folder / "tiffs" / f"{number:04}.tif", page)
    return folder / "tiffs"


def nifti(folder: Path, array: Array, name: str = "scan.nii") -> Path:
    nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0), np.diag([5e-3] * 3 + [1])), folder / name)
    return folder / name


def nifti_gz(folder: Path, array: Array) -> Path:
    return nifti(folder, array, "scan.nii.gz")


def nrrd_raw(folder: Path, array: Array) -> Path:
    header = {"space": "LPS", "space directions": np.eye(3) * 5e-3, "encoding": "raw"}
    nrrd.write(str(folder / "scan.nrrd"), array.transpose(2, 1, 0), header)
    return folder / "scan.nrrd"


def mha(folder: Path, array: Array, packed: bool = False) -> Path:
    size = " ".join(map(str, array.shape[::-1]))
    text = f"NDims = 3\nCompressedData = {packed}\nElementSpacing = 0.005 0.005 0.005\nDimSize = {size}\n"
    file = folder / ("packed.mha" if packed else "scan.mha")
    data = zlib.compress(array.tobytes(), 1) if packed else array.tobytes()
    file.write_bytes((text + "ElementType = MET_USHORT\nElementDataFile = LOCAL\n").encode() + data)
    return file


def mha_packed(folder: Path, array: Array) -> Path:
    return mha(folder, array, packed=True)


def hdf5(folder: Path, array: Array, **how: Any) -> Path:
    file = folder / f"scan{len(list(folder.glob('*.h5')))}.h5"
    with h5py.File(file, "w") as there:
        there.create_dataset("scan", data=array, **how)
    return file


def hdf5_cubes(folder: Path, array: Array) -> Path:
    return hdf5(folder, array, chunks=(64, 64, 64), compression="gzip", compression_opts=1, shuffle=True)


def hdf5_slices(folder: Path, array: Array) -> Path:
    return hdf5(folder, array, chunks=(1, *array.shape[1:]), compression="gzip", compression_opts=1)


def dicom(folder: Path, array: Array) -> Path:
    (folder / "dicoms").mkdir()
    for number, page in enumerate(array):
        data, data.file_meta = Dataset(), FileMetaDataset()
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = pydicom.uid.CTImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = f"1.2.3.{number}"
        data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = *page.shape, 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        data.SeriesInstanceUID, data.ImagePositionPatient = "1.2.3", [0, 0, 0.005 * number]
        data.ImageOrientationPatient, data.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.005, 0.005]
        data.PixelData = page.tobytes()
        data.save_as(folder / "dicoms" / f"{number:04}.dcm", enforce_file_format=True)
    return folder / "dicoms"


FORMATS: dict[str, Callable[[Path, Array], Path]] = {
    "OME-Zarr, ours": zarr,
    "TIFF, zlib": tiff,
    "TIFF slices": tiff_slices,
    "NIfTI": nifti,
    "NIfTI .nii.gz": nifti_gz,
    "NRRD raw": nrrd_raw,
    "MetaImage raw": mha,
    "MetaImage zlib": mha_packed,
    "HDF5 in one run": hdf5,
    "HDF5 64³ gzip": hdf5_cubes,
    "HDF5 slices gzip": hdf5_slices,
    "DICOM slices": dicom,
}


def scan(shape: tuple[int, int, int]) -> Array:
    """Grey values with some noise, so that they pack about as scans do."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 4000, shape[2]) + np.linspace(0, 4000, shape[1])[:, None]
    return np.stack([(ramp + rng.normal(0, 60, shape[1:]) + 500).astype(np.uint16) for _ in range(shape[0])])


def fetched(path: Path, act: Callable[[], Any]) -> tuple[Any, int, float]:
    """(what ``act`` gives, bytes it fetched from the disk, seconds), with nothing of ``path`` in the cache."""
    os.sync()
    for file in [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]:
        with file.open("rb") as handle:
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before, begun = _fetched_so_far(), time.perf_counter()
    done = act()
    return done, _fetched_so_far() - before, time.perf_counter() - begun


def _fetched_so_far() -> int:
    lines = Path("/proc/self/io").read_text("utf-8").splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"])


def measure(path: Path, array: Array) -> dict[str, float]:
    """Bytes and seconds of opening, of a slice and of a box, each by a volume that was not read before."""
    depth, height, width = array.shape
    at = depth // 3
    slice_ = (slice(at, at + 1), slice(0, height), slice(0, width))
    box = (slice(at, at + 64), slice(100, 164), slice(100, 164))
    size = None if path.name.startswith("dicoms") else (5.0, 5.0, 5.0)
    volume, opening, seconds = fetched(path, lambda: open_volume(path, size))
    row = {"opening": opening, "opening_s": seconds}
    for name, region in (("slice", slice_), ("box", box)):
        volume = open_volume(path, size)
        block, row[name], row[f"{name}_s"] = fetched(path, lambda: volume.read(region))  # noqa: B023  called at once
        assert block.shape == extent(region)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(384, 512, 512), metavar=("Z", "Y", "X"))
    parser.add_argument("--folder", type=Path, help="on the disk to measure; the current one by default")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    array, rows = scan(tuple(args.shape)), {}
    with tempfile.TemporaryDirectory(dir=args.folder or Path.cwd()) as folder:
        for name, write in FORMATS.items():
            place = Path(folder) / str(len(rows))
            place.mkdir()
            path = write(place, array)
            open_volume(path, (5.0, 5.0, 5.0))  # so that no library is counted
            rows[name] = measure(path, array)
    columns = ("opening", "slice", "box")
    cells = [
        [name, *(f"{row[c] / 2**20:.2f} MiB, {row[f'{c}_s']:.3f} s" for c in columns)] for name, row in rows.items()
    ]
    print_table(("format", *columns), cells)
    if args.json:
        say_json(rows)


if __name__ == "__main__":
    main()
