"""Blocks of a label map that others than its owner write: only of what is wanted, and safe from being swept."""

import numpy as np
import pytest

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.volumes.label_blocks import join_labels
from napari_medaka_kd.volumes.label_extras import Extra
from napari_medaka_kd.volumes.label_store import begin_labels, open_uncertainty
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume

SCHEMA = LabelSchema.from_ids({3: "eye", 40: "gut"})
DOUBT = (Extra("uncertainty"),)
SHAPE = (262, 12, 14)  # two blocks


@pytest.fixture
def store(tmp_path):
    scan = Volume((np.zeros(SHAPE, np.uint8),), (10.0, 10.0, 10.0), "fish")
    return drain(save_volume(scan, tmp_path / "fish.ome.zarr")).source


def answer(region):
    shape = tuple(side.stop - side.start for side in region)
    return np.full(shape, 40, np.uint16), {"uncertainty": np.full(shape, 9, np.uint8)}


def test_a_helper_writes_and_the_owner_notes(store):
    owner = begin_labels(store, "teacher", SCHEMA, "one", DOUBT)
    with join_labels(owner.folder, "one") as helper:
        for number, region in enumerate(helper.blocks):
            counts = helper.write(number, *answer(region))
            assert number in owner.pending
            owner.note(number, counts)
            owner.note(number, counts)
    assert len((owner.folder / ".ledger").read_text().splitlines()) == 3  # the plan, and each block once
    labels = drain(owner.commit())
    assert (labels.volume.read() == 40).all()
    assert (open_uncertainty(store, "teacher").read() == 9).all()
    assert labels.index().total(40) == np.prod(SHAPE)


def test_nobody_writes_into_what_is_no_longer_wanted(store):
    owner = begin_labels(store, "teacher", SCHEMA, "one", DOUBT)
    with pytest.raises(UserError, match="No such label map"), join_labels(owner.folder, "another"):
        pass
    owner.discard()
    with pytest.raises(UserError, match="No such label map") as said, join_labels(owner.folder, "one"):
        pass
    assert "under the same path" in said.value.remedy


def test_what_a_late_helper_still_writes_is_not_swept_and_harms_nobody(store):
    owner = begin_labels(store, "teacher", SCHEMA, "one", DOUBT)
    with join_labels(owner.folder, "one") as late:
        owner.close()  # it died
        other = begin_labels(store, "teacher", SCHEMA, "two", DOUBT)
        assert other.folder != late.folder
        late.write(0, *answer(late.blocks[0]))
        for number, region in enumerate(other.blocks):
            other.write(number, answer(region)[0] * 0 + 3, answer(region)[1])
        labels = drain(other.commit())
    assert (labels.volume.read() == 3).all()
    begin_labels(store, "teacher", SCHEMA, "three").close()
    assert not late.folder.exists()
