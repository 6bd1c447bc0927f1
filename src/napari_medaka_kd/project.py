"""Project: a folder of cases, checkpoints, runs and verdicts. Nothing in it is ever half-written."""

from __future__ import annotations

import json
import re
import shutil
import time
import tomllib
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import tomli_w
from pydantic import ValidationError

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.volumes.atomic import in_use, locked, replace_file, share, sync_folder
from napari_medaka_kd.volumes.body import Body, find_body
from napari_medaka_kd.volumes.body_mask import open_mask
from napari_medaka_kd.volumes.instance_store import instance_names, is_layer, save_instances
from napari_medaka_kd.volumes.label_store import label_names, open_saved_labels, save_labels
from napari_medaka_kd.volumes.labels import LabelMap, LabelSchema
from napari_medaka_kd.volumes.open import open_volume
from napari_medaka_kd.volumes.save import is_saved, save_volume

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_medaka_kd.volumes.instances import Instance
    from napari_medaka_kd.volumes.volume import Volume

FORMAT = 1
#: Label maps that people made: given with the scan, and corrected in review.
MANUAL, REVIEWED = "manual", "reviewed"
FILE, CASE_FILE = "project.toml", "case.json"
_STORE = "volume.ome.zarr"
_CASE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_CHECKPOINT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # it names label maps too, whose generations have a dot
_RULE = ", - and _, beginning with a letter or digit."
_MASK = "body.npz"
_OWNER = "owner"  # a file that is held open as long as its case is being added
_LEFTOVER = 7 * 24 * 3600.0  # seconds that a case whose process died waits to be added again


@dataclass(frozen=True)
class Case:
    """One animal: its scan, its label maps, and whether it is kept for testing.

    Attributes
    ----------
    held_out
        Never trained on.
    modality
        How it was scanned, in a word of the lab's own; empty where nobody said.
    """

    id: str
    folder: Path
    schema: LabelSchema
    held_out: bool
    modality: str = ""

    @property
    def store(self) -> Path:
        """The OME-Zarr that holds the scan and its label maps."""
        return self.folder / _STORE

    @property
    def volume(self) -> Volume:
        return open_volume(self.store)

    @property
    def body(self) -> Body:
        return replace(Body.from_json(_read_case(self.folder)["body"]), mask=open_mask(self.folder / _MASK))

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of its label maps of organs."""
        return tuple(name for name in label_names(self.store) if not is_layer(name))

    @property
    def instance_names(self) -> tuple[str, ...]:
        """Whose things that may overlap it has: :data:`MANUAL`, and checkpoints."""
        return instance_names(self.store)

    def has(self, name: str) -> bool:
        """Whether ``name``, a checkpoint or :data:`MANUAL`, is there as organs or as things."""
        return name in self.label_names or name in self.instance_names

    @property
    def labelled(self) -> bool:
        """Whether a person labelled it before it was added."""
        return MANUAL in self.label_names

    def labels(self, name: str) -> LabelMap:
        """The label map of that name.

        Raises
        ------
        UserError
            If there is none, listing those there are.
        """
        return open_saved_labels(self.store, name, self.schema)


@dataclass(frozen=True)
class Project:
    """A project's folder: ``project.toml``, ``cases/``, ``checkpoints/``, ``runs/``, ``review/``."""

    folder: Path
    name: str
    schema: LabelSchema

    @property
    def cases(self) -> tuple[Case, ...]:
        """All cases by id; one that is still being added is none yet."""
        return tuple(self._open_case(folder) for folder in _children(self.folder / "cases", CASE_FILE))

    def case(self, case_id: str) -> Case:
        """The case of that id.

        Raises
        ------
        UserError
            If there is none, listing the known ids.
        """
        known = _children(self.folder / "cases", CASE_FILE)
        for folder in known:
            if folder.name == case_id:
                return self._open_case(folder)
        raise _unknown("case", case_id, tuple(folder.name for folder in known))

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """Names of the complete checkpoints, sorted."""
        return tuple(folder.name for folder in _children(self.folder / "checkpoints", "checkpoint.json"))

    def checkpoint(self, name: str) -> Path:
        """The folder of the checkpoint of that name, whether it is there yet or not.

        Raises
        ------
        UserError
            If no folder can be called that.
        """
        if not _CHECKPOINT.fullmatch(name):
            raise UserError(f"A checkpoint cannot be called {name!r}.", f"Use up to 64 letters, digits{_RULE}")
        return self.folder / "checkpoints" / name

    @property
    def review_folder(self) -> Path:
        return self.folder / "review"

    def new_run(self, verb: str) -> Path:
        """Make ``runs/<UTC time>-<verb>``, a folder that nobody else got."""
        runs = self.folder / "runs"
        runs.mkdir(exist_ok=True)
        stem = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{verb}"
        for number in range(1, 10_000):
            folder = runs / (stem if number == 1 else f"{stem}-{number}")
            with suppress(FileExistsError):
                folder.mkdir()
                return folder
        raise FileExistsError(stem)

    def _open_case(self, folder: Path) -> Case:
        card = _read_case(folder)
        return Case(folder.name, folder, self.schema, card["held_out"], card["modality"])


def create_project(folder: Path, name: str, schema: LabelSchema) -> Project:
    """Make a project in ``folder``, which is made too if need be.

    Raises
    ------
    UserError
        If the folder holds a project or anything else (hidden files aside), or cannot be written, or if there are
        no organs.
    """
    if not schema.organs:
        raise UserError("A project without organs has nothing to segment.", "Name at least one organ.")
    if (folder / FILE).exists():
        raise UserError(f"{str(folder)!r} is a project already.", "Open it, or choose another folder.")
    card = {"format": FORMAT, "name": name, **schema.model_dump()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(not child.name.startswith(".") for child in folder.iterdir()):
            raise UserError(f"The folder {str(folder)!r} is not empty.", "Choose a new or an empty folder.")
        replace_file(folder / FILE, tomli_w.dumps(card).encode())
    except OSError as error:
        raise UserError(
            f"No project can be made in {str(folder)!r}: {error.strerror or error}.", "Choose a folder of your own."
        ) from error
    return Project(folder, name, schema)


def open_project(folder: Path) -> Project:
    """Open the project in ``folder``.

    Raises
    ------
    UserError
        If it is no project, is damaged, or was made by a newer version.
    """
    folder = Path(folder)
    file = folder / FILE
    if not file.is_file():
        raise UserError(f"{str(folder)!r} is not a project.", "Make one with: medaka-kd init.")
    try:
        data = tomllib.loads(file.read_text("utf-8"))
        _refuse_newer(data["format"], file)
        schema = LabelSchema.model_validate({"organs": data["organs"]})
        return Project(folder, str(data["name"]), schema)
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise _damaged(file, error) from error


@dataclass(frozen=True)
class Drawn:
    """What a person drew in a scan: organs, and things that may overlap, each alone."""

    organs: LabelMap | None
    things: Sequence[Instance] = ()


def add_case(
    project: Project, scan: Volume, labels: LabelMap | Drawn | None, case_id: str, held_out: bool
) -> Job[Case]:
    """Copy a scan, and its labels as :data:`MANUAL`, into the project.

    A failed job leaves nothing. One that was closed or killed goes on where it was when the same is added again; what
    nobody goes on with is removed after a week.

    Parameters
    ----------
    labels
        On the scan's grid, with the project's organ ids; things as well, if need be.
    case_id
        Up to 64 letters, digits, ``_ . -``, beginning with a letter or digit.

    Raises
    ------
    UserError
        If the id is taken, is being added by another process or cannot name a folder; if the labels have another
        shape than the scan; if there is no room.
    InvalidVolume
        If the scan holds NaN, or the labels an id that the project lacks.
    """
    cases, drawn = project.folder / "cases", labels if isinstance(labels, Drawn) else Drawn(labels)
    _check_new(cases, case_id)
    if drawn.organs is not None and drawn.organs.volume.shape != scan.shape:
        raise UserError(
            f"The labels of {case_id!r} have {drawn.organs.volume.shape} voxels (z, y, x), the scan {scan.shape}.",
            "Give labels that were drawn on this very scan.",
        )
    with _claimed(cases / f".{case_id}.partial") as partial:
        if not is_saved(scan, partial / _STORE):
            shutil.rmtree(partial / _STORE, ignore_errors=True)
        saved = yield from save_volume(scan, partial / _STORE)
        if drawn.organs is not None:
            yield from save_labels(LabelMap(drawn.organs.volume, project.schema), partial / _STORE, MANUAL)
        if drawn.things:
            yield from save_instances(drawn.things, partial / _STORE, MANUAL)
        yield Progress(f"find the body of {case_id}", 0, 0)
        write_case(partial, scan, find_body(saved), held_out)
        _check_new(cases, case_id)
    return project.case(case_id)


def require_modality(modality: str) -> None:
    """Refuse what cannot be the name of a modality.

    Raises
    ------
    UserError
        Unless it has up to 64 letters, digits, ``_ . -``, beginning with a letter or digit, or none at all.
    """
    if modality and not _CASE_ID.fullmatch(modality):
        raise UserError(f"A modality cannot be called {modality!r}.", f"Use up to 64 letters, digits, .{_RULE}")


def set_modality(case: Case, modality: str) -> Case:
    """Note in ``case.json`` how the animal was scanned; empty: nobody says.

    Raises
    ------
    UserError
        As for :func:`require_modality`.
    """
    require_modality(modality)
    card = {**_read_case(case.folder), "modality": modality}
    replace_file(case.folder / CASE_FILE, json.dumps(card, indent=1).encode())
    return replace(case, modality=modality)


def write_case(folder: Path, scan: Volume, body: Body, held_out: bool) -> None:
    """Write what makes a case of a ``folder`` in which the scan and its labels lie already."""
    source = None if scan.source is None else str(scan.source)
    card = {"format": FORMAT, "held_out": held_out, "scan": {"name": scan.name, "source": source}}
    if body.mask is not None:
        body.mask.save(folder / _MASK)
    replace_file(folder / CASE_FILE, json.dumps({**card, "body": body.to_json()}, indent=1).encode())


def _read_case(folder: Path) -> dict[str, Any]:
    file = folder / CASE_FILE
    try:
        data = json.loads(file.read_text("utf-8"))
        _refuse_newer(data["format"], file)
        Body.from_json(data["body"])
        return {**data, "held_out": bool(data["held_out"]), "modality": str(data.get("modality", ""))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(file, error) from error


@contextmanager
def _claimed(partial: Path) -> Iterator[Path]:
    """A new folder of our own that takes its final name (``.<id>.partial`` → ``<id>``) if nothing goes wrong."""
    owner = _claim(partial)
    try:
        with owner:
            yield partial
        (partial / _OWNER).unlink()
        sync_folder(partial)  # the files in it were synced as they were written
        partial.rename(partial.with_name(_id_of(partial)))
        sync_folder(partial.parent)
    except Exception:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _claim(partial: Path) -> IO[bytes]:
    """Make ``partial`` and hold a file in it open, which tells others that we live."""
    partial.parent.mkdir(exist_ok=True)
    with locked(partial.parent / ".claims"):
        _sweep(partial.parent)
        if _is_owned(partial):
            raise UserError(f"Case {_id_of(partial)!r} is being added by another process.", "Wait until it is there.")
        partial.mkdir(exist_ok=True)
        owner = (partial / _OWNER).open("wb")
        share(owner)
    return owner


def _id_of(partial: Path) -> str:
    return partial.name[1:].removesuffix(".partial")


def _sweep(cases: Path) -> None:
    """Remove what dead processes left behind long ago of cases they were adding."""
    for partial in cases.glob(".*.partial"):
        owner = partial / _OWNER
        last = owner.stat().st_mtime if owner.is_file() else 0.0
        if not _is_owned(partial) and time.time() - last > _LEFTOVER:
            shutil.rmtree(partial, ignore_errors=True)


def _is_owned(partial: Path) -> bool:
    owner = partial / _OWNER
    return owner.is_file() and in_use(owner)


def _children(folder: Path, card: str) -> list[Path]:
    """The folders in ``folder`` that hold the file ``card``, without hidden ones, by name."""
    return sorted(path.parent for path in folder.glob(f"*/{card}") if not path.parent.name.startswith("."))


def _check_new(cases: Path, case_id: str) -> None:
    """Refuse an id that cannot name a folder, or is taken.

    On Windows and macOS also by one that differs in upper and lower case alone, so that is refused everywhere.
    """
    if not _CASE_ID.fullmatch(case_id):
        raise UserError(f"A case cannot be called {case_id!r}.", f"Use up to 64 letters, digits, .{_RULE}")
    for taken in cases.glob("*"):
        if taken.name.lower() == case_id.lower():
            raise UserError(f"There is a case {taken.name!r} already.", f"Choose another id than {case_id!r}.")


def _refuse_newer(made_by: int, file: Path) -> None:
    if made_by > FORMAT:
        raise UserError(
            f"{str(file)!r} has format {made_by}, this version reads up to {FORMAT}.", "Update napari-medaka-kd."
        )


def _unknown(kind: str, name: str, known: tuple[str, ...]) -> UserError:
    return UserError(f"There is no {kind} called {name!r}.", f"There is: {', '.join(known) or 'none yet'}.")


def _damaged(file: Path, error: Exception) -> UserError:
    return UserError(f"{str(file)!r} is damaged: {error!r}.", "Restore it from a backup.")
