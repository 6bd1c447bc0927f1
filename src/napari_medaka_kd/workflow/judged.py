"""What a verdict was about: a hash of the labels that were on show, so that words on others are told apart."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from napari_medaka_kd.review import ALL_ORGANS, ReviewItem
from napari_medaka_kd.volumes.label_digest import digest_labels

from .corrected import corrections

if TYPE_CHECKING:
    from napari_medaka_kd.project import Case, Project


def judged(project: Project, case: Case, labels: str, item: ReviewItem) -> str:
    """The digest of what one sees of ``item``: of a generation of proposals, and of what people painted over it.

    Where nobody painted, it is :func:`~napari_medaka_kd.volumes.label_digest.digest_labels` of the generation
    ``labels`` (``teacher.3``). Where a correction that stands meets the item, it is the SHA-256 of that and, in rising
    order, of the item and the generation of each such correction. A few milliseconds for the first item of a case, a
    tenth of one for the others.

    Returns
    -------
    Hexadecimal digits; empty where the generation has no index of its organs.
    """
    proposed = digest_labels(case.store / "labels" / labels)
    painted = [said for said in corrections(project).get(case.id, ()) if _meet(said.item, item)]
    if not (proposed and painted):
        return proposed
    rows = sorted(repr((said.item.organ, said.item.slab, said.labels)) for said in painted)
    return hashlib.sha256("\n".join([proposed, *rows]).encode()).hexdigest()


def _meet(one: ReviewItem, other: ReviewItem) -> bool:
    """Whether two items of a case have an organ and a slice in common."""
    organs = ALL_ORGANS in (one.organ, other.organ) or one.organ == other.organ
    if one.slab is None or other.slab is None:
        return organs
    return organs and one.slab[0] < other.slab[1] and other.slab[0] < one.slab[1]
