"""Back ends that OpenVINO runs on the CPU, where it is installed: pip install "napari-medaka-kd[fast]"."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from napari_medaka_kd.networks.build import in_channels, network_stride

from .torch_backend import as_few_bytes, precision_of
from .verdict import Verdict, folded

if TYPE_CHECKING:
    from torch import nn

    from napari_medaka_kd.settings import NetworkSettings
    from napari_medaka_kd.volumes.volume import Shape


class OpenVinoBackend:
    """A network as OpenVINO runs it, with as many threads as torch.

    It is compiled for tiles of one size, which takes a fraction of a second, and once for those of any size, when the
    first of them comes.
    """

    def __init__(self, name: str, network: nn.Module, looks: NetworkSettings, tile: Shape) -> None:
        self.name = name
        self.tile = tile
        self.stride = network_stride(looks)
        self._channels = in_channels(looks)
        self._settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision_of(name) == torch.bfloat16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        self._model = self._convert(folded(network).cpu())
        self._requests: dict[bool, Any] = {}

    def __call__(self, image: npt.NDArray[np.float32]) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
        request = self._request(usual=image.shape[1:] == self.tile)
        request.infer([np.ascontiguousarray(image)[None]], share_inputs=True)
        classes, doubt = (request.get_output_tensor(number).data.copy() for number in range(2))
        return as_few_bytes(classes), doubt

    def _convert(self, network: nn.Module) -> Any:
        """The graph for tiles of any size; traced on a small one, since tracing runs it several times."""
        openvino = without_telemetry()
        example = torch.zeros(1, self._channels, *(2 * step for step in self.stride))
        shape = openvino.PartialShape([1, self._channels, -1, -1, -1])
        return openvino.convert_model(Verdict(network).eval(), example_input=example, input=[shape])

    def _request(self, usual: bool) -> Any:
        if usual not in self._requests:
            openvino = without_telemetry()
            model = self._model.clone() if usual else self._model
            if usual:
                model.reshape([1, self._channels, *self.tile])
            self._requests[usual] = openvino.compile_model(model, "CPU", self._settings).create_infer_request()
        return self._requests[usual]


def openvino_is_here(device: torch.device) -> bool:
    """Whether OpenVINO is installed and torch would compute on the CPU too."""
    return device.type == "cpu" and importlib.util.find_spec("openvino") is not None


def without_telemetry() -> Any:
    """The module ``openvino``, which reports its being imported over the network if it finds the package to do so."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
