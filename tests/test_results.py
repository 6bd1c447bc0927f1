"""The report card of a student, what checkpoints cost, and what can be taken out of the house."""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import napari_medaka_kd as kd
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.build import build, build_instances
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.networks.instance_settings import InstanceSettings
from napari_medaka_kd.project import Project
from napari_medaka_kd.settings import NetworkSettings
from napari_medaka_kd.volumes.label_store import begin_labels
from napari_medaka_kd.volumes.nifti import open_nifti, save_nifti
from napari_medaka_kd.volumes.volume import Volume
from napari_medaka_kd.workflow.assess import compare_checkpoints
from napari_medaka_kd.workflow.cohort import measure_cohort
from napari_medaka_kd.workflow.results import (
    Cost,
    OrganResult,
    ReportCard,
    animals_to_test_on,
    export_labels,
    export_page,
    export_table,
    label_names,
    report_card,
    unsegmented,
    usual_pair,
)

Maker = Callable[..., Project]
SMALL = NetworkSettings(dimensions=2, widths=(4, 8), members=1)


def teach(project: Project, name: str, teacher: str = "") -> None:
    """A network that learned nothing."""
    history = {"verb": "distil", "teacher": teacher} if teacher else {"verb": "train"}
    card = Checkpoint(name=name, network=SMALL, organs=project.schema, trained_on=("labelled-00",), history=history)
    card.save(build(SMALL, project.schema.classes), project.checkpoint(name))


def learn_alone(project: Project, name: str, things: InstanceSettings | None = None) -> None:
    """A student that had no teacher, of organs or of things."""
    card = Checkpoint(name=name, network=SMALL, organs=project.schema, things=things, history={"verb": "distil"})
    network = build_instances(SMALL, things) if things else build(SMALL, project.schema.classes)
    card.save(network, project.checkpoint(name))


def propose(project: Project, case: str, name: str, shift: int) -> None:
    """The truth, shifted along x."""
    labels = np.roll(project.case(case).labels("manual").volume.read(), shift, axis=2)
    begun = begin_labels(project.case(case).store, name, project.schema, f"{name} {shift}")
    for number in begun.pending:
        begun.write(number, labels[begun.blocks[number]])
    drain(begun.commit())


@pytest.fixture
def project(make_project: Maker) -> Project:
    """With a teacher that is three voxels off, and its student, which is one voxel off."""
    made = make_project(unlabelled=1, held_out=2)
    teach(made, "teacher")
    teach(made, "student", "teacher")
    for case in animals_to_test_on(made):
        propose(made, case, "student", 1)
        propose(made, case, "teacher", 3)
    return made


def card(*organs: tuple[float, float], cases: int = 2, page: Path = Path("report.html")) -> ReportCard:
    """Of organs with IoUs (teacher, student)."""
    results = tuple(OrganResult(n, f"organ {n}", *ious) for n, ious in enumerate(organs, start=1))
    known = [ious for ious in organs if not any(math.isnan(iou) for iou in ious)]
    theirs, ours = np.mean(known, axis=0) if known else (math.nan, math.nan)
    return ReportCard("student", "teacher", tuple(map(str, range(cases))), results, float(ours), float(theirs), page)


def test_the_card_holds_what_was_evaluated(project: Project) -> None:
    compared = drain(compare_checkpoints(project, ["teacher", "student"]))
    found = report_card(project, "student", "teacher")
    assert found is not None
    of = {each.checkpoint: each for each in compared.evaluations}
    assert found.cases == of["student"].cases == ("held-out-02", "held-out-03")
    assert (found.student_iou, found.teacher_iou) == (of["student"].mean_iou, of["teacher"].mean_iou)
    assert {o.name: o.student for o in found.organs} == pytest.approx(of["student"].by_organ(), nan_ok=True)
    assert {o.name: o.teacher for o in found.organs} == pytest.approx(of["teacher"].by_organ(), nan_ok=True)
    assert found.page.is_file()
    assert "student beats teacher by" in found.sentence
    assert "on 2 held-out animals" in found.sentence


def test_a_report_says_which_weights_it_is_about_and_how_they_came_to_be(project: Project) -> None:
    folder = drain(compare_checkpoints(project, ["teacher", "student"])).folder
    told = json.loads((folder / "report.json").read_text("utf-8"))["facts"]
    assert told["napari-medaka-kd"] == kd.__version__
    for name, origin in told["checkpoints"].items():
        card = Checkpoint.open(project.checkpoint(name))
        assert origin == {"weights_sha256": card.weights_sha256, "trained_on": list(card.trained_on), **card.history}
    assert list(told["checkpoints"]) == ["teacher", "student"]


def test_without_an_evaluation_of_both_there_is_no_card(project: Project) -> None:
    assert report_card(project, "student", "teacher") is None
    drain(compare_checkpoints(project, ["student"]))
    assert report_card(project, "student", "teacher") is None
    assert report_card(project, "student", "student") is None


def test_the_newest_evaluation_counts(project: Project) -> None:
    drain(compare_checkpoints(project, ["teacher", "student"]))
    propose(project, "held-out-02", "student", 0)
    newer = drain(compare_checkpoints(project, ["teacher", "student"]))
    found = report_card(project, "student", "teacher")
    assert found is not None
    assert found.page.parent == newer.folder
    assert found.student_iou == newer.evaluations[1].mean_iou


@pytest.mark.parametrize(
    ("organs", "sentence"),
    [
        ([(0.5, 0.6), (0.5, 0.4), (0.5, 0.7)], "student beats teacher by 6.7 points of mean IoU"),
        ([(0.6, 0.5)], "student falls short of teacher by 10.0 points of mean IoU"),
        ([(0.5, 0.5002)], "student is level with teacher on 2 held-out animals"),
        ([(math.nan, math.nan)], "cannot be compared"),
        ([(0.5, 0.6), (0.5, 0.4), (math.nan, 0.4)], "better in 1 of 2 organs"),
    ],
)
def test_the_sentence_says_what_came_out_and_is_honest(organs: list[tuple[float, float]], sentence: str) -> None:
    assert sentence in card(*organs).sentence


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12))
def test_who_trades_places_with_the_student_falls_short_where_it_won(organs: list[tuple[float, float]]) -> None:
    there, back = card(*organs).sentence, card(*((b, a) for a, b in organs)).sentence
    assert ("beats" in there) == ("falls short" in back)
    assert ("level" in there) == ("level" in back)


def test_size_is_told_from_the_weights_alone_and_speed_from_what_segmenting_took(project: Project) -> None:
    weights = project.checkpoint("student") / "weights.safetensors"
    (project.checkpoint("student") / "speed.json").write_text(
        json.dumps({"voxels": 3_000_000, "seconds": 1.5, "device": "cpu", "precision": "float32"})
    )
    drain(compare_checkpoints(project, ["teacher", "student"]))
    found = report_card(project, "student", "teacher")
    assert found is not None
    network = build(SMALL, project.schema.classes)
    parameters = sum(tensor.numel() for tensor in network.state_dict().values())
    assert found.costs["student"] == Cost(parameters, weights.stat().st_size / 1e6, 2_000_000, "cpu")
    assert found.costs["teacher"].voxels_per_second is None


@pytest.mark.parametrize("damage", [b"", b"\xff" * 8, b"\x02\0\0\0\0\0\0\0[]", b"\x05\0\0\0\0\0\0\0{"])
def test_damaged_weights_cost_nothing_known(project: Project, damage: bytes) -> None:
    (project.checkpoint("student") / "weights.safetensors").write_bytes(damage)
    drain(compare_checkpoints(project, ["teacher", "student"]))
    found = report_card(project, "student", "teacher")
    assert found is not None
    assert found.costs["student"].parameters is None


def test_the_usual_pair_is_the_last_student_and_its_teacher(project: Project) -> None:
    assert usual_pair(project) == ("student", "teacher")
    teach(project, "another", "student")
    assert usual_pair(project) == ("another", "student")
    learn_alone(project, "from-scans")
    assert usual_pair(project) == ("from-scans", "another")
    learn_alone(project, "eggs", InstanceSettings(reach=9))
    assert usual_pair(project) == ("eggs", "")


def test_without_a_student_there_is_half_a_pair_and_without_networks_none(make_project: Maker) -> None:
    project = make_project(unlabelled=1)
    assert usual_pair(project) == ("", "")
    teach(project, "teacher")
    assert usual_pair(project) == ("", "teacher")


def test_what_a_checkpoint_has_yet_to_segment_is_known(project: Project) -> None:
    assert animals_to_test_on(project) == ("held-out-02", "held-out-03")
    assert unsegmented(project, "student", "held out") == ()
    assert unsegmented(project, "student", "unseen") == ("fish-01",)
    assert unsegmented(project, "another", "held out") == ("held-out-02", "held-out-03")


def test_people_s_labels_are_offered_last(project: Project) -> None:
    assert label_names(project) == ("student", "teacher", "manual")


def test_tables_are_exported_for_spreadsheets(project: Project, tmp_path: Path) -> None:
    cohort = drain(measure_cohort(project, "teacher"))
    export_table(cohort, tmp_path / "cohort.csv")
    assert (tmp_path / "cohort.csv").read_bytes() == cohort.file.read_bytes()
    export_table(card((0.5, 0.6), (math.nan, 0.1)), tmp_path / "card.csv")
    with (tmp_path / "card.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["organ", "name", "iou_teacher", "iou_student"],
            ["1", "organ 1", "0.5", "0.6"],
            ["2", "organ 2", "", "0.1"],
        ]


def test_the_report_is_exported_whole_and_missed_when_it_is_gone(project: Project, tmp_path: Path) -> None:
    compared = drain(compare_checkpoints(project, ["teacher", "student"]))
    found = report_card(project, "student", "teacher")
    assert found is not None
    export_page(found, tmp_path / "out.html")
    assert (tmp_path / "out.html").read_bytes() == (compared.folder / "report.html").read_bytes()
    found.page.unlink()
    with pytest.raises(UserError, match="is gone"):
        export_page(found, tmp_path / "again.html")


def test_a_folder_that_is_not_there_is_told_in_sentences(project: Project, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere" / "a"
    with pytest.raises(UserError, match="cannot be written"):
        export_table(card((0.5, 0.6)), nowhere)
    with pytest.raises(UserError, match="cannot be written"):
        drain(export_labels(project, project.case("fish-01"), "teacher", nowhere.with_suffix(".nii.gz")))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_labels_are_exported_with_their_voxel_size_in_um(project: Project, tmp_path: Path, suffix: str) -> None:
    case, path = project.case("fish-01"), tmp_path / f"organs{suffix}"
    assert drain(export_labels(project, case, "teacher", path)) == path
    labels = case.labels("teacher").volume
    again = open_nifti(path, "again")
    assert again.voxel_size == pytest.approx(labels.voxel_size)
    assert np.array_equal(again.read(), labels.read())
    image = nibabel.load(path)
    assert image.header.get_xyzt_units()[0] == "micron"
    assert np.array_equal(np.asarray(image.dataobj).T, labels.read())
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_labels_that_are_not_there_are_not_exported(project: Project, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="student"):
        drain(export_labels(project, project.case("fish-01"), "student", tmp_path / "a.nii.gz"))
    assert not (tmp_path / "a.nii.gz").exists()


def test_an_export_that_is_called_off_leaves_the_former_file(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"former")
    job = export_labels(project, project.case("fish-01"), "teacher", path)
    next(job)
    job.close()
    assert path.read_bytes() == b"former"
    assert [found.name for found in tmp_path.iterdir() if found.name.endswith(".partial")] == []


def test_nifti_is_written_in_slabs_and_any_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_medaka_kd.volumes.nifti._SLAB", 70)
    voxels = np.random.default_rng(0).integers(0, 60_000, (9, 7, 5)).astype(">u2")
    drain(save_nifti(Volume((voxels,), (3.0, 2.0, 1.0)), tmp_path / "a.nii.gz"))
    assert np.array_equal(open_nifti(tmp_path / "a.nii.gz", "a").read(), voxels)


def test_a_side_too_long_for_the_first_nifti_takes_the_second(tmp_path: Path) -> None:
    voxels = np.zeros((2, 2, 40_000), np.uint8)
    voxels[0, 1, 39_999] = 7
    drain(save_nifti(Volume((voxels,), (3.0, 2.0, 1.0)), tmp_path / "a.nii"))
    again = open_nifti(tmp_path / "a.nii", "a")
    assert again.voxel_size == pytest.approx((3.0, 2.0, 1.0))
    assert np.array_equal(again.read(), voxels)


def test_the_same_labels_give_the_same_bytes(project: Project, tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        drain(export_labels(project, project.case("fish-01"), "teacher", tmp_path / name))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert len(gzip.decompress((tmp_path / "a.nii.gz").read_bytes())) == 352 + 48 * 32 * 32


def test_neither_torch_nor_qt_is_loaded() -> None:
    rooms = ("cohort", "disagree", "results")
    program = "; ".join(f"import napari_medaka_kd.workflow.{room}" for room in rooms)
    program += "; import sys; print([m for m in ('torch', 'qtpy', 'napari') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert said.stdout.strip() == "[]"
