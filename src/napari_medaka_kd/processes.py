"""Which of the processes of one training this is, as torchrun tells each of them; without torch."""

from __future__ import annotations

import os

_TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def count() -> int:
    """How many processes train together; 1 where nobody said otherwise."""
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in _TOLD) else 1


def number() -> int:
    """Which of them this is, from 0 on."""
    return int(os.environ["RANK"]) if count() > 1 else 0


def on_this_machine() -> int:
    """Which of those on this machine it is, from 0 on: the number of its GPU."""
    return int(os.environ["LOCAL_RANK"]) if count() > 1 else 0


def first() -> bool:
    """Whether this is process 0, or alone: it alone writes into a project."""
    return number() == 0
