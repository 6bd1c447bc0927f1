"""What people said of a teacher's labels, the log that never loses it, and what to look at next."""

from .log import VerdictLog, read_verdicts, verify_chain
from .order import Order, queue
from .verdict import ALL_ORGANS, Decision, ReviewItem, Verdict, decision_for, fold, now

__all__ = [
    "ALL_ORGANS",
    "Decision",
    "Order",
    "ReviewItem",
    "Verdict",
    "VerdictLog",
    "decision_for",
    "fold",
    "now",
    "queue",
    "read_verdicts",
    "verify_chain",
]
