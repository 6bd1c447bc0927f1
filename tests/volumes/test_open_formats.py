"""Every format opens by its header alone and gives back shape, voxel size and voxels, z-y-x and µm."""

import gzip
import itertools
import os
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import tifffile

from napari_medaka_kd.errors import InvalidVolume, UserError
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.open import open_labels, open_volume

SHAPE, SIZE = (12, 20, 17), (5.0, 2.0, 1.5)
SOME = (slice(3, 9), slice(4, 20), slice(1, 6))


def voxels(dtype="u2"):
    return np.random.default_rng(0).integers(0, 200, SHAPE).astype(dtype)


def write_tiff(path, array, **how):
    tifffile.imwrite(path, array, **how)
    return path


def pixels(unit):
    """Pixels per ``unit`` µm along x and y."""
    return {"resolution": (unit / SIZE[2], unit / SIZE[1])}


def imagej(path, array):
    return write_tiff(path / "a.tif", array, imagej=True, **pixels(1), metadata={"spacing": 5.0, "unit": "um"})


def imagej_mm(path, array):
    return write_tiff(path / "a.tif", array, imagej=True, **pixels(1e3), metadata={"spacing": 0.005, "unit": "mm"})


def ome(path, array):
    sizes = {f"PhysicalSize{axis}": size / 1e3 for axis, size in zip("ZYX", SIZE, strict=True)}
    units = {f"PhysicalSize{axis}Unit": "mm" for axis in "ZYX"}
    return write_tiff(path / "a.ome.tif", array, compression="zlib", metadata={"axes": "ZYX"} | sizes | units)


def ome_tiled_bigtiff(path, array):
    how = 3 if array.dtype.kind == "f" else 2
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", SIZE, strict=True)}
    return write_tiff(
        path / "a.ome.btf",
        array,
        bigtiff=True,
        tile=(16, 16),
        compression="lzw",
        predictor=how,
        metadata=sizes | {"axes": "ZYX"},
    )


def nifti(path, array, unit="micron", factor=1.0):
    image = nibabel.Nifti1Image(array.transpose(2, 1, 0), np.diag([size * factor for size in SIZE[::-1]] + [1]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path / "a.nii")
    return path / "a.nii"


def nifti_gz_mm(path, array):
    file = nifti(path, array, "mm", 1e-3)
    (path / "a.nii.gz").write_bytes(gzip.compress(file.read_bytes()))
    return path / "a.nii.gz"


def nifti_without_unit(path, array):
    return nifti(path, array, "unknown", 1e-3)


def nrrd_header(factor=1.0, unit=None, encoding="raw"):
    header = {
        "space": "right-anterior-superior",
        "space directions": np.diag([size * factor for size in SIZE[::-1]]),
        "encoding": encoding,
    }
    return header | ({"space units": [unit] * 3} if unit else {})


def nrrd_raw_mm(path, array):
    nrrd.write(str(path / "a.nrrd"), array.transpose(2, 1, 0), nrrd_header(1e-3))
    return path / "a.nrrd"


def nrrd_gzip_um(path, array):
    nrrd.write(str(path / "a.nrrd"), array.transpose(2, 1, 0), nrrd_header(unit="um", encoding="gzip"))
    (path / "a.nrrd").write_bytes((path / "a.nrrd").read_bytes().replace(b'"um"', '"µm"'.encode(), 3))
    return path / "a.nrrd"


def nrrd_detached(path, array):
    nrrd.write(str(path / "a.nhdr"), array.transpose(2, 1, 0), nrrd_header(1e-3), detached_header=True)
    return path / "a.nhdr"


FORMATS = [imagej, imagej_mm, ome, ome_tiled_bigtiff, nifti, nifti_gz_mm, nifti_without_unit]
FORMATS += [nrrd_raw_mm, nrrd_gzip_um, nrrd_detached]


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", ">u2"])
@pytest.mark.parametrize("write", FORMATS)
def test_a_format_gives_back_what_was_written(tmp_path, write, dtype):
    if dtype == "i2" and write in (imagej, imagej_mm):
        pytest.skip("ImageJ has no signed integers")
    array = voxels(dtype)
    path = write(tmp_path, array)
    volume = open_volume(path)
    assert volume.shape == SHAPE
    assert volume.dtype == array.dtype.newbyteorder("=")
    assert volume.voxel_size == pytest.approx(SIZE, rel=1e-5)
    assert volume.name == "a"
    np.testing.assert_array_equal(volume.read(SOME), array[SOME])
    np.testing.assert_array_equal(volume.read(), array)


def test_a_voxel_size_can_be_given_where_the_file_has_none(tmp_path):
    path = write_tiff(tmp_path / "a.tif", voxels(), photometric="minisblack")
    with pytest.raises(InvalidVolume, match="does not say how large"):
        open_volume(path)
    assert open_volume(path, (3, 2, 1)).voxel_size == (3, 2, 1)


def test_an_array_is_indexed_like_numpy(tmp_path):
    array, level = voxels(), open_volume(nifti(tmp_path, voxels())).levels[0]
    for index in (3, (slice(None), -1), (..., 4), (slice(10, 2, -3), slice(None, None, 2)), (slice(5, 5),), ()):
        np.testing.assert_array_equal(level[index], array[index])
    np.testing.assert_array_equal(np.asarray(level), array)
    with pytest.raises(IndexError):
        level[12]


def slices(folder, array, **how):
    folder.mkdir()
    for number, page in enumerate(array):
        tifffile.imwrite(folder / f"scan_{number}.tif", page, **({"resolution": (1e4, 1e4), "resolutionunit": 3} | how))
    return folder


@pytest.mark.parametrize("how", [{}, {"compression": "zlib", "rowsperstrip": 7}, {"tile": (16, 16)}])
def test_a_folder_of_slices_is_a_volume_in_natural_order(tmp_path, how):
    array = voxels()
    volume = open_volume(slices(tmp_path / "scan", array, **how))
    assert volume.voxel_size == (1.0, 1.0, 1.0)
    assert volume.name == "scan"
    np.testing.assert_array_equal(volume.read(SOME), array[SOME])
    np.testing.assert_array_equal(volume.read(), array)


def test_a_slice_of_another_size_is_named(tmp_path):
    folder = slices(tmp_path / "scan", voxels())
    tifffile.imwrite(folder / "scan_5.tif", np.zeros((3, 4), "u2"))
    volume = open_volume(folder)
    volume.read((slice(0, 5), slice(0, 2), slice(0, 2)))
    with pytest.raises(InvalidVolume, match=r"scan_5\.tif"):
        volume.read()


def test_a_region_of_slices_opens_only_its_own_files(tmp_path):
    array = voxels()
    folder = slices(tmp_path / "scan", array)
    volume = open_volume(folder)
    (folder / "scan_10.tif").unlink()
    np.testing.assert_array_equal(volume.read(SOME), array[SOME])


def oriented(axes, flips):
    """The same animal, stored in another order of axes: (file array in x-y-z, affine)."""
    array = voxels().transpose(2, 1, 0)
    affine = np.diag([*SIZE[::-1], 1.0])
    stored = array.transpose(axes)
    columns = affine[:, [*axes, 3]]
    for axis, flip in enumerate(flips):
        if flip:
            columns[:3, 3] += columns[:3, axis] * (stored.shape[axis] - 1)
            columns[:, axis] *= -1
            stored = np.flip(stored, axis)
    return np.ascontiguousarray(stored), columns


ORIENTATIONS = [(p, f) for p in itertools.permutations(range(3)) for f in itertools.product([0, 1], repeat=3)]


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS)
def test_any_of_48_storage_orders_gives_the_same_volume(tmp_path, axes, flips):
    stored, affine = oriented(axes, flips)
    image = nibabel.Nifti1Image(stored, affine)
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii")
    lps = np.diag([-1, -1, 1]) @ affine[:3, :3]
    nrrd.write(
        str(tmp_path / "a.nrrd"),
        stored,
        {"space": "left-posterior-superior", "space directions": lps.T, "space units": ["um"] * 3, "encoding": "raw"},
    )
    for name in ("a.nii", "a.nrrd"):
        volume = open_volume(tmp_path / name)
        assert volume.voxel_size == pytest.approx(SIZE)
        np.testing.assert_array_equal(volume.read(SOME), voxels()[SOME])


@pytest.mark.parametrize("write", [nifti, nifti_gz_mm, nrrd_raw_mm, nrrd_gzip_um])
def test_a_cut_off_file_opens_and_says_so_when_it_is_read(tmp_path, write):
    path = write(tmp_path, voxels())
    os.truncate(path, path.stat().st_size * 3 // 4)
    volume = open_volume(path)
    assert volume.shape == SHAPE
    with pytest.raises(InvalidVolume, match=r"cannot be read"):
        volume.read()


def test_a_cut_off_tiff_is_refused(tmp_path):
    path = write_tiff(tmp_path / "a.tif", voxels(), compression="zlib", metadata=None)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(InvalidVolume, match="cut off"):
        open_volume(path, (1, 1, 1))


def test_nifti_scaling_is_applied(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), "i2"), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[352:] = np.full(120, 8, "<i2").tobytes()
    data[112:120] = np.array([0.5, 10], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(data)
    volume = open_volume(tmp_path / "a.nii")
    assert volume.dtype == np.float32
    assert (volume.read() == 14).all()


def mutate_nifti(path, offset, data):
    content = bytearray(path.read_bytes())
    content[offset : offset + len(data)] = data
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (80, np.array([np.nan], "<f4")),  # pixdim[1]
        (88, np.array([0], "<f4")),  # pixdim[3]
        (84, np.array([np.inf], "<f4")),
        (42, np.array([-3], "<i2")),  # dim[1]
        (42, np.array([32767] * 3, "<i2")),
        (123, np.array([7], "u1")),  # unit
        (70, np.array([32], "<i2")),  # complex
        (280, np.array([np.nan] * 12, "<f4")),  # sform
        (108, np.array([np.nan], "<f4")),  # offset
        (344, np.array([0], "<i4")),  # magic
    ],
)
def test_a_damaged_nifti_header_is_one_plain_refusal(tmp_path, offset, value):
    path = mutate_nifti(nifti(tmp_path, voxels()), offset, value.tobytes())
    with pytest.raises(InvalidVolume):
        open_volume(path).read()


def test_a_series_a_picture_and_colours_are_refused(tmp_path):
    write_tiff(tmp_path / "flat.tif", voxels()[0])
    write_tiff(tmp_path / "rgb.tif", np.zeros((6, 8, 9, 3), "u1"), photometric="rgb")
    write_tiff(tmp_path / "channels.tif", np.zeros((2, 6, 8, 9), "u1"), imagej=True, metadata={"axes": "ZCYX"})
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6, 3), "u1"), np.eye(4)), tmp_path / "series.nii")
    with pytest.raises(InvalidVolume, match="2-D image of 20 x 17"):
        open_volume(tmp_path / "flat.tif")
    for name in ("rgb.tif", "channels.tif", "series.nii"):
        with pytest.raises(InvalidVolume, match=r"stack of grey|axes"):
            open_volume(tmp_path / name)


def test_a_detached_nrrd_does_not_lead_out_of_its_folder(tmp_path):
    (tmp_path / "inside").mkdir()
    path = nrrd_detached(tmp_path / "inside", voxels())
    header = path.read_text()
    (tmp_path / "outside.raw").write_bytes(bytes(10_000))
    path.write_text(header.replace(header.split("data file: ")[1].split("\n")[0], "../outside.raw"))
    with pytest.raises(InvalidVolume, match="another folder"):
        open_volume(path)


@pytest.mark.parametrize("unit", ["furlong", "V"])
def test_an_unknown_unit_is_refused_not_guessed(tmp_path, unit):
    nrrd.write(str(tmp_path / "a.nrrd"), voxels(), nrrd_header(unit=unit))
    with pytest.raises(InvalidVolume, match=unit):
        open_volume(tmp_path / "a.nrrd")


def test_junk_is_refused_whatever_its_name(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a.tif", "a.nii", "a.nii.gz", "a.nrrd", "a.nhdr"):
        for start in (b"", b"II*\0", b"NRRD0005\n", b"\x1f\x8b\x08"):
            (tmp_path / name).write_bytes(start + rng.bytes(400))
            with pytest.raises(InvalidVolume):
                open_volume(tmp_path / name).read()


def test_what_is_not_there_or_not_known_is_said_plainly(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    for name in ("absent.nii", "notes.txt", "empty"):
        with pytest.raises(UserError, match=name):
            open_volume(Path(tmp_path / name))


def test_labels_come_in_the_type_of_the_schema_even_from_floats(tmp_path):
    schema = LabelSchema.from_ids({3: "eye", 300: "gut"})
    array = np.zeros(SHAPE, "f8")
    array[2:5], array[6] = 3, 300
    labels = open_labels(nifti(tmp_path, array), schema)
    assert labels.volume.dtype == np.uint16
    np.testing.assert_array_equal(labels.volume.read(), array)


@pytest.mark.parametrize("value", [7, -1, 2.5, np.nan])
def test_an_unknown_id_in_a_label_file_is_quoted(tmp_path, value):
    array = np.zeros(SHAPE, "f4")
    array[5, 5, 5] = value
    labels = open_labels(nifti(tmp_path, array), LabelSchema.from_names(["eye"]))
    with pytest.raises(InvalidVolume, match=f"{value:g}"):
        labels.volume.read()
