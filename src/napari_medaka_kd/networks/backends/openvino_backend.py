"""Back ends that OpenVINO runs on the CPU, where it is installed: pip install "napari-medaka-kd[fast]"."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from napari_medaka_kd.networks.build import in_channels, network_stride
from napari_medaka_kd.networks.cone import cone
from napari_medaka_kd.volumes.volume import whole

from .torch_backend import as_few_bytes, precision_of
from .verdict import Verdict, fingerprint, folded

if TYPE_CHECKING:
    from torch import nn

    from napari_medaka_kd.settings import NetworkSettings
    from napari_medaka_kd.volumes.volume import Region, Shape

    from .backend import Reply

_KEPT = 4  # graphs, each as large as its weights
_graphs: dict[tuple[str, str, str, bool], tuple[Any, int]] = {}


class OpenVinoBackend:
    """A network as OpenVINO runs it on tiles of any size, with as many threads as torch.

    A graph that knows the size of its tiles was not faster, and each keeps its own memory.
    """

    def __init__(self, name: str, network: nn.Module, looks: NetworkSettings, tile: Shape, soft: bool = False) -> None:
        self.name = name
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision_of(name) == torch.bfloat16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        graph, self._levels = _kept_graph(network, looks, soft)
        self._request = without_telemetry().compile_model(graph, "CPU", settings).create_infer_request()

    def __call__(self, image: npt.NDArray[np.float32], inner: Region) -> Reply:
        needed = cone(inner, image.shape[1:], self._levels)
        self._request.infer([np.ascontiguousarray(image)[None], needed], share_inputs=True)
        classes, *more = (tensor.data.copy() for tensor in self._request.output_tensors)
        return as_few_bytes(classes), *more


def openvino_is_here(device: torch.device) -> bool:
    """Whether OpenVINO is installed and torch would compute on the CPU too."""
    return device.type == "cpu" and importlib.util.find_spec("openvino") is not None


def without_telemetry() -> Any:
    """The module ``openvino``, which reports its being imported over the network if it finds the package to do so."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def _kept_graph(network: nn.Module, looks: NetworkSettings, soft: bool) -> tuple[Any, int]:
    """The graph of ``network`` and the levels of its tiles, made once for the few networks that were used last.

    To trace takes four times as long as all else, and torch never frees what it traced (pytorch#35600): six times the
    weights, for every volume before.
    """
    key = (fingerprint(network), repr(network), looks.model_dump_json(), soft)
    if key not in _graphs:
        verdict = Verdict(folded(network), soft=soft).eval()
        while len(_graphs) >= _KEPT:
            _graphs.pop(next(iter(_graphs)))
        _graphs[key] = _graph(verdict, looks), verdict.levels
    return _graphs[key]


def _graph(verdict: Verdict, looks: NetworkSettings) -> Any:
    """OpenVINO's, for tiles of any size; traced on a small one, since tracing runs it several times."""
    openvino = without_telemetry()
    channels = in_channels(looks)
    z, y, x = (2 * step for step in network_stride(looks))
    needed = torch.from_numpy(cone(whole((z, y, x)), (z, y, x), verdict.levels))
    any_size = openvino.PartialShape([1, channels, -1, -1, -1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OpenVINO traces with a function that torch would like to be rid of
        return openvino.convert_model(
            verdict,
            example_input=(torch.zeros(1, channels, z, y, x), needed),
            input=[any_size, openvino.PartialShape(list(needed.shape))],
        )
