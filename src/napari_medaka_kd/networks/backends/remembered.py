"""The choice of a back end on disk: what it was made for, what was measured, and what was taken."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import platform
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

from napari_medaka_kd.volumes.atomic import replace_file

from .verdict import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from napari_medaka_kd.volumes.volume import Shape

FILE = "backend.json"
_CHOICES = 16  # kept: a folder may be used by several machines, and with several tiles
_BYTES = 100_000


def facts(network: nn.Module, tile: Shape, device: torch.device, names: Sequence[str]) -> str:
    """SHA-256 of all that a choice depends on: weights, tile, processor, threads, versions, back ends at hand."""
    flags = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    device_name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    versions = {name: version(name) for name in ("torch", "openvino") if importlib.util.find_spec(name)}
    machine = (platform.machine(), platform.processor(), sorted(flags.items()), torch.get_num_threads(), device_name)
    known = (fingerprint(network), tuple(tile), machine, sorted(versions.items()), tuple(names))
    return hashlib.sha256(repr(known).encode()).hexdigest()


def recall(folder: Path | None, known: str) -> str | None:
    """The name that was chosen for these facts; None if none was, or the file cannot be read."""
    choice = _read(folder).get(known)
    name = choice.get("name") if isinstance(choice, dict) else None
    return name if isinstance(name, str) else None


def remember(folder: Path | None, known: str, name: str, measured: Mapping[str, float]) -> None:
    """Keep ``name`` and the seconds that each back end took; where nothing can be written, it is measured again."""
    if folder is None:
        return
    kept = {key: choice for key, choice in _read(folder).items() if key != known}
    choice = {"name": name, "seconds": {each: round(seconds, 4) for each, seconds in measured.items()}}
    latest = [*kept.items(), (known, choice)][-_CHOICES:]
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / FILE, json.dumps(dict(latest), indent=2).encode())


def _read(folder: Path | None) -> dict[str, Any]:
    if folder is None:
        return {}
    try:
        with (folder / FILE).open("rb") as file:
            choices = json.loads(file.read(_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return choices if isinstance(choices, dict) else {}
