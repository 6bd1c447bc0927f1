"""Weights from elsewhere: names and tensors out of a file, and nothing that the file would have run."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from napari_medaka_kd.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

State: TypeAlias = dict[str, Tensor]

MOST = 4 << 30  # bytes of a file
_PACKED = 64 << 20  # bytes of an archive that may be packed, and of what it says of its tensors
_OLDEST = (2, 10)  # until 2.9 weights_only could be led to write outside of memory (CVE-2026-24747)
_KEYS = ("state_dict", "model_state_dict", "model", "network_weights", "network", "net", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.")


def read_bytes(file: Path, most: int = MOST) -> bytes:
    """All of ``file``.

    Raises
    ------
    UserError
        If it is none, or larger than ``most`` bytes.
    """
    try:
        size = file.stat().st_size
        if not file.is_file() or size > most:
            raise UserError(
                f"{str(file)!r} is no file of at most {most / 1e9:.1f} GB.", "Name the file of a network's weights."
            )
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{str(file)!r} cannot be read: {error}.", "Name the file of a network.") from error


def read_weights(data: bytes, name: str) -> State:
    """The tensors of a ``.safetensors`` file, or of a ``.pt`` file that torch saved; ``name`` is for sentences.

    Raises
    ------
    UserError
        If it is damaged, holds other things than tensors and plain data, or would become larger than it is.
    """
    try:
        found = _read_pt(data, name) if zipfile.is_zipfile(io.BytesIO(data)) else _read_safetensors(data)
    except UserError:
        raise
    except Exception as error:  # the unpickler has errors of its own kind, torch of several
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"The weights in {name!r} cannot be read as plain tensors: {said}.",
            "Save the network's state_dict alone, as .safetensors or by a torch since 1.6; "
            "nothing in a file is ever executed.",
        ) from error
    return _checked(_tensors(found), name)


def variants(state: State) -> Iterator[State]:
    """``state``, and what it is without each of the words that wrappers put before every name."""
    yield state
    for prefix in _PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            yield from variants({name.removeprefix(prefix): tensor for name, tensor in state.items()})


def require_safe_torch(version: str = torch.__version__) -> None:
    """Refuse a torch whose reading of ``.pt`` files is known to be unsafe."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < _OLDEST:
        raise UserError(
            f"torch {version} does not read foreign .pt files safely.",
            "Update torch to 2.10 or newer, or save the weights as .safetensors.",
        )


def _read_safetensors(data: bytes) -> Mapping[str, Any]:
    from safetensors.torch import load

    return load(data)


def _read_pt(data: bytes, name: str) -> Mapping[str, Any]:
    require_safe_torch()
    require_plain_zip(data, name)
    found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if not isinstance(found, Mapping):
        raise UserError(f"{name!r} holds a {type(found).__name__}.", "Save the network's state_dict.")
    return found


def require_plain_zip(data: bytes, name: str) -> list[str]:
    """Names in the archive ``data``; refused if it becomes much larger than it is: torch packs code, and no weights."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            listed = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise UserError(f"{name!r} is damaged: {error}.", "Get it anew.") from error
    if len({entry.filename.casefold() for entry in listed}) < len(listed):
        raise UserError(f"{name!r} holds two parts of one name.", "Save it anew.")  # of which torch may take the other
    packed = sum(entry.file_size for entry in listed if entry.compress_type != zipfile.ZIP_STORED)
    pickled = sum(entry.file_size for entry in listed if "pkl" in entry.filename)
    if max(packed, pickled) > _PACKED or sum(entry.file_size for entry in listed) - packed > len(data):
        raise UserError(
            f"{name!r} is an archive that torch would not write: {packed / 1e6:.0f} MB are packed in it.",
            "Save the weights by torch, or as .safetensors.",
        )
    return [entry.filename for entry in listed]


def _tensors(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """``found``, or what lies under one of the usual keys of a training's checkpoint."""
    if found and all(isinstance(value, Tensor) for value in found.values()):
        return found
    inner = [found[key] for key in _KEYS if isinstance(found.get(key), Mapping)]
    return _tensors(inner[0]) if inner else {}


def _checked(found: Mapping[str, Any], name: str) -> State:
    state = {str(key): value.detach() for key, value in found.items()}
    if not state:
        raise UserError(f"There is no network's state_dict in {name!r}.", f"It is looked for under {', '.join(_KEYS)}.")
    for key, tensor in state.items():
        room = (
            tensor.untyped_storage().nbytes() if tensor.layout == torch.strided and tensor.device.type == "cpu" else -1
        )
        if tensor.numel() * tensor.element_size() > room:
            raise UserError(f"The tensor {key!r} in {name!r} claims more values than it has.", "Get the file anew.")
    return state
