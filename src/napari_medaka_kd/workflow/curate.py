"""init, add, verdict, status: a project, its animals, a person's word on them, and all of it at a glance."""

from __future__ import annotations

import getpass
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.project import (
    MANUAL,
    Case,
    Drawn,
    Project,
    add_case,
    create_project,
    require_modality,
    set_modality,
)
from napari_medaka_kd.project import open_project as open_project
from napari_medaka_kd.quality.record import FILE, open_record
from napari_medaka_kd.quality.rules import FILE as RULES
from napari_medaka_kd.review import Decision, ReviewItem, Verdict, VerdictLog, fold, now, read_verdicts
from napari_medaka_kd.volumes.atomic import replace_file
from napari_medaka_kd.volumes.instance_files import open_layers, things_of_layers
from napari_medaka_kd.volumes.label_store import generation
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.open import open_labels, open_volume, split_inside
from napari_medaka_kd.volumes.shares import warn_of_share

from .agreeing import agreement_facts, company
from .anatomy import carried_rules, facts_of, flags_or_warning, listed
from .judged import judged
from .kinds import finds_things, refuse_things
from .pack_card import is_pack
from .requirements import advise, census
from .stopping import stop_rule

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def init(folder: Path, name: str, organs: LabelSchema, file: Path | None = None) -> Project:
    """Make an empty project in ``folder``, with the rules of anatomy that are in ``file`` if there are any."""
    rules = None if file is None else carried_rules(file, organs)
    made = create_project(folder, name, organs)
    if rules is not None:
        replace_file(made.folder / RULES, rules)
    return made


@dataclass(frozen=True)
class Scan:
    """A scan to add.

    Attributes
    ----------
    file, labels
        Anything that :func:`~napari_medaka_kd.volumes.open.open_volume` knows; organ ids on the same grid, if there
        are any.
    instances
        Label maps of things that may overlap, on the same grid, in which each thing has an id of its own.
    case
        The id it gets.
    voxel_size
        (z, y, x) in µm, where the file does not say.
    modality
        How it was scanned, in a word of the lab's own.
    """

    file: Path
    labels: Path | None
    case: str
    held_out: bool = False
    voxel_size: tuple[float, float, float] | None = None
    modality: str = ""
    instances: tuple[Path, ...] = ()


def name_case(file: Path) -> str:
    """What a case is called where nobody says: the name of its ``file`` (or folder) up to the first dot."""
    return split_inside(file)[0].name.split(".")[0]


def add(project: Project, scan: Scan) -> Job[Case]:
    """Copy ``scan`` and its labels, if there are any, into ``project``; what those of organs show is kept, too."""
    require_modality(scan.modality)
    opened = open_volume(scan.file, scan.voxel_size)
    labels = open_labels(scan.labels, project.schema, scan.voxel_size) if scan.labels is not None else None
    layers = open_layers(scan.instances, opened, scan.voxel_size)
    things = things_of_layers(layers) if layers else ()
    made = yield from add_case(project, opened, Drawn(labels, things), scan.case, scan.held_out)
    if scan.modality:
        made = set_modality(made, scan.modality)
    if made.labelled:
        yield Progress("look at the labels", 0, 0)
        facts_of(made)
    return made


def name_modality(project: Project, modality: str, cases: Sequence[str]) -> tuple[Case, ...]:
    """Note how ``cases`` were scanned; an empty ``modality``: nobody says.

    Raises
    ------
    UserError
        If a case is not known, in which case none is changed, or a modality cannot be called so.
    """
    return tuple(set_modality(case, modality) for case in [project.case(name) for name in cases])


@dataclass(frozen=True)
class Word:
    """What a reviewer says, in their words.

    Attributes
    ----------
    organ
        Its name or id; empty: all organs.
    slab
        (first, last + 1) slice, any range; ``None``: the whole animal.
    checkpoint
        Whose labels are meant.
    reviewer
        Empty: whoever is logged in.
    """

    decision: str
    case: str
    organ: str = ""
    slab: tuple[int, int] | None = None
    checkpoint: str = "teacher"
    reviewer: str = ""
    reasons: tuple[str, ...] = ()
    seconds: float = 0.0


def verdict(project: Project, word: Word) -> Verdict:
    """Append ``word`` to its reviewer's log; it is on the disk when this returns.

    Raises
    ------
    UserError
        If the case, the organ, the decision, the label map or a slice is not known.
    """
    case = project.case(word.case)
    refuse_things(project, word.checkpoint, "reviewing")
    if word.checkpoint not in case.label_names:
        raise UserError(f"Case {case.id!r} has no labels by {word.checkpoint!r} to judge.", "Run: medaka-kd segment.")
    _require_slices(case, word.slab)
    if word.decision not in set(Decision):
        raise UserError(f"{word.decision!r} is no verdict.", f"Say one of: {', '.join(Decision)}.")
    item, labels = (
        ReviewItem(case.id, _organ_id(project.schema, word.organ), word.slab),
        generation(case.store, word.checkpoint),
    )
    given = Verdict(
        item=item,
        decision=Decision(word.decision),
        reviewer=word.reviewer or getpass.getuser(),
        time=now(),
        seconds=word.seconds,
        reasons=word.reasons,
        checkpoint=word.checkpoint,
        labels=labels,
        digest=judged(project, case, labels, item),
    )
    return VerdictLog(project.review_folder, given.reviewer).append(given)


def _require_slices(case: Case, slab: tuple[int, int] | None) -> None:
    depth = case.volume.shape[0]
    if slab is not None and not 0 <= slab[0] < slab[1] <= depth:
        raise UserError(
            f"Case {case.id!r} has slices 0 to {depth - 1}, so none from {slab[0]} to {slab[1] - 1}.",
            "Give the first slice, and one past the last.",
        )


def _organ_id(schema: LabelSchema, organ: str) -> int:
    if not organ:
        return 0
    for known in schema.organs:
        if organ in (known.name, str(known.id)):
            return known.id
    raise UserError(
        f"The project has no organ {organ!r}.", f"It has: {', '.join(f'{o.id} {o.name}' for o in schema.organs)}."
    )


@dataclass(frozen=True)
class Status:
    """A project at a glance.

    Attributes
    ----------
    cases
        One line of facts a case; ``flags`` says what of a person's labels breaks a rule of anatomy.
    checkpoints
        Their names.
    verdicts
        How many verdicts stand, by decision.
    next
        What to do next, in one sentence.
    warning
        Why anatomy could not be looked at; empty where it could.
    agreement
        Of each two reviewers who judged the same things: their names, how many items, Cohen's kappa, and a sentence.
    conflicts
        On how many items reviewers disagree.
    warnings
        What is amiss with the folder, in sentences.
    unreviewed
        By checkpoint what is known of its proposals that nobody looked at, in a sentence.
    strategy
        Which strategy suits what is there, and why, in a sentence; empty where it is too early to say.
    """

    name: str
    organs: tuple[str, ...]
    cases: tuple[dict[str, object], ...]
    checkpoints: tuple[str, ...]
    verdicts: dict[str, int]
    next: str
    warning: str = ""
    agreement: tuple[dict[str, object], ...] = ()
    conflicts: int = 0
    warnings: tuple[str, ...] = ()
    unreviewed: dict[str, str] = field(default_factory=dict)
    strategy: str = ""

    def text(self) -> str:
        """As a person reads it."""
        lines = [f"{self.name}: {len(self.organs)} organs, {len(self.cases)} cases"]
        for case in self.cases:
            words = [str(case["shape"]), str(case["modality"]), "held out" if case["held_out"] else ""]
            kinds = {"labels": case["labels"], "things that overlap": case["instances"]}
            known = [f"{kind}: {', '.join(map(str, names))}" for kind, names in kinds.items() if names]  # type: ignore[call-overload]
            words += known or ["no labels"]
            lines.append(f"  {case['case']}: {'; '.join(word for word in words if word)}")
            if case["flags"]:
                lines.append(f"    its labels may be wrong: {listed(case['flags'])}")  # type: ignore[arg-type]
        lines.append(f"checkpoints: {', '.join(self.checkpoints) or 'none'}")
        lines.append(f"verdicts: {', '.join(f'{n} {d}' for d, n in self.verdicts.items()) or 'none'}")
        lines += [f"{checkpoint}: {known}" for checkpoint, known in self.unreviewed.items()]
        lines += [self.warning] if self.warning else []
        lines += [f"  {pair['sentence']}" for pair in self.agreement]
        lines += [f"  {self.conflicts} in conflict: medaka-kd verdicts conflicts PROJECT"] if self.conflicts else []
        lines += [f"Strategy: {self.strategy}"] if self.strategy else []
        return "\n".join([*lines, *self.warnings, f"Next: {self.next}"])


def status(project: Project) -> Status:
    """Look at ``project``; nothing is changed."""
    flags, warning = flags_or_warning(project)
    verdicts = {str(said): count for said, count in fold(read_verdicts(project.review_folder)).decisions().items()}
    agreeing = company(project)
    pairs = [agreement_facts(project.schema, one) | {"sentence": one.sentence()} for one in agreeing.between]
    cases = tuple(
        {
            "case": case.id,
            "shape": case.volume.shape,
            "voxel_size_um": case.volume.voxel_size,
            "held_out": case.held_out,
            "modality": case.modality,
            "labels": case.label_names,
            "instances": case.instance_names,
            "scored": (case.folder / FILE).is_file(),
            "flags": flags.get(case.id, ()),
        }
        for case in project.cases
    )
    return Status(
        project.name, project.schema.names, cases, project.checkpoints, verdicts, _next(project), warning,
        tuple(pairs), len(agreeing.conflicts), warn_of_share(project.review_folder),
        _unreviewed(project, any(verdicts.values())), advise(census(project)).why,
    )  # fmt: skip


def _unreviewed(project: Project, judged: bool) -> dict[str, str]:
    """The stop rule of every checkpoint whose proposals are scored, once somebody judged any."""
    records = (case.folder / FILE for case in project.cases if not case.labelled and not case.held_out)
    scored = {open_record(file.parent, project.schema).checkpoint for file in records if judged and file.is_file()}
    proposed = {name for case in project.cases for name in case.label_names if not case.labelled and not case.held_out}
    return {name: stop_rule(project, name).sentence() for name in sorted(scored & proposed)}


def _next(project: Project) -> str:
    """The first thing of the way from scans to a student that is still missing."""
    if is_pack(project):
        return f"Review, then send back what this makes: medaka-kd pack {project.folder} ANSWER.pack.zip"
    cases = project.cases
    unlabelled = [case for case in cases if not case.labelled]
    if not any(case.labelled and not case.held_out for case in cases):
        if any(MANUAL in case.instance_names and not case.held_out for case in cases):
            return _next_of_things(project)
        return "Add a labelled scan: medaka-kd add PROJECT SCAN --labels LABELS"
    if not project.checkpoints:
        return "Train a teacher: medaka-kd train PROJECT"
    if not unlabelled:
        return "Add scans without labels: medaka-kd add PROJECT SCAN"
    if not any(set(case.label_names) & set(project.checkpoints) for case in unlabelled):
        return f"Let the teacher propose organs: medaka-kd segment PROJECT --checkpoint {project.checkpoints[0]}"
    judged = [case for case in unlabelled if (case.folder / FILE).is_file()]
    if not judged:
        return f"Score what it proposed: medaka-kd score PROJECT --checkpoint {project.checkpoints[0]}"
    teacher = open_record(judged[0].folder, project.schema).checkpoint
    return f"Review (medaka-kd verdict), then distil: medaka-kd distil PROJECT --teacher {teacher}"


def _next_of_things(project: Project) -> str:
    """The same where people labelled things that may overlap, and no organs."""
    names = [name for name in project.checkpoints if finds_things(project, name)]
    if not names:
        knobs = "--strategy mean_teacher --set strategy.instances=true"
        return f"Train a student on the labels of things: medaka-kd distil PROJECT {knobs}"
    newest = max(names, key=lambda name: project.checkpoint(name).stat().st_mtime_ns)
    if not all(case.has(newest) for case in project.cases):
        return f"Let it find things: medaka-kd segment PROJECT --checkpoint {newest}"
    return f"Look at them in napari, or: medaka-kd evaluate PROJECT --checkpoint {newest}"


def read_organs(file: Path) -> LabelSchema:
    """The organs of a TOML file: a table ``[organs]`` with a line ``id = "name"`` for each.

    Raises
    ------
    UserError
        If there is no such file, or it says something else.
    """
    try:
        names = tomllib.loads(file.read_text("utf-8"))["organs"]
        return LabelSchema.from_ids({int(number): name for number, name in names.items()})
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(
            f"The organs cannot be read from {str(file)!r}: {error}.",
            'Write a TOML file with a table [organs] and lines like: 1 = "brain".',
        ) from error
