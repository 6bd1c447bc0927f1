"""The mean teacher: how it follows, what it is asked, which voxels are learned from, and whom its say pulls."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from napari_medaka_kd.distil.ema import follow
from napari_medaka_kd.distil.guidance import distance, ramp
from napari_medaka_kd.distil.lesson import Lesson
from napari_medaka_kd.distil.losses import IGNORE
from napari_medaka_kd.distil.mining import hard_negatives, opinion, sample_weights
from napari_medaka_kd.distil.run import distil
from napari_medaka_kd.distil.strategies.mean_teacher import MeanTeacherLoss, Pupil
from napari_medaka_kd.distil.views import Views
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.settings import AugmentSettings, DistilSettings, MeanTeacherSettings

ONES = torch.ones(3)
MIRRORED = AugmentSettings(flips=(True, True, True))


def loss_of(toy, looks=None, augment=MIRRORED, **knobs):
    """Of a fresh student, amid a training, and of a teacher that differs from it and calls some voxels organs."""
    looks = looks or toy.FLAT
    student = build(looks, toy.SCHEMA.classes, seed=1)
    teacher = build(looks, toy.SCHEMA.classes, seed=3).requires_grad_(requires_grad=False)
    strategy = MeanTeacherSettings(rise=0, fall=0, **knobs)
    return MeanTeacherLoss(Pupil(student), teacher, ONES, strategy, Views(augment, strategy.views, 0), 10)


def first_batch(toy, looks=None, **more):
    return next(toy.diet(looks or toy.FLAT, **more).batches()(0))


def values(loss, batch):
    with torch.no_grad():
        return {name: float(term) for name, term in loss(batch).items()}


# ---- the teacher follows


@pytest.mark.parametrize("most", [0.6, 0.99])
def test_a_teacher_is_the_average_that_its_rule_says(most):
    student = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    teacher = copy.deepcopy(student)
    wanted = {name: value.double() for name, value in student.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    for step in range(1, 9):
        for value in student.state_dict().values():
            value.copy_(torch.randn(value.shape, generator=generator) if value.is_floating_point() else value + 1)
        follow(teacher, student, step, most)
        keep = min(1 - 1 / (step + 1), most)
        wanted = {name: keep * old + (1 - keep) * student.state_dict()[name] for name, old in wanted.items()}
    found = teacher.state_dict()
    assert int(found.pop("1.num_batches_tracked")) == 8
    for name, value in found.items():
        torch.testing.assert_close(value.double(), wanted[name], rtol=1e-5, atol=1e-6)


def test_at_first_it_is_the_mean_of_all_students_so_far():
    student, teacher = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    seen = []
    for step in range(6):
        with torch.no_grad():
            student.weight.fill_(step**2)
        seen.append(step**2)
        (teacher.load_state_dict(student.state_dict()) if step == 0 else follow(teacher, student, step))
        assert teacher.weight.item() == pytest.approx(np.mean(seen), rel=1e-5)


def test_the_teacher_is_saved_with_the_stage_and_survives_a_stop(toy, tmp_path):
    """The student alone would not show it in four steps; so the saved teachers are compared, bit by bit."""
    for name, stops in (("one", ()), ("two", (2, 3))):
        for stop in (*stops, None):
            job = toy.KINDS["mean_teacher"](tmp_path / name, 4, 1)[1]
            for progress in job:
                if progress.done == stop:
                    job.close()
                    break
    one, two = (load_file(tmp_path / name / "student" / "state.safetensors") for name in ("one", "two"))
    followed = [key for key in one if key.startswith("network/mean teacher/")]
    assert len(followed) == len(build(toy.FLAT, 3).state_dict())
    assert all(torch.equal(one[key], two[key]) for key in followed)
    mine, theirs = (one[f"network/{name}head.weight"] for name in ("mean teacher/", "student/student."))
    assert not torch.equal(mine, theirs)


# ---- what it is asked


def test_it_is_asked_about_the_patches_without_labels_alone_pasted_as_the_student_sees_them(toy):
    batch = first_batch(toy, augment=toy.STILL.model_copy(update={"cutmix": 1.0}), unlabelled=4)
    rest = batch.rest()
    assert (rest.labelled, len(rest.image)) == (0, 4)
    for whole, part in ((batch.image, rest.image), (batch.clean, rest.clean), (batch.target, rest.target)):
        assert torch.equal(whole[batch.labelled :], part)
    assert torch.equal(rest.mixed(rest.clean), batch.mixed(batch.clean)[batch.labelled :])
    assert len(loss_of(toy).asked(rest).logits) == 4


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirrored_view_is_mirrored_with_its_coordinates_and_undone_exactly(toy, axis):
    flips = tuple(number == axis for number in range(3))
    clean = first_batch(toy, toy.DEEP).clean
    upright, mirrored = Views(AugmentSettings(flips=flips), 2, 5).of(clean, 7)
    assert (upright.mirrored, mirrored.mirrored) == ((), (axis + 2,))
    assert torch.equal(mirrored.image, upright.image.flip(axis + 2))
    assert torch.equal(mirrored.undone(mirrored.image), upright.image)
    assert torch.equal(upright.image[:, 1:], clean[:, 1:])
    assert not torch.equal(upright.image[:, 0], clean[:, 0])


def test_views_follow_from_seed_and_step_and_are_mirrored_only_where_animals_may_be(toy):
    clean = first_batch(toy).clean
    for augment in (MIRRORED, AugmentSettings()):
        images = [torch.stack([view.image for view in Views(augment, 4, 5).of(clean, 7)]) for _ in range(2)]
        assert torch.equal(*images)
        other = torch.stack([view.image for view in Views(augment, 4, 5).of(clean, 8)])
        assert not torch.equal(images[0], other)
    assert all(not view.mirrored for view in Views(AugmentSettings(), 4, 5).of(clean, 7))
    assert all(2 not in view.mirrored for view in Views(MIRRORED, 16, 5).of(clean, 7))  # a slice has no depth


def test_a_teacher_that_does_not_care_for_mirrors_is_not_shaken_by_them(toy):
    loss = loss_of(toy, augment=toy.STILL.model_copy(update={"flips": (True, True, True)}), views=4)
    for module in loss.teacher.modules():  # symmetrical kernels, and nothing pooled: mirrors commute
        if isinstance(module, torch.nn.Conv2d):
            weight = module.weight.data
            module.weight.data = (weight + weight.flip(2) + weight.flip(3) + weight.flip(2, 3)) / 4
    assert float(loss.asked(first_batch(toy)).sensitivity.max()) < 1e-5


def test_the_opinion_is_the_mean_and_the_spread_of_the_answers():
    answers = [(torch.randn(2, 3, 1, 4, 4), torch.randn(2, 5, 1, 4, 4)) for _ in range(5)]
    found = opinion(iter(answers))
    logits, features = (torch.stack(each) for each in zip(*answers, strict=True))
    torch.testing.assert_close(found.logits, logits.mean(0))
    torch.testing.assert_close(found.features, features.mean(0))
    spread = logits.softmax(2).std(0, unbiased=False).sum(1, keepdim=True)
    torch.testing.assert_close(found.sensitivity, spread)


@given(st.integers(0, 2**16), st.integers(2, 6), st.floats(-30, 30))
@settings(max_examples=30, deadline=None)
def test_identical_views_have_no_sensitivity_at_all(seed, views, scale):
    logits = scale * torch.randn(1, 3, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    assert not opinion([(logits, logits)] * views).sensitivity.any()


# ---- which voxels are learned from


@given(st.integers(0, 2**16), st.floats(0, 1), st.floats(0, 1), st.sampled_from(["sensitive", "random"]))
@settings(max_examples=60, deadline=None)
def test_mining_takes_all_positives_and_half_as_many_of_the_most_sensitive_negatives(seed, organs, inside, mining):
    rng = np.random.default_rng(seed)
    positive, known = (torch.from_numpy(rng.random((2, 3, 4, 5)) < share) for share in (organs, inside))
    shaky = torch.from_numpy(rng.integers(0, 4, (2, 3, 4, 5)).astype(np.float32))  # with ties
    weights = sample_weights(positive, known, shaky, mining, (seed, 1))
    taken, negative = weights == 1.5, known & ~positive
    wanted = min(int((positive & known).sum()) // 2, int(negative.sum()))
    assert torch.equal(weights == 1, positive & known)
    assert int(taken.sum()) == wanted
    assert not (taken & ~negative).any()
    assert set(weights.unique().tolist()) <= {0.0, 1.0, 1.5}
    left = negative & ~taken
    if mining == "sensitive" and wanted and left.any():
        assert float(shaky[taken].min()) >= float(shaky[left].max())


def test_random_negatives_follow_from_seed_and_step_and_not_from_the_sensitivity():
    positive = torch.zeros(1, 1, 20, 20, dtype=torch.bool)
    positive[..., :10] = True
    known, shaky = torch.ones_like(positive), torch.rand(1, 1, 20, 20)
    draw = [sample_weights(positive, known, each, "random", seed) for each, seed in
            ((shaky, (1, 2)), (1 - shaky, (1, 2)), (shaky, (1, 3)), (shaky, (2, 2)))]  # fmt: skip
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    assert not torch.equal(draw[0], draw[3])


def test_the_plain_mean_teacher_learns_from_every_voxel_of_the_scan_alike():
    positive, known = torch.rand(1, 2, 3, 4) < 0.5, torch.rand(1, 2, 3, 4) < 0.5
    assert torch.equal(sample_weights(positive, known, torch.rand(1, 2, 3, 4), "all", (0, 0)), known.float())


def test_no_more_negatives_are_taken_than_there_are():
    few = torch.tensor([[[[True, False, True]]]])
    assert torch.equal(hard_negatives(torch.zeros(few.shape), few, 9), few)


# ---- whom its say pulls


@pytest.mark.parametrize("looks", ["FLAT", "DEEP"])
@pytest.mark.parametrize("term", ["mining", "features"])
def test_each_term_pulls_the_student_and_not_the_teacher(toy, looks, term):
    loss = loss_of(toy, getattr(toy, looks))
    terms = loss(first_batch(toy, getattr(toy, looks), augment=MIRRORED.model_copy(update={"cutmix": 0.5})))
    assert tuple(terms) == ("cross-entropy", "Dice", "mining", "features")
    terms[term].backward()
    student = [p for name, p in loss.pupil.student.named_parameters() if not name.startswith("head")]
    assert all(float(p.grad.abs().max()) > 0 for p in student)
    head = loss.pupil.student.head.weight.grad
    assert (head is not None and bool(head.any())) == (term == "mining")
    assert all(p.grad is None for p in loss.teacher.parameters())


def test_terms_are_scaled_by_their_weights_and_gone_without(toy):
    batch = first_batch(toy)
    once, more = loss_of(toy, weight=1), loss_of(toy, weight=2, mining_weight=0.6, feature_weight=0.5)
    few, many = values(once, batch), values(more, batch)
    assert many["mining"] == pytest.approx(6 * few["mining"], rel=1e-5)
    assert many["features"] == pytest.approx(few["features"], rel=1e-5)
    assert tuple(values(loss_of(toy, weight=0), batch)) == ("cross-entropy", "Dice")
    assert "mining" not in values(loss_of(toy, mining_weight=0), batch)
    assert "features" not in values(loss_of(toy, feature_weight=0), batch)


def test_its_pseudo_target_is_the_sharpened_mean(toy):
    """Softmax of the mean logits, to the power 1/T, to sum 1; at every voxel of the scans without labels."""
    loss, batch = loss_of(toy, mining="all", weight=1, mining_weight=1), first_batch(toy, augment=toy.STILL)
    rest = batch.rest()
    loss.pupil.student.eval()
    with torch.no_grad():
        power = loss.asked(rest).logits.softmax(1) ** 2
        wanted = power / power.sum(1, keepdim=True)
        entropy = -(wanted * loss.pupil(rest.image)[0].log_softmax(1)).sum(1)
    known = rest.target != IGNORE
    assert values(loss, batch)["mining"] == pytest.approx(float(entropy[known].mean()), rel=1e-4)


def test_features_count_inside_the_teachers_organs_alone():
    one, other, inside = torch.rand(2, 3, 1, 4, 4), torch.rand(2, 3, 1, 4, 4), torch.rand(2, 1, 4, 4) < 0.5
    wanted = (one - other).movedim(1, -1)[inside].square().mean()
    torch.testing.assert_close(distance(one, other, inside), wanted)
    assert float(distance(one, other, torch.zeros_like(inside))) == 0


def test_the_adapter_begins_as_the_identity_and_is_not_part_of_the_student(toy, tmp_path):
    student = build(toy.FLAT, 3)
    image = torch.rand(1, 4, 1, 16, 16)
    torch.testing.assert_close(Pupil(student)(image)[1], student.with_features(image)[1])
    trained, job = toy.KINDS["mean_teacher"](tmp_path, 2, 10)
    drain(job)
    assert trained.state_dict().keys() == build(toy.FLAT, 3).state_dict().keys()


def test_the_ramp_rises_stays_and_falls():
    along = [ramp(step / 100, 0.3, 0.2) for step in range(101)]
    assert along[0] == pytest.approx(np.exp(-5))
    assert along[:31] == sorted(along[:31])
    assert set(along[30:81]) == {1.0}
    assert along[80:] == sorted(along[80:], reverse=True)
    assert along[100] == pytest.approx(np.exp(-12.5))
    assert ramp(0.5, 0, 0) == 1


def test_an_ensemble_is_refused_in_a_sentence(toy, tmp_path):
    looks = toy.FLAT.model_copy(update={"members": 2})
    lesson = Lesson((toy.source(1),), (toy.source(2),), build(looks, 3), None, looks)
    with pytest.raises(UserError, match="not 2 members"):
        drain(distil(DistilSettings(strategy=MeanTeacherSettings()), lesson, toy.run(tmp_path, 2, 1)))
