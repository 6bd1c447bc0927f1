"""pack.json: what a review pack is of, and how its slices lie in the scans that it was cut from."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_medaka_kd.errors import InvalidVolume, UserError
from napari_medaka_kd.review import ReviewItem
from napari_medaka_kd.volumes.gate import refusing

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medaka_kd.project import Project

CARD = "pack.json"
FORMAT = 1
_MOST_BYTES = 32 * 2**20
_SHA256 = r"^[0-9a-f]{64}$"
_CASE = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
_LABELS = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\.[0-9]{1,9}$"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Head(BaseModel):
    format: int = Field(ge=1)


class PackedCase(_Strict):
    """How an animal of a pack lies in its scan.

    Attributes
    ----------
    scan
        SHA-256 of the metadata of the scan, which hold a checksum of its voxels.
    labels, digest, packed
        The generation of the label map that is judged, its digest, as verdicts have it, and its name in the pack.
    depth
        Slices of the scan.
    start, stop
        The crop, in voxels of the scan, (z, y, x).
    factor
        Voxels of the scan in one of the pack, (z, y, x).
    edges
        (slice of the scan, slice of the pack), rising: where the slabs that are proposed begin and end, and the crop.
    """

    scan: str = Field(pattern=_SHA256)
    labels: str = Field(pattern=_LABELS)
    digest: str = Field(pattern=r"^([0-9a-f]{64})?$")
    packed: str = Field(pattern=_LABELS)
    depth: int = Field(ge=1, le=2**31)
    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    factor: tuple[int, int, int]
    edges: tuple[tuple[int, int], ...] = Field(min_length=2, max_length=2**20)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        sides = zip(self.start, self.stop, self.factor, strict=True)
        if not all(0 <= low < high and by >= 1 for low, high, by in sides):
            raise ValueError("its crop is empty")
        if self.stop[0] > self.depth or self.edges != (kept := tuple(sorted(set(self.edges)))):
            raise ValueError("its slices do not lie in the scan")
        if any(a[0] >= b[0] or a[1] >= b[1] for a, b in pairwise(kept)):
            raise ValueError("its slices are out of order")
        if (kept[0], kept[-1]) != ((self.start[0], 0), (self.stop[0], self.slices)):
            raise ValueError("its slices do not fill the crop")
        return self

    @property
    def slices(self) -> int:
        """Of the pack."""
        return -(-(self.stop[0] - self.start[0]) // self.factor[0])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the pack, (z, y, x)."""
        z, y, x = (-(-(b - a) // by) for a, b, by in zip(self.start, self.stop, self.factor, strict=True))
        return z, y, x

    def into(self, slab: tuple[int, int] | None) -> tuple[int, int] | None:
        """A proposed slab of the scan, in slices of the pack."""
        known = dict(self.edges)
        return None if slab is None else (known[slab[0]], known[slab[1]])

    def back(self, slab: tuple[int, int] | None) -> tuple[int, int] | None:
        """Any slab of the pack, in slices of the scan; all of the pack is all of the scan only if it shows all of it.

        Raises
        ------
        ValueError
            If the pack has no such slices.
        """
        if slab is None:
            whole = (self.start[0], self.stop[0])
            return None if whole == (0, self.depth) else whole
        if not 0 <= slab[0] < slab[1] <= self.slices:
            raise ValueError(f"it has slices 0 to {self.slices - 1}, so none from {slab[0]} to {slab[1] - 1}")
        known = {packed: own for own, packed in self.edges}
        first, last = (known.get(at, self.start[0] + at * self.factor[0]) for at in slab)
        return first, last


class PackedItem(_Strict):
    """What is to be reviewed, as the project has it."""

    case: str = Field(pattern=_CASE)
    organ: int = Field(ge=0, le=65_535)
    slab: tuple[int, int] | None

    def item(self) -> ReviewItem:
        return ReviewItem(self.case, self.organ, self.slab)


class PackCard(_Strict):
    """What a pack is of.

    Attributes
    ----------
    id
        No two packs have the same.
    project, checkpoint
        Names: of the project, and of who made the labels.
    made
        When, ISO 8601 in UTC.
    order, items
        What was to be looked at, in this order.
    cases
        By id.
    """

    format: int = FORMAT
    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    project: str = Field(max_length=1000)
    checkpoint: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    made: str = Field(max_length=40)
    order: str = Field(max_length=40)
    items: tuple[PackedItem, ...] = Field(max_length=10**6)
    cases: dict[str, PackedCase] = Field(min_length=1, max_length=10_000)


def parse_card(data: bytes, name: str) -> PackCard:
    """The card that ``data`` is.

    Raises
    ------
    InvalidVolume
        If it is damaged.
    UserError
        If a newer version wrote it.
    """
    with refusing(name, "Ask whoever sent it to make the pack again."):
        made_by = _Head.model_validate_json(data).format
        if made_by > FORMAT:
            raise UserError(
                f"The pack {name!r} has format {made_by}, this version reads up to {FORMAT}.",
                "Update napari-medaka-kd.",
            )
        return PackCard.model_validate_json(data)


def read_card(folder: Path) -> PackCard | None:
    """What the pack in ``folder`` is of; ``None`` where it is no pack.

    Raises
    ------
    InvalidVolume
        If it is damaged.
    UserError
        If a newer version wrote it.
    """
    file = folder / CARD
    if not file.is_file():
        return None
    if file.stat().st_size > _MOST_BYTES:
        raise InvalidVolume(f"{str(file)!r} is larger than any of ours.", "Ask whoever sent it to make it again.")
    return parse_card(file.read_bytes(), str(folder))


def is_pack(project: Project) -> bool:
    """Whether ``project`` is a review pack."""
    return (project.folder / CARD).is_file()


def refuse_in_pack(project: Project) -> None:
    """Refuse to paint in a pack.

    Raises
    ------
    UserError
        If ``project`` is one.
    """
    if is_pack(project):
        raise UserError(
            "Nothing can be painted in a review pack.",
            "Reject it and say why: whoever has the scans corrects it, in slices at full resolution.",
        )
