"""Students from scans and labels alone: what they need, what they begin with, what their card says."""

import json

import numpy as np
import pytest

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.project import add_case, create_project
from napari_medaka_kd.settings import (
    DistilSettings,
    FitSettings,
    MeanTeacherSettings,
    NetworkSettings,
    PatchSettings,
    ShapeIntensitySettings,
    TrainSettings,
)
from napari_medaka_kd.volumes.labels import LabelMap, LabelSchema
from napari_medaka_kd.volumes.volume import Volume
from napari_medaka_kd.workflow.rounds import distil
from napari_medaka_kd.workflow.teach import train

ORGANS = LabelSchema.from_ids({3: "heart", 7: "liver"})
LOOKS = NetworkSettings(dimensions=2, widths=(4, 8))
PATCHES = PatchSettings(patch=(1, 16, 16), batch=2)
FIT = FitSettings(steps=2, save_every=1)
DISTIL = DistilSettings(network=LOOKS, patches=PATCHES, fit=FIT, strategy=ShapeIntensitySettings())


def animal(seed):
    """A bright box with a brighter one in it."""
    ids = np.zeros((16, 16, 16), np.uint8)
    ids[2:14, 3:13, 4:12] = 7
    ids[5:11, 6:10, 6:10] = 3
    noise = np.random.default_rng(seed).normal(0, 20, ids.shape)
    scan = np.select([ids == 3, ids == 7], [900, 500], 100) + noise
    size = (10.0, 10.0, 10.0)
    return Volume((scan.astype(np.uint16),), size, "box"), LabelMap(Volume((ids,), size), ORGANS)


@pytest.fixture
def project(tmp_path):
    """One labelled animal, one without labels, one held out."""
    made = create_project(tmp_path / "boxes", "boxes", ORGANS)
    for seed, (case, labelled, held_out) in enumerate(
        (("lab", True, False), ("wild", False, False), ("test", True, True))
    ):
        scan, labels = animal(seed)
        drain(add_case(made, scan, labels if labelled else None, case, held_out=held_out))
    return made


def test_a_student_needs_no_teacher_and_its_card_says_what_it_saw(project):
    card = drain(distil(project, "student", "nobody", DISTIL))
    assert card.trained_on == ("lab", "wild")
    assert card.network == LOOKS
    assert card.history["settings"]["strategy"]["name"] == "shape_intensity"
    assert card.history["start"] == ""
    assert project.checkpoints == ("student",)
    card.load(project.checkpoint("student"))


def test_it_begins_with_a_teacher_that_looks_like_it(project):
    begun = drain(train(project, "teacher", TrainSettings(network=LOOKS, patches=PATCHES, fit=FIT)))
    warm = drain(distil(project, "warm", "teacher", DISTIL.model_copy(update={"network": None})))
    cold = drain(distil(project, "cold", "teacher", DISTIL.model_copy(update={"warm_start": False})))
    assert warm.history["start"] == begun.weights_sha256
    assert warm.network == LOOKS
    assert cold.history["start"] == ""


def test_without_labels_it_is_refused_in_a_sentence(tmp_path):
    empty = create_project(tmp_path / "empty", "empty", ORGANS)
    drain(add_case(empty, animal(0)[0], None, "wild", held_out=False))
    with pytest.raises(UserError, match="no animal has labels"):
        drain(distil(empty, "student", "", DISTIL))


def test_a_mean_teacher_learns_from_scans_without_labels_and_is_refused_without_them(project, tmp_path):
    strategy = MeanTeacherSettings(unlabelled=1, views=2)
    settings = DISTIL.model_copy(update={"strategy": strategy})
    assert drain(distil(project, "student", "", settings)).trained_on == ("lab", "wild")
    known = create_project(tmp_path / "known", "known", ORGANS)
    drain(add_case(known, *animal(0), "lab", held_out=False))
    with pytest.raises(UserError, match="'mean_teacher' cannot be played: every animal has labels"):
        drain(distil(known, "student", "", settings))


def test_cancelled_and_asked_again_it_ends_in_the_same_weights(project):
    undisturbed = drain(distil(project, "one", "", DISTIL))
    job = distil(project, "two", "", DISTIL)
    for progress in job:
        if progress.doing == "student" and progress.done == 1:
            job.close()
            break
    again = drain(distil(project, "two", "", DISTIL))
    assert again.weights_sha256 == undisturbed.weights_sha256
    asked = json.loads((project.folder / "runs" / "distil-two" / "asked.json").read_text())
    assert asked["facts"]["cases"] == ["lab", "wild"]
    assert Checkpoint.open(project.checkpoint("two")).weights_sha256 == undisturbed.weights_sha256
