"""Label maps of any program in an OME-Zarr store: which there are, and what their ids are called and coloured."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from napari_medaka_kd.errors import InvalidVolume

from .gate import refusing
from .store_gate import read_group

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Rgba: TypeAlias = tuple[int, int, int, int]
_MOST = 65_536  # entries that are looked at; the rest of a longer list is left out
_MOST_KEYS = 32
_Byte: TypeAlias = Annotated[int, Field(ge=0, le=255)]
_Kind = TypeVar("_Kind", bound=BaseModel)


@dataclass(frozen=True)
class Legend:
    """What the ``image-label`` of a label map says of its ids; entries that make no sense are left out.

    Attributes
    ----------
    colors
        Red, green, blue and opacity by id, 0 … 255.
    properties
        Whatever is told of an id: ``{1: {"name": "heart"}}``; words and numbers only.
    """

    colors: dict[int, Rgba]
    properties: dict[int, dict[str, str | int | float]]


def label_folders(root: Path) -> tuple[Path, ...]:
    """The label maps that the store ``root`` of an image lists, in the order of the list; none where there is no list.

    Raises
    ------
    InvalidVolume
        If the list is damaged, or leads out of the store.
    """
    labels = root / "labels"
    if not labels.is_dir():
        return ()
    names = read_group(root, labels).get("labels", [])
    with refusing(str(labels), "Mend the list of label maps, or remove the folder."):
        return tuple(_inside(labels, name) for name in TypeAdapter(list[str]).validate_python(names)[:_MOST])


def read_legend(root: Path, folder: Path) -> Legend | None:
    """Names and colours of the label map at ``folder`` in the store ``root``; ``None`` where it is no label map.

    Raises
    ------
    InvalidVolume
        If its metadata is damaged, or leads out of the store.
    """
    told = read_group(root, folder).get("image-label")
    if not isinstance(told, dict):
        return None
    colors = {colour.id: colour.rgba for colour in _parse(_Colour, told.get("colors"))}
    return Legend(colors, {told.id: told.words for told in _parse(_Properties, told.get("properties"))})


class _Colour(BaseModel):
    id: int = Field(alias="label-value")
    rgba: tuple[_Byte, _Byte, _Byte, _Byte]


class _Properties(BaseModel):
    model_config = ConfigDict(extra="allow")
    id: int = Field(alias="label-value")

    @property
    def words(self) -> dict[str, str | int | float]:
        told = ((key, value) for key, value in (self.model_extra or {}).items() if isinstance(value, str | int | float))
        return dict(islice(told, _MOST_KEYS))


def _parse(kind: type[_Kind], told: Any) -> Iterator[_Kind]:
    """What can be understood of a list of entries."""
    for entry in told[:_MOST] if isinstance(told, list) else ():
        with suppress(ValidationError):
            yield kind.model_validate(entry)


def _inside(labels: Path, name: str) -> Path:
    parts = PurePosixPath(name)
    folder = labels / name
    if not parts.parts or parts.is_absolute() or ".." in parts.parts or "\\" in name:
        raise ValueError(f"it lists {name!r}")
    if not folder.resolve().is_relative_to(labels.resolve()):
        raise InvalidVolume(f"The label map {str(folder)!r} is a link.", "Copy the labels into the store.")
    return folder
