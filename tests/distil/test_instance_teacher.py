"""A mean teacher of things that overlap: what is asked for, whom the terms pull, that it learns, that it resumes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_medaka_kd.distil.guidance import Adapter
from napari_medaka_kd.distil.instance_batches import InstanceDiet, InstanceSource
from napari_medaka_kd.distil.instance_loss import Things, focal, heat, near_centres, things_of
from napari_medaka_kd.distil.instance_teacher import InstanceLoss, InstancePupil, teach_instances
from napari_medaka_kd.distil.losses import IGNORE
from napari_medaka_kd.distil.views import Views
from napari_medaka_kd.instance_scores import aggregated_jaccard
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.build import in_channels
from napari_medaka_kd.networks.instances import InstanceNetwork
from napari_medaka_kd.networks.unet import UNet
from napari_medaka_kd.segment.instances import find_instances
from napari_medaka_kd.settings import AugmentSettings, MeanTeacherSettings, NetworkSettings, PatchSettings
from napari_medaka_kd.volumes.body import Body
from napari_medaka_kd.volumes.instances import from_layers
from napari_medaka_kd.volumes.volume import Volume, whole

LOOKS = {
    2: NetworkSettings(dimensions=2, widths=(8, 12), coordinates=False),
    3: NetworkSettings(dimensions=3, widths=(4, 6), coordinates=False),
}
STILL = AugmentSettings(rotation=0, scaling=0, gamma=0, contrast=0, brightness=0, noise=0, blur=0)
EASY = AugmentSettings(flips=(False, True, True), rotation=0, scaling=0, gamma=0.1, contrast=0, noise=0.02, blur=0)


def discs(seed, dimensions=2, count=3):
    """A scan of discs (balls) of radius 4 that may lie over each other, and a layer for each."""
    rng = np.random.default_rng(seed)
    shape = (1, 32, 32) if dimensions == 2 else (16, 16, 16)
    grid = np.indices(shape)
    middles = [[rng.uniform(4, side - 4) if side > 1 else 0 for side in shape] for _ in range(count)]
    masks = [sum((axis - m) ** 2 for axis, m in zip(grid, middle, strict=True)) < 16 for middle in middles]
    scan = sum((0.4 * mask for mask in masks), rng.normal(0, 0.02, shape)).astype(np.float32)
    layers = tuple(np.where(mask, number, 0).astype(np.uint8) for number, mask in enumerate(masks, start=1))
    return InstanceSource(f"scan{seed}", Volume((scan,), (1.0, 1.0, 1.0)), Body(whole(shape), (0.0, 1.0)), layers)


def diet(dimensions=2, augment=EASY, unlabelled=True, patch=None):
    patch = patch or ((1, 24, 24) if dimensions == 2 else (12, 12, 12))
    silent = tuple(discs(seed, dimensions) for seed in (11, 12)) if unlabelled else ()
    return InstanceDiet(
        tuple(discs(seed, dimensions) for seed in range(4)),
        silent,
        2,
        PatchSettings(patch=patch, batch=3),
        augment,
        LOOKS[dimensions],
        5,
    )


def network(dimensions=2, seed=0):
    looks = LOOKS[dimensions]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return InstanceNetwork(UNet(dimensions, in_channels(looks), 1, looks.widths), 5)


def loss_of(dimensions, **knobs):
    teacher = network(dimensions, 1).requires_grad_(requires_grad=False)
    torch.nn.init.constant_(teacher.backbone.head.bias, 1.0)  # so that it proposes something,
    torch.nn.init.constant_(teacher.controller.bias[-1], 1.0)  # and not nothing but empty masks
    strategy = MeanTeacherSettings(views=2, rise=0, fall=0, **knobs)
    return InstanceLoss(InstancePupil(network(dimensions)), teacher, strategy, Views(EASY, 2, 0), 10)


# ---- what is asked for


def test_things_that_overlap_are_asked_for_whole_and_slivers_not():
    layers = torch.zeros(2, 1, 8, 8, dtype=torch.long)
    layers[0, :, :4, :4], layers[1, :, 2:6, 2:6], layers[0, :, 7, 7] = 3, 8, 5
    things = things_of(layers)
    assert things.masks.flatten(1).sum(1).tolist() == [16, 16]
    assert bool((things.masks[0] & things.masks[1]).any())
    assert all(bool(mask[tuple(centre)]) for mask, centre in zip(things.masks, things.centres, strict=True))
    warm = heat(things)
    assert [float(warm[tuple(centre)]) for centre in things.centres] == [1, 1]
    assert float(heat(Things(torch.zeros(0, 1, 4, 4, dtype=torch.bool), torch.zeros(0, 3))).max()) == 0


def test_masks_are_made_near_centres_and_inside():
    things = things_of(torch.from_numpy(np.stack(discs(0).layers).astype(np.int64)))
    for seed in range(5):
        near = near_centres(things, torch.Generator().manual_seed(seed))
        for mask, place, centre in zip(things.masks, near, things.centres, strict=True):
            assert bool(mask[tuple(place)])
            assert float((place - centre).float().norm()) <= 2


def test_the_focal_loss_is_nothing_for_right_centres_and_counts_no_unknown_voxel():
    wanted = torch.zeros(1, 1, 3, 3)
    wanted[..., 1, 1] = 1
    known = torch.ones_like(wanted, dtype=torch.bool)
    right = torch.where(wanted > 0, 20.0, -20.0)
    assert float(focal(right, wanted, known)) < 1e-6
    assert float(focal(-right, wanted, known)) > 10
    assert float(focal(-right, wanted, ~known)) == 0


# ---- batches


@pytest.mark.parametrize("dimensions", [2, 3])
def test_batches_follow_from_seed_and_step_and_hold_the_layers(dimensions):
    made = diet(dimensions, AugmentSettings())
    one, two = next(made.batches()(3)), next(made.batches()(3))
    other = next(made.batches()(4))
    assert one.step == 3
    assert torch.equal(one.image, two.image)
    assert torch.equal(one.layers, two.layers)
    assert not torch.equal(one.image, other.image)
    assert torch.equal((one.layers > 0).any(1) & (one.target != IGNORE), one.target == 1)
    assert not one.layers[one.labelled :].any() or one.layers.shape[1] == 3


def test_a_patch_larger_than_the_scan_is_filled_up_and_the_filling_is_unknown():
    batch = next(diet(2, STILL, patch=(1, 40, 40)).batches()(0))
    known = batch.target[:, 0] != IGNORE
    assert known[:, :32, :32].all()
    assert int(known.sum()) == len(known) * 32 * 32


def test_patches_are_drawn_about_things_as_often_as_asked():
    source = discs(1)
    layer = np.zeros((1, 200, 200), np.uint8)
    layer[0, 150:154, 20:24] = 1
    wide = Volume((layer.astype(np.float32),), (1.0, 1.0, 1.0))
    rare = replace(source, image=wide, layers=(layer,), middles=np.array([[0, 152, 22]]))
    for share, low, high in ((1.0, 40, 40), (0.0, 0, 12)):
        made = replace(
            diet(unlabelled=False),
            labelled=(rare,),
            patches=PatchSettings(patch=(1, 24, 24), batch=40, foreground=share),
        )
        seen = next(made.batches()(0)).layers[:40].flatten(1).any(dim=1).sum()
        assert low <= int(seen) <= high


# ---- terms


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("term", ["mining", "features"])
def test_each_term_pulls_the_student_and_not_the_teacher(dimensions, term):
    loss = loss_of(dimensions)
    terms = loss(next(diet(dimensions).batches()(5)))
    assert tuple(terms) == ("centres", "masks", "mining", "features")
    terms[term].backward()
    body = [p for name, p in loss.pupil.student.backbone.named_parameters() if not name.startswith("head")]
    assert all(float(p.grad.abs().max()) > 0 for p in body)
    assert all(p.grad is None for p in loss.teacher.parameters())


def test_the_supervised_arm_asks_no_teacher():
    assert tuple(loss_of(2, weight=0)(next(diet().batches()(0)))) == ("centres", "masks")


# ---- learning


def test_it_learns_to_tell_discs_apart_that_lie_over_each_other(tmp_path, toy):
    student = network()
    strategy = MeanTeacherSettings(views=2, weight=0.5, feature_weight=0.1)
    drain(teach_instances(student, diet(), strategy, toy.run(tmp_path, 150, 1000)))
    scores = []
    for seed in (30, 31, 32):
        source = discs(seed)
        found = drain(find_instances(student, LOOKS[2], source.image, source.body))
        scores.append(aggregated_jaccard(from_layers(source.layers), found))
    assert np.mean(scores) > 0.5


def test_stopped_after_any_step_it_ends_in_the_same_bits(tmp_path, toy):
    strategy = MeanTeacherSettings(views=2)
    undisturbed = network()
    drain(teach_instances(undisturbed, diet(), strategy, toy.run(tmp_path / "one", 4, 100)))
    for stop in range(1, 4):
        for last in (stop, None):
            student = network()
            job = teach_instances(student, diet(), strategy, toy.run(tmp_path / str(stop), 4, 1))
            for progress in job:
                if progress.done == last:
                    job.close()
                    break
        assert toy.alike(student, undisturbed)
    assert not any(isinstance(module, Adapter) for module in undisturbed.modules())


# ---- tiles


@pytest.mark.parametrize("dimensions", [2, 3])
def test_tiles_leave_no_seams(dimensions):
    """An untrained network that proposes much finds the same things however the scan is cut."""
    net, source = network(dimensions).eval(), discs(1, dimensions)
    torch.nn.init.constant_(net.backbone.head.bias, 1.0)
    cores = [(64, 64, 64), (4, 8, 8), (2, 6, 10)]
    found = [drain(find_instances(net, LOOKS[dimensions], source.image, source.body, core)) for core in cores]
    assert len(found[0]) > 3
    for other in found[1:]:
        assert [each.box for each in other] == [each.box for each in found[0]]
        for mine, theirs in zip(found[0], other, strict=True):
            assert mine.score == pytest.approx(theirs.score, abs=1e-5)
            assert np.mean(mine.mask == theirs.mask) > 0.99
