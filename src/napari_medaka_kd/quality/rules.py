"""organs.toml: what a project's anatomy demands of its label maps; medaka's comes with the package."""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_medaka_kd.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_medaka_kd.volumes.labels import LabelSchema

FILE = "organs.toml"
_LARGEST = 2**20  # bytes
_SHEET = "medaka.toml"  # beside this file
_SIDES = {"left": "right", "l": "r", "lh": "rh", "lt": "rt"}  # words of names, lower case

Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=100)] | Annotated[int, Field(ge=1, le=65_535)]
Names: TypeAlias = Annotated[tuple[Name, ...], Field(max_length=1000)]
Range: TypeAlias = tuple[Annotated[float, Field(ge=0, le=1e12)], Annotated[float, Field(ge=0, le=1e12)]]
Count: TypeAlias = Annotated[int, Field(ge=1, le=10_000)]


class OrganRule(BaseModel):
    """What is demanded of one organ; ``None`` and nothing demand nothing. The words are those of ``medaka.toml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pieces: Count | tuple[Count, Count] | None = None
    partner: Name | None = None
    ratio: float | None = Field(None, ge=1, le=1e6)
    side: Literal["left", "right"] | None = None
    touches: Names = ()
    apart: Names = ()
    volume: Range | None = None
    volume_mm3: Range | None = None
    holes: float | None = Field(None, ge=0, le=1)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        for one in (self.pieces, self.volume, self.volume_mm3):
            if isinstance(one, tuple) and one[0] > one[1]:
                raise ValueError(f"a range must rise, got {list(one)}")
        return self


class Sheet(BaseModel):
    """A rules file as it is written.

    Attributes
    ----------
    organs
        Names by id, as ``init --organs`` reads them; nothing here looks at them, so that one file can serve both.
    guess
        Whether what is not said is taken from the labelled animals and from names.
    rules
        By the organ's name or id.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    organs: dict[str, str] = Field(default={}, max_length=65_535)
    guess: bool = True
    rules: dict[str, OrganRule] = Field(default={}, max_length=65_535)


class Demand(BaseModel):
    """What is demanded of one organ, other organs by class; see :class:`OrganRule`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pieces: tuple[int, int] | None = None
    ratio: float | None = None
    side: str | None = None
    touches: tuple[int, ...] = ()
    apart: tuple[int, ...] = ()
    volume: tuple[float, float] | None = None
    volume_mm3: tuple[float, float] | None = None
    holes: float | None = None


class Rules(BaseModel):
    """What is demanded of the organs of a schema.

    Attributes
    ----------
    names
        Of the organs; class 1 is first.
    demands
        By class, of those that anything is demanded of.
    pairs
        (left, right) classes.
    guess
        Whether what is not demanded is taken from the labelled animals.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...]
    demands: dict[int, Demand] = {}
    pairs: tuple[tuple[int, int], ...] = ()
    guess: bool = True

    def of(self, organ: int) -> Demand:
        return self.demands.get(organ, Demand())

    def name(self, organ: int) -> str:
        return self.names[organ - 1]

    def partner(self, organ: int) -> int:
        """The other one of its pair; 0 where it has none."""
        return next((sum(pair) - organ for pair in self.pairs if organ in pair), 0)


def project_rules(folder: Path, schema: LabelSchema) -> Rules:
    """The rules in a project's ``folder``; medaka's where it has no file but medaka's organs, else only guesses.

    Raises
    ------
    UserError
        As :func:`open_rules`.
    """
    file = folder / FILE
    if file.exists():
        return open_rules(file, schema)
    return resolve(default_text(schema), schema)


def open_rules(file: Path, schema: LabelSchema) -> Rules:
    """The rules in ``file`` for the organs of ``schema``.

    Raises
    ------
    UserError
        If it cannot be read, is larger than a MiB, says what no rule says, or names an organ that ``schema`` lacks.
    """
    try:
        if file.stat().st_size > _LARGEST:
            raise ValueError("it is larger than 1 MiB")
        return resolve(file.read_text("utf-8"), schema)
    except (OSError, ValueError) as error:
        raise UserError(
            f"The anatomy rules in {str(file)!r} cannot be used: {_plainly(error)}.",
            "Mend the file, or see what one looks like: medaka-kd organs PROJECT --rules.",
        ) from error


def default_text(schema: LabelSchema) -> str:
    """The file to begin with: medaka's where ``schema`` has all of its organs, else its head and empty tables."""
    sheet = resources.files(__package__).joinpath(_SHEET).read_text("utf-8")
    if set(_parsed(sheet).rules) <= set(schema.names):
        return sheet
    head = [line for line in sheet.splitlines() if line.startswith("#")][1:]
    first = "# What this project's anatomy demands of a label map."
    tables = [f"[rules.{_quoted(name)}]" for name in schema.names]
    return "\n".join([first, *head, "", *tables, ""])


def guessed_pairs(names: Mapping[int, str]) -> tuple[tuple[int, int], ...]:
    """(left, right) of the organs whose ``names`` differ in a word for the side only: "left eye", "kidney_R", "LH"."""
    by_name = {_words(name): organ for organ, name in names.items()}
    pairs = []
    for words, organ in by_name.items():
        for place, word in enumerate(words):
            other = by_name.get((*words[:place], _SIDES.get(word, ""), *words[place + 1 :]), 0)
            if word in _SIDES and other:
                pairs.append((organ, other))
                break
    return tuple(sorted(pairs))


def _words(name: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[^\W_]+", name.casefold()))


def _parsed(text: str) -> Sheet:
    return Sheet.model_validate(tomllib.loads(text))


def resolve(text: str, schema: LabelSchema) -> Rules:
    """What ``text`` demands of the organs of ``schema``.

    Raises
    ------
    ValueError
        If it is not TOML, says what no rule says, or names an organ that ``schema`` lacks.
    """
    sheet = _parsed(text)
    known = {organ.name: place for place, organ in enumerate(schema.organs, start=1)}
    known |= {str(organ.id): place for place, organ in enumerate(schema.organs, start=1) if str(organ.id) not in known}

    def class_of(name: str | int) -> int:
        if str(name) not in known:
            raise ValueError(f"there is no organ {name!r} in this project, which has {', '.join(schema.names)}")
        return known[str(name)]

    rules = {class_of(name): rule for name, rule in sheet.rules.items()}
    if len(rules) < len(sheet.rules):
        raise ValueError("an organ has two tables, by its name and by its id")
    demands = {
        organ: Demand(
            pieces=rule.pieces if isinstance(rule.pieces, tuple) or rule.pieces is None else (rule.pieces,) * 2,
            touches=tuple(map(class_of, rule.touches)),
            apart=tuple(map(class_of, rule.apart)),
            **{name: getattr(rule, name) for name in ("ratio", "side", "volume", "volume_mm3", "holes")},
        )
        for organ, rule in rules.items()
    }
    pairs = _pairs({organ: class_of(r.partner) for organ, r in rules.items() if r.partner is not None}, schema, sheet)
    if not pairs and any(demand.side for demand in demands.values()):
        raise ValueError('a "side" can be told only where organs come in pairs, and none has a "partner"')
    return Rules(names=schema.names, demands=demands, pairs=pairs, guess=sheet.guess)


def _pairs(partners: Mapping[int, int], schema: LabelSchema, sheet: Sheet) -> tuple[tuple[int, int], ...]:
    """Declared pairs, and guessed ones of organs without a declared partner; the left one first."""
    for organ, other in partners.items():
        if organ == other or partners.get(other, organ) != organ or list(partners.values()).count(other) > 1:
            raise ValueError(
                f"{schema.names[organ - 1]!r} and {schema.names[other - 1]!r} are not each other's partner"
            )
    taken = {*partners, *partners.values()}
    names = dict(enumerate(schema.names, start=1))
    sides = set(guessed_pairs(names))
    declared = {min((a, b), (b, a), key=lambda pair: (pair not in sides, pair)) for a, b in partners.items()}
    free = {organ: name for organ, name in names.items() if organ not in taken and sheet.guess}
    return tuple(sorted(declared | set(guessed_pairs(free))))


def _quoted(name: str) -> str:
    """A key of TOML."""
    if re.fullmatch(r"[A-Za-z0-9_-]+", name):
        return name
    escaped = "".join(
        f"\\u{ord(sign):04x}" if ord(sign) < 32 or ord(sign) == 127 else f"\\{sign}" if sign in '"\\' else sign
        for sign in name
    )
    return f'"{escaped}"'


def _plainly(error: Exception) -> str:
    """The first complaint, on one line."""
    if isinstance(error, ValidationError):
        first: Any = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where or 'the file'}: {first['msg'].removesuffix('.')}"
    return str(error).partition("\n")[0].removesuffix(".")
