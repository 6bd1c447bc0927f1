"""The phantom: the same voxels however it is cut, a fish in every scan, and scanners that differ as they should."""

from __future__ import annotations

import functools
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medaka_kd.demo_settings import BeamlineSettings, PhantomSettings
from napari_medaka_kd.volumes.beamline import BEAMLINE_A, BEAMLINE_B, degraded, hashed_normal
from napari_medaka_kd.volumes.body import find_body
from napari_medaka_kd.volumes.phantom import MEDAKA, PhantomAnimal, phantom_animal
from napari_medaka_kd.volumes.volume import Region, extent

SMALL = (40, 24, 28)
HARD = degraded(BEAMLINE_B, 0.5)
CLEAN = BeamlineSettings(blur=0, photons=0, noise=0, rings=0, streaks=0, hardening=0)


def make(animal: int = 0, beamline: BeamlineSettings = BEAMLINE_A, **more: object) -> PhantomAnimal:
    return phantom_animal(PhantomSettings.model_validate({"animal": animal, "beamline": beamline, **more}))


def counts(animal: PhantomAnimal) -> np.ndarray:
    return np.bincount(animal.labels.volume.read().ravel(), minlength=MEDAKA.classes)[1:]


@st.composite
def regions(draw: st.DrawFn, shape: tuple[int, int, int] = SMALL) -> Region:
    sides = []
    for size in shape:
        start = draw(st.integers(0, size - 1))
        sides.append(slice(start, draw(st.integers(start + 1, size))))
    return sides[0], sides[1], sides[2]


@functools.cache
def hard_scan() -> tuple[PhantomAnimal, np.ndarray, np.ndarray]:
    animal = make(3, HARD, shape=SMALL)
    return animal, animal.volume.read(), animal.labels.volume.read()


@settings(max_examples=60)
@given(region=regions())
def test_a_voxel_is_the_same_whichever_way_the_scan_is_cut(region: Region) -> None:
    animal, scan, truth = hard_scan()
    np.testing.assert_array_equal(animal.volume.read(region), scan[region])
    np.testing.assert_array_equal(animal.labels.volume.read(region), truth[region])


def test_a_seam_between_the_blocks_of_a_large_scan_does_not_show() -> None:
    animal = make(1, HARD, shape=(1200, 600, 600))
    across = (slice(250, 370), slice(250, 290), slice(280, 312))
    inner = (slice(290, 340), slice(255, 280), slice(290, 312))
    here = tuple(slice(i.start - a.start, i.stop - a.start) for i, a in zip(inner, across, strict=True))
    np.testing.assert_array_equal(animal.volume.read(inner), animal.volume.read(across)[here])


def test_a_huge_scan_costs_only_the_region_that_is_read() -> None:
    animal = make(shape=(4000, 2000, 2000))
    region = (slice(1000, 1064), slice(900, 964), slice(1000, 1064))
    tracemalloc.start()
    scan = animal.volume.read(region)
    truth = animal.labels.volume.read(region)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert scan.shape == truth.shape == extent(region)
    assert len(np.unique(scan)) > 100
    assert peak < 64 * 2**20


@pytest.mark.parametrize("animal", range(8))
def test_every_organ_is_in_every_animal(animal: int) -> None:
    assert counts(make(animal)).min() >= 20


@pytest.mark.parametrize("animal", range(4))
def test_a_tiny_scan_still_shows_most_organs(animal: int) -> None:
    assert (counts(make(animal, shape=(32, 32, 32))) > 0).sum() >= 10


def test_the_same_settings_give_the_same_animal() -> None:
    first, second = make(5, shape=SMALL), make(5, shape=SMALL)
    np.testing.assert_array_equal(first.volume.read(), second.volume.read())
    np.testing.assert_array_equal(first.labels.volume.read(), second.labels.volume.read())


def test_another_scan_of_an_animal_has_other_noise_and_the_same_truth() -> None:
    first, second = make(2, shape=SMALL, scan=0), make(2, shape=SMALL, scan=1)
    assert np.mean(first.volume.read() == second.volume.read()) < 0.05
    np.testing.assert_array_equal(first.labels.volume.read(), second.labels.volume.read())


def test_animals_differ_in_shape_but_not_without_pose() -> None:
    truths = [make(animal, shape=SMALL).labels.volume.read() for animal in (0, 1)]
    assert 0.01 < np.mean(truths[0] != truths[1]) < 0.4
    alike = [make(animal, shape=SMALL, pose=0).labels.volume.read() for animal in (0, 1)]
    np.testing.assert_array_equal(*alike)


def test_a_scanner_changes_the_scan_and_never_the_truth() -> None:
    clear, hard = make(1, BEAMLINE_A, shape=SMALL), make(1, HARD, shape=SMALL)
    assert np.any(clear.volume.read() != hard.volume.read())
    np.testing.assert_array_equal(clear.labels.volume.read(), hard.labels.volume.read())


def test_gas_is_dark_and_bone_is_bright() -> None:
    animal = make()
    scan, truth = animal.volume.read(), animal.labels.volume.read()
    means = {name: float(scan[truth == number].mean()) for number, name in enumerate(MEDAKA.names, start=1)}
    soft = [means[name] for name in ("brain", "gills", "heart", "liver", "gut", "kidney", "gonad")]
    assert means["swim bladder"] < 0.8 * min(soft)
    assert min(means["spine"], means["otoliths"]) > 1.2 * max(soft)
    assert 0 < scan.min() < scan.max() < 65_535


def test_soft_organs_overlap_in_brightness() -> None:
    """No threshold tells the liver from the gut or the gonad from the kidney."""
    animal = make()
    scan, truth = animal.volume.read(), animal.labels.volume.read()
    for one, other in (("liver", "kidney"), ("gut", "gonad"), ("heart", "liver")):
        low, high = np.percentile(scan[truth == MEDAKA.names.index(one) + 1], (5, 95))
        inside = scan[truth == MEDAKA.names.index(other) + 1]
        assert np.mean((inside > low) & (inside < high)) > 0.3, (one, other)


def test_the_two_beamlines_order_the_soft_organs_differently() -> None:
    orders = []
    for beamline in (BEAMLINE_A, BEAMLINE_B):
        animal = make(beamline=beamline, pose=0)
        scan, truth = animal.volume.read(), animal.labels.volume.read()
        means = {name: scan[truth == MEDAKA.names.index(name) + 1].mean() for name in ("brain", "liver", "gonad")}
        orders.append(sorted(means, key=means.__getitem__))
    assert orders[0] != orders[1]


def test_severity_0_changes_nothing_and_more_of_it_drowns_more() -> None:
    assert degraded(BEAMLINE_A, 0) == BEAMLINE_A
    reference = make(beamline=CLEAN, shape=SMALL).volume.read().ravel()
    likeness = [
        np.corrcoef(reference, make(beamline=degraded(BEAMLINE_A, severity), shape=SMALL).volume.read().ravel())[0, 1]
        for severity in (0, 0.3, 0.6, 1)
    ]
    assert likeness == sorted(likeness, reverse=True)


@pytest.mark.parametrize("beamline", [BEAMLINE_A, HARD])
def test_the_body_is_found_in_the_holder(beamline: BeamlineSettings) -> None:
    animal = make(2, beamline)
    truth = animal.labels.volume.read()
    box = find_body(animal.volume).box
    assert np.count_nonzero(truth[box]) > 0.99 * np.count_nonzero(truth)
    assert np.prod(extent(box)) < 0.75 * truth.size


def test_the_noise_of_the_hash_is_normal_and_not_alike_in_neighbours() -> None:
    shape = (32, 32, 32)
    noise = hashed_normal(7, (slice(0, 32),) * 3, shape)
    assert abs(noise.mean()) < 0.03
    assert abs(noise.std() - 1) < 0.02
    for axis in range(3):
        assert abs(np.mean(noise * np.roll(noise, 1, axis))) < 0.03


def test_an_animal_travels_to_another_process() -> None:
    animal = make(4, shape=SMALL)
    twin = pickle.loads(pickle.dumps(animal))
    np.testing.assert_array_equal(twin.volume.read(), animal.volume.read())
