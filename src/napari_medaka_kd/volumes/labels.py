"""LabelSchema: which organs there are. LabelMap: where they are in one scan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .organ_index import OrganIndex
    from .volume import Volume

# Okabe and Ito's colours for the colour-blind, with Paul Tol's magenta in place of grey, for tissue is grey; then his
# light ones: told apart without red against green.
PALETTE = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#ee3377",
    "#77aadd", "#99ddff", "#44bb99", "#bbcc33", "#aaaa00", "#eedd88", "#ee8866", "#ffaabb",
)  # fmt: skip


class Organ(BaseModel):
    """One organ: the id that label maps store, its name, its colour (``#rrggbb``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int = Field(ge=1, le=65_535)
    name: str = Field(min_length=1, max_length=100)
    color: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")


class LabelSchema(BaseModel):
    """The organs of a project, in the order of their ids; background is 0 and never listed.

    Label maps on disk hold organ *ids*; networks speak of *classes*: 0 for background, then 1, 2, …
    in the order of ``organs``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    organs: tuple[Organ, ...]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for values in ([organ.id for organ in self.organs], [organ.name for organ in self.organs]):
            if len(set(values)) < len(values):
                raise ValueError(f"organ ids and names must be distinct, got {values}")
        if list(self.ids) != sorted(self.ids):
            raise ValueError(f"organs must be listed by rising id, got {list(self.ids)}")
        return self

    @classmethod
    def from_names(cls, names: Sequence[str]) -> LabelSchema:
        """Organs with ids 1, 2, … and distinct colours."""
        return cls.from_ids(dict(enumerate(names, start=1)))

    @classmethod
    def from_ids(cls, names: dict[int, str]) -> LabelSchema:
        """Organs by id, with distinct colours."""
        return cls(
            organs=tuple(
                Organ(id=number, name=name, color=PALETTE[place % len(PALETTE)])
                for place, (number, name) in enumerate(sorted(names.items()))
            )
        )

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(organ.id for organ in self.organs)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(organ.name for organ in self.organs)

    @property
    def classes(self) -> int:
        """How many classes a network of this schema has, background included."""
        return len(self.organs) + 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned type that holds every id."""
        return np.dtype(np.uint8 if max(self.ids, default=0) < 256 else np.uint16)

    def to_classes(self, labels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Organ ids → classes; an id that the schema lacks becomes background."""
        table = np.zeros(65_536, np.int64)
        table[list(self.ids)] = np.arange(1, self.classes)
        classes: npt.NDArray[np.int64] = table[labels]
        return classes

    def to_ids(self, classes: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Classes → organ ids, in :attr:`dtype`."""
        ids: npt.NDArray[Any] = np.array((0, *self.ids), self.dtype)[classes]
        return ids


@dataclass(frozen=True)
class LabelMap:
    """Organ ids of one scan.

    Attributes
    ----------
    volume
        Unsigned integers on the scan's grid.
    index
        Gives the index of where the organs lie, quicker than by counting all voxels; ``None`` where nothing does. Who
        changes the labels drops it. Ask :func:`~napari_medaka_kd.volumes.organ_index.index_of`.
    """

    volume: Volume
    schema: LabelSchema
    index: Callable[[], OrganIndex] | None = field(default=None, compare=False, repr=False)
