"""How large the voxels of a TIFF are: OME-XML, ImageJ's description, or the resolution tags."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

from napari_medaka_kd.errors import InvalidVolume

from .units import micrometres

if TYPE_CHECKING:
    from tifffile import TiffFile

    from .volume import Triple

_log = logging.getLogger(__name__)
_SCREEN_DPI = (1, 72, 96, 100, 150, 200, 300, 600, 1200)  # what software writes that knows of no voxel size


def find_voxel_size(tiff: TiffFile, name: str) -> Triple:
    """(z, y, x) in µm, as the file says. Pixels without a z-spacing are taken as cubes, if square, with a warning.

    Raises
    ------
    InvalidVolume
        If the file does not say.
    """
    z, y, x = _from_ome(tiff) or _from_imagej(tiff) or _from_tags(tiff)
    if x is None or y is None or (z is None and not math.isclose(x, y, rel_tol=1e-3)):
        raise InvalidVolume(
            f"{name!r} does not say how large its voxels are.", "Give the voxel size in µm, in the order z, y, x."
        )
    if z is None:
        _log.warning("%s does not say how far apart its slices are; taken as %g µm, like its pixels.", name, x)
    return (x if z is None else z), y, x


_Known = tuple[float | None, float | None, float | None]


def _from_ome(tiff: TiffFile) -> _Known | None:
    from tifffile import xml2dict

    if not tiff.is_ome or not tiff.ome_metadata:
        return None
    image = xml2dict(tiff.ome_metadata)["OME"]["Image"]
    pixels = (image[0] if isinstance(image, list) else image)["Pixels"]

    def side(axis: str) -> float | None:
        unit = micrometres(str(pixels.get(f"PhysicalSize{axis}Unit", "µm")))
        size = pixels.get(f"PhysicalSize{axis}")
        return float(size) * unit if size is not None and unit else None

    return side("Z"), side("Y"), side("X")


def _from_imagej(tiff: TiffFile) -> _Known | None:
    if not tiff.is_imagej or tiff.imagej_metadata is None:
        return None
    unit = micrometres(str(tiff.imagej_metadata.get("unit", "")))
    if unit is None:
        return None
    spacing = tiff.imagej_metadata.get("spacing")
    z = float(spacing) * unit if spacing is not None else None
    return z, _pixel(tiff, "YResolution", unit), _pixel(tiff, "XResolution", unit)


def _from_tags(tiff: TiffFile) -> _Known:
    tags = tiff.pages.first.tags
    unit = {2: 25_400.0, 3: 10_000.0}.get(int(_value(tags, "ResolutionUnit", 1)))
    if unit is None:
        return None, None, None
    y, x = _pixel(tiff, "YResolution", unit), _pixel(tiff, "XResolution", unit)
    if unit == 25_400.0 and x is not None and any(math.isclose(x, unit / dpi, rel_tol=1e-4) for dpi in _SCREEN_DPI):
        return None, None, None
    return None, y, x


def _pixel(tiff: TiffFile, tag: str, unit: float) -> float | None:
    """µm per pixel, from a tag that holds pixels per unit as a fraction."""
    value = _value(tiff.pages.first.tags, tag, None)
    if value is None or not value[0] or not value[1]:
        return None
    return unit * float(value[1]) / float(value[0])


def _value(tags: Any, name: str, default: Any) -> Any:
    tag = tags.get(name)
    return default if tag is None else tag.value
