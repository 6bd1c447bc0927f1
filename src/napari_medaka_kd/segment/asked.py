"""What is asked of a network beside the labels, as the settings say; without torch, so that a window can count it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medaka_kd.networks.soft import CODE
from napari_medaka_kd.volumes.label_extras import DISAGREEMENT, SOFT, UNCERTAINTY, Extra

if TYPE_CHECKING:
    from napari_medaka_kd.settings import SegmentSettings


def asked_extras(settings: SegmentSettings, classes: int) -> tuple[Extra, ...]:
    """What a network of so many ``classes`` answers beside the labels."""
    found = [Extra(UNCERTAINTY)]
    if settings.disagreement != "none":
        found.append(Extra(DISAGREEMENT, facts=describe(settings)))
    if settings.soft:
        found.append(Extra(SOFT, classes, {"code": CODE}))
    return tuple(found)


def describe(settings: SegmentSettings) -> dict[str, str]:
    """How the disagreement came about, to be kept beside it."""
    rounds = {"rounds": str(settings.rounds)} if settings.disagreement == "dropout" else {}
    return {"looks": settings.disagreement, **rounds}
