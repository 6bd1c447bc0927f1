"""HDF5 of ilastik, NeXus and beamlines is read box by box; what leads out of the file or unpacks to more is refused."""

import json
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from napari_medaka_kd.errors import InvalidVolume, UserError
from napari_medaka_kd.volumes.open import open_volume

SHAPE, SIZE = (12, 20, 17), (5.0, 2.0, 1.5)
SOME = (slice(3, 9), slice(4, 20), slice(1, 6))


def voxels(dtype="u2"):
    return np.random.default_rng(0).integers(0, 200, SHAPE).astype(dtype)


def tags(axes):
    return json.dumps({"axes": [{"key": axis, "typeFlags": 2, "resolution": 0, "description": ""} for axis in axes]})


def plain(file, array):
    file.create_dataset("scan", data=array).attrs["element_size_um"] = SIZE


def chunked(file, array):
    file.create_dataset(
        "deep/down/scan", data=array, chunks=(5, 7, 6), compression="gzip", shuffle=True, fletcher32=True
    )
    file["deep/down"].attrs["element_size_um"] = np.array(SIZE, "f4")
    file["deep/flat"] = array[0]
    file["deep/round"] = file["deep"]


def lzf(file, array):
    file.create_dataset("scan", data=array, compression="lzf").attrs["element_size_um"] = SIZE


def ilastik(file, array):
    stored = array.transpose(2, 1, 0)[None, ..., None]
    data = file.create_dataset("exported_data", data=stored, chunks=(1, 8, 8, 8, 1), compression="gzip")
    data.attrs["axistags"], data.attrs["element_size_um"] = tags("txyzc"), SIZE
    file["volume/data"] = array[:5]


def nexus(file, array):
    """A master file: defaults lead to a soft link; the places of the voxels are in mm."""
    file["entry/instrument/detector/data"] = array
    file["entry/instrument/dark"] = array[:3]
    group = file.create_group("entry/scan")
    group["image"] = h5py.SoftLink("/entry/instrument/detector/data")
    data = file["entry/instrument/detector"]
    for axis, size, count in zip("zyx", SIZE, SHAPE, strict=True):
        data[axis] = 3 + np.arange(count) * size / 1e3
        data[axis].attrs["units"] = "mm"
    data.attrs["axes"] = list("zyx")
    file.attrs["default"] = "entry"
    file["entry"].attrs["default"], group.attrs["signal"] = np.bytes_("scan"), "image"


def nexus_pixel_sizes(file, array):
    file["entry/data"] = array
    for axis, size in zip("zyx", SIZE, strict=True):
        file[f"entry/{axis}_pixel_size"] = np.array([size / 1e6])
        file[f"entry/{axis}_pixel_size"].attrs["units"] = "m"


def made(folder, write, array=None, name="a.h5"):
    with h5py.File(folder / name, "w") as file:
        write(file, voxels() if array is None else array)
    return folder / name


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", ">u2", "?"])
@pytest.mark.parametrize("write", [plain, chunked, lzf, ilastik, nexus, nexus_pixel_sizes])
def test_a_dataset_gives_back_what_was_written(tmp_path, write, dtype):
    array = voxels(dtype)
    volume = open_volume(made(tmp_path, write, array))
    assert (volume.shape, volume.name) == (SHAPE, "a")
    assert volume.dtype == array.dtype.newbyteorder("=")
    assert volume.voxel_size == pytest.approx(SIZE)
    np.testing.assert_array_equal(volume.read(SOME), array[SOME])
    np.testing.assert_array_equal(volume.read(), array)


@pytest.mark.parametrize("name", ["a.hdf5", "a.hdf", "a.nxs", "A.H5"])
def test_its_endings_are_known(tmp_path, name):
    assert open_volume(made(tmp_path, plain, name=name)).shape == SHAPE


def test_chunks_that_were_never_written_read_as_the_fill_value(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        how = {"chunks": (8, 8, 8), "compression": "gzip", "fillvalue": 7}
        data = file.create_dataset("scan", SHAPE, "u2", **how)
        data[:4] = voxels()[:4]
        wanted = data[:]
    np.testing.assert_array_equal(open_volume(tmp_path / "a.h5", (1, 1, 1)).read(), wanted)


def test_one_of_several_is_asked_for_by_its_path_in_the_file(tmp_path):
    def write(file, array):
        file["raw"], file["filtered/volume"] = array, array + 1
        file["filtered"].attrs["element_size_um"] = SIZE

    path = made(tmp_path, write)
    with pytest.raises(InvalidVolume, match=r"/filtered/volume, /raw.*a\.h5::/filtered/volume"):
        open_volume(path)
    volume = open_volume(f"{path}::/filtered/volume")
    assert (volume.name, volume.source) == ("a /filtered/volume", path)
    np.testing.assert_array_equal(volume.read(), voxels() + 1)
    with pytest.raises(InvalidVolume, match="no dataset '/gone'"):
        open_volume(f"{path}::/gone")
    with pytest.raises(InvalidVolume, match="no dataset 'filtered'"):
        open_volume(f"{path}::filtered")
    with pytest.raises(UserError, match="There is no"):
        open_volume(f"{tmp_path / 'b.h5'}::/raw")
    (tmp_path / "a.nii").write_bytes(b"")
    with pytest.raises(UserError, match="is no HDF5 file"):
        open_volume(f"{tmp_path / 'a.nii'}::/raw")


@pytest.mark.parametrize(
    ("size", "told"),
    [(None, "does not say"), ((1, np.nan, 1), "nan"), ((0, 1, 1), "0"), ((1, -1, 1), "-1"), ((1, 1), "cannot be read")],
)
def test_a_voxel_size_that_is_none_is_refused_and_can_be_given(tmp_path, size, told):
    def write(file, array):
        file["scan"] = array
        if size is not None:
            file["scan"].attrs["element_size_um"] = size

    path = made(tmp_path, write)
    with pytest.raises(InvalidVolume, match=told):
        open_volume(path)
    assert open_volume(path, (3, 2, 1)).voxel_size == (3, 2, 1)


@pytest.mark.parametrize(("places", "unit"), [([0, 1, 2, 4], "mm"), ([0, 1, 2, 3], "pixel"), ([0, 1, 2, 3], None)])
def test_places_without_a_length_or_unevenly_spaced_say_no_voxel_size(tmp_path, places, unit):
    def write(file, array):
        file["data"] = array[:4, :4, :4]
        file.attrs["axes"] = list("zyx")
        for axis in "zyx":
            file[axis] = np.array(places, "f8")
            file[axis].attrs.update({"units": unit} if unit else {})

    with pytest.raises(InvalidVolume, match=r"evenly spaced|does not say"):
        open_volume(made(tmp_path, write))


def external_link(file, _):
    file["scan"] = h5py.ExternalLink("other.h5", "/scan")


def link_through_an_external_one(file, _):
    file["other"] = h5py.ExternalLink("other.h5", "/")
    file["scan"] = h5py.SoftLink("/other/scan")


def links_in_a_circle(file, _):
    file["scan"], file["again"] = h5py.SoftLink("/again"), h5py.SoftLink("/scan")


@pytest.mark.parametrize(
    ("write", "told"),
    [(external_link, "another file"), (link_through_an_external_one, "another file"), (links_in_a_circle, "circles")],
)
def test_links_do_not_lead_out_of_the_file(tmp_path, write, told):
    made(tmp_path, plain, name="other.h5")
    path = made(tmp_path, write)
    with pytest.raises(InvalidVolume, match="no dataset of numbers"):
        open_volume(path)
    with pytest.raises(InvalidVolume, match=told):
        open_volume(f"{path}::/scan")


def virtual(file, array):
    layout = h5py.VirtualLayout(SHAPE, array.dtype)
    layout[:] = h5py.VirtualSource("other.h5", "scan", SHAPE)
    file.create_virtual_dataset("scan", layout)


def stored_elsewhere(file, array):
    file.create_dataset("scan", SHAPE, array.dtype, external=[("other.h5", 0, array.nbytes)])


def gzip_in_lzf(file, array):
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_chunk((4, 4, 4))
    how.set_filter(32000, 0, (4, 4, 128))
    how.set_deflate(4)
    h5py.h5d.create(file.id, b"scan", h5py.h5t.NATIVE_UINT16, h5py.h5s.create_simple(SHAPE), how)


def absurd(file, _):
    file.create_dataset("scan", (2**20,) * 3, "u1", chunks=(64,) * 3)


def huge_chunk(file, _):
    file.create_dataset("scan", (2048,) * 3, "u1", chunks=(1024, 1024, 2048))


def tiny_chunks(file, _):
    file.create_dataset("scan", (2048,) * 3, "u1", chunks=(1, 1, 1))


def compound(file, array):
    file["scan"] = np.zeros(SHAPE, [("a", "i4")])


def texts(file, array):
    file.create_dataset("scan", SHAPE, h5py.string_dtype())


def complex_numbers(file, array):
    file["scan"] = array.astype("c8")


def colours(file, array):
    file.create_dataset("scan", data=np.zeros((*SHAPE, 3), "u1")).attrs["axistags"] = tags("zyxc")


def picture(file, array):
    file["scan"] = array[0]


@pytest.mark.parametrize(
    "write",
    [
        virtual,
        stored_elsewhere,
        gzip_in_lzf,
        absurd,
        huge_chunk,
        tiny_chunks,
        compound,
        texts,
        complex_numbers,
        colours,
        picture,
    ],
)
def test_what_is_no_volume_of_this_file_is_refused_on_opening(tmp_path, write):
    made(tmp_path, plain, name="other.h5")
    path = made(tmp_path, write)
    for place in (path, f"{path}::/scan"):
        with pytest.raises(InvalidVolume):
            open_volume(place, (1, 1, 1))


def test_a_filter_that_is_not_installed_is_named(tmp_path):
    def write(file, _):
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_chunk((4, 4, 4))
        how.set_filter(40000, h5py.h5z.FLAG_OPTIONAL)
        h5py.h5d.create(file.id, b"scan", h5py.h5t.NATIVE_UINT16, h5py.h5s.create_simple(SHAPE), how)

    with pytest.raises(InvalidVolume, match=r"filter 40000; install hdf5plugin"):
        open_volume(made(tmp_path, write), (1, 1, 1))


def with_chunk(folder, data, **how):
    """A file whose first chunk was packed by somebody else."""
    with h5py.File(folder / "a.h5", "w") as file:
        dataset = file.create_dataset("scan", SHAPE, "u2", chunks=SHAPE, compression="gzip", **how)
        dataset.id.write_direct_chunk((0, 0, 0), data)
    return open_volume(folder / "a.h5", (1, 1, 1))


@pytest.mark.parametrize("data", [zlib.compress(bytes(2**26)), zlib.compress(bytes(8)), b"junk"])
def test_a_chunk_unpacks_to_its_size_or_is_refused(tmp_path, data):
    volume = with_chunk(tmp_path, data)
    with pytest.raises(InvalidVolume, match="cannot be read"):
        volume.read()


def test_a_checksum_that_does_not_hold_is_refused(tmp_path):
    packed = zlib.compress(voxels().tobytes())
    volume = with_chunk(tmp_path, packed + b"\1\2\3\4", fletcher32=True)
    with pytest.raises(InvalidVolume, match="checksum"):
        volume.read()


def test_a_cut_off_file_is_refused(tmp_path):
    path = made(tmp_path, chunked)
    content = path.read_bytes()
    for end in range(0, len(content), len(content) // 40):
        path.write_bytes(content[:end])
        with pytest.raises(InvalidVolume):
            open_volume(path).read()


def test_a_file_that_was_replaced_after_opening_is_refused(tmp_path):
    volume = open_volume(made(tmp_path, plain))
    made(tmp_path, plain, voxels("f4"))
    with pytest.raises(InvalidVolume, match="another file"):
        volume.read()


def test_many_threads_read_at_once(tmp_path):
    volume = open_volume(made(tmp_path, chunked))
    boxes = [tuple(slice(at, at + 6) for at in np.random.default_rng(n).integers(0, 6, 3)) for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        for box, block in zip(boxes, pool.map(volume.read, boxes), strict=True):
            np.testing.assert_array_equal(block, voxels()[box])


def test_the_file_is_open_only_while_somebody_can_read_it(tmp_path):
    path = made(tmp_path, plain)
    volume = open_volume(path)
    with h5py.File(path, "a"):
        pass  # not open yet
    volume.read()
    del volume
    with h5py.File(path, "a"):
        pass  # closed again


def test_no_filter_is_loaded_from_a_folder_that_the_environment_names(tmp_path):
    path = made(tmp_path, chunked)
    code = f"""
from napari_medaka_kd.volumes.open import open_volume
open_volume({str(path)!r}).read()
from h5py import h5pl
assert h5pl.size() == 0, h5pl.get(0)
"""
    environment = {"HDF5_PLUGIN_PATH": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_filters_of_hdf5plugin_are_used_where_it_is_installed(tmp_path):
    plugin = pytest.importorskip("hdf5plugin")

    def write(file, array):
        file.create_dataset("scan", data=array, compression=plugin.Zstd())

    np.testing.assert_array_equal(open_volume(made(tmp_path, write), (1, 1, 1)).read(), voxels())
