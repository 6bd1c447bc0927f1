"""Where tensors are computed, and in which precision."""

from __future__ import annotations

import functools

import torch
from torch import nn

from napari_medaka_kd.errors import UserError

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}  # by the axes of a kernel


def choose_device(wanted: str) -> torch.device:
    """``auto`` → the first GPU there is, else the CPU; anything else is taken at its word.

    Raises
    ------
    UserError
        If the device does not exist here.
    """
    if wanted != "auto":
        return _named(wanted)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """``auto`` → bfloat16 where ``device`` multiplies it in hardware, else float32."""
    if wanted != "auto":
        return torch.bfloat16 if wanted == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if device.type == "cpu" and _cpu_multiplies_bfloat16() else torch.float32


def lay_out(network: nn.Module, device: torch.device) -> None:
    """Move ``network`` to ``device``, in place; on a GPU its kernels with the channels last, as its features are.

    On a CPU that brought nothing: docs/experiments.md.
    """
    network.to(device)
    if device.type == "cuda":
        for weight in network.parameters():
            if weight.dim() in _CHANNELS_LAST:
                weight.data = weight.data.contiguous(memory_format=_CHANNELS_LAST[weight.dim()])


@functools.cache
def _cpu_multiplies_bfloat16() -> bool:
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16"))


def _named(wanted: str) -> torch.device:
    try:
        return torch.empty(0, device=wanted).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"The device {wanted!r} is not to be had here.", "Say auto, cpu, cuda or mps; medaka-kd doctor lists them."
        ) from error
