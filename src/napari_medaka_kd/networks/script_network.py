"""ScriptNetwork: a TorchScript archive, whose code is looked through before torch's own interpreter gets it."""

from __future__ import annotations

import ast
import io
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from napari_medaka_kd.errors import UserError

from .weights_file import require_plain_zip, require_safe_torch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

_PICKLES = {"data.pkl", "constants.pkl", "attributes.pkl"}  # TorchScript's own, which Python never sees
_FORBIDDEN = {"save", "from_file", "load", "profiler"}  # operators that open files or look around
_SPACES = {"prim", "aten"}  # of operators
_load: Any = torch.jit.load  # these have no types
_plainly: Any = vars(torch.jit)["optimized_execution"]
_NORMS = ("instance_norm", "group_norm", "layer_norm")


class ScriptNetwork(nn.Module):
    """What ``torch.jit.save`` wrote, in evaluation mode; its first output."""

    one_at_a_time = True

    def __init__(self, data: bytes) -> None:
        super().__init__()
        inspect(data, "The TorchScript archive")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # torch prefers torch.export
                self.script: Any = _load(io.BytesIO(data), map_location="cpu").eval()
        except (RuntimeError, ValueError) as error:
            said = " ".join(str(error).split())[:300]
            raise UserError(f"torch does not take the TorchScript archive: {said}.", "Save it anew.") from error
        self.here = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, …) → (B, classes, …)."""
        # Optimising it anew for each size takes seconds, and the convolutions are what takes time.
        with torch.autocast(image.device.type, enabled=False), _plainly(False):
            answer = self.script(image.float())
        while isinstance(answer, (tuple, list)):
            answer = answer[0]
        return answer if isinstance(answer, Tensor) else next(iter(answer.values()))

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        return self


def is_script(data: bytes) -> bool:
    """Whether ``data`` is an archive with code in it, rather than one of weights alone."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return False
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return any("/code/" in name for name in archive.namelist())


def inspect(data: bytes, name: str) -> bool:
    """Look through the code of an archive; whether any of it normalises a tile by its own statistics.

    Raises
    ------
    UserError
        If it is damaged, holds pickled Python objects, or could open files.
    """
    require_safe_torch()
    names = require_plain_zip(data, name)
    pickles = [
        each for each in names if each.lower().endswith((".pkl", ".pickle")) and each.split("/")[-1] not in _PICKLES
    ]
    if pickles:
        raise UserError(f"{name} holds pickled objects: {pickles[0]!r}.", "Save it by torch.jit.save alone.")
    normalises = False
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for each in names:
            if each.lower().endswith(".py"):
                text = archive.read(each).decode("utf-8", "replace")
                _require_harmless(text, f"{name} ({each.split('/')[-1]})")
                normalises |= any(norm in text for norm in _NORMS)
    return normalises


def _require_harmless(code: str, name: str) -> None:
    try:
        found = set(_uses(ast.parse(code)))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"The code of {name} cannot be read.", "Export the network to ONNX.") from error
    if found:
        raise UserError(
            f"The code of {name} uses {', '.join(sorted(found))}, which could reach beyond the network.",
            "Export the network to ONNX, or write an adapter: docs/adapters.md.",
        )


def _uses(tree: ast.AST) -> Iterator[str]:
    """What is not allowed in ``tree``."""
    fetched = 0
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(word)), *_]):
                fetched += 1
            case ast.Attribute(attr=word) | ast.Name(id=word):
                fetched -= word == "getattr"
            case _:
                continue
        yield from {word} & _FORBIDDEN
        yield from {ast.unparse(node)} & {"torch.classes", "__torch__.torch.classes"}
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("ops", "torch.ops") and word not in _SPACES:
            yield f"ops.{word}"
    if fetched < 0:
        yield "getattr"  # by a name that is put together
