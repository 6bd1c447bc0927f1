"""Whom a student believes: the finest word of a person, what people painted, then the score."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from napari_medaka_kd.distil.batches import trusted
from napari_medaka_kd.distil.trust import trust_table
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import Project
from napari_medaka_kd.quality.quality import QualityScore
from napari_medaka_kd.quality.record import Record, open_record, save_record
from napari_medaka_kd.review import ALL_ORGANS, ReviewItem
from napari_medaka_kd.volumes.label_store import begin_labels, generation
from napari_medaka_kd.workflow.correct import begin_correction, commit_correction, corrected_labels
from napari_medaka_kd.workflow.curate import status
from napari_medaka_kd.workflow.desk import Desk
from napari_medaka_kd.workflow.stopping import stop_rule
from napari_medaka_kd.workflow.teach import pseudo_labelled
from napari_medaka_kd.workflow.trusting import Trust, acceptance, number

CASE, DEPTH, SLAB = "fish-01", 48, 16


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    return make_project(unlabelled=2, labelled=1, held_out=0)


def judge(project: Project, word: str, organ: int, slab: tuple[int, int] | None) -> None:
    Desk(project, "teacher", "ann").judge([ReviewItem(CASE, organ, slab)], word)


def believed(trust: Trust, organ: int, z: int) -> float:
    """Of an organ id (the toy's ids are classes) in one slice."""
    slab = trust.slab_of(CASE)
    return trust.values[CASE].get((organ, z // slab), 0.0)


def scored(project: Project) -> dict[tuple[int, int], float]:
    """By (organ, first slice), as far as it passes the threshold."""
    record = open_record(project.case(CASE).folder, project.schema)
    return {(s.organ, s.slab[0]): s.score if s.score >= record.threshold else 0.0 for s in record.scores}


def correct(
    project: Project, organ: int, slab: tuple[int, int], painted_with: int, checkpoint: str = "teacher"
) -> None:
    """Paint a corner of the slab with an organ."""
    correction = begin_correction(project, ReviewItem(CASE, organ, slab), "teacher", "ann")
    painted = correction.labels.copy()
    painted[:, :3, :3] = painted_with
    correction.record(painted)
    drain(commit_correction(project, correction))


def many_scored(project: Project, count: int = 150) -> None:
    """As many slabs of one slice, all but sure."""
    for case in project.cases:
        if not case.labelled:
            record = open_record(case.folder, case.schema)
            scores = tuple(QualityScore(1 + n % 12, (n // 12, n // 12 + 1), 0.3 + n / 1000, ()) for n in range(count))
            save_record(replace(record, slab=1, threshold=0.95, scores=scores), case.folder, case.schema)


def test_what_is_proven_by_random_verdicts_takes_the_place_of_the_classifiers_threshold(project: Project) -> None:
    many_scored(project)
    assert acceptance(project, "teacher").kept() == 0
    desk = Desk(project, "teacher", "ann")
    for item in desk.queue("random")[:60]:
        desk.judge([item], "accepted")
    rule = stop_rule(project, "teacher")
    assert (rule.draws, rule.left, rule.promise.accepted) == (60, 240, 240)
    assert rule == desk.course.stop() or rule.moves != desk.course.stop().moves
    assert acceptance(project, "teacher").kept() == 1
    assert desk.accepts_unseen(desk.queue()[0])


def test_while_nothing_is_proven_the_project_may_ask_for_none_to_be_accepted(project: Project) -> None:
    assert acceptance(project, "teacher").kept() > 0
    (project.folder / "settings.toml").write_text('[review]\nunproven = "none"\n')
    assert acceptance(project, "teacher").kept() == 0
    (project.folder / "settings.toml").write_text("[review]\nrandom = 0.05\n")
    with pytest.raises(UserError, match=r"random.*0\.1"):
        acceptance(project, "teacher")


def test_scores_of_a_label_map_that_is_no_longer_there_believe_nothing(project: Project) -> None:
    case = project.case(CASE)
    begun = begin_labels(case.store, "teacher", project.schema, "anew")
    begun.write(0, case.labels("teacher").volume.read())
    drain(begun.commit())
    assert set(acceptance(project, "teacher").values) == {"fish-02"}


def test_status_says_what_is_known_of_the_unreviewed_once_somebody_judged(project: Project) -> None:
    assert status(project).unreviewed == {}
    desk = Desk(project, "teacher", "ann")
    desk.judge(desk.queue()[:1], "accepted")
    assert "teacher: Of " in status(project).text()
    assert "acceptable" in status(project).unreviewed["teacher"]


def test_words_on_whole_units_need_no_slices(project: Project) -> None:
    before = acceptance(project, "teacher")
    organ, first = next(unit for unit, score in scored(project).items() if score)
    judge(project, "rejected", organ, (first, first + SLAB))
    judge(project, "accepted", organ, (0, 2 * SLAB))
    judge(project, "unsure", ALL_ORGANS, None)
    trust = acceptance(project, "teacher")
    assert trust.slabs == {}
    assert trust.slab == SLAB
    assert before.digest() == Trust(before.values, SLAB).digest() != trust.digest()


def test_a_word_on_a_few_slices_holds_for_these_alone(project: Project) -> None:
    organ, first = next(iter(scored(project)))
    whole = acceptance(project, "teacher")
    judge(project, "accepted", organ, (first, first + SLAB))
    judge(project, "rejected", organ, (first + 3, first + 5))
    trust = acceptance(project, "teacher")
    assert trust.slabs == {CASE: 1}
    expected = [0.0 if z in (3, 4) else 1.0 for z in range(SLAB)]
    assert [believed(trust, organ, first + z) for z in range(SLAB)] == expected
    for (other, start), value in scored(project).items():
        if (other, start) != (organ, first):
            assert {believed(trust, other, z) for z in range(start, start + SLAB)} == {value}
    assert trust.values["fish-02"] == whole.values["fish-02"]


def test_a_word_across_two_slabs_holds_for_a_part_of_each(project: Project) -> None:
    organ = next(organ for organ, first in scored(project) if (organ, first + SLAB) in scored(project))
    judge(project, "accepted", organ, (8, 24))
    trust = acceptance(project, "teacher")
    assert {believed(trust, organ, z) for z in range(8, 24)} == {1.0}
    for z in (0, 7, 24, 31):
        assert believed(trust, organ, z) == scored(project).get((organ, z // SLAB * SLAB), 0.0)


def test_what_was_corrected_is_believed_even_where_nothing_was_proposed(project: Project) -> None:
    known = scored(project)
    missing = next(organ for organ in project.schema.ids if (organ, 0) not in known)
    organ = next(organ for organ, first in known if first == 0)
    correct(project, organ, (0, SLAB), missing)
    trust = acceptance(project, "teacher")
    assert trust.slabs == {}
    assert trust.values[CASE][organ, 0] == trust.values[CASE][missing, 0] == 1.0
    judge(project, "rejected", organ, (0, SLAB))
    judge(project, "unsure", missing, (0, SLAB))
    trust = acceptance(project, "teacher")
    assert trust.values[CASE][organ, 0] == trust.values[CASE][missing, 0] == 0.0


def test_a_correction_of_a_few_slices_is_believed_in_these_alone(project: Project) -> None:
    organ = next(organ for organ, first in scored(project) if first == 0)
    correct(project, organ, (2, 6), organ)
    trust = acceptance(project, "teacher")
    score = scored(project)[organ, 0]
    assert [believed(trust, organ, z) for z in range(8)] == [1.0 if 2 <= z < 6 else score for z in range(8)]


def test_what_was_corrected_for_one_teacher_is_believed_of_the_next_until_someone_speaks(project: Project) -> None:
    organ = next(organ for organ, first in scored(project) if first == 0)
    correct(project, organ, (0, SLAB), organ)
    case = project.case(CASE)
    begun = begin_labels(case.store, "student", project.schema, "next")
    begun.write(0, case.labels("teacher").volume.read())
    drain(begun.commit())
    record = open_record(case.folder, project.schema)
    doubtful = Record("student", generation(case.store, "student"), SLAB, 2.0, record.scores)
    save_record(doubtful, case.folder, project.schema)
    assert acceptance(project, "student").values[CASE][organ, 0] == 1.0
    assert acceptance(project, "student").kept() == 1 / len(record.scores)
    Desk(project, "student", "ann").judge([ReviewItem(CASE, organ, (0, SLAB))], "rejected")
    assert acceptance(project, "student").values[CASE][organ, 0] == 0.0


def test_a_student_is_taught_what_was_painted_and_believes_it(project: Project) -> None:
    organ = next(organ for organ, first in scored(project) if first == 0)
    correct(project, organ, (0, 5), organ)
    source = pseudo_labelled(project, project.case(CASE), "teacher", acceptance(project, "teacher"))
    shown = corrected_labels(project, project.case(CASE), "teacher").volume.read()
    np.testing.assert_array_equal(source.labels.volume.read(), shown)
    assert (shown[:5, :3, :3] == organ).all()
    region = (slice(0, DEPTH), slice(0, 32), slice(0, 32))
    weight = trusted(source, region, project.schema.to_classes(shown), 0)
    assert (weight[:5][shown[:5] == organ] == 1).all()
    assert source.slab == 1


@pytest.mark.parametrize("depth", [800, 801, 799, 1601])
def test_slabs_of_an_odd_scan_are_numbered_in_a_row(depth: int) -> None:
    """Scores are given at a coarse level; its slices are not quite two of the scan's where that is odd."""
    scale, coarse = depth / -(-depth // 2), 16
    firsts = [round(first * scale) for first in range(0, -(-depth // 2), coarse)]
    assert [number(first, round(coarse * scale)) for first in firsts] == list(range(len(firsts)))


def test_the_background_is_believed_as_far_as_its_organs_in_every_slice() -> None:
    values = {(organ, z): z / 2000 for organ in range(1, 13) for z in range(2000)}
    table = trust_table(values, 13, 2000, 1)
    np.testing.assert_allclose(table.table[:, 1], np.arange(2000) / 2000, rtol=1e-6)
    np.testing.assert_allclose(table.table[:, 0], np.arange(2000) / 2000, rtol=1e-6)
