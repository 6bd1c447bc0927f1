"""Networks in ONNX: run by their own runtime, as they were, and looked through before."""

import numpy as np
import pytest
import torch
from torch import nn

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.adoption import find_network
from napari_medaka_kd.networks.backends.verdict import Verdict
from napari_medaka_kd.networks.onnx_network import OnnxNetwork, inspect
from napari_medaka_kd.project import create_project
from napari_medaka_kd.settings import AdoptSettings
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.workflow.adopt import adopt

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402  needs the line above


def graph(sides=("b", 1, "z", "y", "x"), middle=(), domain="", softmax=False):
    """A convolution to three classes, with ``middle`` operators after it; and the same in torch."""
    flat = len(sides) - 2
    torch.manual_seed(0)
    layer = {2: nn.Conv2d, 3: nn.Conv3d}[flat](1, 3, 3, padding=1)
    weights = [
        numpy_helper.from_array(layer.weight.detach().numpy(), "w"),
        numpy_helper.from_array(layer.bias.detach().numpy(), "b"),
        numpy_helper.from_array(np.ones(3, np.float32), "one"),
        numpy_helper.from_array(np.zeros(3, np.float32), "zero"),
    ]
    nodes = [helper.make_node("Conv", ["image", "w", "b"], ["0"], pads=[1] * 2 * flat)]
    for number, (op, *more) in enumerate(middle):
        nodes.append(helper.make_node(op, [str(number), *more], [str(number + 1)], domain=domain))
    end = "Softmax" if softmax else "Identity"
    nodes.append(helper.make_node(end, [str(len(middle))], ["out"], **({"axis": 1} if softmax else {})))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, sides)
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    made = helper.make_model(helper.make_graph(nodes, "net", [image], [out], weights), opset_imports=opsets)
    made.ir_version = 9
    return made, layer.eval()


def found(made, tmp_path, **knobs):
    (tmp_path / "net.onnx").write_bytes(made.SerializeToString())
    return find_network(tmp_path / "net.onnx", AdoptSettings(**knobs))


def test_it_answers_as_torch_does_after_it_was_adopted(tmp_path):
    made, layer = graph()
    (tmp_path / "net.onnx").write_bytes(made.SerializeToString())
    project = create_project(tmp_path / "fish", "fish", LabelSchema.from_names(["eye", "gut"]))
    card = drain(adopt(project, tmp_path / "net.onnx", "foreign", AdoptSettings()))
    assert (card.network.architecture, card.network.reach, card.network.stride) == ("onnx", (1, 1, 1), (8, 8, 8))
    network, image = card.load(project.checkpoint("foreign")), torch.rand(2, 1, 5, 6, 7)
    torch.testing.assert_close(network(image), layer(image).detach(), rtol=1e-4, atol=1e-5)
    assert Verdict(network).classes == 3


def test_slices_of_two_dimensions_are_asked_one_by_one(tmp_path):
    made, layer = graph(sides=(1, 1, "y", "x"), softmax=True)
    looks = found(made, tmp_path).looks
    assert (looks.dimensions, looks.gives, looks.stride, looks.window) == (2, "probabilities", (1, 8, 8), None)
    image = torch.rand(3, 1, 8, 9)
    slices = torch.cat([OnnxNetwork(made.SerializeToString())(one[None]) for one in image])
    torch.testing.assert_close(slices, layer(image).softmax(1).detach(), rtol=1e-4, atol=1e-5)


def test_one_that_takes_one_size_is_shown_windows_of_it(tmp_path):
    looks = found(graph(sides=(1, 1, 24, 16, 16))[0], tmp_path).looks
    assert (looks.window, looks.tile_statistics, looks.blended) == ((24, 16, 16), False, True)


@pytest.mark.parametrize("normalise", [("InstanceNormalization", "one", "zero"), ("Relu",)])
def test_norms_of_the_tile_are_seen(tmp_path, normalise):
    looks = found(graph(middle=(normalise,))[0], tmp_path).looks
    assert looks.tile_statistics == (normalise[0] == "InstanceNormalization")


def test_statistics_that_no_operator_is_called_by_are_noticed_by_their_reach(tmp_path):
    mean = graph(middle=(("GlobalAveragePool",),))[0]
    mean.graph.node[-1].CopyFrom(helper.make_node("Sub", ["0", "1"], ["out"]))
    assert found(mean, tmp_path).looks.tile_statistics


def refused(made, match):
    with pytest.raises(UserError, match=match):
        inspect(made if isinstance(made, bytes) else made.SerializeToString(), "It")


def test_files_beside_it_and_operators_of_others_are_refused(tmp_path):
    made = graph()[0]
    weights = made.graph.initializer[0]
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    refused(made, "in other files")
    refused(graph(middle=(("EPContext",),), domain="com.microsoft")[0], "operators of 'com.microsoft'")
    refused(b"rubbish", "damaged")


def test_an_input_that_is_no_image_is_refused():
    refused(graph(sides=(1, 1, "z", "y", "x"))[0].SerializeToString()[:-40] + b"\xff" * 40, "damaged")
    made = graph()[0]
    made.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    refused(made, "one image")
