"""The panel Review: the item on show, the buttons with their keys, the queue and the heat strip."""

from __future__ import annotations

from collections import Counter
from functools import wraps
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QSizePolicy, QVBoxLayout, QWidget

from napari_medaka_kd.workflow.desk import Filter, Tally

from ..card import ItemCard, worded_selection
from ..chips import ReasonChips
from ..deeds import JudgingButtons, PaintingButtons
from ..heat import read_heat
from ..keys import KEYS
from ..marks import worded_item, worded_time
from ..notice import Notice
from ..parts import choice, explain, fill, words
from ..queue_list import QueueList
from ..strip import HeatStrip

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtGui import QCloseEvent

    from napari_medaka_kd.workflow.desk import Desk, ReviewItem

    from ..session import Session

ORDERS = {
    "mixed": "mixed",
    "worst first": "worst",
    "most informative first": "informative",
    "organ by organ": "organ",
    "animal by animal": "animal",
    "at random": "random",
}
_TENTH = "One in ten is drawn at random all the same: only these show how good those are that nobody looks at."
ORDER_TIPS = {
    "mixed": "The worst and the most informative by turns; one in five is drawn at random.",
    "worst": f"What is believed least comes first. {_TENTH}",
    "informative": f"What the scores are unsure of and what is unlike all you have seen comes first. {_TENTH}",
    "organ": f"One organ after the other, the worst first in each. {_TENTH}",
    "animal": f"One animal after the other, the worst first in each. {_TENTH}",
    "random": "All are drawn at random: the quickest way to know how good the others are and when to stop.",
}
SHOWS = {
    "still open": "open",
    "flagged": "flagged",
    "judged": "judged",
    "in conflict": "disputed",
    "all of them": "all",
}
_FLAGS = 3  # broken rules of anatomy that are written out; the tooltip has all
_LOOKING = ("Next organ", "Organ before", "Overlay", "Outline", "Hide")  # keys without a button


def _while_alive(slot: Callable[..., None]) -> Callable[..., None]:
    """Let go of the session once Qt has deleted the panel."""

    @wraps(slot)
    def run(self: ReviewPanel, *heard: Any) -> None:
        if isalive(self):
            slot(self, *heard)
        else:
            self.release()

    return run


class ReviewPanel(QWidget):
    """One item after the other, one key each."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.tally, self.stop, self.help = words(), words(), words()
        self.order, self.state = choice("In which order to look"), choice("Which ones to look at")
        self.organ, self.case = choice("Which organ to look at"), choice("Which animal to look at")
        self.notice = Notice(session)
        self.card, self.chips = ItemCard(), ReasonChips()
        self.judging, self.painting = JudgingButtons(session), PaintingButtons(session)
        self.queue, self.strip, self.about_strip = QueueList(session), HeatStrip(), words()
        self.work = QWidget()
        self._lay_out()
        self._links = self._listen()
        self._on_correction()
        self.refresh()

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802  Qt's name
        self.release()
        super().closeEvent(event)

    def release(self) -> None:
        """Follow the session no longer."""
        for signal, slot in self._links:
            signal.disconnect(slot, missing_ok=True)

    # ---- what is shown -----------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the review as it stands."""
        desk = self.session.review.desk
        self.work.setVisible(desk is not None)
        self.notice.refresh()
        self._offer()
        if desk is not None:
            tally = desk.tally()
            self.tally.setText(worded_tally(desk, tally))
            self._show_stop(desk, tally)
            self.queue.refresh()
        self._show_item()
        self._show_reasons()
        self._show_heat()

    def _show_stop(self, desk: Desk, tally: Tally) -> None:
        """What is known of the unreviewed, and how far the reviewer agrees with themselves, once somebody judged."""
        rule, own = desk.course.stop(), desk.course.consistency()
        self.stop.setVisible(tally.done > 0)
        self.stop.setText("\n".join(filter(None, (rule.brief(), own.brief()))))
        self.stop.setToolTip("\n".join(filter(None, (rule.sentence(), rule.details(), own.sentence(), own.details()))))

    def _offer(self) -> None:
        """What can be filtered by, as the session has it."""
        review, project = self.session.review, self.session.project
        organs = () if project is None else project.schema.organs
        cases = () if review.desk is None else review.desk.cases
        fill(self.order, ORDERS, review.order)
        explain(self.order, ORDER_TIPS)
        fill(self.state, SHOWS, review.keep.show)
        fill(self.organ, {"all organs": 0} | {organ.name: organ.id for organ in organs}, review.keep.organ)
        fill(self.case, {"all animals": ""} | {case: case for case in cases}, review.keep.case)

    def _show_item(self) -> None:
        review, project = self.session.review, self.session.project
        shown = review.item is not None and review.desk is not None and project is not None
        self.card.setVisible(shown)
        self.judging.setEnabled(shown)
        if project is not None and review.desk is not None and review.item is not None:
            self.card.show_item(project.schema, review.item, review.desk.proposals.get(review.item))
            marked = () if self.session.correcting.now is not None else review.selection
            self.card.show_selection(worded_selection(project.schema, marked, review.item))

    def _show_reasons(self) -> None:
        review, project = self.session.review, self.session.project
        asking = bool(review.last) and project is not None and self.session.correcting.now is None
        self.chips.setVisible(asking)
        if asking and project is not None:
            more = f" and {len(review.last) - 1} more" if len(review.last) > 1 else ""
            self.chips.ask(worded_item(project.schema, review.last[0]) + more)
        self.chips.press(review.reasons)
        self.help.setText(worded_help(self.session))

    def _show_heat(self) -> None:
        desk, case = self.session.review.desk, self.session.case
        heat = None if desk is None or case is None else read_heat(desk, case.id)
        self.strip.show_heat(heat)
        self.strip.setVisible(heat is not None)
        self.strip.show_item(self.session.review.item)
        self.strip.mark(self.session.review.selection)
        name = "" if case is None else case.id
        told = f"{name} · dark: probably bad · bright: good" if heat else f"{name} is not under review."
        flags = desk.flags(name) if desk is not None else ()
        self.about_strip.setText("\n".join((told, *(f"⚠ {flag}" for flag in flags[:_FLAGS]))))
        self.about_strip.setToolTip("\n".join(flags))

    # ---- what happens ------------------------------------------------------------------------------------------

    def _listen(self) -> list[tuple[Any, Any]]:
        session, review = self.session, self.session.review
        links = [
            (session.project_changed, self._on_any),
            (session.checkpoint_changed, self._on_any),
            (session.data_changed, self._on_any),
            (session.case_changed, self._on_case),
            (session.position_changed, self._on_position),
            (review.item_changed, self._on_item),
            (review.selection_changed, self._on_selection),
            (review.verdicts_changed, self._on_any),
            (session.correcting.changed, self._on_correction),
            (session.correcting.stroke_made, self._on_stroke),
        ]
        for signal, slot in links:
            signal.connect(slot)
        self.strip.selected.connect(review.select)
        self.strip.opened.connect(self._on_opened)
        self.chips.chosen.connect(review.amend)
        for box in (self.order, self.state, self.organ, self.case):
            box.activated.connect(self._on_arranged)
        return links

    @_while_alive
    def _on_any(self, *_: object) -> None:
        self.refresh()

    @_while_alive
    def _on_case(self, _: object) -> None:
        self._show_heat()

    @_while_alive
    def _on_item(self, item: ReviewItem | None) -> None:
        self._show_item()
        self.queue.mark()
        self.strip.show_item(item)

    @_while_alive
    def _on_selection(self, items: tuple[ReviewItem, ...]) -> None:
        self._show_item()
        self.strip.mark(items)

    @_while_alive
    def _on_position(self, point: tuple[float, float, float]) -> None:
        self.strip.show_slice(round(point[0]))

    @_while_alive
    def _on_correction(self, *_: object) -> None:
        """While one paints, all that would lead away from it is out of reach."""
        painting = self.session.correcting.now is not None
        self.judging.setVisible(not painting)
        self.painting.setVisible(painting)
        for widget in (self.order, self.state, self.organ, self.case, self.queue, self.strip):
            widget.setEnabled(not painting)
        self.painting.refresh()
        self._show_item()
        self._show_reasons()

    @_while_alive
    def _on_stroke(self) -> None:
        self.painting.refresh()

    def _on_opened(self, item: ReviewItem) -> None:
        if item != self.session.review.item:
            self.session.show(item)

    def _on_arranged(self, _: int) -> None:
        review = self.session.review
        review.arrange(
            self.order.currentData(),
            Filter(self.organ.currentData(), self.case.currentData(), self.state.currentData()),
        )
        if review.queue and review.item not in review.queue:
            self.session.show(review.queue[0])

    # ---- how it is built ---------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        filters = QGridLayout()
        filters.setSpacing(4)
        for place, box in enumerate((self.order, self.state, self.organ, self.case)):
            box.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            filters.addWidget(box, place // 2, place % 2)
        column = QVBoxLayout(self.work)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.tally)
        column.addWidget(self.stop)
        column.addLayout(filters)
        for widget in (self.card, self.judging, self.painting, self.chips):
            column.addWidget(widget)
        column.addWidget(self.queue, 2)
        column.addWidget(self.about_strip)
        column.addWidget(self.strip, 3)
        column.addWidget(self.help)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 4, 0, 0)
        outer.addWidget(self.notice)
        outer.addWidget(self.work, 1)


def worded_tally(desk: Desk, tally: Tally) -> str:
    """How far the review is, and who else is at it: ``12 done · 2 flagged · 40 left · about 6 min``."""
    said = [f"{tally.done} done", f"{tally.flagged} flagged", f"{tally.left} left"]
    if tally.seconds_left:
        said.append(f"about {worded_time(tally.seconds_left)}")
    others = Counter(p.reviewer for p in desk.proposals.values() if p.decision and p.reviewer != desk.reviewer)
    company = [f"{name}: {count} {'verdict' if count == 1 else 'verdicts'}" for name, count in others.most_common()]
    lines = [" · ".join(said), *([f"with {', '.join(company)}"] if company else [])]
    return "\n".join([*lines, *worded_agreement(desk)])


def worded_agreement(desk: Desk) -> list[str]:
    """How far this reviewer agrees with each of the others, and on how many items they do not."""
    pairs = [one for one in desk.agreements.between() if desk.reviewer in (one.first, one.second)]
    disputed = desk.agreements.disputed
    return [one.sentence() for one in pairs] + ([f"⚡ {disputed} in conflict"] if disputed else [])


def worded_help(session: Session) -> str:
    """The keys that help just now."""
    if session.correcting.now is not None:
        return (
            "Paint, erase or fill with napari's tools, in any slice. Interpolate fills in between the slices that "
            f"you painted; {KEYS['Done'].shown} keeps it all as a label."
        )
    return " · ".join(f"{KEYS[word].shown} {word.lower()}" for word in _LOOKING)
