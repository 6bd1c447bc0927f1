"""What people said of a teacher's labels, the log that never loses it, and what to look at next."""

from .agreement import Agreement, Agreements, Conflict
from .log import VerdictLog, read_verdicts, take_in, verify_chain
from .lots import draw_lots
from .order import Order, Ranking, Rhythm, arrange, pace, queue
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
    "Ranking",
    "ReviewItem",
    "Rhythm",
    "Standing",
    "Verdict",
    "VerdictLog",
    "VerdictReader",
    "Verdicts",
    "arrange",
    "decision_for",
    "draw_lots",
    "fold",
    "now",
    "pace",
    "queue",
    "read_verdicts",
    "take_in",
    "verdict_for",
    "verify_chain",
]
