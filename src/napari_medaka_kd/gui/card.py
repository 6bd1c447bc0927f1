"""The card of the item on show: organ, animal, slices, how good it is believed to be and why, what was said of it."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QPainter, QPen
from qtpy.QtWidgets import QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from napari_medaka_kd.workflow.agreeing import worded_words

from .marks import SIGNS, quality_colour, worded_organ, worded_quality, worded_slices
from .parts import words

if TYPE_CHECKING:
    from qtpy.QtGui import QPaintEvent

    from napari_medaka_kd.volumes.labels import LabelSchema
    from napari_medaka_kd.workflow.desk import Proposal, ReviewItem

_LARGE = 1.3  # of the font's size, for the organ's name
_LINES = 2  # kept for the reasons, so that what stands below seldom moves


class QualityBar(QWidget):
    """A predicted quality as a bar: its length tells, its colour only repeats it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.score = math.nan
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    def show_score(self, score: float) -> None:
        """Show ``score``, 0 … 1; an empty bar where it is not known."""
        self.score = score
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802  Qt's name
        return QSize(5 * self.fontMetrics().height(), max(8, 2 * self.fontMetrics().height() // 3))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802  Qt's name
        painter, box = QPainter(self), QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        if not math.isnan(self.score):
            share = min(max(self.score, 0.0), 1.0)
            painter.fillRect(QRectF(0, 0, share * self.width(), self.height()), quality_colour(self.score))
        painter.setPen(QPen(self.palette().windowText().color(), 1))
        painter.drawRect(box)


class ItemCard(QWidget):
    """What one looks at, in words."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.organ, self.place, self.quality, self.why, self.said, self.about = (words() for _ in range(6))
        self.bar = QualityBar()
        self.organ.setTextFormat(Qt.TextFormat.RichText)
        for label in (self.place, self.quality, self.why, self.said, self.about):
            label.setTextFormat(Qt.TextFormat.PlainText)
        self.why.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        believed = QHBoxLayout()
        believed.setContentsMargins(4, 0, 0, 0)
        believed.addWidget(self.bar)
        believed.addWidget(self.quality, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.organ)
        column.addWidget(self.place)
        column.addLayout(believed)
        for label in (self.why, self.said, self.about):
            column.addWidget(label)

    def show_item(self, schema: LabelSchema, item: ReviewItem, proposal: Proposal | None) -> None:
        """Show ``item`` and what is known of it."""
        colour = next((organ.color for organ in schema.organs if organ.id == item.organ), "#888888")
        organ = worded_organ(schema, item.organ)
        size = round(_LARGE * 100)
        self.organ.setText(
            f"<span style='font-size:{size}%'><span style='color:{colour}'>■</span> <b>{html.escape(organ)}</b></span>"
        )
        self.place.setText(f"{item.case} · {worded_slices(item)}")
        score = math.nan if proposal is None else proposal.score
        self.bar.show_score(score)
        self.quality.setText(worded_quality(score))
        reasons = () if proposal is None else proposal.reasons
        self.why.setText("; ".join(reason.removeprefix(f"{organ}: ") for reason in reasons))
        self.why.setMinimumHeight(_LINES * self.why.fontMetrics().lineSpacing())
        self.said.setText(worded_verdict(proposal))

    def show_selection(self, sentence: str) -> None:
        """Say what else the next verdict is about; nothing where it is about the item alone."""
        self.about.setText(sentence)
        self.about.setVisible(bool(sentence))


def worded_verdict(proposal: Proposal | None) -> str:
    """What was said of a proposal, by whom and why: ``✗ rejected by ada: spills over``."""
    if proposal is None or proposal.decision is None:
        return "no verdict yet"
    why = f": {', '.join(proposal.verdict_reasons)}" if proposal.verdict_reasons else ""
    words = f"{SIGNS[proposal.decision]} {proposal.decision} by {proposal.reviewer}{why}"
    return f"{words}\n⚡ in conflict: {worded_words(proposal.disputed)}" if proposal.disputed else words


def worded_selection(schema: LabelSchema, items: tuple[ReviewItem, ...], shown: ReviewItem | None) -> str:
    """What the next verdict is about, where that is not just the item on show."""
    if not items or items == (shown,):
        return ""
    first, last = items[0], items[-1]
    organ = worded_organ(schema, first.organ)
    if len(items) == 1:
        return f"▣ The next verdict is about: {organ}, {worded_slices(first)}."
    alike = {(item.case, item.organ) for item in items} == {(first.case, first.organ)}
    if alike and first.slab is not None and last.slab is not None:
        return f"▣ The next verdict is about {len(items)} slabs: {organ}, slices {first.slab[0]}-{last.slab[1] - 1}."
    return f"▣ The next verdict is about {len(items)} items."
