"""medaka-kd: one sub-command per verb. ``--json`` ends with one line for machines; exit code 0 only on success."""

from __future__ import annotations

# In this order the help lists the verbs.
# isort: off
from . import scans, teacher, judging, reviewers, packs, student, project  # noqa: F401
from .app import app

__all__ = ["app"]
