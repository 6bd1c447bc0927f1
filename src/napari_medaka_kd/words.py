"""Words for people that many sentences need."""

from __future__ import annotations


def counted(number: int, what: str) -> str:
    """``2 items``, ``1 item``, ``0 items``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
