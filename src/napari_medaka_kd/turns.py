"""Turns of knobs: settings as words of a command line, as a file, as a project's own defaults, and back."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from .errors import UserError
from .settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

S = TypeVar("S", bound=Settings)
FILE = "settings.toml"


def listed(kind: Settings, prefix: str = "") -> str:
    """The knobs of ``kind`` with their defaults and meanings, a paragraph each."""
    lines = []
    for name, field in type(kind).model_fields.items():
        value = getattr(kind, name)
        if isinstance(value, Settings):
            lines.append(listed(value, f"{prefix}{name}."))
        else:
            lines.append(f"{prefix}{name} = {json.dumps(value)}  {field.description or field.title or ''}".rstrip())
    return "\n\n".join(lines)


def knobs(kind: type[S], file: Path | None = None, turns: Sequence[str] | None = None, base: S | None = None) -> S:
    """``base`` (else the defaults), then the TOML ``file``, then each ``key.sub=value`` of ``turns``.

    A value is JSON, or a bare word.

    Raises
    ------
    UserError
        If the file cannot be read, or a knob does not exist or cannot be turned that far.
    """
    data = {} if file is None else _read(file)
    for turn in turns or ():
        _turn(data, turn)
    return _checked(kind, _over((base or kind()).model_dump(), data))


def turned(settings: S, base: S) -> tuple[str, ...]:
    """The shortest turns that make ``settings`` of ``base``."""
    wanted, known = _plain(settings), _plain(base)
    for name in type(settings).model_fields:
        mine, its = getattr(settings, name), getattr(base, name)
        if isinstance(mine, Settings) and isinstance(its, Settings) and type(mine) is not type(its):
            known[name] = _plain(type(mine)()) | {"name": known[name]["name"]}  # another strategy
    return tuple(f"{key}={json.dumps(value)}" for key, value in _differences(wanted, known))


def project_knobs(kind: type[S], project: Path, verb: str) -> S:
    """The project's own defaults of a verb: the table ``[verb]`` of its ``settings.toml``.

    Raises
    ------
    UserError
        If the file cannot be read, or turns a knob that does not exist.
    """
    file = project / FILE
    if not file.is_file():
        return kind()
    table = _read(file).get(verb, {})
    if not isinstance(table, dict):
        raise UserError(f"{verb!r} in {str(file)!r} is {table!r}.", f"Write a table: [{verb}].")
    return _checked(kind, _over(kind().model_dump(), table))


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"The settings in {str(file)!r} cannot be read: {error}.", "Mend the file.") from error


def _checked(kind: type[S], data: dict[str, Any]) -> S:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(
            f"The knob {place!r} cannot be {first.get('input')!r}: {first['msg']}.",
            f"These can be turned: {', '.join(kind.model_fields)}.",
        ) from error


def _turn(data: dict[str, Any], turn: str) -> None:
    key, equals, word = turn.partition("=")
    if not equals:
        raise UserError(f"{turn!r} turns nothing.", "Write KEY=VALUE, such as fit.steps=500.")
    *groups, last = key.split(".")
    for group in groups:
        data = data.setdefault(group, {})
        if not isinstance(data, dict):
            raise UserError(f"{turn!r} turns a knob of {group!r}, which is set to {data!r}.", "Say one or the other.")
    try:
        data[last] = json.loads(word)
    except ValueError:
        data[last] = word


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    if above.get("name", below.get("name")) != below.get("name"):
        return above  # another strategy, whose knobs are others
    both = dict(below)
    for key, value in above.items():
        inner = both.get(key)
        both[key] = _over(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return both


def _plain(settings: Settings) -> dict[str, Any]:
    plain: dict[str, Any] = settings.model_dump(mode="json")
    return plain


def _differences(wanted: Mapping[str, Any], base: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of what differs; inside groups only where both have the group."""
    for key, value in wanted.items():
        known = base.get(key)
        if isinstance(value, dict) and isinstance(known, dict):
            yield from _differences(value, known, f"{prefix}{key}.")
        elif value != known:
            yield f"{prefix}{key}", value
