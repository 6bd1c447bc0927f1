"""Students from scans and labels alone: what they need, what they begin with, what their card says."""

import json

import numpy as np
import pytest

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.project import add_case, create_project, set_modality
from napari_medaka_kd.settings import (
    DistilSettings,
    FitSettings,
    MeanTeacherSettings,
    MutualSettings,
    NetworkSettings,
    PatchSettings,
    ShapeIntensitySettings,
    TrainSettings,
)
from napari_medaka_kd.volumes.labels import LabelMap, LabelSchema
from napari_medaka_kd.volumes.volume import Volume
from napari_medaka_kd.workflow.requirements import census, missing
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


MUTUAL = DISTIL.model_copy(update={"strategy": MutualSettings(width=2, unlabelled=1)})


@pytest.fixture
def two_modalities(project):
    """Of phase one labelled scan, one without labels, one held out; of absorption the same and another labelled one."""
    for case in project.cases:
        set_modality(case, "phase")
    kinds = (("one", True, False), ("two", True, False), ("plain", False, False), ("seen", True, True))
    for seed, (case, labelled, held_out) in enumerate(kinds, start=5):
        scan, labels = animal(seed)
        made = drain(add_case(project, scan, labels if labelled else None, case, held_out=held_out))
        set_modality(made, "absorption")
    return project


def test_a_student_of_two_modalities_is_for_the_one_with_fewer_labels(two_modalities):
    card = drain(distil(two_modalities, "student", "", MUTUAL))
    assert card.trained_on == ("lab", "one", "two", "wild")
    assert card.history["target"] == "phase"
    assert card.history["modalities"] == {"lab": "phase", "one": "absorption", "two": "absorption", "wild": "phase"}
    assert card.network == LOOKS
    card.load(two_modalities.checkpoint("student"))


def test_both_segmentors_are_kept_where_an_ensemble_is_wanted(two_modalities):
    both = MUTUAL.model_copy(update={"strategy": MutualSettings(width=2, ensemble=True, align=False)})
    card = drain(distil(two_modalities, "student", "", both))
    assert card.network.members == 2
    assert len(card.load(two_modalities.checkpoint("student")).members) == 2


def test_it_is_watched_on_animals_of_its_own_modality(two_modalities):
    drain(distil(two_modalities, "student", "", MUTUAL))
    alone = two_modalities.folder / "runs" / "distil-student" / "student" / "preview.npz"
    assert alone.is_file()
    set_modality(two_modalities.case("test"), "absorption")
    drain(distil(two_modalities, "unwatched", "", MUTUAL))
    assert not (two_modalities.folder / "runs" / "distil-unwatched" / "student" / "preview.npz").exists()


def test_without_two_modalities_it_is_refused_in_a_sentence(project):
    with pytest.raises(UserError, match="labelled animals of two modalities; there is: none"):
        drain(distil(project, "student", "", MUTUAL))


def test_what_is_missing_depends_on_the_modalities_that_are_named(two_modalities):
    assert missing(MutualSettings(), census(two_modalities)) == ""
    assert "no labelled animal is of the modality 'mri'" in missing(
        MutualSettings(target="mri"), census(two_modalities)
    )


def test_those_of_a_named_modality_that_has_no_labels_are_strangers(two_modalities):
    assert census(two_modalities).strangers == 0
    for modality, strangers in (("mri", 1), ("", 0)):
        set_modality(two_modalities.case("wild"), modality)
        assert census(two_modalities).strangers == strangers


def test_other_strategies_learn_from_all_modalities_as_before(two_modalities):
    card = drain(distil(two_modalities, "student", "", DISTIL))
    assert card.trained_on == ("lab", "one", "plain", "two", "wild")
    assert "modalities" not in card.history
