"""LabelBlocks: the arrays of a label map that is being written, for whoever writes blocks of it, here or elsewhere."""

from __future__ import annotations

from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from napari_medaka_kd.errors import UserError

from .atomic import share
from .gate import check_ids
from .label_extras import by_name, planned
from .labels import LabelSchema
from .ledger import LEDGER, read_plan
from .organ_index import count_block
from .store_array import (
    LABEL_SHARD,
    Layout,
    block_file,
    create_array,
    lay_out,
    read_back,
    reopen_array,
    sync_block,
    write_block,
)
from .volume import extent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Set
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import tensorstore

    from .volume import Region

NONE: Mapping[str, npt.NDArray[np.uint8]] = MappingProxyType({})


class LabelBlocks:
    """The arrays of a label map on its way; whoever writes blocks of it needs nothing else.

    Attributes
    ----------
    layouts
        By folder within the generation: the labels, and each extra.
    extras
        By name.
    blocks
        The grid of whole shards, level-0 voxels, (z, y, x).
    """

    def __init__(self, folder: Path, plan: dict[str, Any]) -> None:
        """Know of the arrays of ``plan``; none is opened before :meth:`open`."""
        z, y, x = plan["shape"]
        self.folder, self.shape = folder, (z, y, x)
        self.schema = LabelSchema.model_validate({"organs": plan["organs"]})
        self.layouts = {"": lay_out(self.shape, self.schema.dtype, LABEL_SHARD)}
        self.extras = by_name(planned(plan))
        self.layouts |= {name: extra.layout(self.shape) for name, extra in self.extras.items()}
        self.blocks: tuple[Region, ...] = self.layouts[""].blocks
        self._stores: dict[str, tensorstore.TensorStore] = {}

    def present(self, numbers: Set[int]) -> set[int]:
        """Those of ``numbers`` whose files are all there."""
        return {number for number in numbers if all(self._is_there(place, number) for place in self.layouts)}

    def create(self) -> None:
        """Make the arrays; what was there is deleted."""
        self._stores = {place: create_array(self.folder / place / "0", each) for place, each in self.layouts.items()}

    def reopen(self) -> None:
        """Open the arrays that are there."""
        self._stores = {place: reopen_array(self.folder / place / "0") for place in self.layouts}

    def write(
        self, index: int, labels: npt.NDArray[Any], extras: Mapping[str, npt.NDArray[np.uint8]] = NONE
    ) -> npt.NDArray[np.int64]:
        """Write block ``index`` and its extras, by name; it is on the disk on return, each of its files in one step.

        Returns how many voxels of which organ are where, as :func:`~.organ_index.count_block` has it.

        Raises
        ------
        InvalidVolume
            If an id names no organ.
        UserError
            If the disk does not take it.
        """
        check_ids(labels, self.schema, self.folder.name)
        given = {"": labels, **extras}
        if given.keys() != self.layouts.keys():
            raise ValueError(f"{self.folder.name} takes {list(self.layouts)}, got {list(given)}")
        for place, values in given.items():
            self._write_one(place, self.blocks[index], values)
        ids = labels.astype(self.schema.dtype, copy=False)
        return count_block(self.blocks[index], ids, self.shape)

    def count(self, index: int) -> npt.NDArray[np.int64]:
        """What :meth:`write` returned of block ``index``, by reading it again."""
        region = self.blocks[index]
        return count_block(region, read_back(self._stores[""], region), self.shape)

    def check(self, place: str, index: int) -> None:
        """Read back what :meth:`write` wrote into ``place``: a return means that all checksums are right.

        Raises
        ------
        InvalidVolume
            If the disk lost it.
        """
        read_back(self._stores[place], self.blocks[index])

    def _write_one(self, place: str, region: Region, values: npt.NDArray[Any]) -> None:
        layout = self.layouts[place]
        if values.shape != (*layout.leading, *extent(region)):
            raise ValueError(f"a block of {(*layout.leading, *extent(region))} is needed, got one of {values.shape}")
        write_block(self._stores[place], region, values.astype(layout.dtype, copy=False))
        sync_block(self.folder / place / "0", layout, region)

    def _is_there(self, place: str, number: int) -> bool:
        layout: Layout = self.layouts[place]
        file = block_file(self.folder / place / "0", layout, layout.blocks[number])
        return file.is_file() and file.stat().st_size > 0


@contextmanager
def join_labels(folder: Path, fingerprint: str) -> Iterator[LabelBlocks]:
    """The blocks of the label map that another process owns, to write some of them; the owner notes them.

    As long as it lasts nobody sweeps ``folder``, even if its owner dies; whoever comes late writes the same bytes, for
    the same fingerprint promises the same labels.

    Raises
    ------
    UserError
        If nothing of that fingerprint is being written there (any more).
    """
    try:
        with (folder / LEDGER).open("r+b") as file:
            share(file)
            plan = read_plan(folder)
            if plan is None or plan.get("fingerprint") != fingerprint:
                raise _given_up(folder)
            blocks = LabelBlocks(folder, plan)
            blocks.reopen()
            yield blocks
    except (FileNotFoundError, KeyError, TypeError, ValidationError) as error:
        raise _given_up(folder) from error


def _given_up(folder: Path) -> UserError:
    return UserError(
        f"No such label map is being written in {str(folder)!r}.",
        "Every worker must see the project under the same path; otherwise it was given up meanwhile: run it again.",
    )
