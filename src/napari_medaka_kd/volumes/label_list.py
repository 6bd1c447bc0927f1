"""The list of a store's complete label maps: ``labels/zarr.json``, replaced in one step."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import UserError

from .atomic import locked, replace_file
from .gate import refusing
from .pyramid import group_json
from .store_gate import read_json

if TYPE_CHECKING:
    from pathlib import Path


_DIGITS = 12  # of a generation's number, at most


def listed(labels: Path) -> tuple[str, ...]:
    """Names in the ``labels`` group, with their generations; none where there is no group.

    Raises
    ------
    InvalidVolume
        If the list is damaged.
    """
    path = labels / "zarr.json"
    if not path.is_file():
        return ()
    with refusing(str(path)):
        with path.open("rb"):  # on a share, only after opening is what another machine wrote certain to be seen
            state = path.lstat()
        return _read(path, (state.st_ino, state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=4096)
def _read(path: Path, _: tuple[int, int, int]) -> tuple[str, ...]:
    """The names in the list as its file is now."""
    names = read_json(path.parent.parent.resolve(), path)["attributes"]["ome"]["labels"]
    return tuple(name for name in names if isinstance(name, str) and _is_folder_name(name))


def _is_folder_name(name: str) -> bool:
    return 0 < len(name) < 256 and not name.startswith(".") and not set(name) & {"/", "\\"}


def split_name(entry: str) -> tuple[str, int]:
    """``teacher.3`` → (teacher, 3); a name of another program's, without a generation, has 0."""
    stem, _, number = entry.rpartition(".")
    return (stem, int(number)) if stem and number.isascii() and number.isdecimal() else (entry, 0)


def resolve(labels: Path, name: str) -> str:
    """The listed generation of ``name``.

    Raises
    ------
    UserError
        If there is none, listing those that there are.
    """
    names = listed(labels)
    found = [entry for entry in names if name in (entry, split_name(entry)[0])]
    if not found:
        known = ", ".join(sorted({split_name(entry)[0] for entry in names})) or "none"
        raise UserError(f"{str(labels.parent)!r} has no label map {name!r}.", f"It has: {known}.")
    return found[-1]


def generations(labels: Path, name: str) -> list[tuple[int, Path]]:
    """(number, folder) of every generation of ``name``, complete or not, rising."""
    found = [(split_name(folder.name), folder) for folder in labels.iterdir() if folder.is_dir()]
    return sorted((number, folder) for (stem, number), folder in found if stem == name and number)


def next_generation(labels: Path, name: str) -> Path:
    """A new folder for the generation of ``name`` that follows all there are and were.

    Raises
    ------
    UserError
        If it was made on another machine, and the share did not show it yet.
    """
    last = max((number for number, _ in generations(labels, name)), default=0)
    folder = labels / f"{name}.{max(last, _removed(labels, name)) + 1}"
    try:
        folder.mkdir()
    except FileExistsError as error:
        raise UserError(
            f"{str(folder)!r} was made on another machine just now.", "Try again when the share shows it, in a minute."
        ) from error
    return folder


def delist(labels: Path, name: str) -> tuple[str, ...]:
    """List no generation of ``name`` any more, durably; returns those that were, whose numbers are not given again."""
    with locked(labels / ".lock"):
        names = listed(labels)
        former = tuple(entry for entry in names if split_name(entry)[0] == name)
        last = max((split_name(entry)[1] for entry in former), default=0)
        replace_file(_last(labels, name), str(max(last, _removed(labels, name))).encode())
        _write(labels, [entry for entry in names if entry not in former])
    return former


def _last(labels: Path, name: str) -> Path:
    return labels / f".{name}.last"


def _removed(labels: Path, name: str) -> int:
    """The number of the last generation of ``name`` that was removed; 0 where none was, or that is not legible."""
    file = _last(labels, name)
    if not file.is_file():
        return 0
    with file.open("rb") as opened:
        number = opened.read(_DIGITS)
    return int(number) if number.isdigit() else 0


def enlist(labels: Path, generation: str) -> tuple[str, ...]:
    """List ``generation`` in place of the other ones of its name, durably; returns those."""
    stem, _ = split_name(generation)
    with locked(labels / ".lock"):
        names = listed(labels)
        former = tuple(name for name in names if split_name(name)[0] == stem and name != generation)
        _write(labels, [*(name for name in names if name not in (*former, generation)), generation])
    return former


def _write(labels: Path, names: list[str]) -> None:
    replace_file(labels / "zarr.json", group_json({"ome": {"version": "0.5", "labels": names}}))
