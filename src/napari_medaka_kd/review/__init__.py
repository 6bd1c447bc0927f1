"""What people said of a teacher's labels, the log that never loses it, and what to look at next."""

from .agreement import Agreement, Agreements, Conflict
from .log import VerdictLog, read_verdicts, take_in, verify_chain
from .order import Order, arrange, queue
from .reader import VerdictReader
from .standing import Standing, decision_for, fold, verdict_for
from .table import Verdicts
from .verdict import ALL_ORGANS, Decision, ReviewItem, Verdict, now

__all__ = [
    "ALL_ORGANS",
    "Agreement",
    "Agreements",
    "Conflict",
    "Decision",
    "Order",
    "ReviewItem",
    "Standing",
    "Verdict",
    "VerdictLog",
    "VerdictReader",
    "Verdicts",
    "arrange",
    "decision_for",
    "fold",
    "now",
    "queue",
    "read_verdicts",
    "take_in",
    "verdict_for",
    "verify_chain",
]
