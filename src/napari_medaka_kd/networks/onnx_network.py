"""OnnxNetwork: a network in an ONNX file, computed by ONNX Runtime; the file is looked through before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from napari_medaka_kd.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

MOST = (2 << 30) - 1  # bytes; protobuf knows no larger ones
NORMS = {"InstanceNormalization", "GroupNormalization", "LayerNormalization", "MeanVarianceNormalization"}
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}  # others have operators that open files
_FLOAT = 1  # TensorProto.FLOAT


@dataclass(frozen=True)
class OnnxFacts:
    """What a graph says of itself: sizes of its input (``None`` where any will do), and whether it normalises tiles."""

    sides: tuple[int | None, ...]
    normalises: bool


class OnnxNetwork(nn.Module):
    """Input → first output of a graph, on the CPU or by CUDA where ONNX Runtime has it."""

    one_at_a_time = True

    def __init__(self, data: bytes) -> None:
        super().__init__()
        inspect(data, "The ONNX file")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4
        wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
        providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
        try:
            self.session = onnxruntime.InferenceSession(data, options, providers=providers)
        except Exception as error:  # its errors share no class but this
            said = " ".join(str(error).split())[:300]
            raise UserError(f"ONNX Runtime does not take the network: {said}.", "Export it anew.") from error
        self.input = self.session.get_inputs()[0].name
        self.here = nn.Parameter(torch.zeros(1), requires_grad=False)  # says on which device it is asked

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, …) → (B, classes, …) float32, on the device of ``image``."""
        seen = np.ascontiguousarray(image.detach().float().cpu().numpy())
        answer = self.session.run(None, {self.input: seen})[0]
        return torch.from_numpy(np.array(answer, np.float32)).to(image.device)

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        return self


def inspect(data: bytes, name: str) -> OnnxFacts:
    """Look through a graph before it is run.

    Raises
    ------
    UserError
        If it is damaged, refers to other files, has operators of its own, or not one image as its input.
    """
    import onnx

    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own
        raise UserError(f"{name} is damaged: {error}.", "Export the network anew.") from error
    foreign = {opset.domain for opset in model.opset_import} - _DOMAINS
    foreign |= {node.domain for node in _nodes(model)} - _DOMAINS - {function.domain for function in model.functions}
    if foreign:
        raise UserError(
            f"{name} has operators of {', '.join(map(repr, sorted(foreign)))}.", "Export it with ONNX's own alone."
        )
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model)):
        raise UserError(f"{name} keeps weights in other files.", "Save it as one: onnx.save(onnx.load(FILE), NEW).")
    return OnnxFacts(_sides(model, name), any(node.op_type in NORMS for node in _nodes(model)))


def _sides(model: Any, name: str) -> tuple[int | None, ...]:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in constants]
    shape = inputs[0].type.tensor_type.shape.dim if len(inputs) == 1 else ()
    if len(shape) not in (4, 5) or inputs[0].type.tensor_type.elem_type != _FLOAT:
        raise UserError(
            f"{name} does not take one image (batch, channel, [z,] y, x) of float32.", "Export it with one input."
        )
    return tuple(side.dim_value or None for side in shape)


def _graphs(model: Any) -> Iterator[Any]:
    """The graph, those within its nodes, and the functions: each has nodes."""
    waiting = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def _nodes(model: Any) -> Iterator[Any]:
    return (node for graph in _graphs(model) for node in graph.node)


def _tensors(model: Any) -> Iterator[Any]:
    for graph in _graphs(model):
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for attribute in (each for node in graph.node for each in node.attribute):
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, cast("Any", sparse.indices))
