"""Knobs, each with its default and its meaning: frozen, checked, and free of torch and Qt.

Titles and descriptions are shown to people: the command line prints them, the dock makes forms of them.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Triple: TypeAlias = tuple[int, int, int]
Scale: TypeAlias = Literal["window", "zscore", "unit", "none"]
Unreviewed: TypeAlias = Literal["accepted", "weighed", "all"]


class Settings(BaseModel):
    """Frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def knob(default: Any, title: str, description: str = "", **limits: Any) -> Any:
    """A field that a person may turn, with the words to show beside it."""
    return Field(default, title=title, description=description, **limits)


class NetworkSettings(Settings):
    """What a network looks like; ``networks/build.py`` makes one of it."""

    architecture: Literal["unet"] = "unet"
    dimensions: Literal[2, 3] = knob(3, "Dimensions", "3: patches; 2: slices across z.")
    widths: tuple[int, ...] = knob((16, 32, 64, 128), "Channels", "Channels of each level, fine to coarse.")
    coordinates: bool = knob(
        True, "Coordinates", "Tell the network where in the body a voxel lies; pays where all animals lie alike."
    )
    members: int = knob(1, "Members", "Networks that vote; their disagreement is a sign of doubt.", ge=1, le=16)


class AugmentSettings(Settings):
    """How far a training patch may be bent away from what was scanned. 0 turns a thing off."""

    flips: tuple[bool, bool, bool] = knob(
        (False, False, False), "Mirror", "Axes (z, y, x) along which animals may be mirrored; not where left ≠ right."
    )
    rotation: float = knob(15.0, "Rotation (°)", "Largest turn about each axis that the patch spans.", ge=0, le=180)
    scaling: float = knob(0.15, "Scaling", "Largest relative change of size.", ge=0, lt=1)
    gamma: float = knob(0.4, "Gamma", "Spread of log gamma.", ge=0)
    contrast: float = knob(0.25, "Contrast", "Spread of the relative gain.", ge=0)
    brightness: float = knob(0.15, "Brightness", "Spread of the offset, in units of the intensity window.", ge=0)
    noise: float = knob(0.1, "Noise", "Largest standard deviation, in units of the intensity window.", ge=0)
    blur: float = knob(1.0, "Blur (voxel)", "Largest Gaussian sigma.", ge=0)
    cutmix: float = knob(0.0, "CutMix", "Share of the patches that get a box of another one.", ge=0, le=1)


class FitSettings(Settings):
    """How any network is trained: the part that is the same for every strategy."""

    steps: int = knob(4000, "Steps", "Optimiser steps.", ge=1)
    learning_rate: float = knob(3e-3, "Learning rate", "Peak of the schedule.", gt=0)
    schedule: Literal["one-cycle", "constant"] = knob("one-cycle", "Schedule", "How the rate goes on after its rise.")
    weight_decay: float = knob(1e-3, "Weight decay", "AdamW's.", ge=0)
    clip: float = knob(1.0, "Gradient clip", "Largest norm of the gradient.", gt=0)
    precision: Literal["auto", "float32", "bfloat16"] = knob(
        "auto", "Precision", "auto: bfloat16 where the processor has it in hardware."
    )
    device: str = knob("auto", "Device", "auto, cpu, cuda, cuda:1, mps.")
    save_every: int = knob(100, "Save every", "Steps between two resumable saves.", ge=1)
    validate_every: int = knob(100, "Validate every", "Steps between two measurements.", ge=1)
    patience: int = knob(0, "Patience", "Measurements without a gain on known labels until it ends; 0: off.", ge=0)
    average: float = knob(0.0, "Average", "Keep the weights' moving average, as 0.999; 0: off.", ge=0, lt=1)
    accumulate: int = knob(1, "Accumulate", "Batches of one step, one after the other, as of one large one.", ge=1)
    tensorboard: bool = knob(False, "TensorBoard", "Write event files into the run's folder, beside metrics.csv.")


class PatchSettings(Settings):
    """Which crops a training batch is made of."""

    patch: Triple = knob((64, 64, 64), "Patch", "Training crop in voxels, (z, y, x).")
    batch: int = knob(8, "Batch", "Labelled patches in each step.", ge=1)
    foreground: float = knob(
        0.7, "Foreground", "Share of the patches that are centred on an organ, every organ equally often.", ge=0, le=1
    )
    patches_per_block: int = knob(
        1,
        "Patches a block",
        "Patches taken from one block that is read, in as many steps; above 1 for slow disks, at the price of variety.",
        ge=1,
        le=64,
    )
    class_balance: float = knob(
        0.3, "Class balance", "Exponent of inverse frequency in the cross-entropy: 0 none, 1 full.", ge=0, le=1
    )


class TrainSettings(Settings):
    """A teacher: trained on labels alone."""

    seed: int = 0
    start: str = knob("", "Start", "Go on from this checkpoint's (first) network; empty: from scratch.")
    network: NetworkSettings = NetworkSettings()
    patches: PatchSettings = PatchSettings()
    augment: AugmentSettings = AugmentSettings()
    fit: FitSettings = FitSettings()


class AdoptSettings(Settings):
    """What cannot be seen from a network that was made elsewhere."""

    architecture: Literal[
        "auto", "medaka_unet", "monai_unet", "monai_basic_unet", "monai_dynunet", "monai_segresnet"
    ] = knob("auto", "Architecture", "What the weights fit; auto: by their names. Not for ONNX and TorchScript.")
    arguments: dict[str, Any] = knob(
        {}, "Arguments", "What the weights do not say, as arguments.strides=[2,2]: see docs/adapters.md."
    )
    adapter: str = knob("", "Adapter", "Name of an installed adapter that runs the file.")
    scale: Scale = knob(
        "window",
        "Scale",
        "How the network wants intensities: window: 0 … 1 in the body's window; zscore: mean 0, deviation 1 over the "
        "body; unit: 0 … 1 from smallest to largest; none: as scanned.",
    )
    window: Triple | None = knob(None, "Window", "Voxels to show it at a time; empty: found by trying, or 96 each way.")


class SegmentSettings(Settings):
    """How a checkpoint is run over a volume."""

    tile: Triple | None = knob(None, "Tile", "Voxels of an inference window; empty: chosen from the network.")
    batch: int = knob(4, "Batch", "Tiles at a time (slices at a time for a 2-D network).", ge=1)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "auto"
    backend: str = knob(
        "auto", "Back end", "auto: the fastest that agrees with float32; or one by name, as torch float32."
    )
    soft: bool = knob(False, "Soft labels", "Keep the teacher's soft answers, for distilling without asking it again.")
    disagreement: Literal["none", "flips", "dropout"] = knob(
        "none",
        "Disagreement",
        "Look again, at the mirrored scan or with a part of the network left out, and keep where the answers differ.",
    )
    rounds: int = knob(4, "Rounds", "Further looks of dropout; each takes as long as the first.", ge=1, le=32)


class QualitySettings(Settings):
    """What a good organ is, and how sure to be of it."""

    good_iou: float = knob(0.75, "Good from IoU", "An organ is acceptable from this overlap on.", gt=0, lt=1)
    precision: float = knob(
        0.9, "Precision", "Share of truly good ones wanted among those accepted unseen.", gt=0, le=1
    )
    slab: int = knob(0, "Slab (voxel)", "Thickness in z of one review unit; 0: the whole animal is one.", ge=0)
    copies: int = knob(
        20, "Copies", "How often each labelled scan is distorted and segmented to see good and bad organs.", ge=4
    )
    critic_steps: int = knob(150, "Critic steps", "Training steps of the image-and-mask network.", ge=0)
    verdict_weight: float = knob(5.0, "Verdict weight", "What one verdict counts against one made-up example.", gt=0)
    seed: int = 0


class ReviewSettings(Settings):
    """What comes before a reviewer, and what is made of their verdicts."""

    random: float = knob(
        0.1, "Random", "Share of the items drawn at random in every order, at least; only these are fair.", ge=0.1, le=1
    )
    repeats: float = knob(
        0.05, "Repeats", "Share of the items that come again, unsaid, to see if you agree with yourself.", ge=0, le=0.5
    )
    precision: float = knob(
        0.9, "Precision", "Share of truly good ones promised among those accepted unseen.", gt=0, lt=1
    )
    unproven: Literal["classifier", "none"] = knob(
        "classifier", "While nothing is proven", "Go by the classifier's own threshold, or accept none unseen."
    )


class StrategySettings(Settings):
    """How a student learns.

    Attributes
    ----------
    from_proposals
        Whether it learns from a checkpoint's label maps and people's verdicts on them, rather than from scans and
        labels alone.
    """

    from_proposals: ClassVar[bool] = False

    @property
    def members(self) -> int:
        """How many networks the student is made of."""
        return 1


class SelfTrainingSettings(StrategySettings):
    """Self-training with a quality classifier and pixel-wise distillation (arXiv 2302.12562)."""

    from_proposals: ClassVar[bool] = True
    name: Literal["self_training"] = "self_training"
    rounds: int = knob(1, "Rounds", "How often the student becomes the teacher.", ge=1, le=10)
    temperature: float = knob(2.0, "Temperature", "Softens the teacher's answer; T in the loss.", gt=0)
    pseudo_weight: float = knob(1.0, "Pseudo-labels", "Weight of accepted pseudo-labels, λ_pl.", ge=0)
    distil_weight: float = knob(1.0, "Soft answers", "Weight of the distillation term, λ_kd.", ge=0)
    unreviewed: Unreviewed = knob(
        "weighed", "Unreviewed", "What of it teaches: all as far as its score, all alike, or what is accepted unseen."
    )
    unlabelled: int = knob(8, "Unlabelled", "Pseudo-labelled patches in each step.", ge=0)
    ramp: float = knob(0.2, "Ramp", "Share of the steps over which the pseudo-labels come in.", ge=0, le=1)
    rim: int = knob(2, "Rim (voxel)", "How far around a rejected organ nothing is taught.", ge=0)


class ShapeIntensitySettings(StrategySettings):
    """Shape-intensity distillation (arXiv 2409.17503): from labels alone, robust to other intensities."""

    name: Literal["shape_intensity"] = "shape_intensity"
    feature_weight: float = knob(2.0, "Features", "Weight of the distance to the shape teacher's features.", ge=0)
    shape_steps: int = knob(0, "Steps of the shape teacher", "0: as many as the student's.", ge=0)
    skips: bool = knob(False, "Skips in the teacher", "Whether the shape teacher has skip connections; for comparison.")
    raw: bool = knob(False, "Raw images", "Whether the shape teacher sees scans as they are; for comparison.")


class MeanTeacherSettings(StrategySettings):
    """Mean teacher with perturbation-sensitive mining and mask-guided features (MMT-PSM, arXiv 2007.10787)."""

    name: Literal["mean_teacher"] = "mean_teacher"
    instances: bool = knob(
        False, "Things that overlap", "Eggs, teeth, cells: many of a kind, each found alone; from labels of things."
    )
    reach: int = knob(
        0, "Reach (voxel)", "How far a thing may go from its centre; 0: as the labelled ones do.", ge=0, le=512
    )
    paste: float = knob(
        0.0,
        "Pasted things",
        "Share of labelled patches with other things pasted in: labelled ones, and those that the teacher found alone.",
        ge=0,
        le=1,
    )
    unlabelled: int = knob(8, "Unlabelled", "Patches of scans without labels in each step.", ge=1)
    views: int = knob(4, "Views", "How often the teacher is asked about a patch, each time perturbed.", ge=2, le=16)
    weight: float = knob(
        0.15, "Weight", "What the teacher's say counts; 1 where scans differ, 5 in the paper, 0: labels alone.", ge=0
    )
    mining_weight: float = knob(0.2, "Mining", "Share of w for the teacher's classes at the mined voxels.", ge=0)
    feature_weight: float = knob(1.0, "Features", "Share of w for the teacher's features inside its organs.", ge=0)
    mining: Literal["sensitive", "random", "all"] = knob(
        "sensitive",
        "Mined voxels",
        "Beside all organ voxels half as many of the background, the most easily perturbed or random ones; or all.",
    )
    masked: bool = knob(True, "Masked features", "Only inside the teacher's organs; off: everywhere; for comparison.")
    temperature: float = knob(0.5, "Sharpening", "T below 1 makes the teacher's answer more decided.", gt=0, le=1)
    memory: float = knob(0.99, "Memory", "How much of itself the teacher keeps in each step, at most.", ge=0, lt=1)
    rise: float = knob(0.5, "Rise", "Share of the steps over which the teacher's say comes in.", ge=0, le=1)
    fall: float = knob(0.2, "Fall", "Share of the steps, the last ones, over which it goes out.", ge=0, le=1)


class MutualSettings(StrategySettings):
    """Mutual distillation between two modalities with image alignment (arXiv 2010.01532)."""

    name: Literal["mutual"] = "mutual"
    target: str = knob("", "Target", "Modality that the student is for; empty: the one with fewer labelled animals.")
    assistant: str = knob("", "Assistant", "Modality that helps it; empty: the other one.")
    assistants: int = knob(0, "Assistant patches", "Of the assistant in each step; 0: as many as of the target.", ge=0)
    unlabelled: int = knob(4, "Unlabelled", "Patches of unlabelled target scans in each step.", ge=0)
    align: bool = knob(True, "Alignment", "Whether assistant scans are made to look like target scans.")
    width: int = knob(16, "Channels of alignment", "Of the networks that translate and that judge translations.", ge=1)
    alignment_pace: float = knob(0.1, "Pace of alignment", "Their learning rate, as a share of the training's.", gt=0)
    cycle_weight: float = knob(10.0, "Cycle", "Weight of coming back to the same scan.", ge=0)
    feedback: float = knob(1.0, "Feedback", "How much what a segmentor says of translations moves them.", ge=0)
    to_real: float = knob(1.0, "Synthetic teaches real", "Weight of the distillation on target scans, λ_sr.", ge=0)
    to_synthetic: float = knob(1.0, "Real teaches synthetic", "Weight of that on translations, λ_rs.", ge=0)
    ramp: float = knob(0.2, "Ramp", "Share of the steps over which both distillations come in.", ge=0, le=1)
    ensemble: bool = knob(False, "Ensemble", "Keep both segmentors as a student of two members; costs twice the time.")

    @property
    def members(self) -> int:
        return 2 if self.ensemble else 1


class RegistrationSettings(Settings):
    """How one labelled animal, the atlas, is laid onto others."""

    atlas: str = knob("", "Atlas", "Case whose labels are warped; empty: the only labelled one.")
    grid: int = knob(64, "Grid", "Voxels a side of the cubes that are registered.", ge=16, le=160, multiple_of=16)
    registration_steps: int = knob(500, "Steps of the registration", "0: affine alignment alone.", ge=0)
    smoothness: float = knob(0.5, "Smoothness", "Price of the warp's gradient, λ.", ge=0)
    contrast: float = knob(0.1, "Contrast", "Weight of the contrastive term; 0 leaves it out.", ge=0)
    temperature: float = knob(0.5, "Contrast's temperature", "τ of the contrastive term.", gt=0)
    mirror: bool = knob(False, "Mirror images", "Whether scans may be mirror images of each other.")


class PropagateSettings(RegistrationSettings):
    """The atlas's labels, warped onto other animals and kept."""

    seed: int = 0
    fit: FitSettings = FitSettings()


class ReconstructionSettings(RegistrationSettings, StrategySettings):
    """One labelled atlas and a teacher that reconstructs real scans (arXiv 2408.03616)."""

    name: Literal["reconstruction"] = "reconstruction"
    synthetic: int = knob(8, "Synthetic", "Patches of the warped atlas in each step.", ge=0)
    warps: Literal["registered", "random"] = knob(
        "registered", "Warps", "registered: onto the animals without labels; random: for comparison."
    )
    seen: Literal["atlas", "scan"] = knob(
        "atlas", "Seen", "What the warped labels are learned on: the atlas, warped like them; or the scan itself."
    )
    hint_weight: float = knob(
        0.1, "Hints", "Weight of the distance to the teacher's features, λ_h; 1 in the paper; 0: no teacher.", ge=0
    )
    reconstruction_weight: float = knob(1.0, "Reconstruction", "Weight of the teacher's own loss, λ_r.", ge=0)


AnyStrategy: TypeAlias = Annotated[
    SelfTrainingSettings | ShapeIntensitySettings | MeanTeacherSettings | MutualSettings | ReconstructionSettings,
    Field(discriminator="name"),
]


class DistilSettings(Settings):
    """A student: a strategy on top of what a teacher's training needs."""

    seed: int = 0
    network: NetworkSettings | None = knob(None, "Network", "Empty: the teacher's own, with one member.")
    warm_start: bool = knob(True, "Warm start", "Begin from the teacher where the student looks like it.")
    patches: PatchSettings = PatchSettings()
    augment: AugmentSettings = AugmentSettings()
    fit: FitSettings = FitSettings()
    strategy: AnyStrategy = SelfTrainingSettings()


def strategies() -> dict[str, tuple[str, type[AnyStrategy]]]:
    """The strategies by name, each with its title and its settings."""
    return {
        "self_training": ("Self-training", SelfTrainingSettings),
        "shape_intensity": ("Shape and intensity", ShapeIntensitySettings),
        "mean_teacher": ("Mean teacher", MeanTeacherSettings),
        "mutual": ("Two modalities", MutualSettings),
        "reconstruction": ("One labelled atlas", ReconstructionSettings),
    }
