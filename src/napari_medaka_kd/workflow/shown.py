"""What a desk shows: a proposal with what was said of it, a filter of proposals, the grid of an animal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .tally import state

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from napari_medaka_kd.review import Decision, ReviewItem, Verdict


@dataclass(frozen=True)
class Proposal:
    """One thing to judge, and what was said of it so far.

    Attributes
    ----------
    score
        How likely a person would accept it, 0…1; NaN where nobody scored it.
    reasons
        Why it scores low, in words.
    decision, reviewer, verdict_reasons
        The finest verdict that covers it, who gave it, and why; ``None`` and empty where there is none.
    disputed
        What each reviewer said of it, or of its organ or animal as a whole, where they disagree.
    """

    item: ReviewItem
    score: float
    reasons: tuple[str, ...] = ()
    decision: Decision | None = None
    reviewer: str = ""
    verdict_reasons: tuple[str, ...] = ()
    disputed: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class Filter:
    """Which proposals to look at.

    Attributes
    ----------
    organ
        Organ id; 0: any.
    case
        Id of the animal; empty: any.
    show
        ``open``: without a verdict; ``flagged``: where somebody was unsure; ``judged``: accepted, rejected, corrected;
        ``disputed``: where reviewers disagree.
    """

    organ: int = 0
    case: str = ""
    show: Literal["open", "flagged", "judged", "disputed", "all"] = "open"

    def takes(self, proposal: Proposal) -> bool:
        """Whether ``proposal`` is of the organ and the animal, and judged or not as asked."""
        states = ("all", state(proposal.decision), *(("disputed",) if proposal.disputed else ()))
        return self.is_about(proposal.item) and self.show in states

    def is_about(self, item: ReviewItem) -> bool:
        """Whether ``item`` is of the organ and the animal."""
        return self.organ in (0, item.organ) and self.case in ("", item.case)


@dataclass(frozen=True)
class Grid:
    """Predicted quality and verdicts of one animal.

    Attributes
    ----------
    organs
        Organ ids, all of the project's: the rows.
    slabs
        (first, last + 1) slices: the columns.
    score
        (organs, slabs) float, 0…1; NaN where nothing is proposed or nobody scored it.
    decision
        (organs, slabs) str, a :class:`Decision` or empty.
    proposed
        (organs, slabs) bool: whether the organ is proposed there.
    """

    organs: tuple[int, ...]
    slabs: tuple[tuple[int, int], ...]
    score: npt.NDArray[np.float64]
    decision: npt.NDArray[np.str_]
    proposed: npt.NDArray[np.bool_]
