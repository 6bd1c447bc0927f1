"""The gate for OME-Zarr: metadata of a store is read and judged here before tensorstore sees it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from napari_medaka_kd.errors import InvalidVolume

from .gate import check_grid, check_header, refusing
from .store_codecs import read_packing_2, read_packing_3, read_sizes
from .units import micrometres

if TYPE_CHECKING:
    from .store_codecs import Packing
    from .volume import Shape, Triple

#: Key of the group attribute by which we know what we wrote ourselves (every chunk is there, then).
OURS = "napari-medaka-kd"
_METADATA_BYTES = 10 * 2**20
_MOST_LEVELS = 20
_DTYPES_3 = {
    "bool",
    "float16",
    "float32",
    "float64",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}


@dataclass(frozen=True)
class StoredArray:
    """One level, as its metadata has it.

    Attributes
    ----------
    chunk
        What one file holds: a chunk, or a shard of chunks.
    key
        Prefix and separator of the names of these files.
    instead
        Metadata that is to be read instead of the file's, which says the same in words that tensorstore does not know.
    """

    folder: Path
    zarr_format: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk: tuple[int, ...]
    key: tuple[str, str]
    packing: Packing
    instead: str = ""


@dataclass(frozen=True)
class StoredImage:
    """A multiscale image, judged.

    Attributes
    ----------
    axes
        Where z, y and x are among the axes of ``arrays``; all other axes have length 1.
    voxel_size
        (z, y, x) in µm, not judged; ``None`` where the store names no unit that is a length.
    steps, origin
        Size of a voxel and place of the first one's centre, (z, y, x), in the store's own unit; not judged, NaN where
        missing.
    ours
        Whether this package wrote it, so that an absent chunk means damage, not background.
    """

    root: Path
    arrays: tuple[StoredArray, ...]
    axes: Shape
    voxel_size: Triple | None
    steps: Triple
    origin: Triple
    name: str
    ours: bool


def read_image(folder: Path) -> StoredImage:
    """The metadata of the OME-Zarr 0.4 or 0.5 image at ``folder``.

    Raises
    ------
    InvalidVolume
        If it is another version, has no image, leads out of the folder, or asks for anything absurd.
    """
    name, root = str(folder), folder.resolve()
    with refusing(name, "Check the store with an OME-Zarr validator, or export it again."):
        attributes = _read_attributes(root, name)
        if "bioformats2raw.layout" in attributes and "multiscales" not in attributes:
            return _read_first_series(folder, root)
        image = _image(attributes, name)
        arrays = tuple(read_array(root, dataset.path) for dataset in image.datasets)
        axes = _spatial(image, arrays, name)
        _check_levels(arrays, name)
    shape = tuple(arrays[0].shape[axis] for axis in axes)
    check_header(shape, arrays[0].dtype, (1.0, 1.0, 1.0), name)
    steps, origin = _steps(image, axes), _origin(image, axes)
    return StoredImage(root, arrays, axes, _voxel_size(image, axes), steps, origin, image.name, OURS in attributes)


def read_group(root: Path, folder: Path) -> dict[str, Any]:
    """The OME part of the attributes of the zarr group at ``folder``, whatever its version; {} where it is no group.

    Raises
    ------
    InvalidVolume
        If it is damaged, or leads out of the store ``root``.
    """
    root, (three, two) = root.resolve(), (folder / "zarr.json", folder / ".zattrs")
    with refusing(str(folder)):
        if three.exists():
            data = read_json(root, three)
            attributes = data.get("attributes", {}).get("ome", {}) if data.get("node_type") == "group" else {}
            return dict(attributes)
        return read_json(root, two) if two.exists() else {}


def describes_image(folder: Path) -> bool:
    """Whether ``folder`` says that it is an OME-Zarr image of any version; reads metadata only, never refuses."""
    try:
        return not {"multiscales", "bioformats2raw.layout"}.isdisjoint(read_group(folder, folder))
    except InvalidVolume:
        return folder.name.lower().endswith(".ome.zarr")


def _read_first_series(folder: Path, root: Path) -> StoredImage:
    """The only image that bioformats2raw is asked for in practice: series 0."""
    if (root / "0").resolve() != root / "0":
        raise ValueError("its series '0' is a link")
    return read_image(folder / "0")


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Axis(_Lenient):
    name: str
    unit: str | None = None


class _Transform(_Lenient):
    type: str
    scale: tuple[float, ...] | None = None
    translation: tuple[float, ...] | None = None


class _Dataset(_Lenient):
    path: str
    transforms: tuple[_Transform, ...] = Field(alias="coordinateTransformations", min_length=1)


class _Image(_Lenient):
    axes: tuple[_Axis, ...]
    datasets: tuple[_Dataset, ...] = Field(min_length=1, max_length=_MOST_LEVELS)
    transforms: tuple[_Transform, ...] | None = Field(default=None, alias="coordinateTransformations")
    name: str = ""


def read_json(root: Path, path: Path) -> dict[str, Any]:
    """The metadata in ``path``, an object.

    Raises
    ------
    ValueError, OSError
        If it is absent, is no JSON, no file or an absurdly large one, or lies outside ``root``.
    """
    if not path.resolve().is_relative_to(root):
        raise ValueError(f"{path.name!r} is a link that leads out of the store")
    if not path.is_file():
        raise ValueError(f"it has no file {path.name!r}")
    if path.stat().st_size > _METADATA_BYTES:
        raise ValueError(f"{path.name!r} is larger than any metadata")
    try:
        data = json.loads(path.read_bytes())
    except ValueError:
        raise ValueError(f"its file {path.name!r} is not JSON") from None
    if not isinstance(data, dict):
        raise TypeError(f"its file {path.name!r} is not a JSON object")
    return data


def _read_attributes(root: Path, name: str) -> dict[str, Any]:
    """The OME part of the group's attributes, with our own mark beside it, whichever the version."""
    if (root / "zarr.json").exists():
        data = read_json(root, root / "zarr.json")
        attributes = data.get("attributes", {})
        if data.get("node_type") != "group" or "ome" not in attributes:
            raise _no_image(name)
        ome = dict(attributes["ome"])
        _check_version(str(ome.get("version", "")), name, "0.5")
        return ome | {key: attributes[key] for key in (OURS,) if key in attributes}
    if not (root / ".zattrs").exists():
        raise _no_image(name)
    attributes = read_json(root, root / ".zattrs")
    for image in attributes.get("multiscales", [])[:1]:
        _check_version(str(image.get("version", "0.4")), name, "0.4")
    return attributes


def _no_image(name: str) -> InvalidVolume:
    return InvalidVolume(
        f"{name!r} is a zarr store without an OME-Zarr image.", "Give the folder that holds 'multiscales' metadata."
    )


def _check_version(version: str, name: str, known: str) -> None:
    if version != known and not version.startswith(f"{known}."):
        raise InvalidVolume(
            f"{name!r} is OME-Zarr {version or 'of no stated version'}; this program reads 0.4 and 0.5.",
            "Convert it to 0.5, for instance with ngff-zarr.",
        )


def _image(attributes: dict[str, Any], name: str) -> _Image:
    images = attributes.get("multiscales")
    if not isinstance(images, list) or not images:
        raise _no_image(name)
    if isinstance(images[0], dict) and not isinstance(images[0].get("name", ""), str):
        images[0]["name"] = ""
    return _Image.model_validate(images[0])


def read_array(root: Path, path: str) -> StoredArray:
    """The metadata of the array ``path`` of the store ``root``.

    Raises
    ------
    ValueError, OSError, KeyError, TypeError
        If it is damaged, leads out of the store, or asks for anything absurd.
    """
    parts = PurePosixPath(path)
    folder = root / path
    if parts.is_absolute() or ".." in parts.parts or "\\" in path or not folder.resolve().is_relative_to(root):
        raise ValueError(f"its level {path!r} leads out of the store")
    array = _read_array_3(root, folder) if (folder / "zarr.json").exists() else _read_array_2(root, folder)
    check_grid(array.shape, array.chunk, f"its level {path!r}")
    return array


def _read_array_3(root: Path, folder: Path) -> StoredArray:
    data = read_json(root, folder / "zarr.json")
    if data.get("node_type") != "array" or data.get("storage_transformers"):
        raise ValueError(f"its level {folder.name!r} is not a plain array")
    if not isinstance(data["data_type"], str) or data["data_type"] not in _DTYPES_3:
        raise ValueError(f"its values are of type {data['data_type']!r}")
    if data["chunk_grid"]["name"] != "regular":
        raise ValueError(f"its chunk grid is {data['chunk_grid']['name']!r}")
    shape, chunk = read_sizes(data["shape"]), read_sizes(data["chunk_grid"]["configuration"]["chunk_shape"])
    dtype = np.dtype(data["data_type"])
    packing = read_packing_3(data["codecs"], chunk, dtype)
    encoding = data["chunk_key_encoding"]
    default = encoding["name"] == "default"
    separator = (encoding.get("configuration") or {}).get("separator", "/" if default else ".")
    key = (f"c{separator}" if default else "", _separator(separator))
    return StoredArray(folder, 3, shape, dtype, chunk, key, packing)


def _read_array_2(root: Path, folder: Path) -> StoredArray:
    data = read_json(root, folder / ".zarray")
    shape, chunk, dtype = read_sizes(data["shape"]), read_sizes(data["chunks"]), np.dtype(data["dtype"])
    packing, key = read_packing_2(data, chunk, dtype), ("", _separator(data.get("dimension_separator", ".")))
    return StoredArray(folder, 2, shape, dtype, chunk, key, packing, _without_checksum(data))


def _without_checksum(data: dict[str, Any]) -> str:
    """zarr-python 2.18 says of zstd whether it has checksums; tensorstore 0.1.86 knows no such key, and needs none."""
    codec = data.get("compressor") or {}
    if codec.get("id") != "zstd" or "checksum" not in codec:
        return ""
    return json.dumps(data | {"compressor": {key: value for key, value in codec.items() if key != "checksum"}})


def _separator(separator: Any) -> str:
    if separator not in ("/", "."):
        raise ValueError(f"its chunk names are separated by {separator!r}")
    return str(separator)


def _spatial(image: _Image, arrays: tuple[StoredArray, ...], name: str) -> Shape:
    """Where z, y and x are; every other axis must have length 1."""
    names = [axis.name.lower() for axis in image.axes]
    if any(len(array.shape) != len(names) for array in arrays) or len(set(names)) < len(names):
        raise ValueError(f"its axes are {names} but its levels have {[len(array.shape) for array in arrays]} axes")
    if not {"z", "y", "x"} <= set(names):
        check_header(arrays[0].shape, arrays[0].dtype, (1.0, 1.0, 1.0), name)
        raise ValueError(f"its axes are {names}, not z, y, x")
    long = [axis for place, axis in enumerate(names) if axis not in "zyx" and arrays[0].shape[place] > 1]
    if long:
        raise InvalidVolume(f"{name!r} has several {', '.join(long)} (axes {names}).", "Export a single z-y-x volume.")
    return names.index("z"), names.index("y"), names.index("x")


def _check_levels(arrays: tuple[StoredArray, ...], name: str) -> None:
    for fine, coarse in pairwise(arrays):
        if coarse.dtype != fine.dtype or any(c > f for c, f in zip(coarse.shape, fine.shape, strict=True)):
            raise InvalidVolume(
                f"{name!r} has a level of {coarse.shape} {coarse.dtype} after one of {fine.shape} {fine.dtype}.",
                "Levels go from fine to coarse: export it again.",
            )


def _voxel_size(image: _Image, axes: Shape) -> Triple | None:
    """µm; NaN where a scale is missing, ``None`` where a unit is."""
    z, y, x = (micrometres(image.axes[axis].unit or "") for axis in axes)
    if z is None or y is None or x is None:
        return None
    steps = _steps(image, axes)
    return steps[0] * z, steps[1] * y, steps[2] * x


def _steps(image: _Image, axes: Shape) -> Triple:
    z, y, x = (_scale(image.datasets[0].transforms, axis) * _scale(image.transforms or (), axis, 1.0) for axis in axes)
    return z, y, x


def _origin(image: _Image, axes: Shape) -> Triple:
    """Level 0 is moved, then scaled and moved with all levels."""
    level, common = image.datasets[0].transforms, image.transforms or ()
    z, y, x = (_translation(level, axis) * _scale(common, axis, 1.0) + _translation(common, axis) for axis in axes)
    return z, y, x


def _scale(transforms: tuple[_Transform, ...], axis: int, missing: float = math.nan) -> float:
    scales = [transform.scale for transform in transforms if transform.type == "scale" and transform.scale]
    return scales[0][axis] if scales and axis < len(scales[0]) else missing


def _translation(transforms: tuple[_Transform, ...], axis: int) -> float:
    moves = [move.translation for move in transforms if move.type == "translation" and move.translation]
    return moves[0][axis] if moves and axis < len(moves[0]) else 0.0
