"""A project's anatomy: its rules, what its labelled animals show, and what in their labels breaks a rule."""

from __future__ import annotations

import json
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Job, Progress
from napari_medaka_kd.project import MANUAL, Case, Project
from napari_medaka_kd.quality.anatomy import Anatomy
from napari_medaka_kd.quality.facts import Facts, look_at
from napari_medaka_kd.quality.rules import FILE, Rules, default_text, open_rules, project_rules
from napari_medaka_kd.volumes.atomic import replace_file
from napari_medaka_kd.volumes.label_store import generation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_medaka_kd.volumes.labels import LabelSchema
    from napari_medaka_kd.volumes.volume import Triple, Volume

#: Quality and anatomy are judged on the finest level of at most this many voxels: a few seconds and 1 GB an animal.
OVERVIEW = 16_000_000

FACTS = "anatomy.json"  # in a case's folder: what a person's labels show
_LARGEST = 2**26  # bytes of it
_LISTED = 6  # flags in one line


def voxel_size_at(volume: Volume, level: int) -> Triple:
    """(z, y, x) of a voxel of ``level``, in µm."""
    z, y, x = (size * scale for size, scale in zip(volume.voxel_size, volume.scale(level), strict=True))
    return z, y, x


def facts_of(case: Case) -> Facts:
    """What the labels that came with ``case`` show; kept beside them, so that they are looked at once."""
    known = kept_facts(case)
    if known is not None:
        return known
    labels = case.labels(MANUAL).volume
    level = case.volume.overview(OVERVIEW)
    facts = look_at(
        case.schema.to_classes(labels.read(level=level)), voxel_size_at(case.volume, level), case.volume.scale(level)[0]
    )
    with suppress(OSError):  # a disk that takes nothing costs a look each time
        replace_file(case.folder / FACTS, json.dumps(_mark(case) | {"facts": facts.model_dump()}).encode())
    return facts


def kept_facts(case: Case) -> Facts | None:
    """What was kept of these very labels; ``None`` where nothing was, or it is damaged."""
    file = case.folder / FACTS
    try:
        if file.stat().st_size > _LARGEST:
            return None
        data = json.loads(file.read_text("utf-8"))
        return Facts.model_validate(data["facts"]) if _mark(case).items() <= data.items() else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def anatomy_of(project: Project, cases: Sequence[Case] | None = None) -> Anatomy:
    """The rules of ``project`` with what its labelled animals show: ``cases``, or all that are not held out.

    Raises
    ------
    UserError
        If its organs.toml cannot be used.
    """
    chosen = [case for case in project.cases if case.labelled and not case.held_out] if cases is None else cases
    return Anatomy(project_rules(project.folder, project.schema), tuple(facts_of(case) for case in chosen))


def manual_flags(project: Project) -> Mapping[str, tuple[str, ...]]:
    """By case what in a person's labels breaks a rule, each animal compared with the others; only where it was kept.

    Labels that nobody has looked at yet are not read for it.

    Raises
    ------
    UserError
        If the project's organs.toml cannot be used.
    """
    kept = {case.id: kept_facts(case) for case in project.cases if case.labelled}
    held_out = {case.id for case in project.cases if case.held_out}
    known = {case: facts for case, facts in kept.items() if facts is not None}
    rules = project_rules(project.folder, project.schema)
    found = {}
    for case, facts in known.items():
        others = tuple(each for other, each in known.items() if other != case and other not in held_out)
        found[case] = tuple(flag.sentence for flag in Anatomy(rules, others).flags(facts))
    return {case: flags for case, flags in found.items() if flags}


def flags_or_warning(project: Project) -> tuple[Mapping[str, tuple[str, ...]], str]:
    """:func:`manual_flags`, or nothing and why."""
    try:
        return manual_flags(project), ""
    except UserError as error:
        return {}, str(error)


@dataclass(frozen=True)
class Survey:
    """A project's organs, its rules and what breaks them in the labels that people drew, by case."""

    schema: LabelSchema
    rules: Rules
    declared: bool
    flags: Mapping[str, tuple[str, ...]]
    labelled: int

    def text(self) -> str:
        """As a person reads it."""
        lines = [f"  {organ.id:5d} {organ.name}" for organ in self.schema.organs]
        whence = "organs.toml" if self.declared else "medaka's" if self.rules.demands else "none"
        guess = "what else is usual" if self.rules.guess else "nothing else"
        ruled = f"{len(self.rules.demands)} of {len(self.rules.names)} organs"
        lines.append(f"Rules: {whence}, for {ruled}; {guess} is taken from labelled animals.")
        pairs = ", ".join(f"{self.rules.name(left)} | {self.rules.name(right)}" for left, right in self.rules.pairs)
        lines.append(f"Left | right: {pairs or 'no pairs'}")
        lines += [f"  {case}: {listed(flags)}" for case, flags in self.flags.items()]
        lines.append(f"{len(self.flags)} of {self.labelled} labelled animals break a rule.")
        return "\n".join(lines)

    def json(self) -> dict[str, object]:
        rules = self.rules.model_dump() | {"declared": self.declared}
        return {"organs": self.schema.model_dump()["organs"], "rules": rules, "flags": dict(self.flags)}


def survey(project: Project) -> Job[Survey]:
    """Look at all labels that people drew, each animal's against the others'.

    Raises
    ------
    UserError
        If its organs.toml cannot be used.
    """
    rules = project_rules(project.folder, project.schema)
    cases = [case for case in project.cases if case.labelled]
    for done, case in enumerate(cases):
        yield Progress("look at the labels", done, len(cases))
        facts_of(case)
    declared = (project.folder / FILE).exists()
    return Survey(project.schema, rules, declared, manual_flags(project), len(cases))


def carried_rules(file: Path, schema: LabelSchema) -> bytes | None:
    """The organs.toml of a project that is made of the organs in ``file``; ``None`` where that has no rules.

    Raises
    ------
    UserError
        If the rules in it cannot be used.
    """
    text = file.read_bytes()
    if not {"rules", "guess"} & tomllib.loads(text.decode()).keys():
        return None
    open_rules(file, schema)
    return text


def write_rules(project: Project) -> Path:
    """Write the organs.toml to begin with into the project's folder.

    Raises
    ------
    UserError
        If there is one.
    """
    file = project.folder / FILE
    if file.exists():
        raise UserError(f"There is a file {str(file)!r} already.", "Edit it, or remove it first.")
    replace_file(file, default_text(project.schema).encode())
    return file


def check_rules(project: Project, file: Path | None = None) -> Rules:
    """The rules in ``file``, or those that the project goes by.

    Raises
    ------
    UserError
        If they cannot be used.
    """
    return open_rules(file, project.schema) if file is not None else project_rules(project.folder, project.schema)


def listed(flags: Sequence[str]) -> str:
    """Flags in one line, the first six of them."""
    more = [f"and {len(flags) - _LISTED} more"] if len(flags) > _LISTED else []
    return "; ".join([*flags[:_LISTED], *more])


def _mark(case: Case) -> dict[str, object]:
    """Which labels the facts are of."""
    return {"format": 1, "labels": generation(case.store, MANUAL), "ids": list(case.schema.ids)}
