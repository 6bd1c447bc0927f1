"""Tiles: every voxel has one owner, reads stay inside, and answers do not depend on the cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.volumes.tiles import block_grid, nearest_first, tile_grid

pytestmark = pytest.mark.timeout(60)


@st.composite
def cuts(draw):
    shape = tuple(draw(st.integers(1, 40)) for _ in range(3))
    start = tuple(draw(st.integers(0, size - 1)) for size in shape)
    stop = tuple(draw(st.integers(low + 1, size)) for low, size in zip(start, shape, strict=True))
    align = tuple(draw(st.sampled_from([1, 2, 4])) for _ in range(3))
    halo = tuple(draw(st.integers(0, 5)) for _ in range(3))
    tile = tuple(2 * (rim + step) + step + draw(st.integers(0, 20)) for rim, step in zip(halo, align, strict=True))
    region = tuple(slice(low, high) for low, high in zip(start, stop, strict=True))
    return shape, region, tile, halo, align


@settings(max_examples=300, deadline=None)
@given(cuts())
def test_cores_cover_every_voxel_exactly_once(cut):
    shape, region, tile, halo, align = cut
    owners = np.zeros(shape, int)
    for one in tile_grid(region, tile, halo, align, within=shape):
        owners[one.core] += 1
    assert (owners[region] == 1).all()
    assert owners.sum() == owners[region].size


@settings(max_examples=300, deadline=None)
@given(cuts())
def test_reads_are_clipped_aligned_no_larger_than_the_tile_and_contain_their_core(cut):
    shape, region, tile, halo, align = cut
    for one in tile_grid(region, tile, halo, align, within=shape):
        for axis in range(3):
            read, core, inner = one.read[axis], one.core[axis], one.inner[axis]
            assert 0 <= read.start <= core.start < core.stop <= read.stop <= shape[axis]
            assert read.start % align[axis] == 0
            assert read.stop - read.start <= tile[axis]
            assert (inner.start, inner.stop) == (core.start - read.start, core.stop - read.start)
            assert core.start - read.start >= min(halo[axis], core.start)
            assert read.stop - core.stop >= min(halo[axis], shape[axis] - core.stop)


def test_a_halo_of_air_gives_the_same_answer_however_a_volume_is_cut():
    volume = np.random.default_rng(0).random((24, 20, 28))

    def blur(block):
        padded = np.pad(block, 1)
        return sum(padded[1 + d : padded.shape[0] - 1 + d, 1:-1, 1:-1] for d in (-1, 0, 1))

    answers = []
    for tile in ((12, 12, 12), (28, 28, 28)):
        answer = np.zeros(volume.shape)
        for one in tile_grid(volume.shape, tile, (2, 2, 2), (2, 2, 2)):
            answer[one.core] = blur(volume[one.read])[one.inner]
        answers.append(answer)
    np.testing.assert_allclose(*answers)


def test_a_small_volume_is_one_tile():
    (only,) = tile_grid((10, 10, 10), (16, 16, 16), (4, 4, 4))
    assert only.read == only.core == only.inner == (slice(0, 10),) * 3


def test_a_tile_smaller_than_its_halos_is_refused():
    with pytest.raises(UserError, match="larger tile"):
        tile_grid((50, 50, 50), (8, 8, 8), (4, 4, 4))


def test_the_nearest_tile_comes_first_and_none_is_lost():
    tiles = tile_grid((40, 40, 40), (12, 12, 12), (1, 1, 1))
    ordered = nearest_first(tiles, (35.0, 5.0, 20.0))
    assert all(side.start <= at < side.stop for side, at in zip(ordered[0].core, (35, 5, 20), strict=True))
    assert set(map(repr, ordered)) == set(map(repr, tiles))
    assert len(ordered) == len(tiles)


def test_blocks_cover_a_volume():
    owners = np.zeros((70, 33, 64), int)
    for block in block_grid(owners.shape, (32, 32, 32)):
        owners[block] += 1
    assert (owners == 1).all()
