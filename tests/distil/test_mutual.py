"""Mutual distillation: who is moved by what, whom it leaves alone, and what its knobs take away."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

from napari_medaka_kd.distil.batches import side_by_side
from napari_medaka_kd.distil.lesson import Lesson
from napari_medaka_kd.distil.metrics import FILE, read_metrics
from napari_medaka_kd.distil.run import distil
from napari_medaka_kd.distil.strategies.mutual import ASSISTANT, Mutual, begin
from napari_medaka_kd.distil.views import Views
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.align import judges, translators
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.unet import Ensemble
from napari_medaka_kd.settings import AugmentSettings, DistilSettings, MutualSettings
from napari_medaka_kd.volumes.volume import Volume

ONES = torch.ones(3)
NETWORKS = ("real", "synthetic", "translators", "judges")


def batch_of(toy, looks, **more):
    """Two labelled target rows and two unlabelled ones, and an assistant's rows beside them."""
    main = toy.diet(looks, **more)
    helping = replace(main, labelled=(toy.source(3, modality="dull"),), unlabelled=(), unlabelled_rows=0, seed=5)
    return next(side_by_side(main, **{ASSISTANT: helping})(3))


def learning(toy, looks, augment=None, **knobs):
    """Five fresh networks, the translators far enough from the identity that something is left to be learned."""
    made = Mutual(
        build(looks, 3, seed=1),
        build(looks, 3, seed=2),
        translators(looks.dimensions, 4, seed=3),
        judges(looks.dimensions, 4, seed=4),
        (ONES, ONES),
        Views(augment or toy.STILL, count=1, seed=5),
        MutualSettings(**knobs),
        steps=10,
    )
    with torch.no_grad():
        for name, weights in made.translators.named_parameters():
            weights.add_(0.3 if name.endswith("head.bias") else 0)
    return made


def moved(made, term):
    """The names of the networks that ``term`` has a gradient in; nobody has one from before."""
    for name in NETWORKS:
        getattr(made, name).zero_grad(set_to_none=True)
    term.backward(retain_graph=True)
    grads = {name: [p.grad for p in getattr(made, name).parameters() if p.grad is not None] for name in NETWORKS}
    return {name for name, found in grads.items() if any(bool(grad.abs().max() > 0) for grad in found)}


def statistics(network):
    return {name: value.clone() for name, value in network.named_buffers()}


@pytest.mark.parametrize("looks", ["FLAT", "DEEP"])
def test_each_learner_moves_its_own_networks_and_no_other(toy, looks):
    looks = getattr(toy, looks)
    batch, made = batch_of(toy, looks), learning(toy, looks)
    kinds = {"translators": "translators", "judges": "judges", "synthetic": "synthetic", "student": "real"}
    learners = {learner.name: learner for learner in made.learners()}
    assert tuple(learners) == ("translators", "judges", "synthetic", "student")
    for name, learner in learners.items():
        for said, term in learner.losses(batch).items():
            assert moved(made, term) == {kinds[name]}, (name, said)


def test_the_adversarial_term_and_the_cycle_pull_both_translators(toy):
    batch, made = batch_of(toy, toy.FLAT), learning(toy, toy.FLAT)
    for name in ("adversarial", "cycle"):
        made.translators.zero_grad(set_to_none=True)
        made.translation(batch)[name].backward()
        for translator in (made.translators.target, made.translators.assistant):
            assert all(float(p.grad.abs().max()) > 0 for p in translator.parameters())


def test_what_the_synthetic_segmentor_learns_reaches_the_translator_to_the_target_alone(toy):
    batch, made = batch_of(toy, toy.FLAT), learning(toy, toy.FLAT)
    made.translation(batch)["feedback"].backward()
    assert all(float(p.grad.abs().max()) > 0 for p in made.translators.target.parameters())
    assert all(p.grad is None for p in made.translators.assistant.parameters())


@pytest.mark.parametrize("learner", ["on_target", "on_translations"])
def test_each_segmentor_is_pulled_by_the_other_whose_gradient_and_norms_stay_as_they_are(toy, learner):
    batch, made = batch_of(toy, toy.DEEP), learning(toy, toy.DEEP)
    student, teacher = (made.real, made.synthetic) if learner == "on_target" else (made.synthetic, made.real)
    before = statistics(teacher)
    getattr(made, learner)(batch)["distillation"].backward()
    assert all(float(p.grad.abs().max()) > 0 for p in student.parameters())
    assert all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(before[name], value) for name, value in teacher.named_buffers())


def test_a_translator_is_shown_the_judges_and_the_segmentor_as_they_are(toy):
    batch, made = batch_of(toy, toy.FLAT), learning(toy, toy.FLAT)
    before = statistics(made.synthetic)
    made.translation(batch)
    assert all(torch.equal(before[name], value) for name, value in made.synthetic.named_buffers())
    assert all(p.requires_grad for name in NETWORKS for p in getattr(made, name).parameters())


def test_the_distillations_come_in_with_the_ramp_and_go_with_their_weights(toy):
    batch = batch_of(toy, toy.FLAT)
    early, full = learning(toy, toy.FLAT, ramp=1.0), learning(toy, toy.FLAT, ramp=0.0)
    for name in ("on_target", "on_translations"):
        weak, strong = (getattr(made, name)(batch)["distillation"].item() for made in (early, full))
        assert weak == pytest.approx(0.4 * strong, rel=1e-4)  # the fourth of ten steps
    without = learning(toy, toy.FLAT, to_real=0, to_synthetic=0, feedback=0, cycle_weight=0)
    assert tuple(without.on_target(batch)) == tuple(without.on_translations(batch)) == ("cross-entropy", "Dice")
    assert tuple(without.translation(batch)) == ("adversarial",)


def test_unlabelled_target_scans_move_the_student_by_the_distillation_alone(toy):
    batch, made = batch_of(toy, toy.FLAT), learning(toy, toy.FLAT)
    made.real.eval()
    other = replace(batch, image=batch.image.clone())
    other.image[batch.labelled :] = 0
    one, two = ({name: term.item() for name, term in made.on_target(each).items()} for each in (batch, other))
    assert (one["cross-entropy"], one["Dice"]) == pytest.approx((two["cross-entropy"], two["Dice"]))
    assert one["distillation"] != pytest.approx(two["distillation"])


def test_without_alignment_assistant_scans_are_shown_as_they_are_and_two_learn(toy):
    batch, made = batch_of(toy, toy.FLAT), learning(toy, toy.FLAT, align=False)
    assert [learner.name for learner in made.learners()] == ["synthetic", "student"]
    assert torch.equal(made.translated(batch), batch.beside[ASSISTANT].image)


def test_a_translation_is_cut_and_pasted_as_its_labels_are_and_keeps_the_coordinates(toy):
    batch = batch_of(toy, toy.FLAT, augment=AugmentSettings(cutmix=1.0))
    assistant, made = batch.beside[ASSISTANT], learning(toy, toy.FLAT)
    seen = made.translated(batch)
    torch.testing.assert_close(seen[:, 1:], assistant.mixed(assistant.clean)[:, 1:])
    whole = made.translators.target(assistant.clean)
    torch.testing.assert_close(seen, torch.where(assistant.pasted, whole[assistant.donor], whole))


def test_translations_are_bent_in_their_intensities_as_scans_are_another_way_in_each_step(toy):
    batch = batch_of(toy, toy.FLAT)
    made, plain = learning(toy, toy.FLAT, AugmentSettings(gamma=0.5)), learning(toy, toy.FLAT)
    seen, later = made.translated(batch), made.translated(replace(batch, number=batch.number + 1))
    assert not torch.allclose(seen[:, :1], later[:, :1])
    torch.testing.assert_close(seen[:, 1:], plain.translated(batch)[:, 1:])


class Always(nn.Module):
    """Says the same whatever it is shown."""

    def __init__(self, target):
        super().__init__()
        self.logits = 9.0 * one_hot(target.clamp_min(0), 3).movedim(-1, 1).float()

    def forward(self, image):
        return self.logits


def test_a_segmentor_that_is_wrong_on_labels_is_not_heard(toy):
    batch = batch_of(toy, toy.FLAT)
    made = replace(learning(toy, toy.FLAT), synthetic=Always(batch.target))
    twisted = replace(batch, target=torch.where(batch.target < 0, batch.target, (batch.target + 1) % 3))
    right, wrong = (made.on_target(each)["distillation"].item() for each in (batch, twisted))
    assert 0 <= wrong < 1e-3 * right


def test_translators_begin_as_the_line_between_the_organs_brightness(toy):
    helping = replace(toy.diet(toy.FLAT), unlabelled=(), unlabelled_rows=0, seed=5)
    negative = replace(helping, labelled=tuple(turned(source) for source in helping.labelled))
    pairing = translators(2, 4, seed=3)
    begin(pairing, side_by_side(toy.diet(toy.FLAT), **{ASSISTANT: negative}), 3)
    assert pairing.target.line[0] == pytest.approx(-1, abs=0.1)
    assert pairing.assistant.line[0] == pytest.approx(-1, abs=0.1)
    begin(pairing, side_by_side(toy.diet(toy.FLAT), **{ASSISTANT: helping}), 3)
    torch.testing.assert_close(pairing.target.line, torch.tensor([1.0, 0.0]), atol=0.1, rtol=0)


def turned(source):
    """``source`` as its negative."""
    image = source.image.read()
    low, high = source.body.window
    return replace(source, image=Volume(((low + high - image).astype(image.dtype),), source.image.voxel_size))


def lesson_of(toy, looks, *modalities):
    labelled = tuple(toy.source(seed, modality=modality) for seed, modality in enumerate(modalities, start=1))
    return Lesson(labelled, (), build(looks, 3, seed=3), None, looks)


def play(toy, folder, looks, strategy, steps=2):
    """(what the strategy made, the student that it was given)."""
    lesson = lesson_of(toy, looks, "bright", "bright", "dull")
    played = toy.run(folder, steps, 100)
    settings = DistilSettings(patches=toy.patches(looks), augment=toy.STILL, fit=played.settings, strategy=strategy)
    return drain(distil(settings, lesson, played)), lesson.student


@pytest.mark.parametrize("looks", ["FLAT", "DEEP"])
def test_it_is_played_in_slices_and_in_blocks(toy, tmp_path, looks):
    looks = getattr(toy, looks)
    made, given = play(toy, tmp_path, looks, MutualSettings(target="bright", width=4))
    assert made is given
    assert not toy.alike(made, build(looks, 3, seed=3))
    figures = {name for _, name, _ in read_metrics(tmp_path / "student" / FILE)}
    assert {"translators cycle", "judges target", "synthetic distillation", "student distillation"} <= figures


def test_with_both_segmentors_kept_the_student_has_two_members_that_both_learned(toy, tmp_path):
    looks = toy.FLAT.model_copy(update={"members": 2})
    made, given = play(toy, tmp_path, looks, MutualSettings(target="bright", ensemble=True, width=4))
    assert made is given
    assert isinstance(made, Ensemble)
    fresh = build(looks, 3, seed=3)
    assert not any(toy.alike(one, other) for one, other in zip(made.members, fresh.members, strict=True))


def test_a_student_of_another_number_of_members_is_refused(toy, tmp_path):
    looks = toy.FLAT.model_copy(update={"members": 3})
    with pytest.raises(UserError, match="3 members"):
        play(toy, tmp_path, looks, MutualSettings(target="bright"))


def test_without_a_second_modality_it_is_refused(toy, tmp_path):
    lesson = lesson_of(toy, toy.FLAT, "bright", "bright")
    settings = DistilSettings(patches=toy.patches(toy.FLAT), strategy=MutualSettings())
    with pytest.raises(UserError, match="two modalities; there is: bright"):
        drain(distil(settings, lesson, toy.run(tmp_path, 2, 100)))
