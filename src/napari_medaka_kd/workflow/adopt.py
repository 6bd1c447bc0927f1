"""adopt: a network that was made elsewhere becomes a checkpoint of a project, as if it had been trained there."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.networks.checkpoint import CARD, WEIGHTS, Checkpoint
from napari_medaka_kd.networks.foreign import FILES

from .curate import read_organs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_medaka_kd.networks.adoption import Found
    from napari_medaka_kd.project import Project
    from napari_medaka_kd.settings import AdoptSettings
    from napari_medaka_kd.volumes.labels import LabelSchema

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def adopt(
    project: Project, file: Path, name: str, settings: AdoptSettings, classes: Mapping[int, str] | None = None
) -> Job[Checkpoint]:
    """Copy the network in ``file`` into ``project`` as the checkpoint ``name``, when it has been tried.

    Parameters
    ----------
    file
        ONNX, TorchScript, weights (``.safetensors``, ``.pt``), a MONAI bundle's folder, or a checkpoint's of ours.
    classes
        Class of the network → name or id of the project's organ. Without it, what the file calls its classes, or, where
        that is nothing and there are as many, the project's organs in their order.

    Returns
    -------
    Its card; ``history["said"]`` lists in sentences what a person should know.

    Raises
    ------
    UserError
        If the file cannot be used, the name is taken, or no class is an organ of the project.
    """
    folder = project.checkpoint(name)
    if not _NAME.fullmatch(name):
        raise UserError(f"A checkpoint cannot be called {name!r}.", "Take letters, digits, - and _.")
    if (folder / CARD).exists():
        raise UserError(f"There is a checkpoint {name!r} already.", "Take another name.")
    yield Progress(f"adopt {file.name}", 0, 2)
    if (file / CARD).is_file():
        card, data = _ours(project, file, name)
    else:
        card, data = _foreign(project, file, name, settings, classes or {})
    yield Progress(f"adopt {file.name}", 1, 2)
    kept = card.keep(data, folder)
    kept.load(folder)
    yield Progress(f"adopt {file.name}", 2, 2)
    return kept


def _ours(project: Project, file: Path, name: str) -> tuple[Checkpoint, bytes]:
    card = Checkpoint.open(file)
    card.require_schema(project.schema)
    card.require_organs("adopting")
    card.load(file)  # it is what it says
    data = (file / FILES.get(card.network.architecture, WEIGHTS)).read_bytes()
    history = {"verb": "adopt", "file": file.name, "was": card.history, "said": []}
    return card.model_copy(update={"name": name, "history": history}), data


def _foreign(
    project: Project, file: Path, name: str, settings: AdoptSettings, classes: Mapping[int, str]
) -> tuple[Checkpoint, bytes]:
    from napari_medaka_kd.networks.adoption import find_network

    found = find_network(file, settings)
    table, said = match_classes(found, project.schema, classes)
    looks = found.looks.model_copy(update={"classes": table})
    if looks.tile_statistics:
        said.append("It normalises each tile by itself: windows are blended, and the labels depend on their size.")
    sha256 = hashlib.sha256(found.data).hexdigest()
    history = {"verb": "adopt", "file": file.name, "sha256": sha256, "said": said}
    return Checkpoint(name=name, network=looks, organs=project.schema, history=history), found.data


def read_classes(words: Sequence[str], file: Path | None) -> dict[int, str]:
    """Class → organ, from a TOML file as :func:`read_organs` reads it and from ``words`` such as ``1=liver``."""
    organs = read_organs(file).organs if file is not None else ()
    classes = {organ.id: organ.name for organ in organs}
    for word in words:
        number, _, name = word.partition("=")
        if not number.strip().isdecimal() or not name.strip():
            raise UserError(f"{word!r} names no organ of a class.", "Write CLASS=ORGAN, such as 1=liver.")
        classes[int(number)] = name.strip()
    return classes


def match_classes(found: Found, schema: LabelSchema, given: Mapping[int, str]) -> tuple[tuple[int, ...], list[str]]:
    """For each class of the network the class of ``schema`` (0: background), and sentences on what was assumed.

    Raises
    ------
    UserError
        If ``given`` names what there is not, or no class is an organ.
    """
    count = len(found.looks.classes)
    _require_known(given, schema, count)
    names = given or found.names
    if not names:
        if count != schema.classes:
            raise UserError(
                f"The network tells {count} classes apart, the project {schema.classes}, background included.",
                "Say which class is which organ: --class 1=liver, once for each.",
            )
        listed = ", ".join(f"{number}={name}" for number, name in enumerate(schema.names, start=1))
        return tuple(range(count)), [f"Its classes were taken for the project's organs in their order: {listed}."]
    table = tuple(_organ(names.get(number, ""), schema) for number in range(count))
    if not any(table):
        raise UserError(
            f"None of the network's classes is an organ of the project: {_listed(names)}.",
            "Say which class is which organ: --class 1=liver, once for each.",
        )
    lost = {number: names.get(number, "?") for number in range(1, count) if not table[number]}
    missing = [name for place, name in enumerate(schema.names, start=1) if place not in table]
    said = [f"Organs that it does not know: {', '.join(missing)}."] if missing else []
    return table, [*said, *([f"These of its classes become background: {_listed(lost)}."] if lost else [])]


def _organ(name: str, schema: LabelSchema) -> int:
    """The class of the organ that is called ``name``, or has it as its id; 0 where there is none."""
    plain = _plain(name)
    for place, organ in enumerate(schema.organs, start=1):
        if plain in (_plain(organ.name), str(organ.id)):
            return place
    return 0


def _require_known(given: Mapping[int, str], schema: LabelSchema, count: int) -> None:
    for number, name in given.items():
        if not 0 <= number < count:
            raise UserError(f"The network has no class {number}.", f"Its classes are 0 … {count - 1}.")
        if not _organ(name, schema) and _plain(name) != "background":
            raise UserError(f"The project has no organ {name!r}.", f"Its organs are {', '.join(schema.names)}.")


def _plain(name: str) -> str:
    return name.strip().casefold().replace("_", " ").replace("-", " ")


def _listed(names: Mapping[int, str]) -> str:
    return ", ".join(f"{number} ({name})" for number, name in list(names.items())[:20])
