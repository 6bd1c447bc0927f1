"""Batches made in a thread while the ones before are learned from."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
_AHEAD = 2  # with 1, a step waits for whatever batch takes longer to make than its predecessor to learn from


def made_ahead(batches: Iterator[T]) -> Iterator[T]:
    """``batches`` in their order, the next two of them being made by one thread, which ends with this.

    They are what they would be without it as long as none depends on what is done with another.
    """
    with ThreadPoolExecutor(1, "batches") as thread:
        coming = deque(thread.submit(_following, batches) for _ in range(_AHEAD))
        try:
            while ready := coming.popleft().result():
                coming.append(thread.submit(_following, batches))
                yield ready[0]
        finally:
            thread.shutdown(cancel_futures=True)


def _following(batches: Iterator[T]) -> tuple[T] | None:
    """The next one; ``None`` at the end, as a future cannot raise ``StopIteration``."""
    for batch in batches:
        return (batch,)
    return None
