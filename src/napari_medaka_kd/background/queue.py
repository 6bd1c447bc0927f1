"""The tasks of a project: begun in processes of their own, one after the other, found again by whoever looks."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psutil

from .task import CARD, ENVIRONMENT, LOG, OUTPUT, PENDING, Task, note_process, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_KEPT = 40  # ended tasks of a project
_children: list[psutil.Process] = []  # those begun by this process, to be reaped
_known: dict[Path, Task] = {}  # what was asked for does not change


def start(project: Path, title: str, argv: Sequence[str]) -> Task:
    """Have a command line carried out in a process of its own, after the project's tasks before it.

    Parameters
    ----------
    argv
        As after the word ``medaka-kd``, without ``--json``.
    """
    now = datetime.now(UTC)
    folder = project / "tasks" / f"{now:%Y%m%dT%H%M%S.%fZ}-{argv[0]}"
    folder.mkdir(parents=True)
    _sweep(project)
    task = Task(folder, title, tuple(map(str, argv)), now.timestamp())
    card = {"title": title, "argv": task.argv, "made": task.made, "machine": platform.node()}
    write_json(folder / CARD, card)
    pid = _begin(task)
    note_process(folder, pid)
    _children.append(psutil.Process(pid))
    return task


def tasks(project: Path) -> tuple[Task, ...]:
    """The project's tasks on this machine that are kept, the oldest first; those cancelled in vain are killed."""
    _reap()
    found = tuple(task for folder in sorted((project / "tasks").glob("*-*")) if (task := _open(folder)))
    for task in found:
        if task.state in PENDING:
            task.insist()
    return found


def _begin(task: Task) -> int:
    """Begin its process, which outlives this one; returns the number of it."""
    command = [sys.executable, "-m", "napari_medaka_kd", *task.argv, "--json"]
    told = {ENVIRONMENT: str(task.folder.resolve()), "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    with (task.folder / OUTPUT).open("wb") as output, (task.folder / LOG).open("wb") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=log,
            env=os.environ | told,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    child.returncode = 0  # Popen warns of a child that outlives it, as ours is meant to; psutil reaps it
    return child.pid


def _reap() -> None:
    """Let go of our children that have ended, or they would stay zombies."""
    _, _children[:] = psutil.wait_procs(_children, timeout=0)


def _open(folder: Path) -> Task | None:
    if folder not in _known:
        card = read_json(folder / CARD)
        if card is None or card.get("machine") != platform.node():  # the processes of others cannot be seen
            return None
        with suppress(KeyError, TypeError, ValueError, IndexError):
            argv = tuple(map(str, card["argv"]))
            _known[folder] = Task(folder, str(card["title"]), argv, float(card["made"]))
    return _known.get(folder)


def _sweep(project: Path) -> None:
    """Forget the oldest tasks of a project where there are many."""
    ended = [task for task in tasks(project) if task.state not in PENDING]
    for task in ended[: max(0, len(ended) - _KEPT)]:
        task.dismiss()
        _known.pop(task.folder, None)
