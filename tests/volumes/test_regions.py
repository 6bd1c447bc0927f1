"""Regions as sets of voxels: what two of them share, what holds them all, and how they are counted."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_medaka_kd.volumes.volume import Region, common, extent, hull, shifted, within

EDGE = 9
SIDES = st.tuples(st.integers(0, EDGE - 1), st.integers(1, EDGE)).filter(lambda ends: ends[0] < ends[1])
REGIONS = st.tuples(SIDES, SIDES, SIDES).map(lambda sides: tuple(slice(*ends) for ends in sides))


def voxels(region: Region | None) -> np.ndarray:
    mask = np.zeros((EDGE,) * 3, bool)
    if region is not None:
        mask[region] = True
    return mask


@given(REGIONS, REGIONS)
def test_what_two_regions_share_is_in_both_and_all_of_it(one: Region, other: Region) -> None:
    assert (voxels(common(one, other)) == (voxels(one) & voxels(other))).all()


@given(st.lists(REGIONS, min_size=1, max_size=4))
def test_a_hull_holds_all_and_touches_one_of_them_at_each_side(regions: list[Region]) -> None:
    mask = np.logical_or.reduce([voxels(region) for region in regions])
    around = hull(*regions)
    assert mask.sum() == mask[around].sum()
    for axis in range(3):
        planes = np.moveaxis(mask[around], axis, 0)
        assert planes[0].any()
        assert planes[-1].any()


@given(REGIONS, REGIONS)
def test_counted_from_another_region_and_back_a_region_is_what_it_was(part: Region, outer: Region) -> None:
    assert shifted(within(part, outer), outer) == part
    assert extent(within(part, outer)) == extent(part)
