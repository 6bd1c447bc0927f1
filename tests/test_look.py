"""Where to look: the place of an organ and its worst spot, seen on a coarse level but true at full resolution."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import Project, add_case, create_project
from napari_medaka_kd.review import ReviewItem
from napari_medaka_kd.volumes.label_extras import Extra
from napari_medaka_kd.volumes.label_store import begin_labels
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.volume import Volume
from napari_medaka_kd.workflow import outline as outlines
from napari_medaka_kd.workflow.desk import Desk
from napari_medaka_kd.workflow.look import Place, place, worst_spot

SCHEMA = LabelSchema.from_names(["ball", "rod"])
SHAPE = (100, 80, 90)
Labels = npt.NDArray[np.uint8]


def propose(project: Project, labels: Labels, doubt: Labels | None = None) -> None:
    case = project.case("a")
    begun = begin_labels(
        case.store, "teacher", SCHEMA, f"{time.monotonic_ns()}", [Extra("uncertainty")] if doubt is not None else []
    )
    begun.write(0, labels, {"uncertainty": doubt} if doubt is not None else {})
    drain(begun.commit())


def make(folder: Path, shape: tuple[int, int, int] = SHAPE) -> Project:
    project = create_project(folder, "p", SCHEMA)
    drain(add_case(project, Volume((np.zeros(shape, np.uint8),), (1, 1, 1)), None, "a", False))
    return project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make(tmp_path / "p")


@pytest.fixture(scope="module")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Labels]:
    """A scan of which two coarser levels are looked at first, with two organs."""
    project = make(tmp_path_factory.mktemp("look") / "p", (150, 140, 130))
    labels = np.zeros((150, 140, 130), np.uint8)
    z, y, x = np.ogrid[:150, :140, :130]
    labels[(z - 60) ** 2 + (y - 50) ** 2 + (x - 70) ** 2 < 30**2] = 1
    labels[20:140, 100:108, 20:28] = 2
    propose(project, labels)
    return project, labels


def holds(found: Place, point: tuple[float, float, float]) -> bool:
    return all(side.start <= at < side.stop for side, at in zip(found.box, point, strict=True))


def at(labels: Labels, point: tuple[float, float, float]) -> int:
    z, y, x = (int(value) for value in point)
    return int(labels[z, y, x])


slabs = st.tuples(st.integers(0, 140), st.integers(1, 60)).map(lambda pair: (pair[0], min(150, sum(pair))))


@given(organ=st.integers(0, 2), slab=st.none() | slabs)
def test_the_centre_lies_in_the_organ_and_the_box_holds_all_of_it(
    coarse: tuple[Project, Labels], organ: int, slab: tuple[int, int] | None
) -> None:
    project, labels = coarse
    found = place(project, ReviewItem("a", organ, slab), "teacher")
    first, last = slab or (0, 150)
    assert first <= found.centre[0] < last
    assert holds(found, found.centre)
    assert first <= found.box[0].start < found.box[0].stop <= last
    inside = labels > 0 if organ == 0 else labels == organ
    seen = inside[-(-first // 2) * 2 : last : 2, ::2, ::2]  # the coarse voxels that were taken from within the slab
    if seen.any():
        z, y, x = (int(value) for value in found.centre)
        assert inside[z, y, x]
        where = 2 * (np.argwhere(seen) + np.array((-(-first // 2), 0, 0)))
        assert holds(found, tuple(where.min(axis=0)))
        assert holds(found, tuple(where.max(axis=0)))


def test_on_the_finest_level_the_box_is_tight(project: Project) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[30:50, 10:20, 40:60] = 1
    propose(project, labels)
    found = place(project, ReviewItem("a", 1, (0, 40)), "teacher")
    assert found.box == (slice(30, 40), slice(10, 20), slice(40, 60))
    assert found.centre[0] in (34, 35)
    assert abs(found.centre[1] - 14.5) <= 1


def test_an_organ_that_is_absent_is_looked_for_in_the_middle_of_the_slab(project: Project) -> None:
    propose(project, np.zeros(SHAPE, np.uint8))
    (_, y, x) = project.case("a").body.box
    found = place(project, ReviewItem("a", 2, (10, 20)), "teacher")
    assert found == Place(
        ((10 + 19) / 2, (y.start + y.stop - 1) / 2, (x.start + x.stop - 1) / 2), (slice(10, 20), y, x)
    )
    assert worst_spot(project, ReviewItem("a", 2, (10, 20)), "teacher") == found.centre
    assert holds(place(project, ReviewItem("a"), "teacher"), place(project, ReviewItem("a"), "teacher").centre)


def test_the_worst_spot_is_where_the_teacher_doubts_inside_the_organ_most(project: Project) -> None:
    labels, doubt = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    labels[10:90, 20:60, 20:60] = 1
    doubt[0:9] = 255  # outside
    doubt[70:74, 30:34, 40:44] = 200
    doubt[20, 50, 50] = 255  # one voxel is not much
    propose(project, labels, doubt)
    z, y, x = worst_spot(project, ReviewItem("a", 1), "teacher")
    assert (70 <= z < 74, 30 <= y < 34, 40 <= x < 44) == (True, True, True)
    z, y, x = worst_spot(project, ReviewItem("a", 1, (10, 40)), "teacher")
    assert (z, y, x) == (20, 50, 50)


def test_without_doubt_the_worst_spot_is_where_the_organ_jumps(project: Project) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[10:90, 20:40, 20:40] = 1
    labels[50, 20:40, 20:70] = 1
    propose(project, labels)
    spot = worst_spot(project, ReviewItem("a", 1), "teacher")
    assert spot[0] == 50
    assert spot[2] >= 40
    assert at(labels, spot) == 1


def test_a_new_label_map_is_looked_at_anew(project: Project) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[10:20, 10:20, 10:20] = 1
    propose(project, labels)
    item = ReviewItem("a", 1)
    before = place(project, item, "teacher")
    propose(project, np.roll(labels, 40, axis=0))
    after = place(project, item, "teacher")
    assert after == replace(before, centre=after.centre, box=(slice(50, 60), *before.box[1:]))


def test_what_is_not_there_is_one_sentence(project: Project) -> None:
    with pytest.raises(UserError, match="no label map 'teacher'"):
        place(project, ReviewItem("a", 1), "teacher")
    with pytest.raises(UserError, match="no case called 'b'"):
        place(project, ReviewItem("b", 1), "teacher")


def test_every_proposal_of_a_made_up_fish_is_found_in_its_organ(make_project: Callable[..., Project]) -> None:
    project = make_project()
    maps = {case: project.case(case).labels("teacher").volume.read() for case in ("fish-01", "fish-02")}
    for item in Desk(project, "teacher", "ann").proposals:
        for point in (place(project, item, "teacher").centre, worst_spot(project, item, "teacher")):
            assert at(maps[item.case], point) == item.organ
            assert item.slab is not None
            assert item.slab[0] <= point[0] < item.slab[1]


def test_a_case_is_read_once_and_then_found_at_once(
    coarse: tuple[Project, Labels], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, _ = coarse
    place(project, ReviewItem("a", 1), "teacher")
    monkeypatch.setattr(outlines, "open_saved_labels", None)  # whoever reads again fails
    began = time.perf_counter()
    for first in range(40, 70):
        place(project, ReviewItem("a", 1, (first, first + 8)), "teacher")
    assert (time.perf_counter() - began) / 30 < 0.01
