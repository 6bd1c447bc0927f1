"""Each loss: nothing where nothing is wrong, never negative, a gradient for the student and none for the teacher."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medaka_kd.distil.losses import IGNORE, cross_entropy, distillation, soft_dice, soften

BALANCE = torch.tensor([0.5, 1.0, 1.5])
SHAPE = (2, 3, 2, 3, 4)  # (B, C, Z, Y, X)
SEEDS = st.integers(0, 2**31 - 1)


def balanced(logits, target, weight):
    return cross_entropy(logits, target, weight, BALANCE)


HARD = pytest.mark.parametrize("loss", [cross_entropy, balanced, soft_dice])


def draw(seed):
    """(logits, target with all classes and some unknown voxels, weight with some zeros)."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(SHAPE, generator=generator) * 3
    voxels = (SHAPE[0], *SHAPE[2:])
    target = torch.randint(IGNORE, 3, voxels, generator=generator)
    weight = torch.rand(voxels, generator=generator) * (torch.rand(voxels, generator=generator) < 0.7)
    target.view(-1)[:3] = torch.arange(3)
    weight.view(-1)[:3] = 1
    return logits, target, weight


def other(seed):
    """Other logits than those of ``seed``."""
    return draw(seed + 1)[0]


def sure_of(target):
    """Logits that are certain of ``target``."""
    return torch.nn.functional.one_hot(target.clamp_min(0), 3).movedim(-1, 1) * 60.0


@HARD
@settings(max_examples=20)
@given(seed=SEEDS)
def test_a_hard_loss_is_zero_where_the_answer_is_right_and_positive_elsewhere(loss, seed):
    logits, target, weight = draw(seed)
    assert float(loss(sure_of(target), target, weight)) == pytest.approx(0, abs=1e-5)
    assert float(loss(logits, target, weight)) > 1e-3
    assert float(loss(sure_of((target + 1) % 3), target, weight)) > 0.5


@HARD
@settings(max_examples=20)
@given(seed=SEEDS)
def test_what_is_unknown_or_weighs_nothing_has_no_influence(loss, seed):
    logits, target, weight = draw(seed)
    silent = (target == IGNORE) | (weight == 0)
    given = logits.clone().requires_grad_()
    value = loss(given, target, weight)
    value.backward()
    moved = torch.where(silent[:, None], other(seed) * 9, logits)
    assert float(loss(moved, target, weight)) == pytest.approx(float(value.detach()), rel=1e-5)
    by_voxel = given.grad.abs().sum(1)
    assert not by_voxel[silent].any()
    assert (by_voxel[~silent & (target > 0)] > 0).all()


@HARD
def test_a_hard_loss_is_nothing_without_a_known_voxel_and_has_a_gradient_all_the_same(loss):
    logits, target, weight = draw(0)
    logits.requires_grad_()
    for silent in (loss(logits, torch.full_like(target, IGNORE), weight), loss(logits, target, weight * 0)):
        assert float(silent.detach()) == 0
        (gradient,) = torch.autograd.grad(silent, logits)
        assert not gradient.any()


@HARD
def test_a_step_against_the_gradient_makes_a_hard_loss_smaller(loss):
    logits, target, weight = draw(1)
    logits.requires_grad_()
    before = loss(logits, target, weight)
    (gradient,) = torch.autograd.grad(before, logits)
    assert loss(logits - 0.1 * gradient / gradient.norm(), target, weight) < before


@settings(max_examples=20)
@given(seed=SEEDS, factor=st.floats(0.1, 10))
def test_the_mean_does_not_depend_on_the_unit_of_the_weights(seed, factor):
    logits, target, weight = draw(seed)
    probabilities = soften(other(seed), 2.0)
    for loss in (
        lambda w: cross_entropy(logits, target, w),
        lambda w: distillation(logits, probabilities, 2.0, w),
        lambda w: soft_dice(logits, target, w),
    ):
        assert float(loss(weight * factor)) == pytest.approx(float(loss(weight)), rel=1e-3)


def test_cross_entropy_is_the_one_of_torch_where_all_weigh_alike():
    logits, target, _ = draw(2)
    for balance in (None, BALANCE):
        mine = cross_entropy(logits, target, torch.ones(target.shape), balance)
        theirs = torch.nn.functional.cross_entropy(logits, target, weight=balance, ignore_index=IGNORE)
        assert float(mine) == pytest.approx(float(theirs), rel=1e-5)


def test_soft_dice_counts_only_the_organs_that_are_there():
    target = torch.zeros(1, 2, 2, 2, dtype=torch.long)
    target[0, 0] = 1
    half = torch.zeros(1, 3, 2, 2, 2)
    half[:, 2] = -60.0  # organ 2 is neither there nor guessed: p = ½, ½, 0 everywhere
    # 2Σpy / Σ(p + y) = 2·4·½ / (8·½ + 4) = ½
    assert float(soft_dice(half, target, torch.ones(1, 2, 2, 2))) == pytest.approx(0.5, abs=1e-4)
    assert float(soft_dice(half, target * 0, torch.ones(1, 2, 2, 2))) == 0


@settings(max_examples=20)
@given(seed=SEEDS, temperature=st.floats(0.5, 5))
def test_distillation_is_zero_between_equals_and_positive_otherwise(seed, temperature):
    logits, _, weight = draw(seed)
    same = distillation(logits, soften(logits, temperature), temperature, weight)
    assert float(same) == pytest.approx(0, abs=1e-5)
    assert float(distillation(logits, soften(other(seed), temperature), temperature, weight)) > 1e-3


@settings(max_examples=20)
@given(seed=SEEDS)
def test_distillation_moves_the_student_alone_and_only_where_it_weighs(seed):
    logits, _, weight = draw(seed)
    student, teacher = logits.clone().requires_grad_(), other(seed).requires_grad_()
    value = distillation(student, soften(teacher, 2.0), 2.0, weight)
    value.backward()
    by_voxel = student.grad.abs().sum(1)
    assert teacher.grad is None
    assert not by_voxel[weight == 0].any()
    assert (by_voxel[weight > 1e-3] > 0).all()
    moved = torch.where((weight == 0)[:, None], other(seed) * 9, logits)
    assert float(distillation(moved, soften(teacher, 2.0), 2.0, weight)) == pytest.approx(
        float(value.detach()), rel=1e-5
    )


def test_distillation_is_the_equation_of_hinton():
    logits, _, weight = draw(3)
    teacher, student = soften(other(3), 3.0), soften(logits, 3.0)
    by_voxel = (teacher * (teacher / student).log()).sum(1)
    expected = 9 * (weight * by_voxel).sum() / weight.sum()
    assert float(distillation(logits, teacher, 3.0, weight)) == pytest.approx(float(expected), rel=1e-4)


def test_distillation_is_nothing_where_nothing_weighs():
    logits, _, weight = draw(5)
    assert float(distillation(logits, soften(-logits, 2.0), 2.0, weight * 0)) == 0


def test_a_higher_temperature_softens():
    answers = [soften(torch.tensor([[3.0, 0.0, -1.0]]), temperature)[0] for temperature in (0.5, 1.0, 4.0)]
    assert all(float(answer.sum()) == pytest.approx(1) for answer in answers)
    assert float(answers[0][0]) > float(answers[1][0]) > float(answers[2][0]) > 1 / 3
