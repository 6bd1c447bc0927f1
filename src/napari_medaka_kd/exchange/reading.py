"""What napari asks whether it can be opened: OME-Zarr images, and scans in formats that napari knows little of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from napari_medaka_kd.volumes.store_gate import describes_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from .looks import LayerData

#: Makes layers of a path.
Reader: TypeAlias = "Callable[[str], list[LayerData]]"


def read_store(path: str | list[str]) -> Reader | None:
    """A reader of the OME-Zarr image at ``path``; ``None`` for any other folder, plain zarr arrays and plates too."""
    if not isinstance(path, str) or not describes_image(Path(path)):
        return None
    return _read_store


def read_scan(path: str | list[str]) -> Reader | None:
    """A reader of the one file at ``path``, whose ending the manifest names; ``None`` for several files."""
    return _read_scan if isinstance(path, str) and Path(path).is_file() else None


def _read_store(path: str) -> list[LayerData]:
    from .stores import store_layers

    return store_layers(Path(path))


def _read_scan(path: str) -> list[LayerData]:
    from .scans import scan_layers

    return scan_layers(Path(path))
