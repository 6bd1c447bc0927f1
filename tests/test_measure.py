"""Organ measures against analytic shapes and plain NumPy."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_medaka_kd import measure
from napari_medaka_kd.job import drain
from napari_medaka_kd.measure import measure_organs, write_csv
from napari_medaka_kd.volumes.labels import LabelMap, LabelSchema
from napari_medaka_kd.volumes.volume import Triple, Volume

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

SCHEMA = LabelSchema.from_ids({2: "eye", 5: "heart"})


def label_map(ids: npt.NDArray[np.uint8], voxel_size: Triple = (1.0, 1.0, 1.0)) -> LabelMap:
    return LabelMap(Volume((ids,), voxel_size), SCHEMA)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.6, 1.3, 1.3), (10.0, 1.0, 1.0)])
def test_an_ellipsoid_has_its_volume_and_its_centre(spacing: Triple) -> None:
    radii, centre = np.array((61.0, 23.0, 29.0)), np.array((68.3, 30.2, 36.9))
    counts = np.ceil((centre + radii + 3) / spacing).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in counts), indexing="ij"), -1) * np.array(spacing)
    inside = (((grid - centre) / radii) ** 2).sum(-1) <= 1
    eye = drain(measure_organs(label_map(inside.astype(np.uint8) * 2, spacing)))[0]
    assert eye.volume_um3 == pytest.approx(4 / 3 * np.pi * np.prod(radii), rel=0.02)
    assert eye.centroid_um is not None
    assert np.abs(np.array(eye.centroid_um) - centre).max() < 0.5
    assert eye.components == 1


label_blocks = arrays(np.uint8, (5, 7, 6), elements=st.sampled_from([0, 0, 2, 5]))
sides = st.integers(1, 8)


@given(label_blocks, st.tuples(sides, sides, sides))
def test_measures_are_those_of_plain_numpy_whatever_the_block(
    ids: npt.NDArray[np.uint8], block: tuple[int, int, int]
) -> None:
    size = (3.0, 2.0, 0.5)
    found = drain(measure_organs(label_map(ids, size), block))
    assert [one.organ for one in found] == [2, 5]
    for one in found:
        places = np.argwhere(ids == one.organ)
        assert one.voxels == len(places)
        assert one.volume_um3 == 3.0 * len(places)
        if one.centroid_um is None or one.box is None:
            assert len(places) == 0
            continue
        assert one.centroid_um == pytest.approx(tuple(places.mean(0) * size))
        assert [(side.start, side.stop) for side in one.box] == list(zip(places.min(0), places.max(0) + 1, strict=True))
    assert found == drain(measure_organs(label_map(ids, size)))


def test_parts_that_touch_at_a_corner_are_one() -> None:
    ids = np.zeros((9, 9, 9), np.uint8)
    ids[0, 0, 0] = ids[1, 1, 1] = ids[4, 4, 4] = 2
    ids[2, 2, 2] = 5
    eye, heart = drain(measure_organs(label_map(ids)))
    assert (eye.components, heart.components) == (2, 1)


def test_a_missing_organ_is_not_a_zero_sized_one_somewhere() -> None:
    eye, _ = drain(measure_organs(label_map(np.zeros((3, 3, 3), np.uint8))))
    assert (eye.voxels, eye.volume_um3, eye.centroid_um, eye.box, eye.components) == (0, 0, None, None, 0)


def test_the_parts_of_an_organ_in_too_large_a_box_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_LARGEST_BOX", 26)
    eye, _ = drain(measure_organs(label_map(np.full((3, 3, 3), 2, np.uint8))))
    assert (eye.voxels, eye.components) == (27, None)


def test_measures_are_written_as_a_table(tmp_path: Path) -> None:
    ids = np.zeros((4, 4, 4), np.uint8)
    ids[1, 1:3, 2] = 2
    write_csv(drain(measure_organs(label_map(ids, (2.0, 1.0, 1.0)))), tmp_path / "organs.csv")
    eye, heart = csv.DictReader((tmp_path / "organs.csv").read_text("utf-8").splitlines())
    assert (eye["name"], eye["voxels"], eye["volume_um3"], eye["components"]) == ("eye", "2", "4.0", "1")
    assert (eye["centroid_z_um"], eye["centroid_y_um"], eye["y_from"], eye["y_to"]) == ("2.0", "1.5", "1", "3")
    assert (heart["voxels"], heart["centroid_z_um"], heart["z_from"], heart["components"]) == ("0", "", "", "0")
