"""Readiness: what a student could learn from, what is missing, and what would spoil its test."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.checkpoint import CARD, Checkpoint
from napari_medaka_kd.project import Project, add_case
from napari_medaka_kd.quality.record import FILE
from napari_medaka_kd.settings import NetworkSettings, Unreviewed
from napari_medaka_kd.volumes.labels import LabelMap
from napari_medaka_kd.volumes.volume import Volume
from napari_medaka_kd.workflow.desk import Desk, ReviewItem
from napari_medaka_kd.workflow.readiness import OrganReadiness, Readiness, readiness


def train(project: Project, *animals: str) -> Project:
    """The card of a teacher that learned from ``animals``; nobody asks for its weights here."""
    card = Checkpoint(name="teacher", network=NetworkSettings(), organs=project.schema, trained_on=animals)
    folder = project.checkpoint("teacher")
    folder.mkdir(parents=True)
    (folder / CARD).write_text(card.model_dump_json(), "utf-8")
    return project


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    return train(make_project(), "labelled-00")


def of(found: Readiness, organ: int) -> OrganReadiness:
    return next(each for each in found.organs if each.organ == organ)


def test_every_organ_is_counted_by_what_was_said_of_it(project: Project) -> None:
    desk = Desk(project, "teacher", "ann")
    organ = next(o for o in project.schema.ids if sum(item.organ == o for item in desk.proposals) >= 5)
    items = [item for item in desk.proposals if item.organ == organ]
    for item, decision in zip(items, ("accepted", "rejected", "corrected", "unsure"), strict=False):
        desk.judge([item], decision)
    found = of(readiness(project, "teacher"), organ)
    believed = len(items) - 3
    in_labels = organ in np.unique(project.case("labelled-00").labels("manual").volume.read())
    assert found == OrganReadiness(
        organ, project.schema.names[organ - 1], int(in_labels), 1, 1, 1, len(items) - 3, believed
    )


def test_of_what_nobody_reviewed_that_is_counted_which_will_teach(project: Project) -> None:
    scores = [proposal.score for proposal in Desk(project, "teacher", "ann").proposals.values()]
    high = sum(score >= 0.5 for score in scores)
    assert 0 < high < len(scores)

    def counted(*asked: Unreviewed) -> int:
        return sum(organ.believed for organ in readiness(project, "teacher", *asked).organs)

    assert [counted(), counted("all"), counted("accepted")] == [len(scores), len(scores), high]
    (project.folder / "settings.toml").write_text('[distil]\nstrategy = { unreviewed = "accepted" }\n')
    assert counted() == high


def test_a_project_with_labels_and_scored_proposals_is_ready(project: Project) -> None:
    found = readiness(project, "teacher")
    assert found.ready
    assert found.sentence.startswith("Ready, with ")
    assert f"all {len(project.schema.ids)} organs have something to learn from" in found.sentence


def test_what_hinders_is_said_one_after_the_other(make_project: Callable[..., Project]) -> None:
    project = make_project(labelled=0, held_out=0)
    assert "There is no checkpoint 'teacher'" in readiness(project, "teacher").sentence
    train(project)
    assert "no labelled animal" in readiness(project, "teacher").sentence
    empty = train(make_project(unlabelled=0, name="empty"))
    assert "Nothing is proposed yet" in readiness(empty, "teacher").sentence
    unscored = train(make_project(name="unscored"))
    for case in ("fish-01", "fish-02"):
        (unscored.case(case).folder / FILE).unlink()
    found = readiness(unscored, "teacher")
    assert "not scored yet" in found.sentence
    assert not any(readiness(each, "teacher").ready for each in (project, empty, unscored))


def test_few_verdicts_are_a_warning_until_there_are_enough(project: Project) -> None:
    def warned() -> bool:
        return any("proposals are judged" in warning for warning in readiness(project, "teacher").warnings)

    assert warned()
    desk = Desk(project, "teacher", "ann")
    desk.judge(desk.queue()[:19], "accepted")
    assert warned()
    desk.judge(desk.queue()[:1], "rejected")
    assert not warned()


def test_an_organ_with_nothing_to_learn_from_is_named_and_comes_first(make_project: Callable[..., Project]) -> None:
    project = train(make_project(labelled=0))
    teacher = make_project(name="other").case("labelled-00")
    manual = teacher.labels("manual").volume
    fewer = Volume((np.where(manual.read() == 3, 0, manual.read()),), manual.voxel_size)
    drain(add_case(project, teacher.volume, LabelMap(fewer, project.schema), "fewer", False))
    desk = Desk(project, "teacher", "ann")
    items = {item for item in desk.proposals if item.organ == 3}
    assert set(readiness(project, "teacher").review_next[: min(3, len(items))]) <= items
    desk.judge([ReviewItem(case, 3) for case in desk.cases], "rejected")
    found = readiness(project, "teacher")
    nothing = [warning for warning in found.warnings if "Nothing to learn" in warning]
    assert len(nothing) == 1
    assert repr(project.schema.names[2]) in nothing[0]
    assert f"{len(project.schema.ids) - 1} of {len(project.schema.ids)} organs" in found.sentence
    assert found.ready


def test_what_to_review_next_is_open_and_of_several_organs(project: Project) -> None:
    desk = Desk(project, "teacher", "ann")
    desk.judge(desk.queue()[:5], "accepted")
    chosen = readiness(project, "teacher").review_next
    assert set(chosen) <= set(desk.queue())
    assert 3 < len(set(chosen)) == len(chosen) <= 12
    assert len({item.organ for item in chosen}) >= 4


def test_an_organ_that_is_mostly_rejected_is_a_warning(project: Project) -> None:
    desk = Desk(project, "teacher", "ann")
    organ = next(o for o in project.schema.ids if sum(item.organ == o for item in desk.proposals) >= 4)
    first, *rest = [item for item in desk.proposals if item.organ == organ]
    desk.judge([first], "accepted")
    desk.judge(rest[:1], "rejected")
    assert not any("rejected" in warning for warning in readiness(project, "teacher").warnings)
    desk.judge(rest[1:3], "rejected")
    assert any("rejected (3 of 4)" in warning for warning in readiness(project, "teacher").warnings)


def test_one_scan_on_both_sides_of_the_test_is_a_leak(project: Project) -> None:
    assert not any("same scan" in warning for warning in readiness(project, "teacher").warnings)
    held = project.case("held-out-03")
    drain(add_case(project, held.volume, None, "again", False))
    drain(add_case(project, project.case("fish-01").volume, None, "twin", False))  # on one side alone
    told = [warning for warning in readiness(project, "teacher").warnings if "same scan" in warning]
    assert len(told) == 1
    assert "'held-out-03'" in told[0]
    assert "'again'" in told[0]


def test_a_teacher_that_learned_from_a_held_out_animal_is_a_leak(make_project: Callable[..., Project]) -> None:
    project = train(make_project(), "labelled-00", "held-out-03")
    assert any("learned from 'held-out-03'" in warning for warning in readiness(project, "teacher").warnings)


def test_without_a_labelled_held_out_animal_there_is_no_report_card(make_project: Callable[..., Project]) -> None:
    project = train(make_project(held_out=0))
    assert any("no report card" in warning for warning in readiness(project, "teacher").warnings)


def test_it_reads_as_a_table_and_as_json(project: Project) -> None:
    found = readiness(project, "teacher")
    text = found.text()
    assert text.splitlines()[0] == found.sentence
    assert all(name in text for name in project.schema.names)
    assert all(warning in text for warning in found.warnings)
    assert len({len(line) for line in text.splitlines()[1 : 2 + len(found.organs)]}) == 1
    assert json.loads(json.dumps(found.json()))["teacher"] == "teacher"


def test_nothing_on_disk_is_changed(project: Project) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in project.folder.rglob("*"))
    readiness(project, "teacher")
    assert sorted((path, path.stat().st_mtime_ns) for path in project.folder.rglob("*")) == before
