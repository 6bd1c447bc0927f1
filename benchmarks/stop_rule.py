"""Whether the stop rule keeps its word: simulated reviews through the queue, the verdicts and the fold of the program.

python benchmarks/stop_rule.py --sessions 200
"""

import argparse
import itertools
import math
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
from table import print_table, say_json

from napari_medaka_kd.quality.classifier import wilson
from napari_medaka_kd.review import Decision, Order, Ranking, ReviewItem, Standing, Verdict
from napari_medaka_kd.review.verdict import write_time
from napari_medaka_kd.settings import ReviewSettings
from napari_medaka_kd.workflow.course import Course
from napari_medaka_kd.workflow.looks import Looks

ORDERS: tuple[Order, ...] = ("mixed", "worst", "informative", "organ", "animal", "random")
KINDS = ("calibrated", "sharp", "over-confident", "useless", "organs differ")
ORGANS, SOME = 12, 20  # organs of an animal; verdicts between two looks at the stop rule
START = datetime(2026, 1, 1, tzinfo=UTC)
REVIEWER, TEACHER = "sim", "teacher"


@dataclass
class World:
    """What is proposed, and what the reviewer would say of it."""

    items: list[ReviewItem]
    scores: npt.NDArray[np.float64]
    evidence: npt.NDArray[np.float64]
    good: npt.NDArray[np.bool_]  # in truth
    said: npt.NDArray[np.bool_]  # good, but for slips
    slips: float


def world(kind: str, size: int, slips: float, dice: np.random.Generator) -> World:
    """``size`` proposals; their scores tell what ``kind`` says."""
    items = [ReviewItem(f"fish-{number // ORGANS:04d}", 1 + number % ORGANS) for number in range(size)]
    organ = np.array([item.organ for item in items])
    chance = dice.beta(2.0, 1.0, size)
    scores = chance
    if kind == "sharp":
        chance = np.where(dice.random(size) < 0.7, 0.98, 0.1)
        scores = np.clip(chance + dice.normal(0, 0.15, size), 0, 1)
    elif kind == "over-confident":
        scores = 1 / (1 + ((1 - chance) / chance) ** 3)
    elif kind == "useless":
        chance, scores = np.full(size, 0.8), dice.random(size)
    elif kind == "organs differ":
        chance = np.clip(scores + (organ / ORGANS - 0.5) * 0.8, 0.02, 0.98)
    good = dice.random(size) < chance
    evidence = np.column_stack([scores, *dice.normal(0, 1, (4, size))])
    return World(items, scores, evidence, good, good ^ (dice.random(size) < slips), slips)


@dataclass
class Review:
    """One simulated session."""

    world: World
    course: Course
    order: Order
    marking: bool
    dice: np.random.Generator
    standing: Standing = field(default_factory=lambda: Standing((), TEACHER))
    count: int = 0  # rows
    coming: list[ReviewItem] = field(default_factory=list)

    def look(self) -> bool:
        """Judge what the queue holds next; whether there was anything."""
        again = self.course.again
        if again is None and not self.coming:
            open_ = np.isinf(self.course.past.turn)
            walk = self.course.walk(open_, self.order, whole=True, drawing=True)
            self.coming = list(itertools.islice(walk, SOME))
        if again is None and not self.coming:
            return False
        item = again or self.coming.pop(0)
        self.say([item], self.course.why([item]))
        if self.marking and self.dice.random() < 0.03:
            self.mark(item.case)
        return True

    def mark(self, case: str) -> None:
        """Accept what is good in an animal at once, as one does who has seen all of it."""
        ranking, past = self.course.ranking, self.course.past
        places = [ranking.place(item) for item in self.world.items if item.case == case]
        items = [ranking.items[p] for p in places if self.world.said[p] and math.isinf(past.turn[p])]
        if items:
            self.say(items, self.course.why(items))
            self.coming = []

    def thinks(self, item: ReviewItem, why: str) -> bool:
        """What the reviewer says of it; what comes again may slip anew."""
        place = self.course.ranking.place(item)
        if why == "repeat":
            return bool(self.world.good[place] ^ (self.dice.random() < self.world.slips))
        return bool(self.world.said[place])

    def say(self, items: list[ReviewItem], why: str) -> None:
        rows, gesture = [], self.count + 1
        for item in items:
            self.count += 1
            word = Decision.ACCEPTED if self.thinks(item, why) else Decision.REJECTED
            time = write_time(START + timedelta(seconds=self.count))
            rows.append(Verdict(item, word, REVIEWER, time, checkpoint=TEACHER, gesture=gesture, drawn=why))
        self.standing.add(rows)
        self.course.take(rows)
        for item in items:
            self.course.past.note(item, self.standing)
        self.course.ask_again(self.standing, defaultdict(str))


@dataclass
class Found:
    """What became of the word of the rule in one session.

    Attributes
    ----------
    covered, covered_truth
        Whether the interval held the share, as the reviewer would have it and in truth, at a moment drawn beforehand.
    at_stop
        The same when the rule said that to go on would change little; ``None`` where it never did.
    held
        Whether the promise held at each moment it was made.
    accepted
        Share of the unreviewed that was accepted unseen in the end; 0: none.
    stopped, proven
        Verdicts until the rule said so, and until something could be accepted; NaN: never.
    """

    covered: bool = True
    covered_truth: bool = True
    at_stop: bool | None = None
    held: bool = True
    held_truth: bool = True
    accepted: float = 0.0
    stopped: float = math.nan
    proven: float = math.nan
    asked: bool = False


def session(kind: str, order: Order, slips: float, marking: bool, seed: tuple[int, ...]) -> Found:
    dice = np.random.default_rng(seed)
    size = round(math.exp(dice.uniform(math.log(300), math.log(5000))))
    made = world(kind, size, slips, dice)
    scores = dict(zip(made.items, made.scores.tolist(), strict=True))
    ranking = Ranking(scores, made.evidence, f"session {seed}")
    course = Course(ranking, ReviewSettings(), Looks(REVIEWER, TEACHER))
    review, found = Review(made, course, order, marking, dice), Found()
    budget = int(min(0.8 * size, 1000))
    moment = int(dice.integers(60 // SOME, budget // SOME + 1)) * SOME
    for number in range(1, budget + 1):
        if not review.look():
            break
        if number % SOME == 0:
            weigh(review, found, number, number == moment)
    return found


def weigh(review: Review, found: Found, number: int, drawn: bool) -> None:
    """Hold what the rule says now against what is so."""
    rule, made, past = review.course.stop(), review.world, review.course.past
    left = np.isinf(past.turn)
    if rule.share is None or not left.any():
        return
    holds, in_truth = (
        rule.share.low - 1e-9 <= of[left].mean() <= rule.share.high + 1e-9 for of in (made.said, made.good)
    )
    if drawn:
        found.covered, found.covered_truth, found.asked = bool(holds), bool(in_truth), True
    if rule.settled and math.isnan(found.stopped):
        found.stopped, found.at_stop = number, bool(holds)
    found.accepted = 0.0
    if rule.promise.threshold is not None:
        chosen = left & (made.scores >= rule.promise.threshold)
        found.held &= bool(made.said[chosen].mean() >= rule.wanted - 1e-9)
        found.held_truth &= bool(made.good[chosen].mean() >= rule.wanted - 1e-9)
        found.accepted = float(chosen.sum() / left.sum())
        found.proven = number if math.isnan(found.proven) else found.proven


def row(name: str, all_found: list[Found], slips: bool) -> tuple[str, ...]:
    asked = [found for found in all_found if found.asked]
    stopped = [found for found in all_found if found.at_stop is not None]
    proven = [found for found in all_found if not math.isnan(found.proven)]
    held = [found.held_truth if slips else found.held for found in proven]
    cells = [
        share([found.covered for found in asked]),
        share([found.covered_truth for found in asked]) if slips else "",
        share([bool(found.at_stop) for found in stopped]),
        f"{np.median([found.stopped for found in stopped]):.0f} ({len(stopped)})" if stopped else "never",
        share([found.held for found in all_found]),
        share(held),
        f"{np.median([found.proven for found in proven]):.0f} ({len(proven)})" if proven else "never",
        f"{100 * np.mean([found.accepted for found in proven]):.0f}" if proven else "",
    ]
    return name, str(len(all_found)), *cells


def share(said: list[bool]) -> str:
    """In per cent, with its 95 % interval."""
    if not said:
        return ""
    low, high = wilson(sum(said), len(said))
    return f"{100 * sum(said) / len(said):.1f} [{100 * low:.1f}, {100 * high:.1f}]"


HEAD = (
    "", "sessions", "interval covered (%)", "… the truth (%)", "… when told to stop (%)", "verdicts until then",
    "promise held (%)", "… where one was made (%)", "verdicts until one was", "then accepted (% of unreviewed)",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=200, help="for each order and kind of scores")
    parser.add_argument("--slips", type=float, default=0.0, help="share of verdicts that are the wrong way round")
    parser.add_argument("--marking", action="store_true", help="now and then accept what is good in an animal at once")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    slips = asked.slips > 0
    cells: dict[tuple[str, str], list[Found]] = {}
    for (k, kind), (o, order) in itertools.product(enumerate(KINDS), enumerate(ORDERS)):
        seeds = [(k, o, number) for number in range(asked.sessions)]
        cells[kind, order] = [session(kind, order, asked.slips, asked.marking, seed) for seed in seeds]
    rows = [row(kind, [f for (k, _), cell in cells.items() for f in cell if k == kind], slips) for kind in KINDS]
    rows += [row(order, [f for (_, o), cell in cells.items() for f in cell if o == order], slips) for order in ORDERS]
    rows.append(row("all", [found for cell in cells.values() for found in cell], slips))
    each = {f"{kind}, {order}": row("", found, slips)[2:] for (kind, order), found in cells.items()}
    if asked.json:
        say_json({"rows": rows, "each": each})
        return
    print_table(HEAD, rows)
    worst = sorted(np.mean([found.covered for found in cell if found.asked]) for cell in cells.values())
    print(f"Coverage of single cells: {100 * worst[0]:.1f} to {100 * worst[-1]:.1f} %.")
    kept = min(np.mean([found.held for found in cell]) for cell in cells.values())
    print(f"Promise held in the worst cell: {100 * kept:.1f} %.")


if __name__ == "__main__":
    main()
