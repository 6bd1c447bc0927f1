"""Picking from an array reads nothing; what is read in the end is what NumPy would have picked, and no more."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medaka_kd.volumes.lazy import DiskArray
from napari_medaka_kd.volumes.picked import Picked, for_napari, same_source
from napari_medaka_kd.volumes.volume import Region, Volume

SHAPE = (7, 9, 8)
VOXELS = np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE)


class Disk:
    """Keeps what was read of it."""

    def __init__(self) -> None:
        self.boxes: list[Region] = []
        self.array = DiskArray(SHAPE, VOXELS.dtype, self.read)

    def read(self, box: Region) -> npt.NDArray[Any]:
        self.boxes.append(box)
        return VOXELS[box]


def picked(disk: Disk) -> Picked:
    (level,) = for_napari(Volume((disk.array,), (1.0, 1.0, 1.0)))
    return level


@given(st.data())
def test_picking_twice_is_what_numpy_does(data: st.DataObject) -> None:
    view, truth = picked(Disk()), VOXELS
    for _ in range(2):
        sides = [st.slices(size) | (st.integers(-size, size - 1) if size else st.nothing()) for size in truth.shape]
        index = data.draw(st.tuples(*sides[: data.draw(st.integers(0, len(sides)))]))
        view, truth = view[index], truth[index]
        assert (view.shape, view.ndim, view.size, view.dtype) == (truth.shape, truth.ndim, truth.size, truth.dtype)
        if not truth.ndim:
            break
    np.testing.assert_array_equal(np.asarray(view), truth)


def test_only_what_is_left_is_read() -> None:
    disk = Disk()
    view = picked(disk)[:, 2:5, ...][np.int64(4)]
    assert disk.boxes == []
    np.testing.assert_array_equal(view, VOXELS[4, 2:5])
    assert disk.boxes == [(slice(4, 5), slice(2, 5), slice(0, 8))]


def test_it_can_be_read_as_another_type() -> None:
    assert np.asarray(picked(Disk())[0], np.float32).dtype == np.float32


def test_what_lies_outside_is_refused() -> None:
    view = picked(Disk())
    with pytest.raises(IndexError):
        view[7]
    with pytest.raises(IndexError):
        view[0, 0, 0, 0]


def test_two_views_of_the_same_part_are_of_one_source() -> None:
    disk, other = Disk(), Disk()
    assert same_source(picked(disk)[2:], picked(disk)[2:])
    assert not same_source(picked(disk)[2:], picked(disk))
    assert not same_source(picked(disk), picked(other))
    assert same_source(VOXELS, VOXELS)
