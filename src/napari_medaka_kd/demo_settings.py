"""Knobs of what is made up: animals, the scanners that render them, and the trials that are played on them."""

from __future__ import annotations

from .settings import (
    AugmentSettings,
    DistilSettings,
    FitSettings,
    NetworkSettings,
    PatchSettings,
    QualitySettings,
    SelfTrainingSettings,
    Settings,
    TrainSettings,
    Triple,
    knob,
)


class BeamlineSettings(Settings):
    """How a scanner renders an animal: everything that is not the animal itself. 0 turns a thing off."""

    gain: float = knob(1.0, "Gain", "Contrast of all tissue.", gt=0)
    soft_tissue: float = knob(1.0, "Soft tissue", "Contrast among the soft organs alone.", ge=0)
    phase: float = knob(0.0, "Phase", "0: absorption, 1: phase contrast, where other organs are bright.", ge=0, le=1)
    fringes: float = knob(0.0, "Fringes", "Edge enhancement of phase contrast.", ge=0)
    blur: float = knob(0.6, "Blur (voxel)", "Sigma of the point spread.", ge=0)
    photons: float = knob(3000.0, "Photons", "Counts per voxel behind the Poisson noise; 0: no Poisson noise.", ge=0)
    noise: float = knob(0.01, "Noise", "Standard deviation of the Gaussian part, relative to soft tissue.", ge=0)
    rings: float = knob(0.01, "Rings", "Amplitude of ring artefacts, relative to soft tissue.", ge=0)
    streaks: float = knob(0.01, "Streaks", "Amplitude of streaks from dense parts, relative to soft tissue.", ge=0)
    hardening: float = knob(0.05, "Beam hardening", "Cupping: relative loss at the middle of the body.", ge=0)


class PhantomSettings(Settings):
    """One made-up animal in one made-up scan."""

    shape: Triple = knob((128, 64, 64), "Shape", "Voxels, (z, y, x); the fish stands along z, the axis of rotation.")
    voxel_size: float = knob(200.0, "Voxel size (µm)", "Isotropic; 200 makes 128 voxels an adult's 25 mm.", gt=0)
    animal: int = knob(0, "Animal", "Seed of pose, size and deformation.", ge=0)
    scan: int = knob(0, "Scan", "Seed of noise and artefacts.", ge=0)
    pose: float = knob(1.0, "Pose", "How far animals differ in pose, size and shape; 1: as in a lab's cohort.", ge=0)
    beamline: BeamlineSettings = BeamlineSettings()


class TrialSettings(Settings):
    """A trial of self-training by a simulated reviewer: what is trained, and how well they judge."""

    seed: int = 0
    reviews: int = knob(40, "Reviews", "Proposals that the simulated reviewer judges.", ge=0)
    slips: float = knob(0.05, "Slips", "Share of these that the reviewer gets wrong.", ge=0, le=0.5)
    teacher: TrainSettings = TrainSettings()
    quality: QualitySettings = QualitySettings()
    student: DistilSettings = DistilSettings()


class DemoSettings(TrialSettings):
    """The whole way on made-up fish: one with labels, many without, from two beamlines."""

    labelled: int = knob(1, "Labelled", "Animals with labels, from the first beamline.", ge=1)
    unlabelled: int = knob(20, "Unlabelled", "Animals without, from the second beamline.", ge=1)
    held_out: int = knob(8, "Held out", "Animals to evaluate on, from the second beamline.", ge=1)
    shape: Triple = knob((96, 64, 64), "Shape", "Voxels of each scan, (z, y, x).")
    pose: float = knob(0.7, "Pose", "How far animals differ in pose, size and shape.", ge=0)
    severity: float = knob(0.6, "Artefacts", "The worst scan of the second beamline: 0 as good as it gets.", ge=0, le=1)
    teacher: TrainSettings = TrainSettings(
        network=NetworkSettings(dimensions=2, widths=(16, 32, 64, 96)),
        patches=PatchSettings(patch=(1, 48, 48), batch=16, class_balance=0.2),
        augment=AugmentSettings(rotation=10),
        fit=FitSettings(steps=1200, learning_rate=5e-3),
    )
    quality: QualitySettings = QualitySettings(slab=16, good_iou=0.5, critic_steps=100)
    student: DistilSettings = DistilSettings(
        patches=PatchSettings(patch=(1, 48, 48), batch=8, class_balance=0.2),
        augment=AugmentSettings(rotation=10),
        fit=FitSettings(steps=450, learning_rate=3e-3),
        strategy=SelfTrainingSettings(unlabelled=16),
    )
