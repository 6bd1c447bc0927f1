"""The cohort's organ volumes: what stands out, and that it is kept and told to be out of date."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.measure import measure_organs
from napari_medaka_kd.project import Project
from napari_medaka_kd.review import ReviewItem
from napari_medaka_kd.volumes.label_store import begin_labels
from napari_medaka_kd.workflow.cohort import CohortRow, measure_cohort, read_cohort, remeasure, weigh, worded
from napari_medaka_kd.workflow.correct import begin_correction, commit_correction

Maker = Callable[..., Project]


def rows(*volumes: float, organ: int = 1) -> tuple[CohortRow, ...]:
    return weigh([CohortRow(f"fish-{n:02d}", organ, "heart", v, (0.0, 0.0, 0.0)) for n, v in enumerate(volumes)])


def kinds(*volumes: float) -> list[str]:
    return [row.kind for row in rows(*volumes)]


def test_one_of_another_size_stands_out_and_says_how() -> None:
    assert kinds(100, 104, 98, 101, 97, 300) == ["", "", "", "", "", "large"]
    assert kinds(100, 104, 98, 101, 97, 20) == ["", "", "", "", "", "small"]


def test_one_that_lacks_what_most_have_stands_out_and_a_rare_organ_does_not() -> None:
    assert kinds(100, 104, 98, 101, 97, 0) == ["", "", "", "", "", "missing"]
    assert kinds(0, 0, 0, 100, 0, 101) == [""] * 6


def test_of_a_handful_of_animals_nothing_is_said_of_sizes() -> None:
    assert kinds(100, 101, 99, 1000) == [""] * 4


def test_equal_volumes_are_no_reason_to_call_a_near_one_an_outlier() -> None:
    assert kinds(100, 100, 100, 100, 100, 101) == [""] * 6
    assert kinds(100, 100, 100, 100, 100, 200)[-1] == "large"


@given(st.lists(st.floats(1.0, 1e9), min_size=5, max_size=20), st.floats(0.01, 100.0))
def test_deviations_do_not_depend_on_the_unit(volumes: list[float], unit: float) -> None:
    before = [row.deviation for row in rows(*volumes)]
    after = [row.deviation for row in rows(*(volume * unit for volume in volumes))]
    assert after == pytest.approx(before, abs=1e-6)


@given(st.lists(st.floats(1.0, 1e9), min_size=5, max_size=20), st.randoms())
def test_deviations_do_not_depend_on_the_order_and_grow_with_the_volume(volumes: list[float], chance: object) -> None:
    found = {row.case: row.deviation for row in rows(*volumes)}
    named = [CohortRow(f"fish-{n:02d}", 1, "heart", v, (0.0, 0.0, 0.0)) for n, v in enumerate(volumes)]
    chance.shuffle(named)  # type: ignore[attr-defined]
    again = weigh(named)
    assert {row.case: row.deviation for row in again} == found
    by_volume = [row.deviation for row in sorted(again, key=lambda row: row.volume_um3)]
    assert by_volume == sorted(by_volume)


def test_each_organ_is_held_against_its_own_kind() -> None:
    both = [*rows(10, 11, 10, 9, 10), *rows(1000, 1100, 1000, 900, 1000, organ=2)]
    assert not any(row.kind for row in weigh(both))


def test_volumes_are_those_of_the_single_animals_and_centres_lie_in_the_organ(make_project: Maker) -> None:
    project = make_project(unlabelled=2)
    found = drain(measure_cohort(project, "teacher"))
    assert found.cases == tuple(case.id for case in project.cases)
    for case in project.cases:
        labels = case.labels("teacher")
        alone = drain(measure_organs(labels))
        mine = [row for row in found.rows if row.case == case.id]
        assert [row.volume_um3 for row in mine] == [one.volume_um3 for one in alone]
        array = labels.volume.read()
        for row in mine:
            if row.volume_um3:
                z, y, x = (round(at) for at in row.centre)
                assert array[z, y, x] == row.organ


def test_what_was_measured_is_found_again_and_the_last_one_counts(make_project: Maker) -> None:
    project = make_project()
    assert read_cohort(project, "teacher") is None
    first = drain(measure_cohort(project, "teacher", ["fish-01"]))
    second = drain(measure_cohort(project, "teacher"))
    read = read_cohort(project, "teacher")
    assert read is not None
    assert (read.file, read.cases) == (second.file, second.cases)
    assert [vars(row) | {"deviation": 0} for row in read.rows] == [vars(row) | {"deviation": 0} for row in second.rows]
    assert first.cases == ("fish-01",)
    assert read_cohort(project, "manual") is None


def test_a_damaged_file_hides_no_older_one(make_project: Maker) -> None:
    project = make_project()
    first = drain(measure_cohort(project, "teacher"))
    broken = drain(measure_cohort(project, "teacher"))
    broken.file.with_name("cohort.json").write_text("{", "utf-8")
    read = read_cohort(project, "teacher")
    assert read is not None
    assert read.file == first.file


def test_the_outlier_of_a_cohort_is_the_animal_whose_organ_was_lost(make_project: Maker) -> None:
    project = make_project(unlabelled=6, labelled=0, held_out=0)
    case = project.cases[3]
    labels = case.labels("teacher").volume.read()
    organ = int(np.bincount(labels.ravel())[1:].argmax()) + 1
    propose(project, case.id, np.where(labels == organ, 0, labels))
    found = drain(measure_cohort(project, "teacher"))
    assert (found.outliers()[0].case, found.outliers()[0].organ) == (case.id, organ)
    assert worded(found.outliers()[0]) == "missing"
    assert f"{case.id} {found.outliers()[0].name}: missing" in found.text()


def test_the_table_has_a_row_for_each_organ_and_no_infinities(make_project: Maker) -> None:
    project = make_project()
    found = drain(measure_cohort(project, "teacher"))
    with found.file.open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(project.cases) * len(project.schema.organs)
    assert {row["name"] for row in table} == set(project.schema.names)
    assert not any("inf" in value or "nan" in value for row in table for value in (row["deviation"], row["z"]))


def test_new_labels_and_new_animals_are_told_to_be_measured_again(make_project: Maker) -> None:
    project = make_project()
    found = drain(measure_cohort(project, "teacher", ["fish-01", "fish-02"]))
    assert remeasure(project, found) == ("held-out-03", "labelled-00")
    found = drain(measure_cohort(project, "teacher"))
    assert remeasure(project, found) == ()
    propose(project, "fish-02", project.case("fish-02").labels("teacher").volume.read())
    assert remeasure(project, found) == ("fish-02",)


def test_what_people_corrected_is_measured(make_project: Maker) -> None:
    project = make_project()
    item = ReviewItem("fish-01", 1, (16, 32))
    before = volume_of(project, item)
    found = drain(measure_cohort(project, "teacher"))
    correction = begin_correction(project, item, "teacher", "ada")
    painted = correction.labels.copy()
    painted[4, :6, :6] = item.organ
    gained = np.count_nonzero(painted == item.organ) - np.count_nonzero(correction.labels == item.organ)
    correction.record(painted)
    drain(commit_correction(project, correction))
    assert gained > 0
    one = math.prod(project.case("fish-01").volume.voxel_size)
    assert volume_of(project, item) == pytest.approx(before + gained * one)
    assert remeasure(project, found) == ("fish-01",)


def test_labels_that_nobody_has_are_refused(make_project: Maker) -> None:
    project = make_project()
    with pytest.raises(UserError, match="No case has a label map 'student'"):
        drain(measure_cohort(project, "student"))
    with pytest.raises(UserError, match="'fish-01' has no label map 'manual'"):
        drain(measure_cohort(project, "manual", ["fish-01"]))


def volume_of(project: Project, item: ReviewItem) -> float:
    found = drain(measure_cohort(project, "teacher", [item.case]))
    return next(row.volume_um3 for row in found.rows if row.organ == item.organ)


def propose(project: Project, case: str, labels: np.ndarray, name: str = "teacher") -> None:
    begun = begin_labels(project.case(case).store, name, project.schema, f"again {labels.sum()} {name}")
    for number in begun.pending:
        begun.write(number, labels[begun.blocks[number]])
    drain(begun.commit())
