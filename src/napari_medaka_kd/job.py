"""What every long task is: a generator of Progress that ends in a result."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """One report of a long task.

    Attributes
    ----------
    doing
        What is under way, in the words of the user.
    done, total
        How much of it is finished; ``total`` is 0 where nobody can know.
    values
        Live figures (a loss, an IoU), by name.
    said
        What had to be done otherwise than asked, in words; the window still shows the last report's when all is done.
    """

    doing: str
    done: int
    total: int
    values: Mapping[str, float] = field(default_factory=dict)
    said: str = ""


#: Iterate it to follow the task, close it to cancel, ``yield from`` it to make it a part of another.
Job: TypeAlias = Generator[Progress, None, T]


def ignore(_: Progress) -> None:
    """Hear nothing."""


def drain(job: Job[T], tell: Callable[[Progress], None] = ignore) -> T:
    """Run ``job`` to its end, telling each report, and return its result."""
    try:
        while True:
            tell(next(job))
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        job.close()
