"""Label maps are written block by block, listed when complete, resumed when not, and never overwritten."""

import json
import os

import numpy as np
import pytest

from napari_medaka_kd.errors import InvalidVolume, UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.volumes.label_extras import Extra
from napari_medaka_kd.volumes.label_store import (
    begin_labels,
    generation,
    label_names,
    open_saved_labels,
    open_uncertainty,
    save_labels,
)
from napari_medaka_kd.volumes.labels import LabelMap, LabelSchema
from napari_medaka_kd.volumes.open import open_labels, open_volume
from napari_medaka_kd.volumes.pyramid import average
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume

SHAPE = (270, 70, 40)
SCHEMA = LabelSchema.from_ids({1: "eye", 2: "gut", 9: "heart"})


def ids(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).choice(np.array([0, 1, 2, 9], "u1"), shape)


def as_labels(values, schema=SCHEMA):
    return LabelMap(Volume((values,), (10.0, 10.0, 10.0), "truth"), schema)


@pytest.fixture
def store(tmp_path):
    scan = Volume((np.random.default_rng(0).integers(0, 255, SHAPE).astype("u1"),), (10.0, 10.0, 10.0), "fish")
    drain(save_volume(scan, tmp_path / "a.ome.zarr"))
    return tmp_path / "a.ome.zarr"


def written(store, name="teacher", seed=0, fingerprint="f", extras=()):
    """A complete generation, all blocks written."""
    begun = begin_labels(store, name, SCHEMA, fingerprint, extras)
    for index in begun.pending:
        block = ids(seed)[begun.blocks[index]]
        begun.write(index, block, {extra.name: block * 20 for extra in extras})
    return begun


def test_a_store_without_labels_has_no_names(store):
    assert label_names(store) == ()
    with pytest.raises(UserError, match="It has: none"):
        generation(store, "teacher")


def test_a_label_map_comes_back_with_its_pyramid_strided(store):
    saved = drain(written(store).commit())
    reopened = open_saved_labels(store, "teacher", SCHEMA)
    for labels in (saved, reopened):
        assert labels.schema == SCHEMA
        assert labels.volume.voxel_size == (10.0, 10.0, 10.0)
        assert labels.volume.dtype == np.uint8
        np.testing.assert_array_equal(labels.volume.read(), ids())
        np.testing.assert_array_equal(labels.volume.read(level=1), ids()[::2, ::2, ::2])
    assert label_names(store) == ("teacher",)
    assert generation(store, "teacher") == "teacher.1"
    assert open_uncertainty(store, "teacher") is None


def test_uncertainty_comes_along_as_an_image(store):
    drain(written(store, extras=(Extra("uncertainty"),)).commit())
    doubt = open_uncertainty(store, "teacher")
    np.testing.assert_array_equal(doubt.read(), ids() * 20)
    np.testing.assert_array_equal(doubt.read(level=1), average(ids() * 20, (2, 2, 2)))


def test_nothing_is_listed_before_the_commit(store):
    begun = written(store)
    assert label_names(store) == ()
    job = begun.commit()
    next(job)
    assert label_names(store) == ()
    job.close()
    drain(begun.commit())
    assert label_names(store) == ("teacher",)


def test_a_new_generation_takes_the_place_of_the_old_one(store):
    drain(written(store).commit())
    drain(written(store, name="manual").commit())
    begun = written(store, seed=1)
    np.testing.assert_array_equal(open_saved_labels(store, "teacher", SCHEMA).volume.read(), ids())
    drain(begun.commit())
    np.testing.assert_array_equal(open_saved_labels(store, "teacher", SCHEMA).volume.read(), ids(1))
    assert generation(store, "teacher") == "teacher.2"
    assert label_names(store) == ("manual", "teacher")
    folders = {entry for entry in os.listdir(store / "labels") if not entry.startswith(".")}
    assert folders == {"manual.1", "teacher.2", "zarr.json"}


def test_an_unfinished_generation_is_resumed_where_it_stopped(store):
    begun = begin_labels(store, "teacher", SCHEMA, "f")
    assert len(begun.blocks) == 2
    begun.write(1, ids()[begun.blocks[1]])
    begun.close()
    resumed = begin_labels(store, "teacher", SCHEMA, "f")
    assert resumed.name == "teacher.1"
    assert resumed.pending == (0,)
    with pytest.raises(ValueError, match="lacks 1 of 2"):
        next(resumed.commit())
    resumed.write(0, ids()[resumed.blocks[0]])
    np.testing.assert_array_equal(drain(resumed.commit()).volume.read(), ids())


@pytest.mark.parametrize("other", ["fingerprint", "organs", "extras"])
def test_what_would_give_other_labels_is_not_resumed_but_swept(store, other):
    begun = begin_labels(store, "teacher", SCHEMA, "f")
    begun.write(1, ids()[begun.blocks[1]])
    begun.close()
    schema = LabelSchema.from_names(["eye"]) if other == "organs" else SCHEMA
    extras = [Extra("uncertainty")] if other == "extras" else []
    fresh = begin_labels(store, "teacher", schema, "g" if other == "fingerprint" else "f", extras)
    assert fresh.pending == (0, 1)
    assert not begun.folder.exists() or begun.folder == fresh.folder


def test_what_another_writes_is_not_swept(store):
    begun = begin_labels(store, "teacher", SCHEMA, "f")
    begun.write(0, ids()[begun.blocks[0]])
    fresh = written(store, seed=1, fingerprint="g")
    assert fresh.name == "teacher.2"
    begun.write(1, ids()[begun.blocks[1]])
    np.testing.assert_array_equal(drain(begun.commit()).volume.read(), ids())


def test_a_block_that_was_lost_is_pending_again(store):
    begun = written(store)
    begun.close()
    (begun.folder / "0" / "c" / "1" / "0" / "0").unlink()
    assert begin_labels(store, "teacher", SCHEMA, "f").pending == (1,)


def test_a_block_that_went_bad_stops_the_commit_and_all_is_written_again(store):
    begun = written(store)
    chunk = begun.folder / "0" / "c" / "1" / "0" / "0"
    data = bytearray(chunk.read_bytes())
    data[20] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(InvalidVolume, match="cannot be read"):
        drain(begun.commit())
    assert label_names(store) == ()
    assert begin_labels(store, "teacher", SCHEMA, "f").pending == (0, 1)


def test_a_ledger_line_that_was_cut_short_is_forgotten(store):
    begun = written(store)
    begun.close()
    ledger = begun.folder / ".ledger"
    ledger.write_bytes(ledger.read_bytes()[:-4])
    resumed = begin_labels(store, "teacher", SCHEMA, "f")
    assert resumed.pending == (1,)
    resumed.write(1, ids()[resumed.blocks[1]])
    resumed.close()
    assert begin_labels(store, "teacher", SCHEMA, "f").pending == ()


def test_a_block_is_checked_before_it_is_written(store):
    begun = begin_labels(store, "teacher", SCHEMA, "f")
    block = ids()[begun.blocks[0]].copy()
    with pytest.raises(ValueError, match="is needed"):
        begun.write(0, block[1:])
    with pytest.raises(ValueError, match="takes"):
        begun.write(0, block, {"uncertainty": block})
    block[3, 3, 3] = 4
    with pytest.raises(InvalidVolume, match=r"no organ: 4\."):
        begun.write(0, block)
    assert begun.pending == (0, 1)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a.1", "x" * 65, "ä"])
def test_a_name_that_is_no_folder_name_is_refused(store, name):
    with pytest.raises(UserError, match="cannot be called"):
        begin_labels(store, name, SCHEMA, "f")


def test_labels_are_copied_in_the_type_of_the_schema(store):
    schema = LabelSchema.from_ids({1: "eye", 2: "gut", 9: "heart", 400: "liver"})
    saved = drain(save_labels(as_labels(ids().astype("f8"), schema), store, "manual"))
    assert saved.volume.dtype == np.uint16
    np.testing.assert_array_equal(saved.volume.read(), ids())


def left(store):
    folder = store / "labels"
    return [entry for entry in os.listdir(folder) if not entry.startswith(".")] if folder.exists() else []


def test_labels_of_another_shape_are_refused_and_nothing_is_left(store):
    with pytest.raises(UserError, match=r"\(270, 70, 39\).*\(270, 70, 40\)"):
        drain(save_labels(as_labels(ids()[:, :, 1:]), store, "manual"))
    assert left(store) == []


def test_labels_with_an_unknown_id_are_refused_and_nothing_is_left(store):
    values = ids()
    values[269, 0, 0] = 77
    with pytest.raises(InvalidVolume, match=r"'truth'.*no organ: 77\."):
        drain(save_labels(as_labels(values), store, "manual"))
    assert left(store) == []


def test_a_closed_copy_leaves_the_former_labels(store):
    drain(save_labels(as_labels(ids()), store, "manual"))
    job = save_labels(as_labels(ids(1)), store, "manual")
    next(job)
    next(job)
    job.close()
    assert sorted(left(store)) == ["manual.1", "zarr.json"]
    np.testing.assert_array_equal(open_saved_labels(store, "manual", SCHEMA).volume.read(), ids())


def test_other_programs_see_the_labels_with_names_colours_and_units(store):
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader
    from ome_zarr_models.v05.image_label import ImageLabel
    from yaozarrs import validate_zarr_store

    drain(written(store, extras=(Extra("uncertainty"),)).commit())
    nodes = list(Reader(parse_url(store / "labels" / "teacher.1"))())
    (node,) = [one for one in nodes if "color" in one.metadata]
    np.testing.assert_array_equal(np.asarray(node.data[0]), ids())
    assert [axis["unit"] for axis in node.metadata["axes"]] == ["micrometer"] * 3
    names = [str(node.zarr) for node in Reader(parse_url(store))()]
    assert any("teacher.1" in name for name in names)
    for path in (
        store,
        store / "labels",
        store / "labels" / "teacher.1",
        store / "labels" / "teacher.1" / "uncertainty",
    ):
        validate_zarr_store(str(path))
    import zarr

    card = ImageLabel.from_zarr(zarr.open_group(store / "labels" / "teacher.1", mode="r")).ome_attributes.image_label
    assert card.colors[0].rgba == (0xE6, 0x9F, 0x00, 255)
    data = json.loads((store / "labels" / "teacher.1" / "zarr.json").read_bytes())
    assert data["attributes"]["ome"]["image-label"]["properties"][2] == {"label-value": 9, "name": "heart"}


def test_a_label_map_of_another_program_is_opened_by_its_name(store):
    drain(written(store).commit())
    (store / "labels" / "teacher.1").rename(store / "labels" / "cells.new")
    file = store / "labels" / "zarr.json"
    file.write_text(file.read_text().replace("teacher.1", "cells.new"))
    assert label_names(store) == ("cells.new",)
    np.testing.assert_array_equal(open_saved_labels(store, "cells.new", SCHEMA).volume.read(), ids())
    labels = open_labels(store / "labels" / "cells.new", SCHEMA)
    np.testing.assert_array_equal(labels.volume.read(), ids())
    assert open_volume(store).shape == SHAPE


def test_a_listed_label_map_that_is_a_link_is_refused(store, tmp_path):
    drain(written(store).commit())
    (store / "labels" / "teacher.1").rename(tmp_path / "outside")
    (store / "labels" / "teacher.1").symlink_to(tmp_path / "outside")
    with pytest.raises(InvalidVolume, match="link"):
        open_saved_labels(store, "teacher", SCHEMA)


@pytest.mark.parametrize("text", ["", "{", '{"attributes": {}}', '{"attributes": {"ome": {"labels": 5}}}'])
def test_a_damaged_list_is_one_plain_refusal(store, text):
    drain(written(store).commit())
    (store / "labels" / "zarr.json").write_text(text)
    with pytest.raises(InvalidVolume):
        label_names(store)
