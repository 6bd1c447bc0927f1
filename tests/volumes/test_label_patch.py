"""A patch differs from its base in a box at every level, shares the rest with it, and counts only once it is listed."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_medaka_kd.errors import InvalidVolume
from napari_medaka_kd.job import drain
from napari_medaka_kd.volumes.label_extras import Extra
from napari_medaka_kd.volumes.label_patch import Patch, list_patch, open_held_labels, prepare_patch
from napari_medaka_kd.volumes.label_store import (
    begin_labels,
    generation,
    label_names,
    open_saved_labels,
    open_uncertainty,
)
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume, extent

SHAPE = (270, 70, 40)  # two shards at level 0
SCHEMA = LabelSchema.from_ids({1: "eye", 2: "gut", 9: "heart"})
HERE = (slice(250, 262), slice(3, 40), slice(5, 21))  # in both shards


def ids(seed, shape=SHAPE):
    return np.random.default_rng(seed).choice(np.array([0, 1, 2, 9], "u1"), shape)


@pytest.fixture
def store(tmp_path):
    """A scan with ``teacher.1`` and its doubt."""
    drain(save_volume(Volume((np.zeros(SHAPE, "u1"),), (10.0, 10.0, 10.0), "fish"), tmp_path / "a.ome.zarr"))
    begun = begin_labels(tmp_path / "a.ome.zarr", "teacher", SCHEMA, "f", extras=(Extra("uncertainty"),))
    for index in begun.pending:
        block = ids(0)[begun.blocks[index]]
        begun.write(index, block, {"uncertainty": block})
    drain(begun.commit())
    return tmp_path / "a.ome.zarr"


def patched(store, region=HERE, seed=1, base="teacher.1"):
    """The generation of ``base`` with random labels in ``region``."""
    return drain(prepare_patch(store, "reviewed", Patch(base, region, ids(seed, extent(region))), SCHEMA))


def laid_in(values, region=HERE, seed=1):
    values = values.copy()
    values[region] = ids(seed, extent(region))
    return values


def shards(folder):
    return {str(file.relative_to(folder)): file for file in folder.glob("[0-9]/c/**/*") if file.is_file()}


def same_pyramid(labels, values):
    steps = [round(size) for size in labels.volume.scale(1)]
    for level in range(len(labels.volume.levels)):
        np.testing.assert_array_equal(labels.volume.read(level=level), values)
        values = values[:: steps[0], :: steps[1], :: steps[2]]


def test_a_patch_differs_in_its_box_at_every_level_and_nowhere_else(store):
    list_patch(store, patched(store))
    same_pyramid(open_saved_labels(store, "reviewed", SCHEMA), laid_in(ids(0)))
    same_pyramid(open_saved_labels(store, "teacher", SCHEMA), ids(0))
    assert open_uncertainty(store, "reviewed") is None
    assert label_names(store) == ("reviewed", "teacher")


@st.composite
def regions(draw):
    starts = [draw(st.integers(0, size - 1)) for size in SHAPE]
    sizes = [draw(st.integers(1, min(20, size - start))) for start, size in zip(starts, SHAPE, strict=True)]
    return tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(region=regions(), seed=st.integers(1, 99))
def test_any_box_may_differ_and_patches_add_up(store, region, seed):
    base = generation(store, "reviewed") if "reviewed" in label_names(store) else "teacher.1"
    before = open_saved_labels(store, base, SCHEMA).volume.read()
    list_patch(store, patched(store, region, seed, base))
    same_pyramid(open_saved_labels(store, "reviewed", SCHEMA), laid_in(before, region, seed))


def test_only_shards_that_differ_take_room_and_the_base_keeps_its_bytes(store):
    labels = store / "labels"
    before = {name: file.read_bytes() for name, file in shards(labels / "teacher.1").items()}
    made = shards(labels / patched(store, (slice(0, 4), slice(0, 4), slice(0, 4))))
    base = shards(labels / "teacher.1")
    assert {name: file.read_bytes() for name, file in base.items()} == before
    shared = {name for name, file in made.items() if file.samefile(base[name])}
    assert made.keys() == base.keys()
    assert "0/c/1/0/0" in shared
    assert "0/c/0/0/0" not in shared


def test_a_block_that_changes_nothing_shares_every_shard(store):
    made = drain(prepare_patch(store, "reviewed", Patch("teacher.1", HERE, ids(0)[HERE]), SCHEMA))
    base = shards(store / "labels" / "teacher.1")
    assert all(file.samefile(base[name]) for name, file in shards(store / "labels" / made).items())


def test_a_file_system_without_hard_links_gets_copies(store, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    list_patch(store, patched(store))
    same_pyramid(open_saved_labels(store, "reviewed", SCHEMA), laid_in(ids(0)))


def test_nothing_counts_before_it_is_listed_and_the_next_one_sweeps_it_away(store):
    assert patched(store) == "reviewed.1"
    assert label_names(store) == ("teacher",)
    assert patched(store, seed=2) == "reviewed.1"
    job = prepare_patch(store, "reviewed", Patch("teacher.1", HERE, ids(3, extent(HERE))), SCHEMA)
    next(job)
    assert (store / "labels" / "reviewed.1").is_dir()
    job.close()
    assert not (store / "labels" / "reviewed.1").exists()


def test_listing_takes_the_place_of_the_former_one_and_can_be_repeated(store):
    for seed in (1, 2):
        made = patched(store, seed=seed)
        list_patch(store, made)
    list_patch(store, made)
    list_patch(store, "reviewed.1")  # gone, and out of date
    assert generation(store, "reviewed") == "reviewed.2"
    assert not (store / "labels" / "reviewed.1").exists()
    same_pyramid(open_saved_labels(store, "reviewed", SCHEMA), laid_in(ids(0), seed=2))


def test_who_reads_a_generation_keeps_it_until_it_is_let_go(store):
    list_patch(store, patched(store))
    held = open_held_labels(store, "reviewed", SCHEMA)
    list_patch(store, patched(store, seed=2, base="reviewed.1"))
    same_pyramid(held, laid_in(ids(0)))
    del held
    list_patch(store, "reviewed.2")
    assert not (store / "labels" / "reviewed.1").exists()


def test_an_id_without_an_organ_or_a_block_of_another_shape_is_refused(store):
    with pytest.raises(InvalidVolume):
        drain(prepare_patch(store, "reviewed", Patch("teacher.1", HERE, np.full(extent(HERE), 5, "u1")), SCHEMA))
    with pytest.raises(ValueError, match="a block of"):
        drain(prepare_patch(store, "reviewed", Patch("teacher.1", HERE, ids(0)), SCHEMA))
    assert sorted(path.name for path in (store / "labels").iterdir() if path.is_dir()) == ["teacher.1"]
