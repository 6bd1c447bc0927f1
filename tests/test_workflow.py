"""The verbs on a project: who is trained on, whom to believe, what to look at next, what is refused, what resumes."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.project import Case, Project, add_case, create_project
from napari_medaka_kd.quality.quality import QualityScore
from napari_medaka_kd.quality.record import Record, save_record
from napari_medaka_kd.review import ReviewItem
from napari_medaka_kd.settings import (
    DistilSettings,
    FitSettings,
    NetworkSettings,
    PatchSettings,
    SegmentSettings,
    SelfTrainingSettings,
    TrainSettings,
)
from napari_medaka_kd.volumes.label_extras import Extra
from napari_medaka_kd.volumes.label_store import begin_labels, generation
from napari_medaka_kd.volumes.labels import LabelMap, LabelSchema
from napari_medaka_kd.volumes.volume import Volume
from napari_medaka_kd.workflow.assess import evaluate, measure
from napari_medaka_kd.workflow.curate import Word, init, read_organs, status, verdict
from napari_medaka_kd.workflow.propose import segment
from napari_medaka_kd.workflow.queue import next_items, scores_at_a_glance
from napari_medaka_kd.workflow.rounds import distil
from napari_medaka_kd.workflow.runs import training_cases, training_folder
from napari_medaka_kd.workflow.teach import left_out, train
from napari_medaka_kd.workflow.trusting import acceptance

EDGE, SLAB = 16, 8
ORGANS = LabelSchema.from_ids({3: "heart", 7: "liver"})
LOOKS = NetworkSettings(dimensions=2, widths=(4, 8))
PATCHES = PatchSettings(patch=(1, 16, 16), batch=2)
TRAIN = TrainSettings(network=LOOKS, patches=PATCHES, fit=FitSettings(steps=4, save_every=1))
DISTIL = DistilSettings(patches=PATCHES, fit=FitSettings(steps=3, save_every=1))


def animal(seed: int) -> tuple[Volume, LabelMap]:
    """A bright box (the liver) with a brighter one in it (the heart), and noise."""
    labels = np.zeros((EDGE,) * 3, np.uint8)
    labels[2:14, 3:13, 4:12] = 7
    labels[5:11, 6:10, 6 + seed % 2 : 10] = 3
    scan = np.select([labels == 3, labels == 7], [900, 500], 100) + np.random.default_rng(seed).normal(
        0, 20, labels.shape
    )
    size = (10.0, 10.0, 10.0)
    return Volume((scan.astype(np.uint16),), size, f"animal {seed}"), LabelMap(Volume((labels,), size), ORGANS)


def make_project(folder: Path) -> Project:
    project = create_project(folder, "boxes", ORGANS)
    for seed, case in enumerate(("lab-1", "lab-2", "test-1", "wild-1", "wild-2")):
        scan, labels = animal(seed)
        given = None if case.startswith("wild") else labels
        drain(add_case(project, scan, given, case, held_out=case.startswith("test")))
    return project


def save_teacher(project: Project, name: str = "teacher") -> Checkpoint:
    card = Checkpoint(name=name, network=LOOKS, organs=ORGANS, trained_on=("lab-1", "lab-2"))
    return card.save(build(LOOKS, ORGANS.classes, 0), project.checkpoint(name))


def write_labels(case: Case, name: str) -> None:
    """The truth as the label map ``name``: what a faultless network would say."""
    made = begin_labels(case.store, name, ORGANS, "by hand", extras=(Extra("uncertainty"),))
    truth = animal(0)[1].volume.read()
    for index in made.pending:
        made.write(index, truth, {"uncertainty": np.zeros_like(truth)})
    drain(made.commit())


def write_scores(case: Case, scores: dict[tuple[int, int], float]) -> None:
    """By (class, number of the slab)."""
    rows = tuple(
        QualityScore(organ, (slab * SLAB, (slab + 1) * SLAB), score, (score,) * 10)
        for (organ, slab), score in scores.items()
    )
    save_record(Record("teacher", generation(case.store, "teacher"), SLAB, 0.6, rows), case.folder, ORGANS)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "boxes")


@pytest.fixture
def scored(project: Project) -> Project:
    """A teacher whose proposals for two animals were scored, two of four above the threshold of 0.6."""
    save_teacher(project)
    for number, name in enumerate(("wild-1", "wild-2")):
        write_labels(project.case(name), "teacher")
        low, high = 0.2 + number / 10, 0.7 + number / 10
        write_scores(project.case(name), {(1, 0): high, (1, 1): low, (2, 0): high, (2, 1): low})
    return project


# --- a person's word and the classifier's


def test_unreviewed_labels_are_believed_as_far_as_their_score_if_it_passes_the_threshold(scored: Project) -> None:
    trust = acceptance(scored, "teacher")
    assert trust.values["wild-1"] == {(1, 0): 0.7, (1, 1): 0.0, (2, 0): 0.7, (2, 1): 0.0}
    assert trust.kept() == 0.5
    assert trust.slab == SLAB


def test_weighed_all_that_nobody_reviewed_is_believed_as_far_as_its_score_or_all_alike(scored: Project) -> None:
    verdict(scored, Word("rejected", "wild-1", "heart", (0, SLAB), reviewer="ann"))
    trust = acceptance(scored, "teacher", "weighed")
    assert trust.values["wild-1"] == {(1, 0): 0.0, (1, 1): 0.2, (2, 0): 0.7, (2, 1): 0.2}
    trust = acceptance(scored, "teacher", "all")
    assert trust.values["wild-1"] == {(1, 0): 0.0, (1, 1): 1.0, (2, 0): 1.0, (2, 1): 1.0}


def test_a_persons_word_overrules_the_score_either_way(scored: Project) -> None:
    verdict(scored, Word("rejected", "wild-1", "heart", (0, SLAB), reviewer="ann"))
    verdict(scored, Word("accepted", "wild-1", "7", (SLAB, 2 * SLAB), reviewer="ann"))
    verdict(scored, Word("unsure", "wild-2", "heart", (0, SLAB), reviewer="ann"))
    before = acceptance(scored, "teacher")
    assert before.values["wild-1"] == {(1, 0): 0.0, (1, 1): 0.0, (2, 0): 0.7, (2, 1): 1.0}
    assert before.values["wild-2"][1, 0] == pytest.approx(0.8)
    verdict(scored, Word("undone", "wild-1", "heart", (0, SLAB), reviewer="ann"))
    after = acceptance(scored, "teacher")
    assert after.values["wild-1"][1, 0] == 0.7
    assert after.digest() != before.digest()


def test_the_finer_verdict_overrides_the_coarser(scored: Project) -> None:
    verdict(scored, Word("accepted", "wild-1", "heart", (SLAB, 2 * SLAB), reviewer="ann"))
    verdict(scored, Word("rejected", "wild-1", reviewer="bob"))
    assert acceptance(scored, "teacher").values["wild-1"] == {(1, 0): 0, (1, 1): 1, (2, 0): 0, (2, 1): 0}


def test_a_verdict_on_another_checkpoint_says_nothing_of_this_one(scored: Project) -> None:
    save_teacher(scored, "other")
    write_labels(scored.case("wild-1"), "other")
    verdict(scored, Word("rejected", "wild-1", checkpoint="other", reviewer="ann"))
    assert acceptance(scored, "teacher").kept() == 0.5


def test_what_was_judged_is_not_asked_again_and_the_worst_comes_first(scored: Project) -> None:
    drawn, *worst = next_items(scored, "teacher", "worst")  # the first is drawn at random
    assert len({drawn, *worst}) == 8
    assert [item.slab for item in worst if item != drawn] == sorted((i.slab for i in worst), reverse=True)
    verdict(scored, Word("accepted", "wild-1", "heart", (SLAB, 2 * SLAB), reviewer="ann"))
    assert ReviewItem("wild-1", 3, (SLAB, 2 * SLAB)) not in next_items(scored, "teacher", "worst")
    glance = scores_at_a_glance(scored, "teacher", worst=1)
    assert (glance.units, glance.accepted, glance.worst[0]["score"]) == (8, 4, 0.2)


def test_a_verdict_names_the_generation_that_was_judged(scored: Project) -> None:
    given = verdict(scored, Word("accepted", "wild-1", "liver", reviewer="ann", reasons=("sharp",)))
    assert (given.labels, given.item.organ, given.reasons) == ("teacher.1", 7, ("sharp",))
    assert status(scored).verdicts == {"accepted": 1}


# --- who is trained on, who is held out


def test_without_names_all_labelled_animals_that_are_not_held_out_are_trained_on(project: Project) -> None:
    assert [case.id for case in training_cases(project, ())] == ["lab-1", "lab-2"]


@pytest.mark.parametrize(("case", "word"), [("test-1", "held out"), ("wild-1", "no labels"), ("nessie", "nessie")])
def test_naming_an_animal_that_must_not_be_trained_on_is_refused(case: str, word: str, project: Project) -> None:
    with pytest.raises(UserError, match=word):
        training_cases(project, ["lab-1", case])


def test_each_member_leaves_out_a_share_of_its_own_where_there_are_enough_animals() -> None:
    assert left_out(["a", "b", "c", "d"], 3) == (("a", "d"), ("b",), ("c",))
    assert left_out(["a", "b"], 3) == ((), (), ())
    assert left_out(["a", "b", "c"], 1) == ((),)


def test_a_student_knows_every_animal_it_learned_from_and_is_evaluated_on_none_of_them(scored: Project) -> None:
    student = drain(distil(scored, "student", "teacher", DISTIL))
    assert student.trained_on == ("lab-1", "lab-2", "wild-1", "wild-2")
    assert student.history["teacher_sha256"] == Checkpoint.open(scored.checkpoint("teacher")).weights_sha256
    assert student.history["labels"] == {"wild-1": "teacher.1", "wild-2": "teacher.1"}
    assert student.history["kept"] == 1
    drain(segment(scored, "student", SegmentSettings()))
    assert drain(evaluate(scored, "student")).cases == ("test-1",)
    with pytest.raises(UserError, match="was trained on case 'lab-1'"):
        drain(evaluate(scored, "student", ["lab-1"]))


def test_where_soft_labels_were_kept_a_student_learns_without_its_teachers_network(project: Project) -> None:
    save_teacher(project)
    wild = ("wild-1", "wild-2")
    drain(segment(project, "teacher", SegmentSettings(soft=True), wild))
    for name in wild:
        write_scores(project.case(name), {(1, 0): 0.9, (2, 0): 0.9, (1, 1): 0.9, (2, 1): 0.9})
    shutil.rmtree(project.case("test-1").folder)  # nothing to compare with the teacher on
    weights = project.checkpoint("teacher") / "weights.safetensors"
    card = Checkpoint.open(project.checkpoint("teacher"))
    weights.rename(weights.with_suffix(".away"))
    settings = DISTIL.model_copy(update={"warm_start": False})
    student = drain(distil(project, "student", "teacher", settings))
    assert student.history["teacher_sha256"] == card.weights_sha256
    asked = json.loads((project.folder / "runs" / "distil-student" / "asked.json").read_text("utf-8"))
    assert asked["facts"]["soft"] == list(wild)


def test_in_two_rounds_the_first_student_is_the_second_one_s_teacher(scored: Project) -> None:
    settings = DistilSettings(
        patches=PATCHES,
        fit=FitSettings(steps=60, learning_rate=1e-2),
        strategy=SelfTrainingSettings(rounds=2, unlabelled=2),
    )
    (scored.folder / "settings.toml").write_text("[score]\ncopies = 4\ncritic_steps = 0\n")
    last = drain(distil(scored, "student", "teacher", settings))
    first = Checkpoint.open(scored.checkpoint("student-1"))
    assert first.history["teacher"] == "teacher"
    assert last.history["teacher"] == "student-1"
    assert last.history["teacher_sha256"] == first.weights_sha256
    assert last.history["labels"] == {"wild-1": "student-1.1", "wild-2": "student-1.1"}


def test_a_faultless_label_map_scores_one_and_its_organs_measure_what_they_are(project: Project) -> None:
    save_teacher(project)
    case = project.case("test-1")
    truth = begin_labels(case.store, "teacher", ORGANS, "by hand")
    for index in truth.pending:
        truth.write(index, case.labels("manual").volume.read())
    drain(truth.commit())
    found = drain(evaluate(project, "teacher"))
    assert found.mean_iou == 1
    assert found.by_organ() == {"heart": 1, "liver": 1}
    assert found.by_case() == {"test-1": 1}
    measures, table = drain(measure(project, "test-1", "teacher"))
    assert {m.name: m.volume_um3 for m in measures} == {"heart": 96_000, "liver": 864_000}
    assert len(table.read_text("utf-8").splitlines()) == 3


# --- what resumes, and what does not


def weights(project: Project, name: str) -> dict[str, torch.Tensor]:
    folder = project.checkpoint(name)
    return dict(Checkpoint.open(folder).load(folder).state_dict())


def closed_after(job: Iterator[object], reports: int) -> None:
    for _, _ in zip(range(reports), job, strict=False):
        pass
    job.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("reports", [2, 4])
def test_a_teacher_that_was_stopped_ends_in_the_same_weights(reports: int, project: Project) -> None:
    drain(train(project, "whole", TRAIN))
    closed_after(train(project, "stopped", TRAIN), reports)
    assert "stopped" not in project.checkpoints
    drain(train(project, "stopped", TRAIN))
    whole, stopped = weights(project, "whole"), weights(project, "stopped")
    assert all(torch.equal(whole[key], stopped[key]) for key in whole)


def test_a_student_that_was_stopped_ends_in_the_same_weights(scored: Project) -> None:
    drain(distil(scored, "whole", "teacher", DISTIL))
    closed_after(distil(scored, "stopped", "teacher", DISTIL), 2)
    drain(distil(scored, "stopped", "teacher", DISTIL))
    whole, stopped = weights(scored, "whole"), weights(scored, "stopped")
    assert all(torch.equal(whole[key], stopped[key]) for key in whole)


def test_asked_for_with_other_settings_an_unfinished_training_begins_anew(project: Project) -> None:
    folder = training_folder(project, "train", "new", TRAIN, ["lab-1"])
    (folder / "state").write_text("of a training")
    assert training_folder(project, "train", "new", TRAIN, ["lab-1"]) == folder
    assert (folder / "state").exists()
    training_folder(project, "train", "new", TRAIN, ["lab-2"])
    assert not (folder / "state").exists()
    assert json.loads((folder / "asked.json").read_text("utf-8"))["facts"] == ["lab-2"]


@pytest.mark.parametrize("name", ["teacher", "manual", "Reviewed", "../new", "", "a.b"])
def test_a_checkpoint_is_never_called_like_another_or_like_peoples_labels_or_like_a_path(
    name: str, project: Project
) -> None:
    save_teacher(project)
    with pytest.raises(UserError):
        drain(train(project, name, TRAIN))
    assert not (project.folder / "runs").exists()


def test_a_case_is_segmented_once_unless_it_is_named(project: Project) -> None:
    save_teacher(project)
    assert len(drain(segment(project, "teacher", SegmentSettings()))) == 5
    assert drain(segment(project, "teacher", SegmentSettings())) == ()
    assert drain(segment(project, "teacher", SegmentSettings(), ["wild-1"])) == ("wild-1",)
    assert generation(project.case("wild-1").store, "teacher") == "teacher.2"
    assert generation(project.case("wild-2").store, "teacher") == "teacher.1"


def test_a_checkpoint_for_other_organs_is_refused_with_both_lists(project: Project) -> None:
    card = Checkpoint(name="stranger", network=LOOKS, organs=LabelSchema.from_names(["fin"]))
    card.save(build(LOOKS, 2, 0), project.checkpoint("stranger"))
    for job in (
        segment(project, "stranger", SegmentSettings()),
        distil(project, "student", "stranger", DISTIL),
        train(project, "new", TRAIN.model_copy(update={"start": "stranger"})),
    ):
        with pytest.raises(UserError, match=r"'fin'.*'heart'"):
            drain(job)


def test_a_start_that_looks_otherwise_is_refused(project: Project) -> None:
    save_teacher(project)
    other = TRAIN.model_copy(update={"start": "teacher", "network": NetworkSettings(dimensions=2, widths=(4, 4))})
    with pytest.raises(UserError, match="looks like"):
        drain(train(project, "new", other))


def test_status_names_the_next_step_of_the_way(tmp_path: Path) -> None:
    empty = init(tmp_path / "empty", "empty", ORGANS)
    assert "medaka-kd add" in status(empty).next
    project = make_project(tmp_path / "boxes")
    assert "medaka-kd train" in status(project).next
    save_teacher(project)
    assert "medaka-kd segment" in status(project).next
    for name in ("wild-1", "wild-2"):
        write_labels(project.case(name), "teacher")
    assert "medaka-kd score" in status(project).next
    write_scores(project.case("wild-1"), {(1, 0): 0.7})
    assert "medaka-kd distil" in status(project).next


def test_organs_are_read_from_a_table_in_any_order(tmp_path: Path) -> None:
    file = tmp_path / "organs.toml"
    file.write_text('[organs]\n7 = "liver"\n3 = "heart"\n')
    assert read_organs(file) == ORGANS
    for text in ("", "organs = 3", '[organs]\nheart = "3"', '[organs]\n1 = "a"\n2 = "a"', "[organs"):
        file.write_text(text)
        with pytest.raises(UserError, match=r"organs\.toml"):
            read_organs(file)
