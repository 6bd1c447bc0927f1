"""A saved volume is a valid OME-Zarr pyramid, there wholly or not at all, written with bounded memory."""

import json
import os
import shutil
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medaka_kd.demo_settings import PhantomSettings
from napari_medaka_kd.errors import InvalidVolume, UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.volumes import save as save_module
from napari_medaka_kd.volumes.lazy import DiskArray
from napari_medaka_kd.volumes.open import open_volume
from napari_medaka_kd.volumes.phantom import phantom_animal
from napari_medaka_kd.volumes.pyramid import average, plan_levels, stride
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume, extent


def scan(dtype="u2", shape=(130, 70, 65)):
    values = np.random.default_rng(0).integers(0, 250, shape).astype(dtype)
    return Volume((values,), (20.0, 10.0, 10.0), "fish 7")


@pytest.mark.parametrize("dtype", ["u1", "i2", ">u2", "u4", "f4", "f2", "f8", "?"])
def test_a_volume_comes_back_with_its_voxels_type_size_and_name(tmp_path, dtype):
    given_ = scan(dtype)
    saved = drain(save_volume(given_, tmp_path / "a.ome.zarr"))
    reopened = open_volume(tmp_path / "a.ome.zarr")
    for volume in (saved, reopened):
        assert volume.voxel_size == given_.voxel_size
        assert volume.name == "fish 7"
        assert volume.source == tmp_path / "a.ome.zarr"
        np.testing.assert_array_equal(volume.read(), given_.read())
    expected = {"f8": "float32", "?": "uint8", ">u2": "uint16"}.get(dtype, np.dtype(dtype).name)
    assert reopened.dtype == np.dtype(expected)


def test_levels_halve_towards_cubes_until_they_are_small(tmp_path):
    saved = drain(save_volume(scan(), tmp_path / "a.ome.zarr"))
    assert [level.shape for level in saved.levels] == [(130, 70, 65), (65, 35, 33), (33, 18, 17)]
    assert [level.shape for level in plan_levels((80, 400, 400), (50.0, 10.0, 10.0))] == [
        (80, 400, 400),
        (80, 200, 200),
        (80, 100, 100),
        (40, 50, 50),
    ]
    inner = average(saved.read(), (2, 2, 2))
    np.testing.assert_array_equal(saved.read(level=1), inner)
    np.testing.assert_array_equal(saved.read(level=2), average(inner, (2, 2, 2)))


@settings(max_examples=60)
@given(
    st.tuples(*[st.integers(1, 7)] * 3),
    st.tuples(*[st.sampled_from([1, 2])] * 3),
    st.sampled_from(["u1", "i1", "u2", "i2", "i4", "f4"]),
    st.integers(0, 99),
)
def test_the_mean_is_the_mean_and_a_stride_a_stride(shape, step, dtype, seed):
    rng = np.random.default_rng(seed)
    info = np.iinfo(dtype) if dtype != "f4" else np.iinfo("i2")
    block = rng.integers(info.min, info.max, shape, endpoint=True).astype(dtype)
    padded = np.pad(block, [(0, -size % by) for size, by in zip(shape, step, strict=True)], mode="edge")
    (z, y, x), (a, b, c) = padded.shape, step
    mean = padded.astype("f8").reshape(z // a, a, y // b, b, x // c, c).mean((1, 3, 5))
    found = average(block, step)
    assert found.dtype == block.dtype
    np.testing.assert_allclose(found, mean if dtype == "f4" else np.floor(mean + 0.5), rtol=1e-6)
    np.testing.assert_array_equal(stride(block, step), block[::a, ::b, ::c])


def test_other_programs_read_it_with_its_units(tmp_path):
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader
    from ome_zarr_models.v05.image import Image
    from yaozarrs import validate_zarr_store

    path = tmp_path / "a.ome.zarr"
    drain(save_volume(scan(), path))
    (node, *_) = list(Reader(parse_url(path))())
    np.testing.assert_array_equal(np.asarray(node.data[0]), scan().read())
    assert [axis["unit"] for axis in node.metadata["axes"]] == ["micrometer"] * 3
    assert node.metadata["coordinateTransformations"][1][0]["scale"] == [40.0, 20.0, 20.0]
    assert node.metadata["coordinateTransformations"][1][1]["translation"] == [10.0, 5.0, 5.0]
    validate_zarr_store(str(path))
    import zarr

    assert Image.from_zarr(zarr.open_group(path, mode="r")).ome_attributes.multiscales[0].ndim == 3


def test_every_chunk_is_stored_and_a_lost_or_flipped_one_is_an_error(tmp_path):
    path = tmp_path / "a.ome.zarr"
    empty = Volume((np.zeros((40, 40, 40), "u1"),), (1.0, 1.0, 1.0), "air")
    drain(save_volume(empty, path))
    chunk = path / "0" / "c" / "0" / "0" / "0"
    data = bytearray(chunk.read_bytes())
    data[10] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(InvalidVolume, match="cannot be read"):
        open_volume(path).read()
    chunk.unlink()
    with pytest.raises(InvalidVolume, match="missing"):
        open_volume(path).read()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_intensities_that_are_no_numbers_are_refused_and_nothing_is_left(tmp_path, bad):
    values = scan("f4").read()
    values[100, 60, 60] = bad
    with pytest.raises(InvalidVolume, match="NaN or infinite"):
        drain(save_volume(Volume((values,), (1.0, 1.0, 1.0)), tmp_path / "a.ome.zarr"))
    assert os.listdir(tmp_path) == []


def test_too_large_for_32_bits_is_refused_not_made_infinite(tmp_path):
    values = np.full((8, 8, 8), 1e300)
    with pytest.raises(InvalidVolume, match="32-bit"):
        drain(save_volume(Volume((values,), (1.0, 1.0, 1.0)), tmp_path / "a.ome.zarr"))


def test_an_existing_path_is_never_touched(tmp_path):
    (tmp_path / "a.ome.zarr").mkdir()
    with pytest.raises(UserError, match="there already"):
        drain(save_volume(scan(), tmp_path / "a.ome.zarr"))
    assert os.listdir(tmp_path / "a.ome.zarr") == []


def test_a_full_disk_is_noticed_before_the_first_byte(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(save_module.shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    with pytest.raises(UserError, match=r"1,000 bytes free, and 1,\d+,\d+ bytes are needed"):
        drain(save_volume(scan(), tmp_path / "a.ome.zarr"))
    assert os.listdir(tmp_path) == []


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume
values = np.random.default_rng(0).integers(0, 60000, (96, 96, 96)).astype("u2")
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    drain(save_volume(Volume((values,), (1.0, 1.0, 1.0)), Path(sys.argv[1])))
except UserError as error:
    sys.stdout.write(str(error))
    sys.exit(7)
"""


@pytest.mark.parametrize("limit", [100, 2000, 200_000])
def test_a_disk_that_fills_up_midway_leaves_nothing(tmp_path, play, limit):
    child = play(FULL_DISK, tmp_path / "a.ome.zarr", limit)
    assert child.returncode == 7, child.stderr
    assert "disk" in child.stdout
    assert "Traceback" not in child.stderr
    assert os.listdir(tmp_path) == []


def test_a_leftover_of_a_killed_process_is_no_obstacle(tmp_path):
    (tmp_path / "a.ome.zarr.partial" / "0").mkdir(parents=True)
    drain(save_volume(scan(), tmp_path / "a.ome.zarr"))
    assert os.listdir(tmp_path) == ["a.ome.zarr"]


def test_progress_is_told_and_metadata_comes_last(tmp_path):
    path = tmp_path / "a.ome.zarr"
    for report in save_volume(scan(), path):
        assert report.done <= report.total
        assert not path.exists()
    assert json.loads((path / "zarr.json").read_bytes())["attributes"]["ome"]["version"] == "0.5"


def huge(reads):
    """A procedural volume of 32 billion voxels."""
    shape = (2000, 2000, 4000)

    def read_box(box):
        reads.append(extent(box))
        return np.full(extent(box), box[0].start % 251, "u2")

    return Volume((DiskArray(shape, np.dtype("u2"), read_box),), (5.0, 5.0, 5.0), "huge")


def test_a_huge_volume_is_read_a_block_at_a_time(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**13, 0, 10**13))
    reads = []
    job = save_volume(huge(reads), tmp_path / "a.ome.zarr")
    for _ in range(4):
        next(job)
    job.close()
    assert reads
    assert max(np.prod(size) for size in reads) <= 64 * 512 * 512
    assert os.listdir(tmp_path) == ["a.ome.zarr.partial"]


def test_stacks_of_slices_are_read_in_whole_slabs_so_that_no_page_is_unpacked_twice(tmp_path):
    reads = []
    values = np.random.default_rng(0).integers(0, 9, (150, 600, 40)).astype("u1")

    def read_box(box):
        reads.append(box)
        return values[box]

    paged = Volume((DiskArray(values.shape, values.dtype, read_box, reads_pages=True),), (1.0, 1.0, 1.0))
    saved = drain(save_volume(paged, tmp_path / "a.ome.zarr"))
    assert [box[0] for box in reads] == [slice(0, 64), slice(64, 128), slice(128, 150)]
    np.testing.assert_array_equal(saved.read(), values)


def test_the_thinnest_organs_keep_nine_tenths_of_their_share_wherever_thirty_voxels_of_them_are_left():
    labels = phantom_animal(PhantomSettings(shape=(256, 128, 128))).labels.volume.read()
    share, level = np.bincount(labels.ravel())[1:] / labels.size, labels
    judged = 0
    for plan in plan_levels(labels.shape, (1.0, 1.0, 1.0))[1:]:
        level = stride(level, plan.step)
        kept = np.bincount(level.ravel(), minlength=len(share) + 1)[1:] / level.size / share
        many = share * level.size >= 30
        assert (kept[many] >= 0.9).all()
        judged += many.sum()
    assert judged >= 15
