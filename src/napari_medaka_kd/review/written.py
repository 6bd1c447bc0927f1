"""Verdicts as CSV for spreadsheets and as JSON for programs, and back, to the last digit."""

from __future__ import annotations

import csv
import json
import math
import re
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from napari_medaka_kd.errors import UserError

from .table import REST
from .verdict import ALL_ORGANS, Decision, ReviewItem, Verdict, write_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import IO

    from napari_medaka_kd.volumes.labels import LabelSchema

FORMAT = 1
_WORDS = tuple(name for name in REST if name != "reasons")  # labels, digest, …: plain text each
_ORGAN_NAME = "organ_name"  # for people; not read back
COLUMNS = (
    "time", "reviewer", "decision", "case", "organ", _ORGAN_NAME, "first_slice", "end_slice", "seconds", "reasons",
    "checkpoint", *_WORDS, "gesture",
)  # fmt: skip
_NEEDED = ("time", "reviewer", "decision", "case")
_MOST_BYTES = 2**29  # of a file: two million verdicts and more
_MOST_LETTERS = 100_000  # of a cell
# What a spreadsheet takes for a formula, or would drop; such a cell gets an apostrophe before it, which is taken away
# when it is read. So does one that begins with an apostrophe, so that nobody's own is lost (owasp.org, CSV injection).
_ARMED, _DISARMED = re.compile(r"['=+\-@\t\r\n]"), re.compile(r"'['=+\-@\t\r\n]")
_EARLY = timedelta(days=1)  # by which a clock may be fast


def write_verdicts(file: IO[str], verdicts: Iterable[Verdict], schema: LabelSchema, as_csv: bool) -> int:
    """Write ``verdicts`` in the order in which they come; returns how many."""
    return _write_csv(file, verdicts, schema) if as_csv else _write_json(file, verdicts)


def read_written(path: Path, schema: LabelSchema) -> tuple[Verdict, ...]:
    """The verdicts of a CSV or JSON file, by the ending of its name, in the order of the file.

    A CSV needs the columns time, reviewer, decision and case; an organ may be given by name or id.

    Raises
    ------
    UserError
        If it is no such file or too large, or naming the first row that is no verdict.
    """
    if not path.is_file():
        raise UserError(f"There is no file {str(path)!r}.", "Name a CSV or JSON file of verdicts.")
    if path.stat().st_size > _MOST_BYTES:
        raise UserError(f"{str(path)!r} is larger than {_MOST_BYTES >> 20} MB.", "Split it, by reviewer or by year.")
    with _saying(path), path.open(encoding="utf-8-sig", newline="") as file:
        if is_csv(path):
            return tuple(_read_csv(file, path, schema))
        return tuple(_read_json(file, path, schema))


def is_csv(path: Path) -> bool:
    """Whether the name of ``path`` says CSV, else JSON.

    Raises
    ------
    UserError
        If it says neither.
    """
    ending = path.suffix.lower()
    if ending not in (".csv", ".json"):
        raise UserError(f"{path.name!r} ends in neither .csv nor .json.", "Name the file so.")
    return ending == ".csv"


def _write_csv(file: IO[str], verdicts: Iterable[Verdict], schema: LabelSchema) -> int:
    names = {ALL_ORGANS: "all organs"} | {organ.id: organ.name for organ in schema.organs}
    table, count = csv.writer(file, lineterminator="\r\n"), 0
    table.writerow(COLUMNS)
    for said in verdicts:
        count += 1
        item = said.item
        slab = ("", "") if item.slab is None else item.slab
        cells = (
            said.time, said.reviewer, said.decision, item.case, item.organ, names.get(item.organ, ""), *slab,
            repr(float(said.seconds)), json.dumps(said.reasons, ensure_ascii=False) if said.reasons else "",
            said.checkpoint, *(getattr(said, name) for name in _WORDS), said.gesture,
        )  # fmt: skip
        table.writerow([_disarm(str(cell)) for cell in cells])
    return count


def _write_json(file: IO[str], verdicts: Iterable[Verdict]) -> int:
    file.write(f'{{"format": {FORMAT}, "verdicts": [')
    count = 0
    for count, said in enumerate(verdicts, start=1):
        file.write(("\n" if count == 1 else ",\n") + json.dumps(asdict(said), ensure_ascii=False))
    file.write("\n]}\n")
    return count


def _disarm(cell: str) -> str:
    return f"'{cell}" if _ARMED.match(cell) else cell


def _read_csv(file: IO[str], path: Path, schema: LabelSchema) -> Iterator[Verdict]:
    rows = csv.reader(file, strict=True)
    columns = next(rows, [])
    lacking, unknown = [name for name in _NEEDED if name not in columns], sorted({*columns} - {*COLUMNS})
    if lacking or unknown or len(set(columns)) < len(columns):
        wrong = f"lacks {', '.join(lacking)}" if lacking else f"has unknown or double ones: {', '.join(unknown)}"
        raise UserError(f"The first row of {path.name!r} names the columns, and it {wrong}.", f"Known: {COLUMNS}.")
    for number, cells in enumerate(rows, start=2):
        if cells:
            with _row(path, f"row {number}"):
                if len(cells) != len(columns):
                    raise ValueError(f"it has {len(cells)} cells, not {len(columns)}")
                plain = (cell[1:] if _DISARMED.match(cell) else cell for cell in cells)
                yield _verdict(_from_cells(dict(zip(columns, plain, strict=True))), schema)


def _from_cells(cells: Mapping[str, str]) -> dict[str, Any]:
    """The same as JSON has it."""
    first, end, reasons = (cells.get(name, "") for name in ("first_slice", "end_slice", "reasons"))
    if bool(first) != bool(end):
        raise ValueError("it has one of first_slice and end_slice, not both")
    found: dict[str, Any] = {name: cells.get(name, "") for name in (*_NEEDED, "checkpoint", *_WORDS)}
    case = found.pop("case")
    slab = [_whole(first, "first_slice"), _whole(end, "end_slice")] if first else None
    found["item"] = {"case": case, "organ": cells.get("organ", ""), "slab": slab}
    found["reasons"] = json.loads(reasons) if reasons.startswith("[") else [reasons] if reasons else []
    found["seconds"] = cells.get("seconds") or "0"
    found["gesture"] = _whole(cells.get("gesture") or "0", "gesture")
    return found


def _read_json(file: IO[str], path: Path, schema: LabelSchema) -> Iterator[Verdict]:
    data = json.load(file)
    if not isinstance(data, dict) or not isinstance(data.get("verdicts"), list) or data.get("format") != FORMAT:
        raise UserError(f"{path.name!r} is no list of verdicts of format {FORMAT}.", "Export one to see how it looks.")
    for number, row in enumerate(data["verdicts"], start=1):
        with _row(path, f"verdict {number}"):
            yield _verdict(row, schema)


def _verdict(data: Mapping[str, Any], schema: LabelSchema) -> Verdict:
    """Raises ValueError with half a sentence that says what is wrong."""
    item, reasons = data["item"], data.get("reasons", [])
    if not isinstance(reasons, list) or not all(isinstance(reason, str) for reason in reasons):
        raise ValueError("the reasons are no list of texts")
    if data["decision"] not in set(Decision):
        raise ValueError(f"{data['decision']!r} is no verdict; say {', '.join(Decision)}")
    words = {name: data.get(name, "") for name in ("reviewer", "checkpoint", *_WORDS)}
    for text in (item["case"], *words.values(), *reasons):
        if not isinstance(text, str) or len(text) > _MOST_LETTERS:
            raise ValueError(f"{str(text)[:40]!r} is no text of at most {_MOST_LETTERS} letters")
    return Verdict(
        item=ReviewItem(item["case"], _organ(item["organ"], schema), _slab(item.get("slab"))),
        decision=Decision(data["decision"]), time=_time(data["time"]), seconds=_seconds(data.get("seconds", 0)),
        reasons=tuple(reasons), gesture=_whole(data.get("gesture", 0), "gesture"), **words,
    )  # fmt: skip


def _organ(said: object, schema: LabelSchema) -> int:
    known = {organ.name: organ.id for organ in schema.organs} | {str(organ.id): organ.id for organ in schema.organs}
    known |= {"": ALL_ORGANS, str(ALL_ORGANS): ALL_ORGANS}
    if str(said) not in known:
        raise ValueError(f"the project has no organ {str(said)[:40]!r}")
    return known[str(said)]


def _slab(said: Any) -> tuple[int, int] | None:
    if said is None:
        return None
    first, end = _whole(said[0], "first slice"), _whole(said[1], "end slice")
    if len(said) != 2 or not first < end:
        raise ValueError(f"there are no slices from {first} to before {end}")
    return first, end


def _time(said: str) -> str:
    try:
        instant = datetime.fromisoformat(said)
    except (ValueError, TypeError):
        raise ValueError(f"{str(said)[:40]!r} is no time; write 2026-01-31T12:00:00+00:00") from None
    if instant.tzinfo is None:
        raise ValueError(f"{said!r} does not say in which time zone; write 2026-01-31T12:00:00+00:00")
    if instant > datetime.now(UTC) + _EARLY:
        raise ValueError(f"{said!r} is yet to come")
    return write_time(instant.astimezone(UTC))


def _seconds(said: Any) -> float:
    try:
        seconds = float(said)
    except (ValueError, TypeError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{str(said)[:40]!r} is no length of time in seconds")
    return seconds


def _whole(said: Any, what: str) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", str(said)):
        raise ValueError(f"{str(said)[:40]!r} is no whole number ({what})")
    return int(said)


@contextmanager
def _row(path: Path, where: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path.name!r}, {where}: {why}.", "Mend it and import again: nothing was imported.") from error


@contextmanager
def _saying(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, csv.Error, RecursionError, OSError) as error:  # no UTF-8, no JSON, no CSV
        raise UserError(f"{str(path)!r} cannot be read: {error}.", "Save it anew, as UTF-8.") from error
