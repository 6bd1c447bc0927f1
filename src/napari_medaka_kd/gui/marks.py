"""Marks: how verdicts and predicted quality look: a sign, a word, and colours that any eye tells apart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtGui import QColor

if TYPE_CHECKING:
    from napari_medaka_kd.volumes.labels import LabelSchema
    from napari_medaka_kd.workflow.desk import ReviewItem

#: By decision; never told by colour alone.
SIGNS = {"accepted": "✓", "rejected": "✗", "corrected": "✎", "unsure": "?", "": ""}

# Five stops of cividis (Nuñez et al. 2018), blue for bad to yellow for good, rising in brightness for any eye; from a
# little above its dark end, which would be lost on a dark window.
_STOPS = ((20, 58, 122), (87, 92, 109), (124, 123, 120), (178, 165, 108), (254, 232, 56))
UNKNOWN = QColor(128, 128, 128, 90)
_BRIGHT = 120  # of 255; from here on black is read more easily than white


def quality_colour(score: float) -> QColor:
    """The colour of a predicted quality, 0 … 1; grey where it is not known."""
    if math.isnan(score):
        return QColor(UNKNOWN)
    place = min(max(score, 0.0), 1.0) * (len(_STOPS) - 1)
    low = min(int(place), len(_STOPS) - 2)
    part = place - low
    return QColor(*(round(a + (b - a) * part) for a, b in zip(_STOPS[low], _STOPS[low + 1], strict=True)))


def ink_on(colour: QColor) -> QColor:
    """Black or white, whichever can be read on ``colour``."""
    brightness = 0.299 * colour.red() + 0.587 * colour.green() + 0.114 * colour.blue()
    return QColor("black" if brightness >= _BRIGHT else "white")


def worded_quality(score: float) -> str:
    """A predicted quality in words and as a number."""
    if math.isnan(score):
        return "not scored yet"
    word = "probably good" if score >= 0.75 else "doubtful" if score >= 0.4 else "probably bad"
    return f"{word} · {score:.2f}"


def worded_time(seconds: float) -> str:
    """About how long, for people."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def worded_slices(item: ReviewItem) -> str:
    """Where in the animal an item is: ``slices 16-31``."""
    if item.slab is None:
        return "whole animal"
    first, last = item.slab[0], item.slab[1] - 1
    return f"slice {first}" if first == last else f"slices {first}-{last}"


def worded_organ(schema: LabelSchema, organ: int) -> str:
    """An organ's name; ``all organs`` for 0."""
    return next((known.name for known in schema.organs if known.id == organ), "all organs")


def worded_item(schema: LabelSchema, item: ReviewItem) -> str:
    """An item in words: ``heart · fish-03 · slices 16-31``."""
    return f"{worded_organ(schema, item.organ)} · {item.case} · {worded_slices(item)}"
