"""The index of organs says what counting says, is kept with the labels it is of, and finds each voxel equally often."""

import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from napari_medaka_kd.errors import InvalidVolume
from napari_medaka_kd.job import drain
from napari_medaka_kd.volumes.label_patch import Patch, list_patch, open_held_labels, prepare_patch
from napari_medaka_kd.volumes.label_store import begin_labels, open_saved_labels
from napari_medaka_kd.volumes.labels import LabelMap, LabelSchema
from napari_medaka_kd.volumes.lazy import DiskArray
from napari_medaka_kd.volumes.organ_index import CELL, ORGANS, count_organs, index_of, keep_index, kept_index
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume, extent

SHAPE = (270, 70, 40)  # two shards
SCHEMA = LabelSchema.from_ids({1: "eye", 2: "gut", 9: "heart"})
SIZE = (10.0, 10.0, 10.0)


def sparse(seed, shape=SHAPE):
    """Labels of which most cells hold nothing, and some a voxel or two."""
    rng = np.random.default_rng(seed)
    ids = np.zeros(shape, np.uint8)
    for _ in range(6):
        at = [int(rng.integers(size)) for size in shape]
        ids[tuple(slice(start, start + int(rng.integers(1, 40))) for start in at)] = rng.choice([0, 1, 2, 9])
    return ids


def in_memory(values):
    return Volume((values,), SIZE)


def table(index):
    """{(organ, corner of the cell): voxels}, as the index has it."""
    z, y, x = (-(-size // CELL) for size in index.shape)
    corners = [tuple(CELL * int(at) for at in np.unravel_index(cell, (z, y, x))) for cell in index.counts()[:, 1]]
    return {(int(row[0]), corner): int(row[2]) for row, corner in zip(index.counts(), corners, strict=True)}


def counted(values):
    """The same, found by looking at every voxel."""
    found = {}
    for voxel in np.argwhere(values):
        key = (int(values[tuple(voxel)]), tuple(int(at) // CELL * CELL for at in voxel))
        found[key] = found.get(key, 0) + 1
    return found


def written(store, name="teacher", seed=0, stop=None):
    """A generation with its first ``stop`` blocks written."""
    begun = begin_labels(store, name, SCHEMA, "f")
    for number in begun.pending[:stop]:
        begun.write(number, sparse(seed)[begun.blocks[number]])
    return begun


@pytest.fixture
def store(tmp_path):
    drain(save_volume(in_memory(np.zeros(SHAPE, "u1")), tmp_path / "a.ome.zarr"))
    return tmp_path / "a.ome.zarr"


@st.composite
def label_maps(draw):
    shape = tuple(draw(st.integers(1, 70)) for _ in range(3))
    return sparse(draw(st.integers(0, 999)), shape).astype(draw(st.sampled_from(["u1", "u2"])))


@settings(max_examples=40)
@given(values=label_maps(), seed=st.integers(0, 99))
def test_the_index_is_what_counting_gives_and_a_draw_finds_the_organ(values, seed):
    index = count_organs(in_memory(values))
    assert table(index) == counted(values)
    assert index.organs.tolist() == [organ for organ in np.unique(values).tolist() if organ]
    rng = np.random.default_rng(seed)
    for organ in index.organs.tolist():
        assert index.total(organ) == np.count_nonzero(values == organ)
        assert all(values[tuple(voxel)] == organ for voxel in index.draw(rng, organ, values, 5))
    assert index.total(3) == 0


def test_labels_that_are_stored_as_whole_slices_are_counted_slab_by_slab():
    values, asked = sparse(3), []

    def read(box):
        asked.append(extent(box))
        return values[box]

    paged = DiskArray(SHAPE, values.dtype, read, reads_pages=True)
    assert table(count_organs(in_memory(paged))) == counted(values)
    assert max(asked) == (CELL, *SHAPE[1:])


@pytest.mark.parametrize("count", [1, 4])
def test_every_voxel_of_an_organ_is_drawn_equally_often(count):
    values = np.zeros((40, 40, 70), np.uint8)
    values[30:34, 31:34, 20:32] = 1  # in four cells
    values[3, 5, 69] = 1
    values[8:20] = 2
    index, rng = count_organs(in_memory(values)), np.random.default_rng(7)
    drawn = [index.draw(rng, 1, values, count)[-1] for _ in range(100 * index.total(1))]
    times = np.zeros(values.shape, int)
    np.add.at(times, tuple(np.transpose(drawn)), 1)
    assert not times[values != 1].any()
    assert chisquare(times[values == 1]).pvalue > 0.01


def test_a_draw_reads_one_cell():
    values, asked = sparse(1), []

    def read(box):
        asked.append(extent(box))
        return values[box]

    index = count_organs(in_memory(values))
    index.draw(np.random.default_rng(0), int(index.organs[0]), DiskArray(SHAPE, values.dtype, read), 8)
    assert len(asked) == 1
    assert max(asked[0]) <= CELL


def test_labels_that_are_not_those_that_were_counted_are_refused():
    values = sparse(1)
    index = count_organs(in_memory(values))
    with pytest.raises(InvalidVolume, match="were counted"):
        index.draw(np.random.default_rng(0), int(index.organs[0]), np.zeros_like(values))


def test_a_committed_label_map_has_its_index_beside_it(store):
    made = drain(written(store).commit())
    kept = kept_index(store / "labels" / "teacher.1", SHAPE)
    assert table(kept) == table(index_of(made)) == table(index_of(open_saved_labels(store, "teacher", SCHEMA)))
    assert table(kept) == counted(sparse(0))


def test_blocks_written_before_an_interruption_are_in_the_index(store):
    written(store, stop=1).close()
    drain(written(store).commit())
    assert table(kept_index(store / "labels" / "teacher.1", SHAPE)) == counted(sparse(0))


@settings(max_examples=6)
@given(seed=st.integers(1, 99))
def test_patches_keep_the_index_right(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("patched") / "a.ome.zarr"
    drain(save_volume(in_memory(np.zeros(SHAPE, "u1")), path))
    drain(written(path).commit())
    base, values = "teacher.1", sparse(0)
    for _ in range(2):
        starts = [int(rng.integers(size)) for size in SHAPE]
        region = tuple(slice(a, min(a + 50, size)) for a, size in zip(starts, SHAPE, strict=True))
        values[region] = sparse(seed, extent(region))
        base = drain(prepare_patch(path, "reviewed", Patch(base, region, values[region].copy()), SCHEMA))
        list_patch(path, base)
        assert table(kept_index(path / "labels" / base, SHAPE)) == counted(values)
    assert table(index_of(open_held_labels(path, "reviewed", SCHEMA))) == counted(values)


def test_an_absent_or_damaged_index_is_made_anew_and_kept(store):
    drain(written(store).commit())
    path = store / "labels" / "teacher.1" / ORGANS
    whole = path.read_bytes()
    labels = open_saved_labels(store, "teacher", SCHEMA)
    for damage in (None, b"", b"PK", whole[:-30], whole.replace(b"|u1", b"|O8").replace(b"<u2", b"<O8")):
        path.unlink()
        if damage is not None:
            path.write_bytes(damage)
        assert kept_index(path.parent, SHAPE) is None
        assert table(index_of(labels)) == counted(sparse(0))
        assert path.read_bytes() == whole


def test_a_patch_of_labels_without_an_index_has_none_until_it_is_needed(store):
    drain(written(store).commit())
    (store / "labels" / "teacher.1" / ORGANS).unlink()
    region = (slice(0, 4), slice(0, 4), slice(0, 4))
    made = drain(prepare_patch(store, "reviewed", Patch("teacher.1", region, np.full((4, 4, 4), 9, "u1")), SCHEMA))
    list_patch(store, made)
    assert kept_index(store / "labels" / made, SHAPE) is None
    assert index_of(open_saved_labels(store, "reviewed", SCHEMA)).total(9) >= 64
    assert kept_index(store / "labels" / made, SHAPE) is not None


@pytest.mark.parametrize(
    "lie",
    [
        {"cells": np.uint32([10**6])},
        {"voxels": np.uint16([0])},
        {"voxels": np.uint16([40_000])},
        {"starts": np.int64([0, 2])},
        {"starts": np.int64([])},
        {"organs": np.uint16([0])},
        {"organs": np.uint16([[1]])},
        {"shape": (9, 9, 9)},
        {"voxels": np.uint16([1, 1])},
    ],
)
def test_an_index_that_cannot_be_is_not_believed(tmp_path, lie):
    values = np.zeros(SHAPE, np.uint8)
    values[5, 5, 5] = 1
    index = count_organs(in_memory(values))
    keep_index(tmp_path, index)
    assert table(kept_index(tmp_path, SHAPE)) == {(1, (0, 0, 0)): 1}
    keep_index(tmp_path, replace(index, **lie))
    assert kept_index(tmp_path, SHAPE) is None


def test_an_index_that_claims_too_much_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_medaka_kd.volumes.organ_index._MOST_BYTES", 10_000)
    keep_index(tmp_path, count_organs(in_memory(sparse(0))))
    assert kept_index(tmp_path, SHAPE) is not None
    with zipfile.ZipFile(tmp_path / ORGANS, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("shape.npy", bytes(100_000))
    assert (tmp_path / ORGANS).stat().st_size < 10_000
    assert kept_index(tmp_path, SHAPE) is None


def test_labels_of_another_program_are_counted_but_nothing_is_written_to_them():
    assert table(index_of(LabelMap(in_memory(sparse(2)), SCHEMA))) == counted(sparse(2))


def test_a_store_that_takes_nothing_is_counted_all_the_same(store, monkeypatch):
    drain(written(store).commit())
    (store / "labels" / "teacher.1" / ORGANS).unlink()

    def refuse(*_):
        raise OSError("read only")

    monkeypatch.setattr("napari_medaka_kd.volumes.organ_index.replace_file", refuse)
    assert table(index_of(open_saved_labels(store, "teacher", SCHEMA))) == counted(sparse(0))


def test_another_programs_labels_in_the_store_are_counted_each_time(store):
    drain(written(store).commit())
    folder = store / "labels" / "teacher.1"
    for name in (".ledger", ORGANS):
        (folder / name).unlink()
    assert table(index_of(open_saved_labels(store, "teacher", SCHEMA))) == counted(sparse(0))
    assert not (folder / ORGANS).exists()
