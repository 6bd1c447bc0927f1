"""ForeignSettings: what is known of a network that was made elsewhere, found by probing it when it was adopted."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import Field

from napari_medaka_kd.settings import NetworkSettings, Scale, Settings, Triple

Registered: TypeAlias = Literal["medaka_unet", "monai_unet", "monai_basic_unet", "monai_dynunet", "monai_segresnet"]
Gives: TypeAlias = Literal["logits", "probabilities"]

#: Architectures of the registry: their weights are kept as safetensors; the others' files are kept as they are.
REGISTERED: tuple[Registered, ...] = (
    "medaka_unet",
    "monai_unet",
    "monai_basic_unet",
    "monai_dynunet",
    "monai_segresnet",
)
FILES = {"onnx": "network.onnx", "torchscript": "network.ts", "adapter": "network.bin"}
OPAQUE = tuple(FILES)


class ForeignSettings(Settings):
    """The network of an adopted checkpoint.

    Attributes
    ----------
    architecture
        One of the registry, or by what it is run.
    adapter
        Name of the entry point, for ``architecture="adapter"``.
    arguments
        Plain data that the registry builds it from.
    dimensions, channels
        Of its input; 2: every z-slice is seen alone.
    classes
        For each class that it tells apart the class of the checkpoint's organs, 0: background.
    gives
        What its output is.
    stride
        (z, y, x) of which tiles begin at multiples.
    reach
        (z, y, x) how far, in voxels, another one was seen to matter to the answer.
    tile_statistics
        Whether it normalises by statistics of the tile, so that its answer depends on the cut.
    window
        (z, y, x) in voxels that it is to be shown at a time; ``None``: any multiple of its stride.
    scale
        How intensities are scaled, by statistics of the whole scan.
    """

    architecture: Literal[Registered, "onnx", "torchscript", "adapter"]
    adapter: str = Field("", max_length=100)
    arguments: dict[str, Any] = Field(default_factory=dict)
    dimensions: Literal[2, 3]
    channels: int = Field(1, ge=1, le=4)
    classes: tuple[int, ...] = Field(max_length=65_535)
    gives: Gives = "logits"
    stride: Triple = (1, 1, 1)
    reach: Triple = (0, 0, 0)
    tile_statistics: bool = False
    window: Triple | None = None
    scale: Scale = "window"

    @property
    def coordinates(self) -> bool:
        """Whether it is told where in the body a voxel lies: only our own are."""
        return self.channels == 4

    @property
    def opaque(self) -> bool:
        """Whether another library, or foreign code, computes it; then it is run in float32 and not translated."""
        return self.architecture in OPAQUE

    @property
    def blended(self) -> bool:
        """Whether its answers must be blended, since they depend on the cut."""
        return self.tile_statistics or self.window is not None


Looks: TypeAlias = NetworkSettings | ForeignSettings


def is_blended(looks: Looks) -> bool:
    """Whether windows of this network are blended rather than cut."""
    return isinstance(looks, ForeignSettings) and looks.blended


def is_soft(looks: Looks) -> bool:
    """Whether it may be asked about the patches of a training: it sees what a student sees, and any patch."""
    return not isinstance(looks, ForeignSettings) or (not looks.blended and looks.scale == "window")
