"""Self-training: which term pulls whom, how strongly, and that a student learns by it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_medaka_kd.distil.losses import distillation
from napari_medaka_kd.distil.strategies.self_training import SelfTrainingLoss
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.inputs import encode
from napari_medaka_kd.networks.unet import Ensemble
from napari_medaka_kd.settings import AugmentSettings, SelfTrainingSettings

EASY = AugmentSettings(rotation=5, scaling=0, gamma=0.1, contrast=0.05, brightness=0.02, noise=0.02, blur=0)
TERMS = ("labels", "pseudo-labels", "distillation")


def first_batch(toy, step=0, **more):
    return next(toy.diet(**more).batches()(step))


def loss_of(toy, steps=100, teacher=None, **strategy):
    student = build(toy.FLAT, toy.SCHEMA.classes, seed=1)
    teacher = teacher or build(toy.FLAT, toy.SCHEMA.classes, seed=2)
    settings = SelfTrainingSettings(**{"unlabelled": 2, "ramp": 0.2} | strategy)
    return SelfTrainingLoss(student, teacher, torch.ones(toy.SCHEMA.classes), settings, steps)


def values(loss, batch):
    return {name: float(term.detach()) for name, term in loss(batch).items()}


@pytest.mark.parametrize("term", TERMS)
def test_every_term_pulls_the_student_and_none_the_teacher(toy, term):
    loss = loss_of(toy, teacher=build(toy.FLAT.model_copy(update={"members": 2}), toy.SCHEMA.classes, seed=2))
    loss.student.train()
    terms = loss(first_batch(toy))
    assert tuple(terms) == TERMS
    terms[term].backward()
    pulled = [parameter.grad.abs().max() for parameter in loss.student.parameters()]
    assert all(float(pull) > 0 for pull in pulled)
    assert all(parameter.grad is None for parameter in loss.teacher.parameters())


def test_the_teacher_answers_in_evaluation_mode_and_stays_as_it_is(toy):
    loss = loss_of(toy)
    before = {name: tensor.clone() for name, tensor in loss.teacher.state_dict().items()}
    loss.teacher.train()
    loss(first_batch(toy))
    assert not loss.teacher.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in loss.teacher.state_dict().items())


@pytest.mark.parametrize(("knob", "term"), [("pseudo_weight", "pseudo-labels"), ("distil_weight", "distillation")])
def test_a_term_is_scaled_by_its_weight_and_the_others_are_not(toy, knob, term):
    batch = first_batch(toy, step=50)
    once, thrice = values(loss_of(toy, **{knob: 1.0}), batch), values(loss_of(toy, **{knob: 3.0}), batch)
    assert thrice[term] == pytest.approx(3 * once[term], rel=1e-5)
    assert {name: value for name, value in once.items() if name != term} == {
        name: value for name, value in thrice.items() if name != term
    }


def test_pseudo_labels_come_in_over_the_ramp_and_labels_are_there_at_once(toy):
    batch, seen = first_batch(toy), {}
    for step in (0, 9, 19, 60):
        seen[step] = values(loss_of(toy), replace(batch, step=step))
    for step, share in ((0, 0.05), (9, 0.5), (19, 1.0)):
        assert seen[step]["pseudo-labels"] == pytest.approx(share * seen[60]["pseudo-labels"], rel=1e-5)
        assert seen[step]["distillation"] == pytest.approx(share * seen[60]["distillation"], rel=1e-5)
        assert seen[step]["labels"] == seen[60]["labels"]


def test_without_a_ramp_the_first_step_weighs_fully(toy):
    batch, loss = first_batch(toy), loss_of(toy, ramp=0)
    assert values(loss, batch) == values(loss, replace(batch, step=90))


def test_without_distillation_or_unlabelled_animals_the_terms_are_left_out(toy):
    assert tuple(loss_of(toy, distil_weight=0)(first_batch(toy))) == ("labels", "pseudo-labels")
    assert tuple(loss_of(toy)(first_batch(toy, unlabelled=0))) == ("labels",)


def test_the_teachers_answer_is_cut_and_pasted_as_the_students_view(toy):
    """Equals that look at single voxels agree about a pasted image, if the answers were pasted like it."""
    cut = toy.STILL.model_copy(update={"cutmix": 1.0})
    batch = next(
        batch for batch in toy.diet(augment=cut).batches()(0) if batch.donor.tolist()[batch.labelled :] == [4, 3]
    )
    single = torch.nn.Conv3d(4, toy.SCHEMA.classes, 1)
    loss = replace(loss_of(toy, ramp=0), student=single, teacher=single)
    assert values(loss, batch)["distillation"] == pytest.approx(0, abs=1e-6)
    unpasted = replace(batch, pasted=torch.zeros_like(batch.pasted))
    assert values(loss, unpasted)["distillation"] > 1e-5


def test_the_intensities_of_the_teachers_view_are_as_scanned(toy):
    bent = AugmentSettings(rotation=0, scaling=0, gamma=1, contrast=1, brightness=1, noise=1, cutmix=0)
    batch, still = first_batch(toy, augment=bent), first_batch(toy, augment=toy.STILL)
    torch.testing.assert_close(batch.clean, still.clean)
    assert float((batch.image - batch.clean)[:, 0].abs().max()) > 0.1


def test_a_pseudo_label_that_nobody_trusts_teaches_nothing(toy):
    untrusted = np.zeros((1, toy.SCHEMA.classes), np.float32)
    labelled, patches = (toy.source(1),), toy.patches(toy.FLAT)
    diet = type(toy.diet())(labelled, (toy.source(10, untrusted),), 2, patches, AugmentSettings(), toy.FLAT, 0, rim=1)
    loss = loss_of(toy)
    seen = values(loss, next(diet.batches()(50)))
    assert seen["pseudo-labels"] == 0
    assert seen["distillation"] == 0
    assert seen["labels"] > 0


def accuracy(network, toy, seed):
    """Balanced over the classes, on an animal that nobody trained on."""
    animal = toy.source(seed)
    classes = torch.from_numpy(toy.SCHEMA.to_classes(animal.labels.volume.read()))
    scan = encode(animal.image.read(), tuple(slice(0, side) for side in toy.SHAPE), animal.body, toy.FLAT)
    with torch.inference_mode():
        answer = network.eval()(torch.from_numpy(scan)[None])[0].argmax(0)
    return float(np.mean([float((answer[classes == number] == number).float().mean()) for number in range(3)]))


def test_a_student_learns_to_tell_the_organs_apart(toy, tmp_path):
    student, job = toy.learn(tmp_path, 100, 100, augment=EASY)
    before = accuracy(student, toy, 30)
    progress = []
    drain(job, progress.append)
    assert accuracy(student, toy, 30) > max(0.75, before + 0.3)
    assert progress[-1].values["student labels"] < 0.9 * progress[1].values["student labels"]


def test_a_teacher_learns_to_tell_the_organs_apart(toy, tmp_path):
    teacher, job = toy.teach(tmp_path, 200, 1000, toy.DEEP, EASY)
    drain(job)
    assert accuracy(teacher, toy, 30) > 0.85


def test_an_ensemble_teacher_is_asked_for_its_mean_probability(toy):
    members = [build(toy.FLAT, toy.SCHEMA.classes, seed=number) for number in (5, 6)]
    loss = loss_of(toy, teacher=Ensemble(members), temperature=1.0, ramp=0, distil_weight=1.0)
    batch = first_batch(toy, augment=toy.STILL)
    guessed = slice(batch.labelled, None)
    with torch.no_grad():
        mean = torch.stack([member.eval()(batch.clean[guessed]).softmax(1) for member in members]).mean(0)
        expected = distillation(loss.student(batch.image)[guessed], mean, 1.0, batch.weight[guessed])
    assert values(loss, batch)["distillation"] == pytest.approx(float(expected), rel=1e-3)
