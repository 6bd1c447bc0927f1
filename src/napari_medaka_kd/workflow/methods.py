"""Methods: a paragraph for a paper that says how the labels came about, from what is in the project alone."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.quality.promise import SURE
from napari_medaka_kd.quality.record import FILE, open_record
from napari_medaka_kd.review import Decision, Standing, read_verdicts
from napari_medaka_kd.review.agreement import FEW
from napari_medaka_kd.words import counted

from .agreeing import agreement_facts, compare
from .label import taken_from
from .stopping import accept_from, review_settings, stop_rule, taught_unseen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from napari_medaka_kd.project import Project
    from napari_medaka_kd.review import Agreement, Verdict

_CLASSIFIER = ("quality", "classifier.json")
_TAUGHT = {
    "accepted": "Of the proposals that nobody reviewed only those were learned from.",
    "weighed": "Proposals that nobody reviewed were learned from as far as their scores.",
    "all": "Proposals that nobody reviewed were learned from like accepted ones.",
}
_CITE = "Cohen, Educ. Psychol. Meas. 20:37, 1960"


@dataclass(frozen=True)
class Methods:
    """How the proposals of one checkpoint were judged.

    Attributes
    ----------
    facts
        The figures of the text, for machines.
    """

    text: str
    facts: dict[str, Any]


def methods(project: Project, checkpoint: str) -> Methods:
    """The paragraph about the proposals of ``checkpoint``: animals, verdicts, reviewers, threshold, agreement, pace.

    Raises
    ------
    UserError
        If nobody judged anything by it, naming those that somebody judged.
    """
    verdicts = read_verdicts(project.review_folder)
    standing = Standing(verdicts, checkpoint)
    if not len(standing):
        judged = ", ".join(sorted(filter(None, verdicts.table.checkpoints.values))) or "none"
        raise UserError(f"No verdict on proposals by {checkpoint!r} stands.", f"Judged were proposals by: {judged}.")
    said = [verdict for decision in Decision for verdict in standing.said(decision)]
    agreements = compare(standing)
    facts = {
        "software": f"napari-medaka-kd {version('napari-medaka-kd')}", "checkpoint": checkpoint,
        **_animals(project, checkpoint, said), **_words(said), **_classifier(project, checkpoint),
        "agreement": [agreement_facts(project.schema, one) for one in agreements.between()],
        "agreement_by_organ": [agreement_facts(project.schema, one) for one in agreements.by_organ()],
        "conflicts": agreements.disputed,
    }  # fmt: skip
    sentences = [*_about_animals(facts), *_about_words(facts), *_about_classifier(facts)]
    sentences += _about_agreement(agreements.between(), facts)
    return Methods(" ".join([*sentences, f"The software was {facts['software']}."]), facts)


def _animals(project: Project, checkpoint: str, said: Sequence[Verdict]) -> dict[str, Any]:
    cases = project.cases
    card = _json(project.checkpoint(checkpoint) / "checkpoint.json")
    return {
        "weights_sha256": card.get("weights_sha256", ""), "trained_on": card.get("trained_on", []),
        "animals": len(cases), "labelled": sum(case.labelled and not case.held_out for case in cases),
        "labels_taken": sum(bool(taken_from(case)) for case in cases),
        "held_out": sum(case.held_out for case in cases), "reviewed": len({verdict.item.case for verdict in said}),
        "proposed": sum(checkpoint in case.label_names for case in cases), "organs": len(project.schema.organs),
    }  # fmt: skip


def _words(said: Sequence[Verdict]) -> dict[str, Any]:
    seconds = [verdict.seconds for verdict in said if verdict.seconds > 0]
    return {
        "verdicts": len(said),
        "items": len({verdict.item for verdict in said}),
        "decisions": {str(name): count for name, count in Counter(verdict.decision for verdict in said).items()},
        "reviewers": dict(sorted(Counter(verdict.reviewer for verdict in said).items())),
        "seconds_median": statistics.median(seconds) if seconds else None,
        "label_maps": len({verdict.labels for verdict in said}),
        "first": min(verdict.instant for verdict in said).date().isoformat(),
        "last": max(verdict.instant for verdict in said).date().isoformat(),
    }


def _classifier(project: Project, checkpoint: str) -> dict[str, Any]:
    """What of the unreviewed counted as accepted, and what is known of that; empty where nothing was scored."""
    kept = _json(project.checkpoint(checkpoint).joinpath(*_CLASSIFIER)).get("classifier", {})
    records = [open_record(case.folder, case.schema) for case in project.cases if (case.folder / FILE).is_file()]
    own = [record for record in records if record.checkpoint == checkpoint]
    if not own:
        return {}
    scores = [score.score for record in own for score in record.scores]
    rule = stop_rule(project, checkpoint)
    threshold = accept_from(review_settings(project), rule, own[0].threshold)
    return {
        "taught_unseen": _taught(project, checkpoint), "threshold": threshold, "scored": len(scores),
        "passed": sum(score >= threshold for score in scores),
        "precision": kept.get("precision"), "precision_interval": kept.get("interval"),
        "auroc": kept.get("auroc"), "lessons": kept.get("verdicts", 0),
        "promised": rule.wanted if rule.promise.threshold is not None else None, "sure": SURE,
        "unreviewed": rule.left, "random_verdicts": rule.draws,
        "acceptable": rule.share._asdict() if rule.share is not None else None,
    }  # fmt: skip


def _taught(project: Project, checkpoint: str) -> list[str]:
    """What of the unreviewed taught each student of ``checkpoint``; without any, what it would by the settings."""
    told = [_json(project.checkpoint(name) / "checkpoint.json").get("history", {}) for name in project.checkpoints]
    kinds = {
        history["settings"]["strategy"].get("unreviewed", "accepted")
        for history in told
        if history.get("teacher") == checkpoint
    }
    return sorted(kinds) or [taught_unseen(project)]


def _about_animals(facts: dict[str, Any]) -> Iterable[str]:
    weights = f" (SHA-256 of its weights {facts['weights_sha256'][:12]}…)" if facts["weights_sha256"] else ""
    learned = f", which had learned from {counted(len(facts['trained_on']), 'animal')}" if facts["trained_on"] else ""
    yield (
        f"{counted(facts['organs'], 'organ')} were proposed in {counted(facts['proposed'], 'animal')} of "
        f"{facts['animals']} by the network {facts['checkpoint']!r}{weights}{learned}; "
        f"{counted(facts['held_out'], 'animal')} {_be(facts['held_out'])} held out."
    )
    if taken := facts["labels_taken"]:
        yield (
            f"Of {counted(facts['labelled'], 'animal')} with labels to learn from, {taken} had them taken from "
            "proposals or warped labels, with what people corrected in these."
        )


def _about_words(facts: dict[str, Any]) -> Iterable[str]:
    decisions = [f"{facts['decisions'][name]} {name}" for name in map(str, Decision) if name in facts["decisions"]]
    yield (
        f"{counted(len(facts['reviewers']), 'reviewer')} judged {counted(facts['items'], 'proposal')} in "
        f"{counted(facts['reviewed'], 'animal')} between {facts['first']} and {facts['last']}, with "
        f"{counted(facts['verdicts'], 'verdict')} that were not taken back: {_listed(decisions)}."
    )
    if facts["seconds_median"] is not None:
        yield f"A verdict took {facts['seconds_median']:.1f} s (median)."


def _about_classifier(facts: dict[str, Any]) -> Iterable[str]:
    if "threshold" not in facts:
        return
    scored = f"A quality classifier scored {counted(facts['scored'], 'proposal')}"
    if facts["threshold"] > 1:
        yield f"{scored}; none may be accepted unseen."
    else:
        yield (
            f"{scored}; {facts['passed']} scored at least {facts['threshold']:.2f}, "
            "the threshold from which on proposals may be accepted unseen."
        )
        yield from _about_precision(facts)
    yield from (_TAUGHT[kind] for kind in facts["taught_unseen"])
    if facts["unreviewed"] and facts["acceptable"] is not None:
        value, low, high = (f"{100 * facts['acceptable'][name]:.0f}" for name in ("value", "low", "high"))
        yield (
            f"Of the {counted(facts['unreviewed'], 'proposal')} that nobody reviewed, an estimated "
            f"{value} % (95 % interval {low} to {high} %) were "
            f"acceptable, by {counted(facts['random_verdicts'], 'verdict')} on proposals that were drawn at random."
        )


def _about_precision(facts: dict[str, Any]) -> Iterable[str]:
    """Of what was accepted unseen: proven by random verdicts, else as the classifier has it."""
    if facts["promised"] is not None:
        yield (
            f"Of these at least {100 * facts['promised']:.0f} % are right, by a sequential test of the verdicts on "
            f"proposals drawn at random, which errs in at most {100 * (1 - facts['sure']):.0f} % of reviews."
        )
    elif _known(facts["precision"]) and facts["precision_interval"]:
        low, high = facts["precision_interval"]
        lessons = facts["lessons"]
        on = f"copies of labelled animals{' and ' + counted(lessons, 'verdict') if lessons else ''}, out of fold"
        measured = f"{facts['precision']:.2f} (95 % interval {low:.2f} to {high:.2f})"
        yield f"Its precision there, measured on {on}, was {measured}."


def _about_agreement(pairs: Sequence[Agreement], facts: dict[str, Any]) -> Iterable[str]:
    if len(facts["reviewers"]) < 2:
        yield "There was one reviewer, so that agreement between reviewers is not known."
    elif not pairs:
        yield "No item was judged by two reviewers, so that their agreement is not known."
    for one in pairs:
        yield f"{one.sentence()}."
    if any(one.items >= FEW for one in pairs):
        yield f"Kappa is Cohen's ({_CITE}), of accepted against rejected or corrected; unsure was left out."


def _json(file: Path) -> dict[str, Any]:
    """Empty where it is not there, or says nothing readable."""
    try:
        data = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _known(value: Any) -> bool:
    return isinstance(value, float | int) and math.isfinite(value)


def _be(number: int) -> str:
    return "was" if number == 1 else "were"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
