"""What the weights of a known architecture say of it by their names and shapes."""

from __future__ import annotations

from itertools import count, takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def medaka_unet(state: dict[str, Tensor]) -> dict[str, Any]:
    """All of ours."""
    blocks = _numbered(state, "down.{}.0.weight")
    return _ends(blocks[0], state["head.weight"]) | {"widths": tuple(block.shape[0] for block in blocks)}


def basic_unet(state: dict[str, Tensor]) -> dict[str, Any]:
    """All but the activation."""
    first = state["conv_0.conv_0.conv.weight"]
    downs = [state[f"down_{level}.convs.conv_0.conv.weight"].shape[0] for level in range(1, 5)]
    last = state["upcat_1.convs.conv_1.conv.weight"].shape[0]
    ways = {"upcat_1.upsample.deconv.weight": "deconv", "upcat_1.upsample.conv_block.weight": "pixelshuffle"}
    upsample = next((way for name, way in ways.items() if name in state), "nontrainable")
    norm = {"norm": _norm(state, "conv_0.conv_0.adn.N.", "instance_affine")}
    features = {"features": (first.shape[0], *downs, last), "upsample": upsample}
    return _ends(first, state["final_conv.weight"]) | features | norm


def segresnet(state: dict[str, Tensor]) -> dict[str, Any]:
    """All but the norm."""
    first = state["convInit.conv.weight"]
    down = [len(_inner(state, f"down_layers.{level}.", "conv1")) for level in range(_count(state, "down_layers."))]
    up = [len(_inner(state, f"up_layers.{level}.", "conv1")) for level in range(_count(state, "up_layers."))]
    mode = "deconv" if any("deconv" in name for name in state) else "nontrainable"
    blocks = {"init_filters": first.shape[0], "blocks_down": down, "blocks_up": up, "upsample_mode": mode}
    return _ends(first, state["conv_final.2.conv.weight"]) | blocks


def dynunet(state: dict[str, Tensor]) -> dict[str, Any]:
    """All, where it up-samples by the strides that it went down by, as nnU-Net does."""
    first = state["input_block.conv1.conv.weight"]
    levels = [*_numbered(state, "downsamples.{}.conv1.conv.weight"), state["bottleneck.conv1.conv.weight"]]
    growing = _numbered(state, "upsamples.{}.transp_conv.conv.weight")
    steps = [tuple(each.shape[2:]) for each in reversed(growing)]
    heads = _count(state, "deep_supervision_heads.")
    return _ends(first, state["output_block.conv.conv.weight"]) | {
        "kernel_size": [tuple(each.shape[2:]) for each in (first, *levels)],
        "strides": [1, *steps],
        "upsample_kernel_size": steps,
        "filters": [each.shape[0] for each in (first, *levels)],
        "norm": _norm(state, "input_block.norm1.", "instance_affine"),
        "deep_supervision": heads > 0,
        "deep_supr_num": max(1, heads),
        "res_block": any(".conv3." in name for name in state),
        "trans_bias": "upsamples.0.transp_conv.conv.bias" in state,
    }


def unet(state: dict[str, Tensor]) -> dict[str, Any]:
    """Dimensions and channels of the input; its names do not tell strides and residual units."""
    first = next(tensor for name, tensor in state.items() if name.startswith("model.0.") and tensor.ndim > 3)
    return {"spatial_dims": first.ndim - 2, "in_channels": first.shape[1]}


def _ends(first: Tensor, last: Tensor) -> dict[str, Any]:
    return {"spatial_dims": first.ndim - 2, "in_channels": first.shape[1], "out_channels": last.shape[0]}


def _norm(state: dict[str, Tensor], name: str, affine: str) -> str:
    if f"{name}running_mean" in state:
        return "batch"
    return affine if f"{name}weight" in state else "instance"


def _numbered(state: dict[str, Tensor], name: str) -> list[Tensor]:
    return [state[name.format(number)] for number in takewhile(lambda n: name.format(n) in state, count())]


def _count(state: dict[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).partition(".")[0] for name in state if name.startswith(prefix)})


def _inner(state: dict[str, Tensor], prefix: str, part: str) -> set[str]:
    """Numbers of the blocks under ``prefix`` that have a ``part``."""
    inside = (name.removeprefix(prefix).split(".") for name in state if name.startswith(prefix))
    return {words[0] for words in inside if part in words}
