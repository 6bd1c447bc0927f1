"""Cone: a part that is computed alone is what the whole would have said of it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.cone import cone
from napari_medaka_kd.settings import NetworkSettings

DEEP = {
    dimensions: NetworkSettings(dimensions=dimensions, widths=(3, 4, 5), coordinates=False) for dimensions in (2, 3)
}
NETWORKS = {dimensions: build(looks, 3).eval() for dimensions, looks in DEEP.items()}


@some.composite
def sides(draw):
    """(size of a tile, start and stop of a core in it) along one axis."""
    size = 4 * draw(some.integers(1, 8))
    start = draw(some.integers(0, size - 1))
    return size, slice(start, draw(some.integers(start + 1, size)))


@pytest.mark.parametrize("dimensions", NETWORKS)
@settings(max_examples=60, deadline=None)
@given(y=sides(), x=sides(), z=sides(), seed=some.integers(0, 9))
@torch.inference_mode()
def test_a_core_computed_alone_is_what_the_whole_tile_says_of_it(dimensions, z, y, x, seed):
    shape, inner = tuple(zip(z, y, x, strict=True))
    image = torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(seed))
    whole = NETWORKS[dimensions](image)[(..., *inner)]
    part = NETWORKS[dimensions](image, cone(inner, shape, 3).tolist())
    assert part.shape == whole.shape
    assert torch.allclose(part, whole, atol=1e-5)


def test_the_finest_level_is_computed_for_the_core_and_four_voxels_around_at_most():
    table = cone((slice(31, 97),) * 3, (160, 160, 160), 4)
    start, stop = table[0, 0]
    assert np.all(start >= 31 - 4)
    assert np.all(stop <= 97 + 4)


def test_of_a_network_of_which_nothing_is_known_the_whole_answer_is_cut():
    inner = (slice(1, 3), slice(0, 4), slice(2, 8))
    (levels,) = cone(inner, (4, 4, 8), 1)
    assert levels[1].T.tolist() == [[1, 3], [0, 4], [2, 8]]
