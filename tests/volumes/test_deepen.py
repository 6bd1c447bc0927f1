"""Levels that are missing are strided, those too coarse to be drawn in three dimensions are left out."""

import numpy as np
import pytest

from napari_medaka_kd.volumes import deepen
from napari_medaka_kd.volumes.deepen import suit_view
from napari_medaka_kd.volumes.volume import Volume


def volume(shape: tuple[int, int, int], levels: int) -> Volume:
    fine = np.random.default_rng(0).integers(0, 9, shape, dtype=np.uint8)
    return Volume(tuple(fine[(slice(None, None, 2**level),) * 3] for level in range(levels)), (1.0, 1.0, 1.0))


def shapes(of: Volume) -> list[tuple[int, ...]]:
    return [level.shape for level in of.levels]


def test_a_level_is_added_until_the_last_one_is_small_enough() -> None:
    deep = suit_view(volume((3, 5, 1600), 1))
    assert shapes(deep) == [(3, 5, 1600), (2, 3, 800), (1, 2, 400), (1, 1, 200)]
    for level in range(4):
        np.testing.assert_array_equal(deep.read(level=level), deep.read()[(slice(None, None, 2**level),) * 3])


def test_levels_are_kept_and_those_too_coarse_are_left_out() -> None:
    scan = volume((4, 4, 800), 5)
    assert suit_view(scan).levels == scan.levels[:3]


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_small_scan_has_two_levels(levels: int) -> None:
    assert shapes(suit_view(volume((9, 8, 7), levels))) == [(9, 8, 7), (5, 4, 4)]


def test_a_large_level_is_strided_a_slab_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepen, "_SLAB", 100)
    scan = volume((33, 10, 12), 1)
    part = (slice(3, 15), slice(1, 5), slice(0, 6))
    np.testing.assert_array_equal(suit_view(scan).read(part, level=1), scan.read()[::2, ::2, ::2][part])
