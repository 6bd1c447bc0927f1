"""Which dataset of an HDF5 file is the volume; links are followed by hand, so that none leads out of the file."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medaka_kd.errors import InvalidVolume

if TYPE_CHECKING:
    from pathlib import Path

    import h5py

_MOST_OBJECTS, _MOST_HOPS, _MOST_NAMED = 100_000, 32, 20
_ILASTIK = ("exported_data", "volume/data")


def open_safely(path: Path) -> h5py.File:
    """``path`` for reading. HDF5 loads no filter from a folder that the environment names, from now on.

    Those of hdf5plugin are there if it is installed.
    """
    import h5py

    while h5py.h5pl.size():  # HDF5_PLUGIN_PATH: any library in there would be run
        h5py.h5pl.remove(0)
    with suppress(ImportError):
        import hdf5plugin  # noqa: F401  registers its filters
    return h5py.File(path, "r", locking="best-effort")


def find_dataset(file: h5py.File, inside: str, name: str) -> h5py.Dataset:
    """The dataset ``inside``; else the only 3-D one of numbers, NeXus's default, or where ilastik puts it.

    Raises
    ------
    InvalidVolume
        If there is none or there are several, with their names; or if it is in another file.
    """
    import h5py

    if not inside:
        return walk_to(file, _choose(file, volumes_in(file), name))
    with suppress(KeyError):
        chosen = walk_to(file, inside)
        if isinstance(chosen, h5py.Dataset):
            return chosen
    there = _listed(volumes_in(file)) or "nothing in 3-D"
    raise InvalidVolume(f"{name!r} has no dataset {inside!r}.", f"Give one that it has: {there}.")


def walk_to(file: h5py.File, path: str) -> Any:
    """The group or dataset at ``path``, by hard links and by soft ones within the file.

    Raises
    ------
    KeyError
        If there is none.
    InvalidVolume
        If a link leads to another file.
    """
    import h5py

    here, parts, hops = file["/"], _parts(path), 0
    while parts:
        part = parts.pop(0)
        if not isinstance(here, h5py.Group) or not here.id.links.exists(part.encode()):
            raise KeyError(path)
        kind = here.id.links.get_info(part.encode()).type
        if kind == h5py.h5l.TYPE_HARD:
            here = here[part]
            continue
        if kind != h5py.h5l.TYPE_SOFT:
            raise InvalidVolume(
                f"{file.filename!r} keeps {path!r} in another file.", "Open that file, or copy the data into this one."
            )
        hops += 1
        if hops > _MOST_HOPS:
            raise ValueError(f"its links to {path!r} go round in circles")
        target = here.id.links.get_val(part.encode()).decode()
        here, parts = (file["/"] if target.startswith("/") else here), _parts(target) + parts
    return here


def volumes_in(file: h5py.File) -> list[str]:
    """Where the datasets of numbers with three axes longer than 1 are; each named once."""
    import h5py

    found, seen, groups = [], set(), [file["/"]]
    while groups:
        group = groups.pop()
        for part in group.id:
            if group.id.links.get_info(part).type != h5py.h5l.TYPE_HARD:
                continue
            info = h5py.h5o.get_info(group.id, part)
            if info.addr in seen:
                continue
            seen.add(info.addr)
            if len(seen) > _MOST_OBJECTS:
                raise ValueError(f"it holds more than {_MOST_OBJECTS} objects")
            entry = group[part]
            if info.type == h5py.h5o.TYPE_GROUP:
                groups.append(entry)
            elif info.type == h5py.h5o.TYPE_DATASET and _is_volume(entry):
                found.append(entry.name)
    return sorted(found)


def text(value: Any) -> str:
    """An attribute that is one piece of text, however it is stored; "" for anything else."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def _choose(file: h5py.File, found: list[str], name: str) -> str:
    if len(found) == 1:
        return found[0]
    for path in (_nexus_default(file), *_ILASTIK):
        with suppress(KeyError):
            chosen = walk_to(file, path).name if path else ""
            if chosen in found:
                return str(chosen)
    if not found:
        raise InvalidVolume(
            f"{name!r} holds no dataset of numbers with three axes.", "Export one channel and one time point: z, y, x."
        )
    raise InvalidVolume(
        f"{name!r} holds several volumes: {_listed(found)}.", f"Say which one, for instance {f'{name}::{found[0]}'!r}."
    )


def _nexus_default(file: h5py.File) -> str:
    """https://manual.nexusformat.org/datarules.html#find-plottable-data-v3: defaults lead to a group with a signal."""
    here: Any = file["/"]
    for _ in range(_MOST_HOPS):
        step = text(here.attrs.get("default"))
        if not step:
            break
        here = walk_to(file, f"{here.name}/{step}")
    signal = text(here.attrs.get("signal"))
    return f"{here.name}/{signal}" if signal else ""


def _is_volume(dataset: h5py.Dataset) -> bool:
    try:
        kind = dataset.dtype.kind
    except TypeError:  # a type that NumPy has no name for
        return False
    return kind in "biuf" and sum(size != 1 for size in dataset.shape or ()) == 3


def _listed(paths: list[str]) -> str:
    return ", ".join(paths[:_MOST_NAMED]) + (", …" if len(paths) > _MOST_NAMED else "")


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
