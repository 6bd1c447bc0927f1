"""Where two checkpoints differ: counts by plain NumPy, places that differ, slabs as they are reviewed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import Project
from napari_medaka_kd.volumes.label_store import begin_labels
from napari_medaka_kd.workflow.desk import Desk
from napari_medaka_kd.workflow.disagree import Disagreement, boxes, compare_again, densest, disagree, read_disagreements

Maker = Callable[..., Project]
Labels = npt.NDArray[Any]


def propose(project: Project, case: str, labels: Labels, name: str = "student") -> None:
    begun = begin_labels(project.case(case).store, name, project.schema, f"{name} {labels.sum()}")
    for number in begun.pending:
        begun.write(number, labels[begun.blocks[number]])
    drain(begun.commit())


def teach_a_student(project: Project, shift: int = 1) -> None:
    """Its labels are the teacher's, shifted along y."""
    for case in project.cases:
        propose(project, case.id, np.roll(case.labels("teacher").volume.read(), shift, axis=1))


@pytest.fixture
def project(make_project: Maker) -> Project:
    made = make_project()
    teach_a_student(made)
    return made


def both(project: Project, case: str) -> tuple[Labels, Labels]:
    student, teacher = (project.case(case).labels(name).volume.read() for name in ("student", "teacher"))
    return student, teacher


def test_counts_and_overlaps_are_those_of_plain_numpy(project: Project) -> None:
    found = drain(disagree(project, "student", "teacher"))
    assert found.rows
    for row in found.rows:
        student, teacher = both(project, row.item.case)
        z = slice(*row.item.slab) if row.item.slab else slice(None)
        ours, theirs = student[z] == row.item.organ, teacher[z] == row.item.organ
        assert row.voxels == np.count_nonzero(ours != theirs)
        assert row.iou == pytest.approx(np.count_nonzero(ours & theirs) / np.count_nonzero(ours | theirs))


def test_the_place_is_a_voxel_of_the_slab_on_which_the_two_differ_about_that_organ(project: Project) -> None:
    for row in drain(disagree(project, "student", "teacher")).rows:
        student, teacher = both(project, row.item.case)
        z, y, x = (int(at) for at in row.place)
        assert (student[z, y, x] == row.item.organ) != (teacher[z, y, x] == row.item.organ)
        assert row.item.slab is None or row.item.slab[0] <= z < row.item.slab[1]


def test_the_largest_come_first(project: Project) -> None:
    weights = [row.weight for row in drain(disagree(project, "student", "teacher")).rows]
    assert weights == sorted(weights, reverse=True)


def test_scored_animals_come_in_the_slabs_of_their_review_and_others_whole(project: Project) -> None:
    found = drain(disagree(project, "student", "teacher"))
    known = Desk(project, "teacher", "ada").proposals
    scored = [row.item for row in found.rows if row.item.case == "fish-01"]
    assert {item.slab for item in scored} <= {(0, 16), (16, 32), (32, 48)}
    assert set(known) & set(scored)
    assert {row.item.slab for row in found.rows if row.item.case == "held-out-03"} == {None}


def test_animals_labelled_for_training_are_left_out_and_held_out_ones_are_not(project: Project) -> None:
    assert drain(disagree(project, "student", "teacher")).cases == ("fish-01", "fish-02", "held-out-03")


def test_who_agrees_everywhere_differs_nowhere(make_project: Maker) -> None:
    project = make_project()
    teach_a_student(project, shift=0)
    assert drain(disagree(project, "student", "teacher")).rows == ()


def test_an_organ_that_only_one_of_them_sees_has_no_overlap(make_project: Maker) -> None:
    project = make_project()
    labels = project.case("fish-01").labels("teacher").volume.read()
    organ = int(np.bincount(labels.ravel())[1:].argmax()) + 1
    propose(project, "fish-01", np.where(labels == organ, 0, labels))
    found = drain(disagree(project, "student", "teacher"))
    assert {(row.item.organ, row.iou) for row in found.rows} == {(organ, 0.0)}


def test_what_was_found_is_read_again_as_it_was(project: Project) -> None:
    assert read_disagreements(project, "student", "teacher") is None
    found = drain(disagree(project, "student", "teacher"))
    assert read_disagreements(project, "student", "teacher") == found
    assert read_disagreements(project, "teacher", "student") is None


def test_other_labels_than_those_compared_are_told(project: Project) -> None:
    found = drain(disagree(project, "student", "teacher"))
    assert compare_again(project, found) == ()
    propose(project, "fish-02", np.zeros((48, 32, 32), np.uint8))
    assert compare_again(project, found) == ("fish-02",)


def test_without_two_label_maps_there_is_nothing_to_compare(make_project: Maker) -> None:
    project = make_project()
    with pytest.raises(UserError, match=r"both 'student' and 'teacher'.*segment --checkpoint student"):
        drain(disagree(project, "student", "teacher"))
    with pytest.raises(UserError, match="does not disagree with itself"):
        drain(disagree(project, "teacher", "teacher"))


def test_it_is_told_in_words_and_as_json(project: Project) -> None:
    found = drain(disagree(project, "student", "teacher"))
    assert f"differ in {len(found.rows)} places of 3 animals" in found.text()
    first = found.rows[0].item
    assert f"  {first.case} {project.schema.names[project.schema.ids.index(first.organ)]}" in found.text()
    assert len(json.loads(json.dumps(found.json()))["places"]) == len(found.rows)


@given(arrays(np.bool_, (20, 40, 20), fill=st.just(False)).filter(lambda mask: bool(mask.any())))
def test_no_cube_holds_more_than_the_densest_and_the_spot_is_in_it(mask: npt.NDArray[np.bool_]) -> None:
    places = np.argwhere(mask)
    count, spot = densest(places)
    cubes, counts = np.unique(places // 16, axis=0, return_counts=True)
    assert count == counts.max()
    assert mask[tuple(spot)]
    assert tuple(spot // 16) in {tuple(cube) for cube in cubes[counts == count]}


@given(st.lists(st.integers(1, 47), unique=True, max_size=5), st.integers(1, 30))
def test_blocks_fill_every_slice_of_a_slab_once(cuts: list[int], width: int) -> None:
    ends = [0, *sorted(cuts), 48]
    seen = np.zeros((48, 300, width), int)
    for slab in itertools.pairwise(ends):
        for region in boxes(slab, seen.shape):
            seen[region] += 1
    assert (seen == 1).all()


def test_more_voxels_of_a_worse_overlap_weigh_more() -> None:
    item = Desk  # any item will do: the weight does not look at it
    rows = [Disagreement(item, iou, voxels, (0, 0, 0)) for iou, voxels in ((0.9, 100), (0.5, 100), (0.5, 300))]  # type: ignore[arg-type]
    assert [row.weight for row in rows] == pytest.approx([10, 50, 150])
