"""What the processes of one training tell each other: gradients, the first one's word, the first one's weights.

Alone, a process tells nobody anything and every function here gives back what it was given.
"""

from __future__ import annotations

import atexit
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed

from napari_medaka_kd import processes
from napari_medaka_kd.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

_PATIENCE = timedelta(days=2)  # the first process may segment between two rounds; torchrun ends the others if it dies


def add_up(tensors: Sequence[Tensor]) -> None:
    """Replace each of ``tensors``, of one device, by its sum over the processes; in float32, as one message."""
    if processes.count() == 1 or not tensors:
        return
    _meet()
    whole = torch.cat([tensor.detach().float().flatten() for tensor in tensors])
    distributed.all_reduce(whole)
    for tensor, part in zip(tensors, torch.split(whole, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.detach().copy_(part.view_as(tensor))


def add_up_gradients(network: nn.Module, more: Sequence[Tensor] = ()) -> None:
    """Replace the gradients of ``network``, and ``more``, by their sums over the processes.

    A weight that has a gradient in none of them has none afterwards.
    """
    if processes.count() == 1:
        return
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    device = weights[0].device
    given = torch.tensor([float(weight.grad is not None) for weight in weights], device=device)
    for weight in weights:
        weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
    add_up([given, *(weight.grad for weight in weights if weight.grad is not None), *more])
    for weight, count in zip(weights, given.tolist(), strict=True):
        if not count:
            weight.grad = None


def own_device(wanted: str) -> str:
    """``wanted``; where several processes want a GPU, each of a machine has one of its own."""
    if processes.count() == 1 or wanted not in ("auto", "cuda") or not torch.cuda.is_available():
        return wanted
    return f"cuda:{processes.on_this_machine()}"


def share_of(parts: int) -> int:
    """How many of the ``parts`` of a step each process has.

    Raises
    ------
    UserError
        If they cannot be shared out evenly.
    """
    count = processes.count()
    if parts % count:
        raise UserError(
            f"{count} processes cannot share a step of fit.accumulate={parts}.",
            f"Set fit.accumulate to {count} or a multiple of it; a process has patches.batch patches at a time.",
        )
    return parts // count


def agreed(word: bool) -> bool:
    """What the first process says, told to all: they do the same at the same step."""
    if processes.count() == 1:
        return word
    _meet()
    said = torch.tensor([int(word)])
    distributed.broadcast(said, 0)
    return bool(said)


def wait() -> None:
    """Wait until all processes are here: what the first one wrote is on the disk then."""
    agreed(word=True)


def told(data: bytes | None) -> bytes | None:
    """The first process's ``data``, told to all."""
    if processes.count() == 1:
        return data
    _meet()
    size = torch.tensor([-1 if data is None else len(data)])
    distributed.broadcast(size, 0)
    if int(size) < 0:
        return None
    own = data if processes.first() and data is not None else bytes(int(size))
    message = torch.frombuffer(bytearray(own), dtype=torch.uint8)
    distributed.broadcast(message, 0)
    return message.numpy().tobytes()


def alike(networks: Sequence[nn.Module]) -> None:
    """Give all processes the first one's weights."""
    if processes.count() == 1:
        return
    _meet()
    for network in networks:
        for tensor in network.state_dict().values():
            whole = tensor.detach().contiguous()
            distributed.broadcast(whole, 0)
            tensor.copy_(whole)


def _meet() -> None:
    """Find the other processes, where torchrun says; gloo between processors, NCCL between GPUs."""
    if distributed.is_initialized():
        return
    gpus = torch.cuda.is_available()
    if gpus:
        torch.cuda.set_device(processes.on_this_machine() % torch.cuda.device_count())
    distributed.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=_PATIENCE)
    atexit.register(distributed.destroy_process_group)
