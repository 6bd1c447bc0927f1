"""segment: a checkpoint's labels for each case. score: how far each of these labels is to be believed."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.networks.checkpoint import EARLY, Checkpoint
from napari_medaka_kd.networks.foreign import ForeignSettings, is_blended
from napari_medaka_kd.networks.inputs import rescaled
from napari_medaka_kd.quality.facts import look_at
from napari_medaka_kd.quality.learn import Lesson, learn_quality, refit, unseen_scores
from napari_medaka_kd.quality.quality import Quality, QualityScore
from napari_medaka_kd.quality.reasons import Teller, details_of
from napari_medaka_kd.quality.record import Record, save_record
from napari_medaka_kd.review import Decision, ReviewItem, decision_for, fold, read_verdicts
from napari_medaka_kd.segment.blended import make_segmenter
from napari_medaka_kd.segment.halo import find_halo
from napari_medaka_kd.segment.kept import kept
from napari_medaka_kd.segment.pipeline import CACHE
from napari_medaka_kd.segment.price import load_of
from napari_medaka_kd.segment.run import segment as segment_volume
from napari_medaka_kd.settings import QualitySettings, SegmentSettings
from napari_medaka_kd.volumes.atomic import replace_file
from napari_medaka_kd.volumes.channels import read_facts
from napari_medaka_kd.volumes.label_extras import DISAGREEMENT, extra_folder
from napari_medaka_kd.volumes.label_store import generation
from napari_medaka_kd.volumes.store_array import own_cache

from .anatomy import anatomy_of
from .find_things import find_things
from .label import taken_from
from .overview import Overview
from .unseen import Unseen

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medaka_kd.project import Case, Project
    from napari_medaka_kd.segment.segmenter import Segmenter
    from napari_medaka_kd.volumes.volume import Triple

SPEED = "speed.json"  # in a checkpoint's folder: what segmenting took


@dataclass(frozen=True)
class First:
    """What a person is looking at, to be segmented before all else: a case, and a voxel (z, y, x) of it."""

    case: str
    point: Triple | None = None


def segment(
    project: Project,
    checkpoint: str,
    settings: SegmentSettings,
    cases: Sequence[str] = (),
    first: First | None = None,
) -> Job[tuple[str, ...]]:
    """Write the label map ``checkpoint`` and its uncertainty for each of ``cases``, or for every one that lacks it.

    Of a checkpoint that finds things which may overlap, these: see :func:`.find_things.find_things`.

    Returns the ids of the cases that were segmented. Interrupted and called again, it goes on where it stopped.
    """
    folder = project.checkpoint(checkpoint)
    card = Checkpoint.open(folder)
    card.require_schema(project.schema)
    first = first or First("")
    chosen = cases_for(project, checkpoint, cases, first)
    if card.things is not None:
        return (yield from find_things(project, card, settings, chosen))
    segmenter = make_segmenter(card.load(folder), card.network, settings)
    for done, case in enumerate(chosen):
        yield Progress(f"segment with {checkpoint}", done, len(chosen))
        with own_cache(CACHE):  # nobody else reads it now
            volume = replace(case.volume, name=case.id)
        body = rescaled(case.body, volume, card.network)
        if done == 0 and not is_blended(card.network):
            segmenter.use_halo(find_halo(segmenter, volume, body, folder, card.weights_sha256))
        segmenter.use_backend(volume, body, folder, len(chosen) - done)
        point = first.point if case.id == first.case else None
        voxels, seconds = segmenter.voxels, segmenter.seconds
        yield from segment_volume(volume, body, card, segmenter, point)
        if segmenter.voxels > voxels:
            _keep_speed(segmenter, segmenter.voxels - voxels, segmenter.seconds - seconds, folder)
        if segmenter.voxels - voxels == math.prod(volume.shape) and not segmenter.said:
            read = load_of(volume, case.body, card.organs, segmenter.cut).read
            kept(folder, card.weights_sha256, settings).ran(segmenter.computes, read, segmenter.seconds - seconds)
    yield Progress(f"segment with {checkpoint}", len(chosen), len(chosen), said=segmenter.said)
    return tuple(case.id for case in chosen)


def cases_for(project: Project, checkpoint: str, cases: Sequence[str], first: First) -> list[Case]:
    """Those of ``cases``, or all that lack labels of ``checkpoint``; the one that a person looks at leads."""
    chosen = [project.case(name) for name in cases] or [c for c in project.cases if not c.has(checkpoint)]
    return sorted(chosen, key=lambda case: case.id != first.case)


def score(
    project: Project, checkpoint: str, settings: QualitySettings, cases: Sequence[str] = ()
) -> Job[tuple[str, ...]]:
    """Score ``checkpoint``'s label maps, organ by organ and slab by slab; quality.json in each case.

    The first time, the classifier is learned from the labelled animals; from then on it is refitted to the verdicts.
    Returns the ids of the cases that were scored: ``cases``, or all that have a label map and no person's labels.
    """
    card = Checkpoint.open(project.checkpoint(checkpoint))
    card.require_organs("scoring")
    chosen = [project.case(name) for name in cases] or [c for c in project.cases if not c.labelled]
    chosen = [case for case in chosen if checkpoint in case.label_names]
    if not chosen:
        raise UserError(f"No case has labels by {checkpoint!r}.", f"Run: medaka-kd segment --checkpoint {checkpoint}.")
    quality = yield from _learned(project, card, settings, chosen)
    evidence, tellers = {}, {}
    anatomy = anatomy_of(project)
    for done, case in enumerate(chosen):
        yield Progress("look at the proposed labels", done, len(chosen))
        overview = Overview.of(case)
        reading = overview.reading(checkpoint)
        facts = look_at(reading.classes, reading.voxel_size, overview.scale)
        evidence[case.id] = quality.evidence(reading, facts)
        details = details_of(reading, quality.slab, quality.cohort, overview.scale)
        tellers[case.id] = Teller(project.schema.names, details, anatomy.flags(facts), overview.scale)
    judged = _judged(project, checkpoint, {c: quality.judge(e) for c, e in evidence.items()})
    lessons = [lesson for units in judged.values() for lesson in units.values()]
    unseen = iter(unseen_scores(quality, lessons, settings).tolist())
    quality = refit(quality, lessons, settings)
    for case in chosen:
        honest = {unit: next(unseen) for unit in judged[case.id]}
        said = quality.judge(evidence[case.id], tellers[case.id])
        scores = tuple(replace(s, score=honest.get((s.organ, s.slab), s.score)) for s in said)
        save_record(_record(case, checkpoint, quality, scores, tellers[case.id]), case.folder, case.schema)
    yield Progress("look at the proposed labels", len(chosen), len(chosen))
    return tuple(case.id for case in chosen)


def _keep_speed(segmenter: Segmenter, voxels: int, seconds: float, folder: Path) -> None:
    """Add what was asked and how long it took to ``speed.json`` of the checkpoint; one of other facts begins anew."""
    file = folder / SPEED
    how = {"device": segmenter.device, "precision": segmenter.precision, "computes": segmenter.computes}
    facts = {name: str(value) for name, value in how.items()}
    try:
        known = json.loads(file.read_text("utf-8"))
        if facts.items() <= known.items():
            voxels, seconds = voxels + int(known["voxels"]), seconds + float(known["seconds"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        pass  # none yet, or damaged
    replace_file(file, json.dumps(facts | {"voxels": voxels, "seconds": seconds}).encode())


def _asked_again(cases: Sequence[Case], checkpoint: str) -> SegmentSettings:
    """How the label maps of ``cases`` were looked at again, if one of them was."""
    for case in cases:
        folder = extra_folder(case.store / "labels" / generation(case.store, checkpoint), DISAGREEMENT)
        if folder is not None:
            facts = read_facts(folder)
            return SegmentSettings.model_validate({"disagreement": facts["looks"], "rounds": facts.get("rounds", 1)})
    return SegmentSettings()


def _learned(project: Project, card: Checkpoint, settings: QualitySettings, proposed: Sequence[Case]) -> Job[Quality]:
    """The checkpoint's quality classifier, made from the labelled animals if it has none for these settings yet.

    One that learned without second looks is made anew the first time there are any, if animals are there to do so.
    """
    cases = [case for case in project.cases if case.labelled and _tells(case, card)]
    folder, asking = project.checkpoint(card.name) / "quality", _asked_again(proposed, card.name)
    if (folder / "classifier.json").is_file():
        quality = Quality.open(folder)
        news = asking.disagreement != "none" and not quality.looks_again and cases
        if quality.slab == settings.slab and not news:
            return quality
    if not cases:
        raise UserError(
            f"None of the animals that {card.name!r} learned from is labelled in this project.",
            "The quality classifier learns from labelled animals: add one with --labels, and train.",
        )
    answers = [Unseen(one, folder, cases, asking) for one, folder in _stages(project, card)]
    animals = [Overview.of(case).labelled() for case in cases]
    small = settings.model_copy(update={"slab": Overview.of(cases[0]).slab(settings.slab)})
    anatomy = anatomy_of(project, cases)
    quality = yield from learn_quality(animals, answers, project.schema.classes - 1, small, anatomy)
    quality.save(folder)
    return quality


def _tells(case: Case, card: Checkpoint) -> bool:
    """Whether the labels of ``case`` tell how good the checkpoint is.

    An adopted one saw none, so that any do that were not taken from its own label map.
    """
    if isinstance(card.network, ForeignSettings):
        return not case.held_out and taken_from(case) != card.name
    return case.id in card.trained_on


def _stages(project: Project, card: Checkpoint) -> list[tuple[Checkpoint, Path]]:
    """A teacher, and what it was early in its training, if that was kept; each with its folder."""
    folder = project.checkpoint(card.name)
    early = folder / EARLY
    return [(card, folder), *([(Checkpoint.open(early), early)] if early.is_dir() else [])]


def _judged(
    project: Project, checkpoint: str, scores: dict[str, tuple[QualityScore, ...]]
) -> dict[str, dict[tuple[int, tuple[int, int]], Lesson]]:
    """By case and (class, slab) what people judged of ``checkpoint``'s labels."""
    verdicts = fold(read_verdicts(project.review_folder), checkpoint=checkpoint)
    found: dict[str, dict[tuple[int, tuple[int, int]], Lesson]] = {}
    for animal, (case, units) in enumerate(scores.items()):
        found[case] = {}
        for unit in units:
            item = ReviewItem(case, project.schema.ids[unit.organ - 1], unit.slab)
            decision = decision_for(verdicts, item)
            if decision in (Decision.ACCEPTED, Decision.REJECTED, Decision.CORRECTED):
                lesson = (np.array(unit.evidence), decision == Decision.ACCEPTED, animal)
                found[case][unit.organ, unit.slab] = lesson
    return found


def _record(case: Case, checkpoint: str, quality: Quality, scores: tuple[QualityScore, ...], teller: Teller) -> Record:
    """Scores in slices of level 0."""
    assert quality.classifier is not None
    scale, depth = Overview.of(case).scale, case.volume.shape[0]
    full = tuple(
        replace(score, slab=(round(score.slab[0] * scale), min(depth, round(score.slab[1] * scale))))
        for score in scores
    )
    slab = round(quality.slab * scale)
    flags = tuple(flag.sentence for flag in teller.flags)
    return Record(checkpoint, generation(case.store, checkpoint), slab, quality.classifier.threshold, full, flags)
