"""Evidence: finite and bounded whatever the labels are, and pointing at what is wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_medaka_kd.quality.cohort import learn_cohort
from napari_medaka_kd.quality.evidence import FEATURES, gather, overlaps, read, slabs
from napari_medaka_kd.volumes.body import Body

SHAPE, ORGANS = (6, 7, 8), 4
BODY = Body((slice(1, 6), slice(0, 7), slice(1, 8)), (0.0, 100.0))
MAPS = hnp.arrays(np.int64, SHAPE, elements=st.integers(0, ORGANS), fill=st.just(0))
SLABS = st.integers(0, 9)


def fish(seed=0, move=0):
    """(scan, classes, body): two organs, 1 dim and 2 bright; 3 and 4 nobody has."""
    classes = np.zeros((12, 16, 16), np.int64)
    classes[2:7, 3 + move : 9 + move, 3:9] = 1
    classes[7:11, 8:14, 5:12] = 2
    scan = 20 * (classes == 1) + 70 * (classes == 2) + np.random.default_rng(seed).normal(10, 2, classes.shape)
    return scan, classes, Body((slice(0, 12), slice(0, 16), slice(0, 16)), (0.0, 100.0))


COHORT = learn_cohort([fish(0), fish(1, move=1)], ORGANS + 1)


def evidence_of(classes, doubt=10, seed=0, slab=0):
    scan, _, body = fish(seed)
    found = gather(read(scan, classes, np.full(classes.shape, doubt, np.uint8), body), slab, COHORT)
    return {unit: dict(zip(FEATURES, numbers, strict=True)) for unit, numbers in found.items()}


@settings(max_examples=60)
@given(
    classes=MAPS,
    doubt=hnp.arrays(np.uint8, SHAPE),
    scan=hnp.arrays(np.float32, SHAPE, elements=st.floats(-1e6, 1e6, width=32)),
    slab=SLABS,
)
def test_evidence_is_finite_and_bounded_for_any_labels(classes, doubt, scan, slab):
    found = gather(read(scan, classes, doubt, BODY), slab, COHORT)
    present = {(organ, a, b) for a, b in slabs(SHAPE[0], slab) for organ in np.unique(classes[a:b]) if organ}
    assert set(found) == present
    for numbers in found.values():
        seen = dict(zip(FEATURES, numbers, strict=True))
        assert numbers.dtype == np.float64
        assert np.isfinite(numbers).all()
        assert np.abs(numbers).max() < 1e3
        for share in ("confidence", "least confident tenth", "confidence around", "jump between slices"):
            assert 0 <= seen[share] <= 1
        assert 0 < seen["largest piece"] <= 1
        assert seen["log pieces"] >= 0
        assert 0 <= seen["texture"] <= 0.75


@settings(max_examples=60)
@given(classes=MAPS, truth=MAPS, slab=SLABS)
def test_overlaps_are_the_plain_iou(classes, truth, slab):
    expected = {}
    for first, last in slabs(len(classes), slab):
        for organ in range(1, ORGANS + 1):
            mine, true = classes[first:last] == organ, truth[first:last] == organ
            if mine.any():
                expected[organ, first, last] = (mine & true).sum() / (mine | true).sum()
    assert overlaps(classes, truth, slab) == pytest.approx(expected)


@given(depth=st.integers(1, 40), slab=SLABS)
def test_slabs_cover_every_slice_once(depth, slab):
    assert [z for first, last in slabs(depth, slab) for z in range(first, last)] == list(range(depth))
    assert len(slabs(depth, 0)) == 1


def test_a_usual_organ_looks_usual():
    seen = evidence_of(fish()[1])[1, 0, 12]
    assert seen["log size off cohort"] < 0.05
    assert seen["distance from usual place"] < 1
    assert seen["brightness off cohort"] < 1
    assert seen["jump between slices"] == 0
    assert (seen["log pieces"], seen["largest piece"]) == (0, 1)
    assert seen["confidence"] == pytest.approx(1 - 10 / 255)


def test_evidence_points_at_what_is_wrong():
    usual = evidence_of(fish()[1])[1, 0, 12]
    moved = np.roll(fish()[1] == 1, 6, axis=2).astype(np.int64)
    assert evidence_of(moved)[1, 0, 12]["distance from usual place"] > 3 + usual["distance from usual place"]
    small = fish()[1].copy()
    small[:, 5:] = 0
    assert evidence_of(small)[1, 0, 12]["log size off cohort"] > 0.8
    pieces = fish()[1].copy()
    pieces[4, :, :] = 0
    torn = evidence_of(pieces)[1, 0, 12]
    assert torn["log pieces"] == pytest.approx(np.log(2))
    assert torn["largest piece"] == pytest.approx(0.5)
    assert torn["jump between slices"] == pytest.approx(0.5)
    swapped = np.where(fish()[1] == 2, 1, 0)
    assert evidence_of(swapped)[1, 0, 12]["brightness off cohort"] > 3
    assert evidence_of(fish()[1], doubt=200)[1, 0, 12]["confidence"] < 0.3


def test_an_organ_of_a_slab_is_judged_by_that_slab_alone():
    classes = fish()[1]
    faulty = classes.copy()
    faulty[6:] = 0
    whole, cut = evidence_of(classes, slab=6), evidence_of(faulty, slab=6)
    assert cut[1, 0, 6] == pytest.approx(whole[1, 0, 6])
    assert (1, 6, 12) in whole
    assert (1, 6, 12) not in cut


def test_a_cohort_of_animals_without_an_organ_still_compares_it():
    seen = evidence_of(np.where(fish()[1] == 1, 4, 0))[4, 0, 12]
    assert all(np.isfinite(value) for value in seen.values())
    assert seen["log size off cohort"] > 4
