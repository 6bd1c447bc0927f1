"""Prices on disk, beside the checkpoint: measured once for each machine and settings, used without measuring again."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from napari_medaka_kd.volumes.atomic import replace_file

from .price import FEW, MANY, Prices

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_medaka_kd.settings import SegmentSettings

FILE = "forecast.json"
_KEPT = 16  # entries: a folder may be used by several machines, with several settings
_BYTES = 200_000
_SURROUNDINGS = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


@dataclass(frozen=True)
class Kept:
    """A checkpoint's prices for one machine, by kind: volumes of few tiles, and of many."""

    folder: Path
    known: str

    def prices(self) -> Mapping[str, Prices]:
        """Those that were measured; the pace of the last whole run stands for that of the few tiles measured."""
        found = {}
        for kind, data in self._entry().items():
            with suppress(ValueError, TypeError, LookupError, AttributeError):
                prices = Prices.from_json(data["prices"])
                ran = float(data.get("ran", 0.0))
                found[kind] = replace(prices, pace=ran) if 0 < ran < 1 else prices
        return found

    def keep(self, kind: str, prices: Prices) -> None:
        """Keep what was measured; what was kept of ``kind`` is forgotten."""
        self._write(self._entry() | {kind: {"prices": prices.to_json()}})

    def ran(self, computes: str, voxels: int, seconds: float) -> None:
        """Keep the pace of a whole run that showed the network ``voxels``, where prices of ``computes`` are kept."""
        entry = self._entry()
        mine = [kind for kind, prices in self.prices().items() if prices.computes == computes]
        if mine and voxels > 0 and seconds > 0:
            self._write(entry | {kind: entry[kind] | {"ran": seconds / voxels} for kind in mine})

    def forget(self) -> None:
        """Have all of it measured anew."""
        if self._entry():
            self._write({})

    def _entry(self) -> dict[str, Any]:
        entry = _read(self.folder).get(self.known)
        return {kind: entry[kind] for kind in (FEW, MANY) if kind in entry} if isinstance(entry, dict) else {}

    def _write(self, entry: dict[str, Any]) -> None:
        others = {known: other for known, other in _read(self.folder).items() if known != self.known}
        latest = [*others.items(), (self.known, entry)][-_KEPT:]
        with suppress(OSError):  # where nothing can be written, it is measured again
            replace_file(self.folder / FILE, json.dumps(dict(latest), indent=1).encode())


def kept(folder: Path, weights: str, settings: SegmentSettings) -> Kept:
    """What is kept in a checkpoint's ``folder`` for these ``weights`` (a hash) and ``settings`` on this machine."""
    machine = (platform.node(), platform.machine(), os.cpu_count(), *map(os.environ.get, _SURROUNDINGS))
    facts = (weights, _choice(folder), settings.model_dump_json(), machine, *map(_version, ("torch", "openvino")))
    return Kept(folder, hashlib.sha256(repr(facts).encode()).hexdigest())


def _choice(folder: Path) -> bytes:
    """The back ends that were chosen so far: from then on volumes of few tiles, too, are computed by them."""
    try:
        return (folder / "backend.json").read_bytes()[:_BYTES]
    except OSError:
        return b""


def _version(name: str) -> str:
    with suppress(PackageNotFoundError):
        return version(name) if importlib.util.find_spec(name) else ""
    return ""


def _read(folder: Path) -> dict[str, Any]:
    try:
        with (folder / FILE).open("rb") as file:
            entries = json.loads(file.read(_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}
