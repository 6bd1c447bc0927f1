"""The registry: architectures whose weights may come from elsewhere, and the plain data that each is built from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import torch
from pydantic import Field, ValidationError
from torch import nn

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.settings import Settings

from . import guesses
from .unet import UNet
from .weights_file import State, variants

if TYPE_CHECKING:
    from collections.abc import Callable

    from .foreign import Registered

Width = Annotated[int, Field(ge=1, le=4096)]
Step = Annotated[int, Field(ge=1, le=7)]
Steps = Step | tuple[Step, Step] | tuple[Step, Step, Step]
Act = Literal["PRELU", "RELU", "LEAKYRELU", "ELU", "GELU"]

#: What a norm is called here → what MONAI is told.
NORMS: dict[str, Any] = {
    "instance": ("INSTANCE", {}),
    "instance_affine": ("INSTANCE", {"affine": True}),
    "batch": "BATCH",
    "group": ("GROUP", {"num_groups": 8}),
}
ACTS: dict[str, Any] = {"LEAKYRELU": ("LEAKYRELU", {"negative_slope": 0.1, "inplace": True})}
Norm = Literal["instance", "instance_affine", "batch", "group"]


class MedakaUNetArguments(Settings):
    """Ours."""

    spatial_dims: Literal[2, 3]
    in_channels: Literal[1, 4]
    out_channels: Width
    widths: tuple[Width, ...] = Field(min_length=2, max_length=8)

    def build(self) -> nn.Module:
        return UNet(self.spatial_dims, self.in_channels, self.out_channels, self.widths)


class UNetArguments(Settings):
    """MONAI's ``UNet``, by its own names."""

    spatial_dims: Literal[2, 3]
    in_channels: Width = 1
    out_channels: Width
    channels: tuple[Width, ...] = Field(min_length=2, max_length=8)
    strides: tuple[Steps, ...] = Field(min_length=1, max_length=8)
    kernel_size: Steps = 3
    up_kernel_size: Steps = 3
    num_res_units: int = Field(0, ge=0, le=8)
    act: Act = "PRELU"
    norm: Norm = "instance"
    bias: bool = True

    def build(self) -> nn.Module:
        from monai.networks.nets.unet import UNet as MonaiUNet

        plain = self.model_dump() | {"norm": NORMS[self.norm]}
        return cast("nn.Module", MonaiUNet(**plain))


class BasicUNetArguments(Settings):
    """MONAI's ``BasicUNet``."""

    spatial_dims: Literal[2, 3]
    in_channels: Width
    out_channels: Width
    features: tuple[Width, Width, Width, Width, Width, Width]
    act: Act = "LEAKYRELU"
    norm: Norm = "instance_affine"
    upsample: Literal["deconv", "pixelshuffle", "nontrainable"] = "deconv"

    def build(self) -> nn.Module:
        import contextlib
        import io

        from monai.networks.nets.basic_unet import BasicUNet

        plain = self.model_dump() | {"norm": NORMS[self.norm], "act": ACTS.get(self.act, self.act)}
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its features
            return cast("nn.Module", BasicUNet(**plain))


class DynUNetArguments(Settings):
    """MONAI's ``DynUNet``, as in nnU-Net."""

    spatial_dims: Literal[2, 3]
    in_channels: Width
    out_channels: Width
    kernel_size: tuple[Steps, ...] = Field(min_length=3, max_length=8)
    strides: tuple[Steps, ...] = Field(min_length=3, max_length=8)
    upsample_kernel_size: tuple[Steps, ...] = Field(min_length=2, max_length=8)
    filters: tuple[Width, ...] | None = None
    norm: Norm = "instance_affine"
    deep_supervision: bool = False
    deep_supr_num: int = Field(1, ge=1, le=6)
    res_block: bool = False
    trans_bias: bool = False

    def build(self) -> nn.Module:
        from monai.networks.nets.dynunet import DynUNet

        plain = self.model_dump(exclude={"norm"}) | {"norm_name": NORMS[self.norm]}
        return cast("nn.Module", DynUNet(**plain))


class SegResNetArguments(Settings):
    """MONAI's ``SegResNet``."""

    spatial_dims: Literal[2, 3]
    in_channels: Width
    out_channels: Width
    init_filters: Width
    blocks_down: tuple[Step, ...] = Field(min_length=1, max_length=8)
    blocks_up: tuple[Step, ...] = Field(min_length=1, max_length=8)
    norm: Norm = "group"
    upsample_mode: Literal["deconv", "nontrainable"] = "nontrainable"

    def build(self) -> nn.Module:
        from monai.networks.nets.segresnet import SegResNet

        return cast("nn.Module", SegResNet(**(self.model_dump() | {"norm": NORMS[self.norm]})))


@dataclass(frozen=True)
class Entry:
    """One architecture: its arguments, the name of a tensor that only it has, and what its weights say of it."""

    arguments: type[MedakaUNetArguments | UNetArguments | BasicUNetArguments | DynUNetArguments | SegResNetArguments]
    mark: str
    guess: Callable[[State], dict[str, Any]]


TABLE: dict[Registered, Entry] = {
    "medaka_unet": Entry(MedakaUNetArguments, "down.0.0.weight", guesses.medaka_unet),
    "monai_basic_unet": Entry(BasicUNetArguments, "conv_0.conv_0.conv.weight", guesses.basic_unet),
    "monai_segresnet": Entry(SegResNetArguments, "convInit.conv.weight", guesses.segresnet),
    "monai_dynunet": Entry(DynUNetArguments, "input_block.conv1.conv.weight", guesses.dynunet),
    "monai_unet": Entry(UNetArguments, "model.0.", guesses.unet),
}


@dataclass(frozen=True)
class Fitted:
    """A network with weights in it, and all that it was built from."""

    architecture: Registered
    arguments: dict[str, Any]
    network: nn.Module


def recognise(state: State) -> tuple[Registered, State]:
    """The architecture that ``state`` fits by its names, and ``state`` by these names.

    Raises
    ------
    UserError
        If there is none in the registry.
    """
    for names in variants(state):
        for architecture, entry in TABLE.items():
            if any(name.startswith(entry.mark) for name in names):
                return architecture, names
    some = ", ".join(list(state)[:3])
    raise UserError(
        f"These weights ({some}, …) fit no architecture of the registry: {', '.join(TABLE)}.",
        "Export the network to ONNX, or write an adapter: docs/adapters.md.",
    )


def fit(architecture: Registered, arguments: dict[str, Any], state: State) -> Fitted:
    """Build ``architecture`` from what ``state`` says and ``arguments`` add, with ``state`` in it.

    Raises
    ------
    UserError
        If an argument lacks or is not plain data, or the weights do not fit.
    """
    entry = TABLE[architecture]
    mine = next((names for names in variants(state) if any(n.startswith(entry.mark) for n in names)), state)
    try:
        checked = entry.arguments.model_validate(entry.guess(mine) | arguments)
        with torch.device("meta"):  # so that wrong arguments cost no memory
            network = checked.build()
        network.load_state_dict(mine, strict=True, assign=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "arguments"
        raise UserError(
            f"{architecture} cannot be built: {place}: {first['msg']}.", f"Say --set arguments.{place}=… ."
        ) from error
    except (LookupError, ValueError, TypeError, RuntimeError, AssertionError) as error:
        said = " ".join(str(error).split())[:300]
        raise UserError(
            f"The weights do not fit {architecture}: {said}.", "Say what it was built from: --set arguments.NAME=VALUE."
        ) from error
    return Fitted(architecture, checked.model_dump(mode="json"), network.eval().requires_grad_(False))
