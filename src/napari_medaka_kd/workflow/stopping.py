"""stop: what the verdicts on a checkpoint's proposals say of those that nobody looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medaka_kd.quality.stop import StopRule
from napari_medaka_kd.quality.stop import stop_rule as of_sample
from napari_medaka_kd.review import Ranking, Standing, pace, read_verdicts
from napari_medaka_kd.settings import DistilSettings, ReviewSettings, SelfTrainingSettings
from napari_medaka_kd.turns import project_knobs

from .past import Past
from .proposals import evidence_of, read_proposals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_medaka_kd.project import Project
    from napari_medaka_kd.settings import StrategySettings, Unreviewed

    from .proposals import Proposals


def stop_rule(project: Project, checkpoint: str) -> StopRule:
    """What is known of ``checkpoint``'s proposals by now.

    Raises
    ------
    UserError
        If it proposed nothing for an animal without labels.
    """
    asked = review_settings(project)
    ranking = rank(project, checkpoint, read_proposals(project, checkpoint))
    past, standing = Past(ranking), Standing(read_verdicts(project.review_folder), checkpoint)
    for item in ranking.items if len(standing) else ():
        past.note(item, standing)
    return of_sample(past.sample(), asked.precision, 1 / pace("mixed", asked.random))


def accept_from(settings: ReviewSettings, rule: StopRule, own: float) -> float:
    """The score from which on the unreviewed are accepted unseen: what is proven, else the classifier's ``own``."""
    if rule.promise.threshold is not None:
        return rule.promise.threshold
    return own if settings.unproven == "classifier" else 2.0


def taught_unseen(project: Project) -> Unreviewed:
    """What of the unreviewed teaches a student, as the project's own settings say."""
    return unseen_by(project_knobs(DistilSettings, project.folder, "distil").strategy)


def unseen_by(strategy: StrategySettings) -> Unreviewed:
    """What of the unreviewed teaches a student of ``strategy``."""
    return strategy.unreviewed if isinstance(strategy, SelfTrainingSettings) else "accepted"


def review_settings(project: Project) -> ReviewSettings:
    """The project's own, from the table ``[review]`` of its settings."""
    return project_knobs(ReviewSettings, project.folder, "review")


def rank(project: Project, checkpoint: str, found: Mapping[str, Proposals], seed: int = 0) -> Ranking:
    """The proposals of all cases; their lots are drawn anew for each checkpoint."""
    scores = {item: score for case in found.values() for item, (score, _) in case.units.items()}
    return Ranking(scores, evidence_of(found), f"{project.name}\n{checkpoint}\n{seed}")
