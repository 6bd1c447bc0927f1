"""One labelled atlas: what the student and the teacher are shown, and whom the hint pulls."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_medaka_kd.distil.atlas.synthetic import on_the_scan
from napari_medaka_kd.distil.batches import Diet
from napari_medaka_kd.distil.strategies.reconstruction import ReconstructionLoss, hint
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.unet import UNet
from napari_medaka_kd.settings import AugmentSettings, ReconstructionSettings
from napari_medaka_kd.volumes.volume import Volume

ONES = torch.ones(3)


def imitations(toy):
    """Animals 1 and 2 as imitations of animals that are twice as bright."""

    def twin(source):
        return replace(source, image=Volume((2 * source.image.read(),), source.image.voxel_size))

    return tuple(replace(source, twin=twin(source)) for source in (toy.source(1), toy.source(2)))


def first_batch(toy, looks=None, augment=None, sources=None):
    looks = looks or toy.FLAT
    bend = augment or AugmentSettings()
    made = imitations(toy) if sources is None else sources
    return next(Diet((toy.source(1),), made, 2, toy.patches(looks), bend, looks, 0).batches()(0))


def loss_of(toy, looks=None, **knobs):
    looks = looks or toy.FLAT
    student = build(looks, toy.SCHEMA.classes, seed=1)
    teacher = UNet(looks.dimensions, 4, 1, looks.widths)
    return ReconstructionLoss(student, teacher, ONES, ReconstructionSettings(**knobs))


@pytest.mark.parametrize("looks", ["FLAT", "DEEP"])
def test_a_twin_is_shown_in_the_geometry_of_its_imitation(toy, looks):
    still = toy.STILL.model_copy(update={"rotation": 20.0})
    batch = first_batch(toy, getattr(toy, looks), still)
    assert batch.twin.shape == batch.clean.shape
    torch.testing.assert_close(batch.twin[:3], batch.clean[:3])  # the atlas reconstructs itself
    low = batch.clean[3:, :1] < 0.1  # where no brighter voxel, clipped when doubled, was mixed in
    torch.testing.assert_close(batch.twin[3:, :1][low], 2 * batch.clean[3:, :1][low], atol=0.02, rtol=0)
    torch.testing.assert_close(batch.twin[3:, 1:], batch.clean[3:, 1:])


def test_where_nothing_is_imitated_there_is_no_twin(toy):
    assert first_batch(toy, sources=(toy.source(2),)).twin is None


def test_a_twin_comes_with_its_imitation_wherever_both_are_read_from(toy):
    kept = first_batch(toy, augment=toy.STILL)
    moved = kept.to(torch.device("cpu"))
    assert torch.equal(moved.twin, kept.twin)


@pytest.mark.parametrize("looks", ["FLAT", "DEEP"])
def test_the_hint_pulls_the_student_and_not_the_teacher(toy, looks):
    loss = loss_of(toy, getattr(toy, looks))
    terms = loss(first_batch(toy, getattr(toy, looks)))
    assert tuple(terms) == ("cross-entropy", "Dice", "reconstruction", "hint")
    terms["hint"].backward()
    body = [p for name, p in loss.student.named_parameters() if not name.startswith("head")]
    assert all(float(p.grad.abs().max()) > 0 for p in body)
    assert all(p.grad is None for p in loss.teacher.parameters())


def test_the_reconstruction_teaches_the_teacher_alone(toy):
    loss = loss_of(toy)
    loss(first_batch(toy))["reconstruction"].backward()
    assert all(float(p.grad.abs().max()) > 0 for p in loss.teacher.parameters())
    assert all(p.grad is None for p in loss.student.parameters())


def test_a_hint_is_nothing_for_like_features_and_one_a_level_for_unlike_ones():
    one, other = torch.zeros(2, 3, 1, 2, 2), torch.zeros(2, 3, 1, 2, 2)
    one[:, 0], other[:, 1] = 1, 1
    assert float(hint((one, one), (3 * one, 5 * one))) == pytest.approx(0, abs=1e-6)
    assert float(hint((one, one), (other, other))) == pytest.approx(2)
    assert float(hint((one,), (-one,))) == pytest.approx(2)


def test_terms_are_scaled_by_their_weights_and_gone_without_a_teacher(toy):
    batch = first_batch(toy)
    once = replace(loss_of(toy), settings=ReconstructionSettings(hint_weight=1, reconstruction_weight=1))
    more = replace(once, settings=ReconstructionSettings(hint_weight=3, reconstruction_weight=5))
    with torch.no_grad():
        plain, weighed = once(batch), more(batch)
    for term, factor in (("hint", 3), ("reconstruction", 5), ("Dice", 1)):
        assert float(weighed[term]) == pytest.approx(factor * float(plain[term]), rel=1e-4)
    assert tuple(replace(once, teacher=None)(batch)) == ("cross-entropy", "Dice")


def test_what_is_pasted_into_the_student_is_pasted_into_the_teacher(toy):
    cut = toy.STILL.model_copy(update={"cutmix": 1.0})
    seen = []

    class Teacher(UNet):
        def with_levels(self, image):
            seen.append(image)
            return super().with_levels(image)

    batch = first_batch(toy, augment=cut)
    loss = replace(loss_of(toy), teacher=Teacher(2, 4, 1, toy.FLAT.widths))
    loss(batch)
    torch.testing.assert_close(seen[0], torch.where(batch.pasted, batch.twin[batch.donor], batch.twin))


@pytest.mark.parametrize(
    "knobs",
    [{"synthetic": 0, "hint_weight": 0.0}, {"warps": "random"}, {"hint_weight": 0.0}, {"seen": "scan"}, {}],
    ids=["atlas alone", "random deformations", "pairs without distillation", "on the scan itself", "with it"],
)
def test_every_arm_of_the_comparison_can_be_played(toy, tmp_path, knobs):
    strategy = toy.STUDIES["reconstruction"].model_copy(update=knobs)
    _, job = toy.study(strategy, tmp_path, 2, 100)
    doing = []
    drain(job, lambda progress: doing.append((progress.doing, tuple(progress.values))))
    terms = doing[-1][1]
    assert ("student hint" in terms) == (strategy.hint_weight > 0)
    registered = strategy.synthetic > 0 and strategy.warps == "registered"
    assert ("registration" in {name for name, _ in doing}) == registered


def test_on_the_scan_itself_the_warped_labels_lie_on_what_is_scanned(toy):
    pair = replace(toy.source(1), twin=toy.source(2))
    seen = on_the_scan(pair)
    assert (seen.image, seen.body, seen.twin) == (pair.twin.image, pair.twin.body, None)
    assert seen.labels is pair.labels


def test_several_labelled_animals_and_no_atlas_named_is_refused_in_a_sentence(toy, tmp_path):
    strategy = toy.STUDIES["reconstruction"].model_copy(update={"atlas": ""})
    with pytest.raises(UserError, match="Several animals have labels: fish1, fish2"):
        drain(toy.study(strategy, tmp_path, 2, 100)[1])


@pytest.mark.parametrize("looks", ["FLAT", "DEEP"])
def test_levels_are_the_features_that_the_decoder_makes(toy, looks):
    chosen = getattr(toy, looks).model_copy(update={"widths": (4, 6, 8)})
    network = build(chosen, 3, seed=2).eval()
    image = torch.from_numpy(np.random.default_rng(0).random((2, 4, 4, 8, 8), np.float32))
    with torch.inference_mode():
        logits, levels = network.with_levels(image)
        plain, last = network.with_features(image)
    torch.testing.assert_close(logits, plain)
    torch.testing.assert_close(levels[0], last)
    depth = 2 if chosen.dimensions == 3 else 4
    assert [tuple(level.shape) for level in levels] == [(2, 4, 4, 8, 8), (2, 6, depth, 4, 4)]
