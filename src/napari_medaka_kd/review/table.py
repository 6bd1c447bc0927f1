"""Table: verdicts by the million in columns of numbers, and as a sequence of Verdict that are made when asked for."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt

from .verdict import Decision, ReviewItem, Verdict, by_time, write_time

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

K = TypeVar("K", bound="Hashable")

#: A verdict in numbers: µs since 1970, seconds, then codes of what :class:`Table` keeps once.
ROW = np.dtype(
    [
        ("time", "<i8"), ("seconds", "<f8"), ("gesture", "<i8"), ("item", "<i4"), ("rest", "<i4"),
        ("checkpoint", "<i4"), ("reviewer", "<i4"), ("decision", "<i4"),
    ]
)  # fmt: skip
Rows = npt.NDArray[np.void]
Ids = npt.NDArray[np.int64]

DECISIONS = tuple(Decision)
_CODES: dict[str, int] = {str(decision): code for code, decision in enumerate(DECISIONS)}
_OWN = ("item", "decision", "reviewer", "time", "seconds", "checkpoint", "gesture")  # have a column of their own
#: The other fields of a verdict, which few different values take; and what they are where a log does not say.
REST = {field.name: field.default for field in fields(Verdict) if field.name not in _OWN}
_KNOWN = frozenset((*_OWN, *REST))
_EPOCH, _TICK = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
# A row as we write it: what many rows share, gesture, item, what many share, seconds, time. So what is shared is parsed
# once, which is three times as fast as to parse each row. No string within can be mistaken for a name, for its quotes
# are escaped.
_CUT = re.compile(
    r'\{(.*)"gesture": (\d+), "item": (\{[^{}]*\}), (.*)"seconds": ([0-9.e+-]+), "time": "([0-9T:.+-]+)"\}'
)
_SPARE = 4096  # rows that are there before the first


class Words(Generic[K]):
    """Values and their codes, 0, 1, … in the order in which they were met."""

    def __init__(self, values: Iterable[K] = ()) -> None:
        self.values = list(values)

    @cached_property
    def _codes(self) -> dict[K, int]:
        return {value: code for code, value in enumerate(self.values)}

    def __len__(self) -> int:
        return len(self.values)

    def code(self, value: K) -> int:
        """Its code, a new one if it was not met before."""
        code = self._codes.setdefault(value, len(self.values))
        if code == len(self.values):
            self.values.append(value)
        return code

    def find(self, value: K) -> int:
        """Its code; -1 where it was never met."""
        return self._codes.get(value, -1)


class Table:
    """Verdicts in the order in which they were read: 44 bytes each, and what they have in common once.

    Attributes
    ----------
    items
        (case, organ, first, last + 1) slice of the items; -1 twice for a whole animal.
    rest
        Values of the fields in :data:`REST`.
    """

    def __init__(self) -> None:
        self.count = 0
        self.items: Words[tuple[str, int, int, int]] = Words()
        self.checkpoints: Words[str] = Words()
        self.reviewers: Words[str] = Words()
        self.rest: Words[tuple[Any, ...]] = Words()
        self._rows = np.zeros(_SPARE, ROW)

    @property
    def rows(self) -> Rows:
        """All that was read so far; later ones do not show in it."""
        return self._rows[: self.count]

    def fill(self, rows: Rows) -> None:
        """Add ``rows``, whose codes are known."""
        behind = self.count + len(rows)
        if behind > len(self._rows):
            grown = np.zeros(max(behind, 2 * len(self._rows)), ROW)
            grown[: self.count] = self.rows
            self._rows = grown  # those who hold the former one keep it
        self._rows[self.count : behind] = rows
        self.count = behind

    def add(self, texts: Sequence[str]) -> None:
        """Add rows of a log.

        Raises
        ------
        ValueError, KeyError, TypeError
            If one of them is no verdict; then none was added.
        """
        parts: dict[tuple[str, str], tuple[int, ...]] = {}
        items: dict[str, int] = {}
        found = []
        for text in texts:
            cut = _CUT.fullmatch(text)
            before, gesture, item, behind, seconds, time = cut.groups() if cut else _cut(text)
            codes = parts.get((before, behind))
            if codes is None:
                codes = parts[before, behind] = self._codes(json.loads(f"{{{before}{behind[:-2]}}}"))
            place = items.get(item)
            if place is None:
                place = items[item] = self._place(json.loads(item))
            found.append((_ticks(time), _seconds(seconds), int(gesture), place, *codes))
        if found:
            self.fill(np.array(found, ROW))

    def make(self, row: Sequence[Any]) -> Verdict:
        """The verdict that a row, as plain numbers, stands for."""
        time, seconds, gesture, item, rest, checkpoint, reviewer, decision = row
        return Verdict(
            item=self.item(item),
            decision=DECISIONS[decision],
            reviewer=self.reviewers.values[reviewer],
            time=write_time(_EPOCH + time * _TICK),
            seconds=seconds,
            checkpoint=self.checkpoints.values[checkpoint],
            gesture=gesture,
            **dict(zip(REST, self.rest.values[rest], strict=True)),
        )

    def item(self, code: int) -> ReviewItem:
        case, organ, first, last = self.items.values[code]
        return ReviewItem(case, organ, None if first < 0 else (first, last))

    def item_code(self, item: ReviewItem) -> int:
        """-1 where nobody ever spoke of it."""
        return self.items.find((item.case, item.organ, *(item.slab or (-1, -1))))

    def _place(self, item: dict[str, Any]) -> int:
        slab = item["slab"]
        first, last = (-1, -1) if slab is None else (int(slab[0]), int(slab[1]))
        return self.items.code((item["case"], item["organ"], first, last))

    def _codes(self, data: dict[str, Any]) -> tuple[int, ...]:
        if not data.keys() <= _KNOWN:
            raise KeyError(*(data.keys() - _KNOWN))
        rest = [data.get(name, default) for name, default in REST.items()]
        return (
            self.rest.code(tuple([tuple(value) if type(value) is list else value for value in rest])),
            self.checkpoints.code(data["checkpoint"]), self.reviewers.code(data["reviewer"]), _CODES[data["decision"]],
        )  # fmt: skip


class Verdicts(Sequence[Verdict]):
    """Verdicts in the order of their time, as they were known at some moment; each is made when it is asked for.

    Equal to any sequence of the same verdicts.
    """

    def __init__(self, table: Table) -> None:
        self.table, self.rows = table, table.rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Verdict: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Verdict, ...]: ...
    def __getitem__(self, index: int | slice) -> Verdict | tuple[Verdict, ...]:
        if isinstance(index, slice):
            return tuple(self.pick(self.order[index]))
        return self.table.make(self.rows[self.order[index]].item())

    def __iter__(self) -> Iterator[Verdict]:
        starts = range(0, len(self), 4096)  # at a time, as plain numbers
        return chain.from_iterable(self.pick(self.order[start : start + 4096]) for start in starts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == same for one, same in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Verdicts({list(self)!r})"

    @cached_property
    def order(self) -> Ids:
        """Numbers of the rows by their time; at the same instant by :func:`by_time`."""
        times = self.rows["time"]
        order: Ids = np.argsort(times, kind="stable")
        alike = np.flatnonzero(np.diff(times[order]) == 0)
        for part in np.split(alike, np.flatnonzero(np.diff(alike) > 1) + 1) if len(alike) else ():
            run = slice(int(part[0]), int(part[-1]) + 2)
            order[run] = sorted(order[run].tolist(), key=lambda row: by_time(self.table.make(self.rows[row].item())))
        return order

    def pick(self, ids: npt.ArrayLike) -> list[Verdict]:
        """The verdicts of these rows."""
        return [self.table.make(row) for row in self.rows[np.asarray(ids, np.int64)].tolist()]

    def since(self, before: Verdicts) -> list[Verdict] | None:
        """What was read after ``before``, in the order of time; ``None`` where that is no part of this any more."""
        if self.table is not before.table:
            return None
        return sorted(self.pick(np.arange(len(before), len(self))), key=by_time)

    def of(self, reviewer: str, checkpoint: str) -> tuple[Verdict, ...]:
        """What one reviewer said of a checkpoint's proposals, in the order of time."""
        own = self.rows["reviewer"] == self.table.reviewers.find(reviewer)
        own &= self.rows["checkpoint"] == self.table.checkpoints.find(checkpoint)
        return tuple(sorted(self.pick(np.flatnonzero(own)), key=by_time))

    def of_items_with(self, decision: Decision) -> tuple[Verdict, ...]:
        """All verdicts on the items of which anyone ever said ``decision``, in the order of time."""
        items = np.zeros(len(self.table.items), bool)
        items[self.rows["item"][self.rows["decision"] == DECISIONS.index(decision)]] = True
        if not items.any():
            return ()
        return tuple(sorted(self.pick(np.flatnonzero(items[self.rows["item"]])), key=by_time))


def _cut(text: str) -> tuple[str, ...]:
    """What :data:`_CUT` finds, of a row that is written otherwise."""
    data = json.loads(text)
    own = [data.pop("gesture", 0), json.dumps(data.pop("item")), data.pop("seconds"), data.pop("time")]
    return "", str(own[0]), own[1], f"{json.dumps(data, sort_keys=True)[1:-1]}, ", str(own[2]), own[3]


def _ticks(time: str) -> int:
    return (datetime.fromisoformat(time) - _EPOCH) // _TICK


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{seconds} is not a length of time")
    return seconds
