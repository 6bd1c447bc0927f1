"""Scores against analytic shapes and plain NumPy."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.evaluate import OrganScore, compare, mean_iou, write_csv
from napari_medaka_kd.job import drain
from napari_medaka_kd.volumes.labels import LabelMap, LabelSchema
from napari_medaka_kd.volumes.volume import Triple, Volume

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

SCHEMA = LabelSchema.from_ids({2: "eye", 5: "heart"})
SPACINGS = [(1.0, 1.0, 1.0), (2.6, 1.3, 1.3), (10.0, 1.0, 1.0)]
nan = math.nan


def label_map(ids: npt.NDArray[np.uint8], voxel_size: Triple = (1.0, 1.0, 1.0)) -> LabelMap:
    return LabelMap(Volume((ids,), voxel_size), SCHEMA)


def score(case: str, organ: int, iou: float) -> OrganScore:
    return OrganScore(case, organ, str(organ), iou, iou, 0, 0, 1, 1)


def solid_beyond(radii: Triple, spacing: Triple, offset: float) -> npt.NDArray[np.uint8]:
    """All points no farther than ``offset`` µm from an ellipsoid of ``radii`` µm: its exact parallel surface."""
    from scipy.spatial import cKDTree

    polar, turn = np.meshgrid(np.linspace(0, np.pi, 100), np.linspace(0, 2 * np.pi, 200))
    unit = np.stack([np.cos(polar), np.sin(polar) * np.sin(turn), np.sin(polar) * np.cos(turn)], -1).reshape(-1, 3)
    reach = np.array(radii) + 11
    counts = (2 * np.ceil(reach / spacing) + 1).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(n) - n // 2 for n in counts), indexing="ij"), -1) * np.array(spacing)
    inside = ((grid / np.array(radii)) ** 2).sum(-1) <= 1
    if offset > 0:
        near, _ = cKDTree(unit * np.array(radii)).query(grid[~inside], distance_upper_bound=offset + 0.01)
        inside[~inside] = near <= offset
    return inside.astype(np.uint8) * 2


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("offset", [0.0, 4.0, 10.0])
def test_the_surface_distance_of_parallel_ellipsoids_is_their_offset(spacing: Triple, offset: float) -> None:
    truth, prediction = (label_map(solid_beyond((35, 17, 22), spacing, at), spacing) for at in (0.0, offset))
    eye = drain(compare("x", truth, prediction))[0]
    assert abs(eye.surface_mean_um - offset) <= np.mean(spacing) / 2
    assert abs(eye.hd95_um - offset) <= max(spacing) / 2


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_surface_distance_does_not_depend_on_which_is_the_truth(spacing: Triple) -> None:
    one, other = (label_map(solid_beyond((20, 10, 14), spacing, at), spacing) for at in (0.0, 5.0))
    there, back = drain(compare("x", one, other))[0], drain(compare("x", other, one))[0]
    assert there.surface_mean_um == pytest.approx(back.surface_mean_um)
    assert (there.hd95_um, there.iou, there.dice) == (back.hd95_um, back.iou, back.dice)


def test_two_plates_are_as_far_apart_as_they_lie() -> None:
    one, other = np.zeros((9, 6, 6), np.uint8), np.zeros((9, 6, 6), np.uint8)
    one[1], other[6] = 2, 2
    eye = drain(compare("x", label_map(one, (3.0, 1, 1)), label_map(other, (3.0, 1, 1))))[0]
    assert (eye.iou, eye.dice, eye.surface_mean_um, eye.hd95_um) == (0, 0, 15, 15)


label_blocks = arrays(np.uint8, (5, 7, 6), elements=st.sampled_from([0, 2, 5]))
sides = st.integers(1, 8)


@given(label_blocks, label_blocks, st.tuples(sides, sides, sides))
def test_counts_are_those_of_plain_numpy_whatever_the_block(
    truth: npt.NDArray[np.uint8], prediction: npt.NDArray[np.uint8], block: tuple[int, int, int]
) -> None:
    found = drain(compare("x", label_map(truth), label_map(prediction), block))
    assert [one.organ for one in found] == [2, 5]
    for one in found:
        left, right = truth == one.organ, prediction == one.organ
        either, both = (left | right).sum(), (left & right).sum()
        assert (one.truth_voxels, one.predicted_voxels) == (left.sum(), right.sum())
        assert one.iou == pytest.approx(both / either if either else nan, nan_ok=True)
        assert one.dice == pytest.approx(2 * both / (left.sum() + right.sum()) if either else nan, nan_ok=True)
    assert str(found) == str(drain(compare("x", label_map(truth), label_map(prediction))))


@given(label_blocks)
def test_a_label_map_agrees_with_itself(ids: npt.NDArray[np.uint8]) -> None:
    for one in drain(compare("x", label_map(ids), label_map(ids))):
        wanted = (1, 1, 0, 0) if one.truth_voxels else (nan,) * 4
        got = (one.iou, one.dice, one.surface_mean_um, one.hd95_um)
        assert got == pytest.approx(wanted, nan_ok=True)


def test_an_organ_in_one_of_the_two_only_scores_nothing_and_has_no_distance() -> None:
    empty, full = np.zeros((4, 4, 4), np.uint8), np.full((4, 4, 4), 2, np.uint8)
    for truth, prediction in ((empty, full), (full, empty)):
        eye, heart = drain(compare("x", label_map(truth), label_map(prediction)))
        assert (eye.iou, eye.dice) == (0, 0)
        assert math.isnan(eye.surface_mean_um)
        assert math.isnan(eye.hd95_um)
        assert math.isnan(heart.iou)


def test_label_maps_of_different_shape_or_organs_are_not_compared() -> None:
    one = label_map(np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(UserError, match=r"\(4, 4, 4\).*\(4, 4, 5\)"):
        drain(compare("x", one, label_map(np.zeros((4, 4, 5), np.uint8))))
    with pytest.raises(UserError, match="organs"):
        drain(compare("x", one, replace(one, schema=LabelSchema.from_ids({2: "eye", 5: "liver"}))))


def test_the_mean_iou_weighs_organs_alike_however_often_they_occur() -> None:
    scores = [score("a", 1, 1.0), score("b", 1, 0.5), score("a", 2, 0.25), score("b", 2, nan), score("a", 3, nan)]
    assert mean_iou(scores) == pytest.approx((0.75 + 0.25) / 2)
    assert math.isnan(mean_iou([]))
    assert math.isnan(mean_iou([score("a", 1, nan)]))


def test_scores_are_written_as_a_table(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.csv"
    write_csv([replace(score("a", 1, 0.5), name='the "eye", left'), score("a", 2, nan)], path)
    first, second = csv.DictReader(path.read_text("utf-8").splitlines())
    assert (first["case"], first["name"], float(first["iou"])) == ("a", 'the "eye", left', 0.5)
    assert second["iou"] == ""


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("spacing", SPACINGS)
def test_monai_agrees(spacing: Triple) -> None:
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    one, other = (solid_beyond((30, 15, 20), spacing, at) for at in (0.0, 5.0))
    other = np.roll(other, 2, axis=1)
    eye = drain(compare("x", label_map(one, spacing), label_map(other, spacing)))[0]
    left, right = (torch.tensor(np.stack([ids == 0, ids == 2]))[None].float() for ids in (one, other))
    assert eye.iou == pytest.approx(float(metrics.compute_iou(right, left, include_background=False)), abs=1e-6)
    assert eye.dice == pytest.approx(float(metrics.compute_dice(right, left, include_background=False)), abs=1e-6)
    mean = metrics.compute_average_surface_distance(right, left, symmetric=True, spacing=spacing)
    assert eye.surface_mean_um == pytest.approx(float(mean), rel=1e-5)
    hd95 = metrics.compute_hausdorff_distance(right, left, percentile=95, spacing=spacing)
    assert eye.hd95_um == pytest.approx(float(hd95), rel=1e-5)
