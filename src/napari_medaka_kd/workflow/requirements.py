"""What a strategy needs of a project, and what of it is missing; without torch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_medaka_kd.distil.modalities import unclear
from napari_medaka_kd.project import MANUAL
from napari_medaka_kd.settings import MeanTeacherSettings, MutualSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_medaka_kd.project import Project
    from napari_medaka_kd.settings import AnyStrategy


@dataclass(frozen=True)
class Census:
    """What a project holds, held-out animals aside.

    Attributes
    ----------
    labelled, unlabelled
        How many animals have a person's labels, and how many have none.
    checkpoints
        How many networks there are.
    modalities
        How many labelled animals each modality has; those of none are under "".
    things, bare
        How many animals have a person's labels of things that may overlap, and how many have none of these.
    strangers
        How many animals without labels are of a named modality that no labelled one has.
    """

    labelled: int
    unlabelled: int
    checkpoints: int
    modalities: Mapping[str, int] = field(default_factory=dict)
    things: int = 0
    bare: int = 0
    strangers: int = 0


def census(project: Project) -> Census:
    """Count what ``project`` holds."""
    cases = [case for case in project.cases if not case.held_out]
    labelled = sum(case.labelled for case in cases)
    modalities = Counter(case.modality for case in cases if case.labelled)
    strangers = sum(not case.labelled and case.modality not in ("", *modalities) for case in cases)
    things = sum(MANUAL in case.instance_names for case in cases)
    bare = len(cases) - things
    return Census(labelled, len(cases) - labelled, len(project.checkpoints), modalities, things, bare, strangers)


def missing(strategy: AnyStrategy, found: Census) -> str:
    """What a project that holds ``found`` lacks for ``strategy``, in a sentence; empty where it lacks nothing."""
    if isinstance(strategy, MeanTeacherSettings) and strategy.instances:
        return _things(strategy, found)
    return _NEEDS[strategy.name](found) or _modalities(strategy, found)


def _labels(found: Census) -> str:
    if found.things and not found.labelled:
        return (
            "no animal has labels of organs. Things that overlap are learned by mean_teacher, strategy.instances=true."
        )
    return "" if found.labelled else "no animal has labels. Add one with its label map."


def _proposals(found: Census) -> str:
    if not found.checkpoints:
        return "there is no teacher yet. Train one, and let it propose organs."
    return (
        "" if found.unlabelled else "every animal has labels. Add scans without labels for the teacher to propose on."
    )


def _scans(found: Census) -> str:
    return "" if found.unlabelled else "every animal has labels. Add scans without labels to learn from."


def _things(strategy: MeanTeacherSettings, found: Census) -> str:
    if not found.things:
        return "no animal has labels of things that overlap. Add one with its label maps of things (--instances)."
    if strategy.weight and not found.bare:
        return (
            "every animal has labels of things. Add scans without labels, or learn from labels alone "
            "(strategy.weight=0)."
        )
    return ""


def _modalities(strategy: AnyStrategy, found: Census) -> str:
    return unclear(strategy, found.modalities) if isinstance(strategy, MutualSettings) else ""


_NEEDS: dict[str, Callable[[Census], str]] = {
    "self_training": lambda found: _labels(found) or _proposals(found),
    "shape_intensity": _labels,
    "mean_teacher": lambda found: _labels(found) or _scans(found),
    "mutual": _labels,
    "reconstruction": lambda found: _labels(found) or _scans(found),
}


@dataclass(frozen=True)
class Advice:
    """Which strategy suits a project, by name, and why in a sentence; both empty where it is too early to say."""

    strategy: str = ""
    why: str = ""


_ONE_ATLAS = 3  # animals without labels, from which on one labelled animal is worth warping onto them


def advise(found: Census) -> Advice:
    """The strategy to try first on a project that holds ``found``."""
    named = {name: count for name, count in found.modalities.items() if name}
    if found.things > found.labelled:
        return _advise_things(found)
    if not found.labelled:
        return Advice()
    if not missing(MutualSettings(), found):
        counts = " and ".join(f"{count} in {name}" for name, count in sorted(named.items()))
        return Advice(
            "mutual",
            f"Two modalities have labels, {counts}: mutual lets the richer one help the other; hold it against a "
            "teacher of both, which may do as well.",
        )
    if not found.unlabelled:
        return Advice(
            "shape_intensity",
            "Every animal has labels: shape_intensity makes more of them for scans of other scanners.",
        )
    if 2 * found.strangers > found.unlabelled:
        return Advice(
            "mean_teacher",
            f"{found.strangers} of {found.unlabelled} animals without labels are of a modality that no labelled one "
            "has: mean_teacher, begun with a teacher and with strategy.weight=1 and augment.cutmix=0.5, learns from "
            "them unreviewed; with verdicts, self_training.",
        )
    if found.labelled == 1 and found.unlabelled >= _ONE_ATLAS:
        return Advice(
            "reconstruction",
            f"One animal has labels and {found.unlabelled} have none: reconstruction learns from the one, warped onto "
            "the others; the warped labels themselves are there in minutes (medaka-kd propagate); with verdicts on a "
            "teacher's proposals, self_training.",
        )
    return Advice(
        "self_training",
        f"{found.labelled} animals have labels and {found.unlabelled} have none: self_training learns from what a "
        "teacher proposes and you accept.",
    )


def _advise_things(found: Census) -> Advice:
    have = f"{found.things} {'animal has' if found.things == 1 else 'animals have'} labels of things that overlap"
    if found.bare:
        others = f"{found.bare} {'has' if found.bare == 1 else 'have'} none"
        how = f"and {others}: mean_teacher with strategy.instances=true learns from both."
    else:
        how = "and none is without: mean_teacher with strategy.instances=true and strategy.weight=0 learns from these."
    pasted = "With 12 nuclei labelled strategy.paste=0.5 taught most, with 44 nothing."
    return Advice("mean_teacher", f"{have} {how} {pasted}")
