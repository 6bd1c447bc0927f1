"""A conversion survives anything: stopped at any block and begun again, it ends in the very same bytes."""

import hashlib
import json

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.volumes.conversion import digest
from napari_medaka_kd.volumes.lazy import DiskArray
from napari_medaka_kd.volumes.open import open_volume
from napari_medaka_kd.volumes.pyramid import average
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.store_array import create_array, lay_out, write_block
from napari_medaka_kd.volumes.volume import Volume
from napari_medaka_kd.volumes.window import Window, find_window, narrow
from napari_medaka_kd.workflow.convert import convert

SHAPE = (150, 520, 40)  # three shards by two by one


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A stack of slices on the disk, with a voxel size."""
    values = np.random.default_rng(0).integers(0, 60_000, SHAPE).astype("u2")
    file = tmp_path_factory.mktemp("scan") / "fish.tif"
    tifffile.imwrite(file, values, imagej=True, metadata={"spacing": 5.0, "unit": "um"}, resolution=(0.2, 0.2))
    return file


def content(folder):
    """Every file below ``folder``, by name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def whole(stack, tmp_path_factory):
    """What comes of it when nothing happens."""
    target = tmp_path_factory.mktemp("whole") / "fish.ome.zarr"
    drain(convert(stack, target))
    return target


def test_every_level_is_the_mean_of_the_one_before(stack, whole):
    made, truth = open_volume(whole), open_volume(stack).read()
    np.testing.assert_array_equal(made.read(), truth)
    for place in range(1, len(made.levels)):
        before, after = made.levels[place - 1].shape, made.levels[place].shape
        step = tuple(2 if coarse < fine else 1 for fine, coarse in zip(before, after, strict=True))
        np.testing.assert_array_equal(made.read(level=place), average(made.read(level=place - 1), step))


@pytest.mark.parametrize("stop", range(1, 9))
def test_stopped_anywhere_and_begun_again_it_ends_in_the_same_bytes(stack, whole, tmp_path, stop):
    target = tmp_path / "fish.ome.zarr"
    job = convert(stack, target)
    for _ in range(stop):
        next(job)
    job.close()
    assert not target.exists()
    drain(convert(stack, target))
    assert content(target) == content(whole)
    assert [path.name for path in tmp_path.iterdir()] == ["fish.ome.zarr"]


KILLED = """
import os, signal, sys
from pathlib import Path
from napari_medaka_kd.workflow.convert import convert
for number, report in enumerate(convert(Path(sys.argv[1]), Path(sys.argv[2]))):
    if number == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_it_goes_on_where_it_was_to_the_same_bytes(stack, whole, tmp_path, play):
    target = tmp_path / "fish.ome.zarr"
    assert play(KILLED, stack, target, 5).returncode == -9
    assert not target.exists()
    kept = content(tmp_path / "fish.ome.zarr.partial")
    reports = []
    drain(convert(stack, target), reports.append)
    assert reports[0].done >= 1
    assert content(target) == content(whole)
    assert {name: kept[name] for name in kept if name.startswith("0/c/0")}.items() <= content(target).items()


def test_only_what_is_missing_is_read_again(tmp_path):
    values = np.random.default_rng(1).integers(0, 9, SHAPE).astype("u1")
    reads = []
    source = tmp_path / "scan"
    source.touch()

    def read_box(box):
        reads.append(box[0].start)
        return values[box]

    volume = Volume((DiskArray(SHAPE, values.dtype, read_box),), (1.0, 1.0, 1.0), "fish", source)
    job = save_volume(volume, tmp_path / "a.ome.zarr")
    for _ in range(6):
        next(job)
    job.close()
    before = len(reads)
    np.testing.assert_array_equal(drain(save_volume(volume, tmp_path / "a.ome.zarr")).read(), values)
    assert len(reads) - before < 6


def test_another_file_or_another_way_begins_anew(stack, tmp_path):
    target = tmp_path / "fish.ome.zarr"
    job = convert(stack, target)
    for _ in range(4):
        next(job)
    job.close()
    made = drain(convert(stack, target, percentiles=(1, 99)))
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(
        made.read(), narrow(open_volume(stack).read(), find_window(open_volume(stack), (1, 99)))
    )


def test_what_is_made_already_is_just_opened(stack, whole):
    before = content(whole)
    assert list(convert(stack, whole)) == []
    assert content(whole) == before


def test_two_processes_do_not_make_the_same_pyramid(stack, tmp_path):
    first = convert(stack, tmp_path / "fish.ome.zarr")
    next(first)
    with pytest.raises(UserError, match="by another process"):
        drain(convert(stack, tmp_path / "fish.ome.zarr"))
    drain(first)


def test_the_checksum_is_of_the_voxels_that_were_read(stack, whole):
    told = json.loads((whole / "zarr.json").read_bytes())["attributes"]["napari-medaka-kd"]["source"]
    values = open_volume(stack).read()
    sums = [digest(values[z : z + 64, y : y + 512]) for z in range(0, SHAPE[0], 64) for y in range(0, SHAPE[1], 512)]
    assert told["voxels_sha256"] == hashlib.sha256("".join(sums).encode()).hexdigest()
    assert told["file"] == "fish.tif"
    assert digest(values.astype(">u2")) == digest(values)


@settings(max_examples=40)
@given(st.lists(st.integers(-500, 70_000), min_size=2, max_size=40), st.integers(0, 400), st.integers(1, 60_000))
def test_a_window_spreads_its_range_over_eight_bits_and_clips_the_rest(values, low, width):
    block = np.array(values, "i4").reshape(1, 1, -1)
    narrowed = narrow(block, Window(low, low + width)).ravel()
    for value, seen in zip(values, narrowed, strict=True):
        exact = min(max((value - low) / width, 0), 1) * 255
        assert abs(int(seen) - exact) <= 0.51
    assert np.all(np.diff(narrowed[np.argsort(values)].astype(int)) >= 0)


def test_percentiles_that_are_no_window_are_refused():
    volume = Volume((np.zeros((4, 4, 4), "u1"),), (1.0, 1.0, 1.0))
    for percentiles in ((50, 50), (-1, 10), (1, 101)):
        with pytest.raises(UserError, match="no window"):
            find_window(volume, percentiles)
    with pytest.raises(UserError, match="at both percentiles"):
        find_window(volume, (1, 99))


@pytest.mark.parametrize(
    "region", [(slice(0, 32), slice(0, 64), slice(0, 64)), (slice(0, 64), slice(32, 96), slice(0, 64))]
)
def test_a_part_of_a_shard_is_never_written(tmp_path, region):
    store = create_array(tmp_path / "a", lay_out((100, 128, 64), np.dtype("u1"), (64, 64, 64)))
    with pytest.raises(ValueError, match="not a whole shard"):
        write_block(store, region, np.zeros([side.stop - side.start for side in region], "u1"))
    assert not (tmp_path / "a" / "c").exists()


def test_dask_sees_the_same_voxels_in_large_blocks(whole):
    volume = open_volume(whole)
    for level in range(len(volume.levels)):
        array = volume.dask(level)
        assert array.chunksize == tuple(min(a, b) for a, b in zip((128, 512, 512), array.shape, strict=True))
        np.testing.assert_array_equal(array[2:, ::3, 1].compute(), volume.levels[level][2:, ::3, 1])
    assert int(volume.dask().max().compute()) == volume.read().max()
