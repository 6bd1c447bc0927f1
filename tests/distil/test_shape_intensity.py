"""Shape and intensity: class-mean images, and whom the features pull."""

import numpy as np
import pytest
import torch

from napari_medaka_kd.distil.strategies.shape_intensity import (
    ShapeIntensityLoss,
    ShapeLoss,
    class_mean,
    class_means,
)
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.unet import UNet
from napari_medaka_kd.settings import AugmentSettings, ShapeIntensitySettings

ONES = torch.ones(3)


def values(loss, batch):
    with torch.no_grad():
        return {name: float(term) for name, term in loss(batch).items()}


def first_batch(toy, **more):
    return next(toy.diet(unlabelled=0, **more).batches()(0))


def means_of(toy):
    return torch.stack([class_means(toy.source(seed), toy.SCHEMA.classes) for seed in (1, 2)])


def loss_of(toy, **knobs):
    student = build(toy.FLAT, toy.SCHEMA.classes, seed=1)
    teacher = UNet(2, 4, toy.SCHEMA.classes, toy.FLAT.widths, skips=False).requires_grad_(requires_grad=False)
    return ShapeIntensityLoss(student, teacher, means_of(toy), ONES, ShapeIntensitySettings(**knobs))


def test_class_means_are_those_of_the_whole_animal(toy):
    np.testing.assert_allclose(means_of(toy), [[0.1, 0.5, 0.9]] * 2, atol=0.01)


def test_an_absent_class_has_mean_zero(toy):
    assert class_means(toy.source(1), 5)[3:].tolist() == [0, 0]


@pytest.mark.parametrize("augment", ["still", "bent", "pasted"])
def test_a_class_mean_image_has_as_many_shades_as_classes_and_keeps_the_coordinates(toy, augment):
    kinds = {"still": toy.STILL, "bent": AugmentSettings(), "pasted": AugmentSettings(cutmix=1.0)}
    batch = first_batch(toy, augment=kinds[augment])
    table = torch.tensor([[0.0, 1.0, 2.0], [10.0, 11.0, 12.0]])
    image = class_mean(batch, table)
    assert image.shape == batch.image.shape
    torch.testing.assert_close(image[:, 1:], batch.image[:, 1:])
    torch.testing.assert_close(image[:, 0] % 10, batch.target.clamp_min(0).float())
    donors = torch.where(
        batch.pasted[:, 0], batch.animal[batch.donor][:, None, None, None], batch.animal[:, None, None, None]
    )
    torch.testing.assert_close(image[:, 0] // 10, donors.float())


def test_the_features_pull_the_student_and_not_the_teacher(toy):
    loss = loss_of(toy)
    terms = loss(first_batch(toy))
    assert tuple(terms) == ("cross-entropy", "Dice", "features")
    terms["features"].backward()
    body = [p for name, p in loss.student.named_parameters() if not name.startswith("head")]
    assert all(float(p.grad.abs().max()) > 0 for p in body)
    assert all(p.grad is None for p in loss.teacher.parameters())


def test_the_term_is_scaled_by_its_weight_and_gone_without(toy):
    batch = first_batch(toy)
    once = loss_of(toy, feature_weight=1.0)
    thrice = ShapeIntensityLoss(once.student, once.teacher, once.means, ONES, ShapeIntensitySettings(feature_weight=3))
    once.student.eval()
    assert values(thrice, batch)["features"] == pytest.approx(3 * values(once, batch)["features"], rel=1e-5)
    assert tuple(loss_of(toy, feature_weight=0)(batch)) == ("cross-entropy", "Dice")


def test_the_shape_teacher_sees_no_scan(toy):
    """Its loss is the same whatever the intensities are."""
    teacher = UNet(2, 4, toy.SCHEMA.classes, toy.FLAT.widths, skips=False).eval()
    loss = ShapeLoss(teacher, means_of(toy), ONES, raw=False)
    plain, other = first_batch(toy, augment=toy.STILL), first_batch(toy, augment=toy.STILL)
    other.image[:, 0] *= 7
    assert values(loss, plain) == values(loss, other)
    seen = ShapeLoss(teacher, means_of(toy), ONES, raw=True)
    assert values(seen, plain) != values(seen, other)
