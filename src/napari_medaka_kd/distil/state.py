"""The state of a training on disk: exact, whole or absent, and without a pickle; and its figures as a table."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Self

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from napari_medaka_kd.volumes.atomic import replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STATE = "state.safetensors"


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


def restore(folder: Path, networks: Mapping[str, nn.Module], optimizers: Mapping[str, torch.optim.Optimizer]) -> int:
    """Bring ``networks`` and ``optimizers`` to where :func:`save_state` left them; how many steps were taken by then.

    Returns 0, and changes nothing, where nothing was saved.
    """
    file = folder / STATE
    if not file.is_file():
        return 0
    tensors = load(file.read_bytes())
    for name, network in networks.items():
        network.load_state_dict(_below(tensors, f"network/{name}/"))
    for name, optimizer in optimizers.items():
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in _below(tensors, f"optimizer/{name}/").items():
            place, moment = key.split("/")
            moments.setdefault(int(place), {})[moment] = tensor
        optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    return int(tensors["done"])


class Metrics:
    """``metrics.csv``: one row (step, figure, value) a figure, live; steps taken twice are listed once."""

    def __init__(self, file: Path, first: int) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for row in read_metrics(file) if row[0] <= first]
        self._stream = file.open("w", newline="", encoding="utf-8")
        self._table = csv.writer(self._stream)
        self._table.writerow(("step", "figure", "value"))
        self._table.writerows(kept)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add the figures of ``step``."""
        self._table.writerows((step, name, f"{value:.6g}") for name, value in values.items())
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def read_metrics(file: Path) -> list[tuple[int, str, float]]:
    """The rows of a ``metrics.csv``; none where there is no file, and a torn last row is left out."""
    if not file.is_file():
        return []
    rows = list(csv.reader(file.read_text("utf-8").splitlines()))[1:]
    return [(int(row[0]), row[1], float(row[2])) for row in rows if len(row) == 3]


def _state(network: nn.Module) -> dict[str, Tensor]:
    return dict(network.state_dict())


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
