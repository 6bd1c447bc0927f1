"""How a verb is played in a terminal: a bar for people, lines for logs, JSON for machines, sentences on failure."""

from __future__ import annotations

import errno
import json
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from . import processes
from .background import recorder
from .errors import UserError
from .job import Job, Progress, drain
from .report import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

#: A missing module → the extra that brings it.
EXTRAS = {
    "torch": "train",
    "safetensors": "train",
    "sklearn": "train",
    "monai": "train",
    "distributed": "cluster",
    "tensorboard": "tensorboard",
    "onnx": "onnx",
    "onnxruntime": "onnx",
}
_ERRORS = Console(stderr=True, highlight=False, soft_wrap=True)
_EVERY, _AT_LEAST = 5.0, 1.0  # seconds between two lines in a log, of the same thing and at all
_WORTH_A_LINE = 2.0  # seconds after which a finished thing is remembered above the bar


def play(job: Job[T]) -> T:
    """Run ``job`` while showing how far it is: on standard error, or as a task to the window that began it."""
    if not processes.first():
        return drain(job)
    tell = recorder()
    if tell is not None:
        return drain(job, tell)
    if not _ERRORS.is_terminal:
        return drain(job, _Log())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, TimeRemainingColumn(), TextColumn("{task.fields[values]}"), console=_ERRORS) as bar:
        return drain(job, _LiveBar(bar))


def say(text: str, data: object, as_json: bool) -> None:
    """The result of a verb: ``text`` for people, or ``data`` as the one and last line of JSON."""
    if processes.first():
        typer.echo(json.dumps(plain(data)) if as_json else text)


@contextmanager
def plain_failures(as_json: bool) -> Iterator[None]:
    """Turn what the user can mend into two sentences and exit code 2; a bug keeps its traceback."""
    try:
        yield
    except UserError as error:
        _fail(error, as_json)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        _fail(
            UserError(f"This needs {error.name}.", f"Install it with: pip install 'napari-medaka-kd[{extra}]'"), as_json
        )
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        _fail(UserError(f"The disk takes no more: {error}.", "Make room and run the same command again."), as_json)
    except KeyboardInterrupt:
        _ERRORS.print("Stopped. What was finished is kept; the same command goes on from there.")
        raise typer.Exit(130) from None


def _fail(error: UserError, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"error": error.message, "remedy": error.remedy}))
    _ERRORS.print(str(error), markup=False)
    raise typer.Exit(2) from error


class _LiveBar:
    """One bar for what is being done; what took long stays above it as a line."""

    def __init__(self, bar: Bar) -> None:
        self.bar = bar
        self.doing, self.begun = "", time.monotonic()
        self.task = bar.add_task("", values="")

    def __call__(self, progress: Progress) -> None:
        if progress.doing != self.doing:
            now = time.monotonic()
            if now - self.begun > _WORTH_A_LINE:
                self.bar.console.print(f"{now - self.begun:5.0f} s  {self.doing}", markup=False)
            self.doing, self.begun = progress.doing, now
            self.bar.reset(self.task, total=progress.total or None)
        self.bar.update(
            self.task,
            description=progress.doing,
            completed=progress.done,
            total=progress.total or None,
            values=_worded(progress),
        )


class _Log:
    """A line when something else is begun, and every few seconds."""

    def __init__(self) -> None:
        self.doing, self.last, self.begun = "", 0.0, time.monotonic()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self.last < (_EVERY if progress.doing == self.doing else _AT_LEAST):
            return
        self.doing, self.last = progress.doing, now
        line = (
            f"{now - self.begun:7.1f} s  {progress.doing}: {progress.done}/{progress.total or '?'} {_worded(progress)}"
        )
        sys.stderr.write(line.rstrip() + "\n")
        sys.stderr.flush()


def _worded(progress: Progress) -> str:
    return "  ".join(f"{name} {value:.3g}" for name, value in list(progress.values.items())[:4])
