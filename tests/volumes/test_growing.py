"""A label map that is being written is seen as far as it is on the disk."""

from pathlib import Path

import numpy as np
import pytest

from napari_medaka_kd.job import drain
from napari_medaka_kd.volumes.growing import open_growing
from napari_medaka_kd.volumes.label_extras import Extra
from napari_medaka_kd.volumes.label_generation import LabelGeneration
from napari_medaka_kd.volumes.label_store import begin_labels, open_saved_labels
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume, extent

ORGANS = LabelSchema.from_ids({1: "one", 300: "many"})
SHAPE = (20, 8, 300)  # two blocks along x


@pytest.fixture
def store(tmp_path: Path) -> Path:
    volume = Volume((np.zeros(SHAPE, np.uint8),), (2.0, 1.0, 1.0), "scan")
    drain(save_volume(volume, tmp_path / "scan.ome.zarr"))
    return tmp_path / "scan.ome.zarr"


@pytest.fixture
def generation(store: Path) -> LabelGeneration:
    return begin_labels(store, "teacher", ORGANS, "test", extras=(Extra("uncertainty"),))


def write(generation: LabelGeneration, index: int) -> None:
    shape = extent(generation.blocks[index])
    generation.write(index, np.full(shape, 300, np.uint16), {"uncertainty": np.full(shape, 9, np.uint8)})


def test_nothing_grows_before_anything_is_begun(store: Path) -> None:
    assert open_growing(store, "teacher") is None


def test_finished_blocks_show_and_the_others_are_background(store: Path, generation: LabelGeneration) -> None:
    write(generation, 1)
    growing = open_growing(store, "teacher")
    assert growing is not None
    assert growing.generation == "teacher.1"
    assert growing.finished == {1}
    labels, (_, _, x) = growing.labels.read(), growing.blocks[1]
    assert (labels[..., x] == 300).all()
    assert labels[..., : x.start].max() == 0
    assert growing.labels.voxel_size == (2.0, 1.0, 1.0)
    assert growing.uncertainty is not None
    assert growing.uncertainty.read()[..., -1].min() == 9


def test_it_is_another_one_when_a_block_was_added_and_the_same_when_not(
    store: Path, generation: LabelGeneration
) -> None:
    write(generation, 0)
    first = open_growing(store, "teacher")
    assert open_growing(store, "teacher") == first
    write(generation, 1)
    second = open_growing(store, "teacher")
    assert second != first
    assert second is not None
    assert second.labels.read().min() == 300


def test_a_complete_one_grows_no_longer(store: Path, generation: LabelGeneration) -> None:
    write(generation, 0)
    write(generation, 1)
    drain(generation.commit())
    assert open_growing(store, "teacher") is None
    assert open_saved_labels(store, "teacher", ORGANS).volume.read().min() == 300


def test_one_that_was_interrupted_is_there_until_it_is_swept(store: Path, generation: LabelGeneration) -> None:
    write(generation, 0)
    generation.close()
    assert open_growing(store, "teacher") is not None
    generation.discard()
    assert open_growing(store, "teacher") is None
