"""A network out of a foreign file: of which kind it is, how it is run, and what it takes and gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from safetensors.torch import save

from napari_medaka_kd.errors import UserError

from . import onnx_network, script_network
from .adapter import AdapterNetwork, open_adapter
from .bundle import Bundle, is_bundle, open_bundle
from .foreign import ForeignSettings
from .probe import Guess, Probed, probe
from .registry import fit, recognise
from .weights_file import State, read_bytes, read_weights

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from napari_medaka_kd.settings import AdoptSettings
    from napari_medaka_kd.volumes.volume import Shape

_NO_ZIP = "Unpack the archive and name the folder."


@dataclass(frozen=True)
class Found:
    """A network that was found.

    Attributes
    ----------
    looks
        What it is; its ``classes`` are numbered as they come, without a meaning yet.
    data
        What is kept of its file.
    names
        Class → what it is called, where that is told.
    """

    looks: ForeignSettings
    data: bytes
    names: dict[int, str]


@dataclass(frozen=True)
class _Raw:
    network: nn.Module
    data: bytes
    guess: Guess
    kind: dict[str, Any]  # of ForeignSettings


def find_network(file: Path, settings: AdoptSettings) -> Found:
    """Read, run and probe what lies in ``file``, or in a folder that is a MONAI bundle.

    Raises
    ------
    UserError
        If it is of no known kind, harmful, or does not answer as a segmenting network does.
    """
    bundle = open_bundle(file) if file.is_dir() and is_bundle(file) else None
    if bundle is not None:
        file = bundle.weights(by_script=settings.architecture == "auto" and not settings.arguments)
    elif file.is_dir():
        raise UserError(
            f"{str(file)!r} is neither a checkpoint nor a MONAI bundle.",
            "Name a file, or a folder with checkpoint.json or configs/metadata.json.",
        )
    raw = _read(file, settings)
    probed = probe(raw.network, replace(raw.guess, window=settings.window or raw.guess.window))
    return Found(_looks(raw, probed, bundle, settings), raw.data, bundle.names if bundle else {})


def _looks(raw: _Raw, probed: Probed, bundle: Bundle | None, settings: AdoptSettings) -> ForeignSettings:
    if probed.channels != (4 if raw.kind["architecture"] == "medaka_unet" and probed.channels == 4 else 1):
        raise UserError(f"The network takes {probed.channels} channels.", "A scan has one: choose another network.")
    window = probed.window
    if bundle is not None and probed.tile_statistics and not settings.window:
        window = bundle.patch or window
    return ForeignSettings(
        **raw.kind,
        dimensions=probed.dimensions,
        channels=probed.channels,
        classes=tuple(range(max(2, probed.outputs))),
        gives=probed.gives,
        stride=probed.stride,
        reach=probed.reach,
        tile_statistics=probed.tile_statistics,
        window=window,
        scale=settings.scale,
    )


def _read(file: Path, settings: AdoptSettings) -> _Raw:
    if settings.adapter:
        return _adapter(file, settings.adapter)
    if file.suffix == ".onnx":
        return _onnx(read_bytes(file, onnx_network.MOST), file.name)
    if file.suffix in (".zip", ".tar", ".gz"):
        raise UserError(f"{file.name!r} is an archive.", _NO_ZIP)
    data = read_bytes(file)
    if script_network.is_script(data):
        normalises = script_network.inspect(data, repr(file.name))
        network = script_network.ScriptNetwork(data)
        return _Raw(
            network, data, replace(_by_weights(network), normalises=normalises), {"architecture": "torchscript"}
        )
    return _weights(read_weights(data, file.name), settings)


def _onnx(data: bytes, name: str) -> _Raw:
    facts = onnx_network.inspect(data, repr(name))
    channels, *sides = facts.sides[1:]
    guess = Guess(len(facts.sides) - 2, channels, _fixed(sides), facts.normalises)
    return _Raw(onnx_network.OnnxNetwork(data), data, guess, {"architecture": "onnx"})


def _fixed(sides: list[int | None]) -> Shape | None:
    """The one size that it takes, where it says so."""
    z, y, x = [1] * (3 - len(sides)) + [side or 0 for side in sides]
    return (z, y, x) if z and y and x else None


def _weights(state: State, settings: AdoptSettings) -> _Raw:
    architecture = settings.architecture
    if architecture == "auto":
        architecture, state = recognise(state)
    fitted = fit(architecture, settings.arguments, state)
    kept = {name: tensor.detach().clone().contiguous() for name, tensor in fitted.network.state_dict().items()}
    kind = {"architecture": architecture, "arguments": fitted.arguments}
    given = Guess(int(fitted.arguments["spatial_dims"]), int(fitted.arguments["in_channels"]))
    return _Raw(fitted.network, save(kept), given, kind)


def _adapter(file: Path, name: str) -> _Raw:
    adapter = open_adapter(name, file)
    guess = Guess(adapter.dimensions, adapter.in_channels, None, adapter.tile_statistics, adapter.stride, adapter.reach)
    return _Raw(AdapterNetwork(adapter), read_bytes(file), guess, {"architecture": "adapter", "adapter": name})


def _by_weights(network: nn.Module) -> Guess:
    """Dimensions and channels, by the first convolution that there is."""
    shapes = [tuple(tensor.shape) for tensor in network.state_dict().values() if tensor.ndim in (4, 5)]
    return Guess(len(shapes[0]) - 2, shapes[0][1]) if shapes else Guess()
