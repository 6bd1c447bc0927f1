"""A command line of ours in a child process that is waited for: what it says, and when it began and ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Job, Progress

from .task import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOOK = 0.2  # seconds between two looks whether it has ended


def aside(doing: str, argv: Sequence[str]) -> Job[dict[str, Any]]:
    """The line of JSON that a command line of ours ends with, and ``began`` and ``ended``, seconds since the epoch.

    Parameters
    ----------
    doing
        What is told meanwhile.
    argv
        As after the word ``medaka-kd``, without ``--json``.

    Raises
    ------
    UserError
        If it fails; with its own words where it has any. Closed, it ends the child.
    """
    command = [sys.executable, "-m", "napari_medaka_kd", *map(str, argv), "--json"]
    alone = {name: value for name, value in os.environ.items() if name != ENVIRONMENT}  # it is no task by itself
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as log:
        began = time.time()
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=log, env=alone) as child:
            try:
                while child.poll() is None:
                    yield Progress(doing, 0, 0)
                    with suppress(subprocess.TimeoutExpired):
                        child.wait(_LOOK)
            finally:
                child.kill()
        ended = time.time()
        output.seek(0)
        log.seek(0)
        return _said(output.read(), log.read(), child.returncode) | {"began": began, "ended": ended}


def _said(output: bytes, log: bytes, code: int) -> dict[str, Any]:
    said: Any = {}
    with suppress(ValueError, IndexError):
        said = json.loads(output.decode("utf-8").strip().splitlines()[-1])
    if code == 0 and isinstance(said, dict):
        return said
    if isinstance(said, dict) and "error" in said:
        raise UserError(str(said["error"]), str(said.get("remedy", "")))
    last = log.decode("utf-8", "replace").strip().splitlines()[-1:]
    raise UserError(f"Measuring failed: {' '.join(last) or f'exit code {code}'}.", "Try again, or segment without it.")
