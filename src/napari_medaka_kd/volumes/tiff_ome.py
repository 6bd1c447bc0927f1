"""What a TIFF says of itself in OME-XML or a program's index, looked at before tifffile acts on it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import InvalidVolume

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from tifffile import TiffFile

_MOST = 2**20  # slices, or voxels along a side; tifffile makes lists as long as the XML says
_COUNTS = ("SizeX", "SizeY", "SizeZ", "SizeC", "SizeT", "IFD", "PlaneCount", "NumPlanes", "FirstZ", "FirstC", "FirstT")


def check_description(tiff: TiffFile, name: str) -> None:
    """Refuse a TIFF whose description leads to other files, which tifffile would open wherever they lie.

    Raises
    ------
    InvalidVolume
        If it is spread over several files.
    ValueError
        If it claims more slices than any scan has, or what only microscopes have, or is no XML.
    """
    if tiff.is_ndtiff:
        raise _several(name)
    if not tiff.is_ome or not tiff.ome_metadata:
        return
    from xml.etree import ElementTree

    root = ElementTree.fromstring(tiff.ome_metadata)
    for element in root.iter():
        kind = element.tag.rpartition("}")[2]
        if kind in ("Pixels", "TiffData"):
            _check_counts(element)
        if kind == "UUID" and not _is_own(element, root, tiff.filename):
            raise _several(name)
        if kind.startswith("ModuloAlong"):
            raise ValueError("its OME-XML speaks of further axes")


def _check_counts(element: Element) -> None:
    counts = {key: int(element.get(key, 1)) for key in _COUNTS}
    slices = math.prod(max(1, counts[key]) for key in ("SizeZ", "SizeC", "SizeT"))
    if not all(0 <= count <= _MOST for count in (*counts.values(), slices)):
        raise ValueError(f"its OME-XML claims {max(*counts.values(), slices):,} slices or voxels along a side")


def _is_own(element: Element, root: Element, filename: str) -> bool:
    """Whether a ``UUID`` of the XML names the file itself, which may have been renamed."""
    named = (element.get("FileName") or "").lower()
    return element.text == root.get("UUID") if root.get("UUID") else named == filename.lower()


def _several(name: str) -> InvalidVolume:
    return InvalidVolume(f"{name!r} is spread over several files.", "Export one file, or a folder of slices.")
