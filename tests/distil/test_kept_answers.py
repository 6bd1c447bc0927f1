"""Soft labels that were kept: the teacher's answers as if it were asked, bent as the patches are, without asking."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_medaka_kd.distil.batches import Diet
from napari_medaka_kd.distil.losses import soften
from napari_medaka_kd.distil.strategies.self_training import SelfTrainingLoss
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.inputs import encode
from napari_medaka_kd.networks.soft import STEPS, pack
from napari_medaka_kd.settings import AugmentSettings, SelfTrainingSettings
from napari_medaka_kd.volumes.channels import Channels
from napari_medaka_kd.volumes.volume import whole

TURNED = AugmentSettings(
    flips=(True, True, True), rotation=15, scaling=0.1, gamma=0, contrast=0, brightness=0, noise=0, blur=0
)


def channels(values):
    """(classes, z, y, x) uint8 as if they were read from the disk."""
    return Channels(len(values), values.shape[1:], {}, lambda box: lambda: values[(..., *box)])


@pytest.fixture(scope="module")
def teacher(toy, tmp_path_factory):
    network, job = toy.teach(tmp_path_factory.mktemp("teacher"), 60, 1000, looks=toy.FLAT, augment=toy.STILL)
    drain(job)
    return network.eval()


def kept_by(toy, teacher, seed):
    """An animal with the soft labels that ``teacher`` gives it as a whole."""
    source = toy.source(seed)
    image = encode(source.image.read(), whole(toy.SHAPE), source.body, toy.FLAT)
    with torch.inference_mode():
        probabilities = teacher(torch.from_numpy(image)[None])[0].softmax(0)
    return replace(source, soft=channels(pack(probabilities, probabilities.max(0).values).numpy()))


def diet_of(toy, unlabelled, augment):
    return Diet((toy.source(1),), tuple(unlabelled), 4, toy.patches(toy.FLAT), augment, toy.FLAT, 0)


def test_what_was_kept_is_what_the_teacher_would_say(toy, teacher):
    batch = next(diet_of(toy, [kept_by(toy, teacher, 10), kept_by(toy, teacher, 11)], toy.STILL).batches()(0))
    rows = list(batch.soft)
    assert rows == [3, 4, 5, 6]  # after three labelled ones
    with torch.inference_mode():
        asked = soften(teacher(batch.clean[rows]), 2).double()
    kept = soften(torch.stack([batch.soft[row] for row in rows]), 2).double()
    assert float((asked * (asked / kept).log()).sum(1).mean()) <= 3e-3


def test_soft_labels_are_turned_scaled_and_mirrored_with_their_labels(toy):
    source = toy.source(10)
    classes = toy.SCHEMA.to_classes(source.labels.volume.read())
    sure = np.stack([STEPS * (classes == each) for each in range(toy.SCHEMA.classes)]).astype(np.uint8)
    play = diet_of(toy, [replace(source, soft=channels(sure))], TURNED).batches()(0)
    for batch, _ in zip(play, range(5), strict=False):
        for row, logits in batch.soft.items():
            known = batch.target[row] >= 0
            assert (logits.argmax(0) == batch.target[row])[known].float().mean() > 0.97


def test_only_animals_whose_answers_were_not_kept_are_asked_about(toy, teacher):
    class Counted(torch.nn.Module):
        asked = 0

        def forward(self, image):
            self.asked += len(image)
            return teacher(image)

    counted = Counted()
    settings = SelfTrainingSettings(unlabelled=4, ramp=0)
    loss = SelfTrainingLoss(teacher, counted, torch.ones(toy.SCHEMA.classes), settings, 10)
    play = diet_of(toy, [kept_by(toy, teacher, 10), toy.source(11)], toy.STILL).batches()(0)
    mixed = next(batch for batch in play if 0 < len(batch.soft) < 4)
    asked = next(diet_of(toy, [toy.source(10), toy.source(11)], toy.STILL).batches()(mixed.step))
    said = float(loss(mixed)["distillation"].detach())
    assert counted.asked == 4 - len(mixed.soft)
    assert said == pytest.approx(float(loss(asked)["distillation"].detach()), abs=4 * 3e-3)  # T² KL


def test_with_all_answers_kept_no_teacher_is_needed(toy, teacher):
    settings = SelfTrainingSettings(unlabelled=4, ramp=0)
    loss = SelfTrainingLoss(teacher, None, torch.ones(toy.SCHEMA.classes), settings, 10)
    batch = next(diet_of(toy, [kept_by(toy, teacher, 10)], AugmentSettings(cutmix=1.0)).batches()(0))
    terms = loss(batch.to(torch.device("cpu")))
    assert torch.isfinite(torch.stack(list(terms.values()))).all()
