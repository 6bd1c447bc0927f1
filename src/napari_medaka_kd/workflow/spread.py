"""segment, on a cluster: a checkpoint's labels for each case, made by the workers of a Dask scheduler."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.networks.foreign import is_blended
from napari_medaka_kd.networks.inputs import rescaled
from napari_medaka_kd.segment.cluster import connect
from napari_medaka_kd.segment.cohort import Scan, segment_cohort

from .propose import First, cases_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_medaka_kd.project import Case, Project
    from napari_medaka_kd.settings import SegmentSettings


@dataclass(frozen=True)
class Spread:
    """Over which workers, as :func:`~napari_medaka_kd.segment.cluster.connect` takes it, and what comes first."""

    cluster: str
    first: First | None = None


def segment_spread(
    project: Project, checkpoint: str, settings: SegmentSettings, cases: Sequence[str], spread: Spread
) -> Job[tuple[str, ...]]:
    """What :func:`.propose.segment` does, on a cluster: the same ledger, the same labels.

    Returns the ids of the cases that were segmented. Interrupted and called again, with a cluster or without, it goes
    on where it stopped. Workers must see the project under the same path.
    """
    folder, first = project.checkpoint(checkpoint), spread.first or First("")
    card = Checkpoint.open(folder)
    card.require_schema(project.schema)
    card.require_organs("segmenting on a cluster")
    if is_blended(card.network):
        raise UserError(
            f"The windows of {checkpoint!r} are blended, one after the other: workers cannot share them.",
            "Segment without --cluster.",
        )
    chosen = cases_for(project, checkpoint, cases, first)
    yield Progress(f"segment with {checkpoint}", 0, len(chosen))
    if chosen:
        with connect(spread.cluster, settings.device) as cluster:
            yield from segment_cohort(_scans(chosen, first, card), folder, settings, cluster)
    yield Progress(f"segment with {checkpoint}", len(chosen), len(chosen))
    return tuple(case.id for case in chosen)


def _scans(chosen: Sequence[Case], first: First, card: Checkpoint) -> Iterator[Scan]:
    for done, case in enumerate(chosen):
        body = rescaled(case.body, case.volume, card.network)
        point = first.point if case.id == first.case else None
        yield Scan(replace(case.volume, name=case.id), body, point, len(chosen) - done)
