"""Augmentation: nothing where nothing is asked for, labels and image together, boxes whole."""

import numpy as np
import pytest
import torch

from napari_medaka_kd.distil import augment
from napari_medaka_kd.distil.losses import IGNORE
from napari_medaka_kd.distil.stage import Batch
from napari_medaka_kd.settings import AugmentSettings

STILL = AugmentSettings(rotation=0, scaling=0, gamma=0, contrast=0, brightness=0, noise=0, blur=0, cutmix=0)
FLAT, DEEP = (1, 16, 20), (8, 12, 10)
BOTH = pytest.mark.parametrize("patch", [FLAT, DEEP])
ROWS = 4


def rows(patch):
    """(image of two channels, of which the second tells the target; target; weight)."""
    rng = np.random.default_rng(0)
    target = torch.from_numpy(rng.integers(0, 3, (ROWS, *patch)))
    image = torch.stack((torch.from_numpy(rng.random(target.shape)).float(), target.float()), dim=1)
    return image, target, (target + 1) / 3.0


def bend(patch, **settings):
    return augment.draw(STILL.model_copy(update=settings), ROWS, patch, np.random.default_rng(5))


@BOTH
def test_what_is_turned_off_leaves_a_patch_as_it_is(patch):
    image, target, weight = rows(patch)
    still = bend(patch)
    moved, carried, weighed = augment.bend_space(image, target, weight, still)
    torch.testing.assert_close(moved, image, atol=1e-5, rtol=0)
    assert torch.equal(carried, target)
    assert torch.equal(weighed, weight)
    torch.testing.assert_close(augment.bend_intensity(image, still), image, atol=1e-5, rtol=0)
    _, pasted = augment.draw_paste(ROWS, 2, 0.0, patch, np.random.default_rng(1))
    assert not pasted.any()


@BOTH
def test_a_mirrored_patch_is_mirrored_in_image_target_and_weight(patch):
    image, target, weight = rows(patch)
    bent = bend(patch, flips=(True, True, True))
    moved, carried, weighed = augment.bend_space(image, target, weight, bent)
    for row in range(ROWS):
        axes = [axis for axis in range(3) if bent.matrices[row, 2 - axis, 2 - axis] < 0]
        assert 0 not in axes or patch[0] > 1
        assert torch.equal(carried[row], target[row].flip(axes))
        assert torch.equal(weighed[row], weight[row].flip(axes))
        torch.testing.assert_close(moved[row], image[row].flip([axis + 1 for axis in axes]), atol=1e-5, rtol=0)
    assert len({tuple(matrix.flatten().tolist()) for matrix in bent.matrices}) > 1


@BOTH
def test_a_turned_target_stays_on_its_image(patch):
    """A large ball of class 2 around the middle: where it is turned to, the image is bright."""
    axes = [torch.linspace(-1, 1, side) if side > 1 else torch.zeros(1) for side in patch]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    target = (((z / 0.9) ** 2 + (y - 0.2) ** 2 / 0.16 + (x / 0.8) ** 2 < 1).long() * 2).expand(ROWS, *patch)
    image = target[:, None].float()
    bent = bend(patch, rotation=30, scaling=0.2)
    moved, carried, weighed = augment.bend_space(image, target, torch.ones(target.shape), bent)
    known = carried != IGNORE
    assert torch.equal(known, weighed > 0)
    assert not torch.equal(carried, target)
    assert float((moved[:, 0] - carried)[known].abs().mean()) < 0.12


@BOTH
def test_what_comes_from_outside_the_patch_is_unknown(patch):
    image, target, weight = rows(patch)
    bent = bend(patch, scaling=0.9)
    assert (bent.matrices[:, 0, 0] > 1).any()
    moved, carried, weighed = augment.bend_space(image, target, weight, bent)
    assert (carried == IGNORE).any()
    assert not weighed[carried == IGNORE].any()
    assert torch.isfinite(moved).all()
    assert set(carried.unique().tolist()) <= {IGNORE, 0, 1, 2}


def test_a_slice_is_never_turned_out_of_its_plane():
    matrices = bend(FLAT, rotation=180, scaling=0.5, flips=(True, True, True)).matrices
    assert torch.equal(matrices[:, 2], torch.tensor([0.0, 0.0, 1.0]).expand(ROWS, 3))
    assert not matrices[:, :2, 2].any()


@BOTH
def test_a_turn_keeps_distances_in_voxels(patch):
    sides = torch.tensor(patch[::-1], dtype=torch.float32)
    for matrix in bend(patch, rotation=90).matrices:
        in_voxels = matrix * sides[:, None] / sides[None, :]
        torch.testing.assert_close(in_voxels @ in_voxels.T, torch.eye(3), atol=1e-5, rtol=0)


@BOTH
def test_intensities_are_bent_and_coordinates_are_not(patch):
    image, _, _ = rows(patch)
    for setting in ("gamma", "contrast", "brightness", "noise", "blur"):
        bent = augment.bend_intensity(image, bend(patch, **{setting: 0.5}))
        assert float((bent[:, 0] - image[:, 0]).abs().max()) > 0.01, setting
        assert torch.equal(bent[:, 1:], image[:, 1:])
        assert torch.isfinite(bent).all()


def test_a_patch_without_contrast_stays_finite():
    flat = torch.zeros(ROWS, 1, *DEEP)
    assert torch.isfinite(augment.bend_intensity(flat, bend(DEEP, gamma=1, contrast=1, blur=2))).all()


def test_blurring_keeps_the_mean_and_lowers_the_spread():
    image, _, _ = rows(DEEP)
    bent = bend(DEEP, blur=2.0)
    smooth = augment.bend_intensity(image[:, :1], bent)
    for row in range(ROWS):
        if bent.blur[row] > 0.3:
            assert smooth[row].std() < image[row, 0].std()
            assert float(smooth[row].mean()) == pytest.approx(float(image[row, 0].mean()), abs=0.05)
        elif bent.blur[row] == 0:
            torch.testing.assert_close(smooth[row, 0], image[row, 0], atol=1e-5, rtol=0)
    assert (bent.blur > 0.3).any()
    assert (bent.blur == 0).any()


@BOTH
def test_boxes_are_pasted_among_labelled_and_among_unlabelled_rows(patch):
    donor, pasted = augment.draw_paste(8, 3, 1.0, patch, np.random.default_rng(2))
    assert sorted(donor[:3].tolist()) == [0, 1, 2]
    assert sorted(donor[3:].tolist()) == [3, 4, 5, 6, 7]
    for row in range(8):
        sides = [pasted[row, 0].any(dim=[other for other in range(3) if other != axis]) for axis in range(3)]
        box = torch.einsum("z,y,x->zyx", *(side.float() for side in sides)) > 0
        assert torch.equal(pasted[row, 0], box)
        assert 0 < float(box.float().mean()) < 0.8


def test_the_share_of_rows_that_get_a_box_is_the_one_asked_for():
    rng = np.random.default_rng(3)
    hit = [augment.draw_paste(10, 5, 0.3, FLAT, rng)[1].flatten(1).any(1).float().mean() for _ in range(60)]
    assert float(torch.stack(hit).mean()) == pytest.approx(0.3, abs=0.06)


def test_answers_are_mixed_as_the_image_was():
    generator = torch.Generator().manual_seed(0)
    clean, answers = torch.rand(4, 1, 1, 6, 6, generator=generator), torch.rand(4, 3, 1, 6, 6, generator=generator)
    donor, pasted = augment.draw_paste(4, 2, 1.0, (1, 6, 6), np.random.default_rng(0))
    empty = torch.zeros(4, 1, 6, 6)
    batch = Batch(0, 2, torch.where(pasted, clean[donor], clean), empty.long(), empty, clean, donor, pasted, donor)
    torch.testing.assert_close(batch.mixed(clean), batch.image, atol=0, rtol=0)
    mixed = batch.mixed(answers)
    hole = pasted.expand_as(answers)
    assert torch.equal(mixed[hole], answers[donor][hole])
    assert torch.equal(mixed[~hole], answers[~hole])
