"""The state of a training on disk: exact, whole or absent, and without a pickle; and the best weights so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from napari_medaka_kd.volumes.atomic import replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STATE, BEST = "state.safetensors", "best.safetensors"


def save_state(
    folder: Path, done: int, networks: Mapping[str, nn.Module], optimizers: Mapping[str, torch.optim.Optimizer]
) -> None:
    """Keep all that the next step depends on, in one file that replaces the former at once.

    Parameters
    ----------
    done
        Steps taken.
    networks
        Learners and followers, by name.
    optimizers
        The learners', by the same name.
    """
    tensors = {f"network/{name}/{key}": t for name, network in networks.items() for key, t in _state(network).items()}
    for name, optimizer in optimizers.items():
        for place, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{name}/{place}/{key}": tensor for key, tensor in moments.items()}
    tensors["done"] = torch.tensor(done)
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / STATE, save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}))


def kept_state(folder: Path) -> bytes | None:
    """What :func:`save_state` left in ``folder``; ``None`` where that is nothing."""
    file = folder / STATE
    return file.read_bytes() if file.is_file() else None


def restore(
    kept: bytes | None, networks: Mapping[str, nn.Module], optimizers: Mapping[str, torch.optim.Optimizer]
) -> int:
    """Bring ``networks`` and ``optimizers`` to where they were ``kept``; how many steps were taken by then.

    Returns 0, and changes nothing, where nothing was.
    """
    if kept is None:
        return 0
    tensors = load(kept)
    for name, network in networks.items():
        network.load_state_dict(_below(tensors, f"network/{name}/"))
    for name, optimizer in optimizers.items():
        moments: dict[int, dict[str, Tensor]] = {}
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        for key, tensor in _below(tensors, f"optimizer/{name}/").items():
            place, moment = key.split("/")
            moments.setdefault(int(place), {})[moment] = _laid_out_as(weights[int(place)], tensor)
        optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    return int(tensors["done"])


class Best:
    """The weights that did best so far, in ``best.safetensors``, with their step and their figure."""

    def __init__(self, folder: Path, networks: Mapping[str, nn.Module]) -> None:
        self._file, self._networks = folder / BEST, networks
        self.step, self.figure = 0, -1.0
        if self._file.is_file():
            kept = load(self._file.read_bytes())
            self.step, self.figure = int(kept["done"]), float(kept["figure"])

    def offer(self, done: int, figure: float) -> None:
        """Keep the weights of now if they do better than those kept, or if those are of a later step."""
        if figure > self.figure or done < self.step:
            self.step, self.figure = done, figure
            tensors = {f"{name}/{key}": t for name, net in self._networks.items() for key, t in _state(net).items()}
            tensors |= {"done": torch.tensor(done), "figure": torch.tensor(figure, dtype=torch.float64)}
            self._file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._file, save({key: t.detach().cpu().contiguous() for key, t in tensors.items()}))

    def take(self) -> bool:
        """Give the networks the weights that were kept, if any were; whether that is so."""
        if not self._file.is_file():
            return False
        kept = load(self._file.read_bytes())
        for name, network in self._networks.items():
            network.load_state_dict(_below(kept, f"{name}/"))
        return True

    def stale(self, step: int, steps: int) -> bool:
        """Whether after ``step`` steps the last ``steps`` brought no gain; never where nothing was measured."""
        return self.figure >= 0 and step - self.step >= steps


def _state(network: nn.Module) -> dict[str, Tensor]:
    return dict(network.state_dict())


def _laid_out_as(weight: Tensor, moment: Tensor) -> Tensor:
    """``moment``, in memory in the order of ``weight`` where it has its shape: else each step would reorder it."""
    return torch.empty_like(weight).copy_(moment).detach() if moment.shape == weight.shape else moment


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
