"""What this machine has for the work, and what is missing, each with the command that mends it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

_GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes
    ----------
    fine
        Whether the work can go on with it.
    remedy
        What to do where it is not.
    """

    what: str
    found: str
    fine: bool
    remedy: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All that was looked at."""

    findings: tuple[Finding, ...]

    def text(self) -> str:
        lines = [
            f"{'ok     ' if finding.fine else 'MISSING'}  {finding.what:16s} {finding.found}"
            + (f" — {finding.remedy}" if finding.remedy else "")
            for finding in self.findings
        ]
        return "\n".join(lines)


def examine(folder: Path = Path()) -> Diagnosis:
    """Look at Python, processor, memory, the disk of ``folder``, torch, GPU, and Qt. Nothing is changed."""
    return Diagnosis((*_machine(folder), *_torch(), *_modules(), _qt()))


def _machine(folder: Path) -> list[Finding]:
    free = shutil.disk_usage(folder).free / _GIB
    memory = psutil.virtual_memory().total / _GIB
    return [
        Finding("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}", True),
        Finding("processor", f"{os.cpu_count()} cores", True),
        Finding("memory", f"{memory:.0f} GiB", memory >= 4, "" if memory >= 4 else "training wants at least 4 GiB"),
        Finding("disk", f"{free:.0f} GiB free here", free >= 2, "" if free >= 2 else "make room: a project wants more"),
    ]


def _torch() -> list[Finding]:
    if importlib.util.find_spec("torch") is None:
        return [Finding("torch", "not installed", False, "pip install 'napari-medaka-kd[train]'")]
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
        gpu = Finding("GPU", names, True)
    elif torch.backends.mps.is_available():
        gpu = Finding("GPU", "Apple", True)
    else:
        gpu = Finding("GPU", "none that torch can use; the processor does the work", True, "it takes longer")
    return [Finding("torch", torch.__version__, True), gpu]


def _modules() -> list[Finding]:
    """What the training extra brings besides torch."""
    return [
        Finding(name, "installed", True)
        if importlib.util.find_spec(module)
        else Finding(name, "not installed", False, "pip install 'napari-medaka-kd[train]'")
        for name, module in (("safetensors", "safetensors"), ("scikit-learn", "sklearn"))
    ]


def _qt() -> Finding:
    bindings = [name for name in ("PyQt6", "PySide6") if importlib.util.find_spec(name)]
    if bindings:
        return Finding("Qt", ", ".join(bindings), True)
    return Finding("Qt", "none; the command line works without", False, "pip install 'napari-medaka-kd[pyqt6]'")
