"""distil: one round or several; each student proposes and is judged anew before it teaches the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medaka_kd import processes
from napari_medaka_kd.distil import together
from napari_medaka_kd.quality.record import FILE, open_record
from napari_medaka_kd.settings import DistilSettings, QualitySettings, SegmentSettings, SelfTrainingSettings
from napari_medaka_kd.turns import project_knobs

from .from_scans import distil_from_scans
from .kinds import learns_things
from .propose import score, segment
from .teach import distil_once
from .teach_things import distil_things

if TYPE_CHECKING:
    from napari_medaka_kd.job import Job
    from napari_medaka_kd.networks.checkpoint import Checkpoint
    from napari_medaka_kd.project import Project


def distil(project: Project, name: str, teacher: str, settings: DistilSettings) -> Job[Checkpoint]:
    """Distil a student by the strategy that ``settings`` names; it becomes checkpoint ``name``.

    Of self-training in several rounds, the students between are kept as ``<name>-1``, ``<name>-2``, …; verdicts on one
    teacher's labels do not count for the next one's, but what people corrected does.

    Parameters
    ----------
    teacher
        The checkpoint to learn from. The other strategies begin with its weights, if it is there and warm starts are
        wanted.
    """
    if learns_things(settings.strategy):
        return (yield from distil_things(project, name, settings, teacher))
    if not isinstance(settings.strategy, SelfTrainingSettings):
        return (yield from distil_from_scans(project, name, settings, teacher))
    for number in range(1, settings.strategy.rounds):
        between = f"{name}-{number}"
        if not together.agreed(between in project.checkpoints):
            yield from distil_once(project, between, teacher, settings)
        if processes.first():
            yield from _judged(project, between)
        together.wait()
        teacher = between
    return (yield from distil_once(project, name, teacher, settings))


def _judged(project: Project, checkpoint: str) -> Job[None]:
    """Let ``checkpoint`` propose for the cases that have been scored, and score what it says."""
    cases = [case for case in project.cases if not case.held_out and (case.folder / FILE).is_file()]
    slab = open_record(cases[0].folder, project.schema).slab
    yield from segment(project, checkpoint, SegmentSettings(), [case.id for case in cases])
    judging = project_knobs(QualitySettings, project.folder, "score").model_copy(update={"slab": slab})
    yield from score(project, checkpoint, judging, [case.id for case in cases])
