"""A training small enough to be played hundreds of times: two boxes, told apart by brightness, in 12×16×16 voxels.

Run as a program it plays a training and kills itself:
``toy.py <kind> <folder> <save every> <step|fsync> <number> [<steps, if not six>]``.
"""

import functools
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch

from napari_medaka_kd.distil.batches import Diet, Source
from napari_medaka_kd.distil.lesson import Lesson
from napari_medaka_kd.distil.run import distil
from napari_medaka_kd.distil.stage import Run
from napari_medaka_kd.distil.teacher import supervise
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.settings import (
    AugmentSettings,
    DistilSettings,
    FitSettings,
    MeanTeacherSettings,
    MutualSettings,
    NetworkSettings,
    PatchSettings,
    ReconstructionSettings,
    SelfTrainingSettings,
    ShapeIntensitySettings,
)
from napari_medaka_kd.volumes.body import Body
from napari_medaka_kd.volumes.labels import LabelMap, LabelSchema
from napari_medaka_kd.volumes.volume import Volume, whole

torch.set_num_threads(1)  # how sums are split decides their last bits

SHAPE = (12, 16, 16)
SCHEMA = LabelSchema.from_ids({2: "eye", 7: "gut"})
FLAT = NetworkSettings(dimensions=2, widths=(4, 8))
DEEP = NetworkSettings(dimensions=3, widths=(4, 6))
STILL = AugmentSettings(rotation=0, scaling=0, gamma=0, contrast=0, brightness=0, noise=0, blur=0, cutmix=0)


def animal(seed, shape=SHAPE):
    """(scan, organ ids): an eye of 0.5 and a gut of 0.9 in a body of 0.1, with a little noise."""
    rng = np.random.default_rng(seed)
    ids = np.zeros(shape, np.uint8)
    for organ, z in ((2, 0), (7, shape[0] // 2)):
        y, x = rng.integers(1, 6, 2)
        ids[z : z + shape[0] // 2, y : y + 8, x : x + 8] = organ
    scan = 0.1 + 0.4 * (ids == 2) + 0.8 * (ids == 7) + rng.normal(0, 0.03, shape)
    return scan.astype(np.float32), ids


def source(seed, trust=None, slab=0, modality="bright"):
    """Of any other modality than ``bright`` the scan has less contrast, and its air is grey."""
    scan, ids = animal(seed)
    scan = scan if modality == "bright" else 0.1 + 0.8 * scan
    size, body = (10.0, 10.0, 10.0), Body(whole(SHAPE), (0.0, 1.0))
    labels = LabelMap(Volume((ids,), size), SCHEMA)
    return Source(f"fish{seed}", Volume((scan,), size), body, labels, trust, slab, modality=modality)


def patches(looks):
    return PatchSettings(patch=(1, 16, 16) if looks.dimensions == 2 else (8, 8, 8), batch=3)


def diet(looks=FLAT, seed=0, unlabelled=2, augment=AugmentSettings()):  # noqa: B008
    guessed = tuple(source(10 + number) for number in range(unlabelled))
    return Diet((source(1), source(2)), guessed, unlabelled, patches(looks), augment, looks, seed, 1)


def run(folder, steps, save_every, **more):
    settings = FitSettings(steps=steps, save_every=save_every, precision="float32", device="cpu", **more)
    return Run(Path(folder), settings, seed=4)


def stop_after_two(job):
    """Cancel a training when two of its steps are taken."""
    next(progress for progress in job if progress.done == 2)
    job.close()


def teach(folder, steps, save_every, looks=DEEP, augment=AugmentSettings(), **more):  # noqa: B008
    """(network, job) of a teacher's training."""
    network = build(looks, SCHEMA.classes, seed=3)
    played = run(folder, steps, save_every, **more)
    return network, supervise(network, "teacher", diet(looks, unlabelled=0, augment=augment), played)


def learn(folder, steps, save_every, augment=AugmentSettings(), **more):  # noqa: B008
    """(network, job) of a student's training, with distillation."""
    trust = np.array([[1.0, 1.0, 0.0], [0.9, 1.0, 0.8]], np.float32)
    looks = FLAT.model_copy(update={"members": 2})
    lesson = Lesson(
        (source(1),),
        (source(10, trust, 6), source(11)),
        build(FLAT, SCHEMA.classes, seed=3),
        build(looks, SCHEMA.classes, seed=8),
        FLAT,
    )
    played = run(folder, steps, save_every, **more)
    strategy = SelfTrainingSettings(unlabelled=2)
    settings = DistilSettings(patches=patches(FLAT), augment=augment, fit=played.settings, strategy=strategy)
    return lesson.student, distil(settings, lesson, played)


def study(strategy, folder, steps, save_every, augment=AugmentSettings(), **more):  # noqa: B008
    """(network, job) of a student's training by a strategy that needs nobody's proposals.

    Of more than one modality, the third animal is of another one than the student is for.
    """
    nothing = np.zeros((1, SCHEMA.classes), np.float32)
    unlabelled = tuple(source(seed, nothing) for seed in (10, 11))
    labelled = source(1), source(2)
    labelled += (source(3, modality="dull"),) if isinstance(strategy, MutualSettings) else ()
    lesson = Lesson(labelled, unlabelled, build(FLAT, SCHEMA.classes, seed=3), None, FLAT)
    played = run(folder, steps, save_every, **more)
    settings = DistilSettings(patches=patches(FLAT), augment=augment, fit=played.settings, strategy=strategy)
    return lesson.student, distil(settings, lesson, played)


#: The strategies that learn from scans and labels alone.
STUDIES = {
    "shape_intensity": ShapeIntensitySettings(feature_weight=0.1),  # 2 drowns the labels in four channels
    "mean_teacher": MeanTeacherSettings(
        unlabelled=2, views=2, weight=1, feature_weight=0.1, rise=0.8
    ),  # the teacher lags
    "mutual": MutualSettings(target="bright", unlabelled=1, assistants=2, width=4, to_real=0.3),
    "reconstruction": ReconstructionSettings(
        atlas="fish1", grid=16, registration_steps=2, synthetic=2, hint_weight=0.1
    ),
}
KINDS = {"supervise": teach, "self_training": learn} | {
    name: functools.partial(study, strategy) for name, strategy in STUDIES.items()
}


def alike(one, other):
    """Whether two networks hold the same bits."""
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def _die_at_fsync(number):
    fsync, left = os.fsync, [number]

    def deadly(handle):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(handle)

    os.fsync = deadly


if __name__ == "__main__":
    kind, folder, save_every, event, number, *steps = sys.argv[1:]
    if event == "fsync":
        _die_at_fsync(int(number))
    for progress in KINDS[kind](folder, int(steps[0]) if steps else 6, int(save_every))[1]:
        if event == "step" and progress.done == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
