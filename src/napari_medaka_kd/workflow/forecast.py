"""forecast: time, memory and disk that segmenting will take on this machine, before it is begun. Loads no torch."""

from __future__ import annotations

import math
import shutil
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import psutil

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.project import CASE_FILE, Case, Project
from napari_medaka_kd.segment.asked import asked_extras
from napari_medaka_kd.segment.kept import Kept, kept
from napari_medaka_kd.segment.price import Forecast, Load, Prices, in_bytes, load_of
from napari_medaka_kd.segment.price import forecast as price
from napari_medaka_kd.settings import SegmentSettings
from napari_medaka_kd.turns import project_knobs, turned
from napari_medaka_kd.volumes.volume import extent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from napari_medaka_kd.job import Job
    from napari_medaka_kd.segment.cut import Cut

#: Has a command line of ours carried out in a process of its own: what to tell meanwhile, its words.
Ask: TypeAlias = "Callable[[str, Sequence[str]], Job[dict[str, Any]]]"
_TRIES = 3  # in the first, halo and back end may have to be chosen


@dataclass(frozen=True)
class Machine:
    """Bytes that are free: on the disk, and in memory."""

    disk: int
    memory: int

    @classmethod
    def now(cls, folder: Path) -> Machine:
        """As it is now, on the disk of ``folder``."""
        return cls(shutil.disk_usage(folder).free, psutil.virtual_memory().available)


@dataclass(frozen=True)
class Outlook:
    """What segmenting some cases will take.

    Attributes
    ----------
    start
        Seconds until the first case is begun, once for all of them.
    computes
        What will compute, and how exactly.
    said
        What measuring had to change, in words.
    """

    checkpoint: str
    cases: tuple[Forecast, ...]
    start: float
    computes: str
    said: str = ""

    @property
    def total(self) -> Forecast:
        """Of all cases one after the other, start included; memory is the largest of theirs."""
        each = self.cases
        return Forecast(
            case="in all",
            tiles=sum(one.tiles for one in each),
            seconds=self.start + sum(one.seconds for one in each),
            memory=max((one.memory for one in each), default=0),
            gpu=max((one.gpu for one in each), default=0),
            disk=sum(one.disk for one in each),
            room=max((one.room for one in each), default=0),
        )

    def warnings(self, free: Machine) -> tuple[str, ...]:
        """What will not do, in sentences."""
        total, said = self.total, [f"{self.said[0].upper()}{self.said[1:]}."] if self.said else []
        needed = max(total.disk, total.room)
        if free.disk < needed:
            said.append(f"The disk has {in_bytes(free.disk)} free, and {in_bytes(needed)} are needed to begin.")
        if free.memory < total.memory:
            there, wanted = in_bytes(free.memory), in_bytes(total.memory)
            said.append(f"{there} of memory are free, and {wanted} will be needed: close other programs first.")
        return tuple(said)

    def text(self, free: Machine) -> str:
        """For people."""
        if not self.cases:
            return f"Every case has labels by {self.checkpoint!r}: nothing is to be segmented."
        lines = [f"{one.case}: {one.words()}; {one.tiles} tiles" for one in self.cases]
        lines.append(f"In all, with the start: {self.total.words()}. Computed by {self.computes}.")
        return "\n".join([*lines, *self.warnings(free)])

    def json(self, free: Machine) -> dict[str, Any]:
        """For machines: seconds and bytes."""
        facts = {"checkpoint": self.checkpoint, "computes": self.computes, "start": self.start}
        cases = {"cases": [asdict(one) for one in self.cases], "total": asdict(self.total)}
        return facts | cases | {"free": asdict(free), "warnings": self.warnings(free)}


def forecast(
    project: Project, checkpoint: str, settings: SegmentSettings, ask: Ask, cases: Sequence[str] = ()
) -> Job[Outlook]:
    """What segmenting ``cases`` will take, or every one that lacks the labels of ``checkpoint``.

    Where no prices are kept beside the checkpoint, some tiles are computed, in a process of its own as a run's would
    be; with those that are kept it takes no time. Nothing is written into a case. Halo and back end are chosen if they
    were not yet, and the run then keeps to that choice.
    """
    card = Checkpoint.open(project.checkpoint(checkpoint))
    card.require_schema(project.schema)
    card.require_organs("a forecast")
    chosen = [project.case(name) for name in cases] or [c for c in project.cases if checkpoint not in c.label_names]
    prices = dict(_purse(project, checkpoint, settings).prices())
    for case in sorted(chosen, key=lambda case: math.prod(extent(case.body.box)), reverse=True):
        if _price(case, prices, settings) is None:
            found = yield from _measure(_Errand(project, checkpoint, settings, len(chosen)), ask, case)
            kind = _load(case, found.cut, settings).kind
            prices[kind] = found
            _purse(project, checkpoint, settings).keep(kind, found)  # only now: a back end may have been chosen
    return _outlook(checkpoint, [(case.id, _price(case, prices, settings)) for case in chosen])


def forget(project: Project, checkpoint: str, settings: SegmentSettings) -> None:
    """Have the prices measured anew the next time."""
    _purse(project, checkpoint, settings).forget()


def at_a_glance(project: Project, checkpoint: str, case: Case, settings: SegmentSettings) -> Outlook | None:
    """What segmenting ``case`` will take, from the kept prices alone; ``None`` where none are kept for such a case."""
    found = _price(case, _purse(project, checkpoint, settings).prices(), settings)
    return None if found is None else _outlook(checkpoint, [(case.id, found)])


def _purse(project: Project, checkpoint: str, settings: SegmentSettings) -> Kept:
    folder = project.checkpoint(checkpoint)
    return kept(folder, Checkpoint.open(folder).weights_sha256, settings)


def _price(case: Case, prices: Mapping[str, Prices], settings: SegmentSettings) -> tuple[Load, Prices] | None:
    """What ``case`` asks for, and the prices of its kind; ``None`` where these are not known."""
    for kind, known in prices.items():
        load = _load(case, known.cut, settings)
        if load.kind == kind:
            return load, known
    return None


def _outlook(checkpoint: str, priced: Sequence[tuple[str, tuple[Load, Prices] | None]]) -> Outlook:
    each = [(case, *found) for case, found in priced if found is not None]
    assert len(each) == len(priced)
    words = [list(dict.fromkeys(text for text in texts if text)) for texts in _texts(each)]
    start = max((prices.start for _, _, prices in each), default=0.0)
    forecasts = tuple(price(case, load, prices) for case, load, prices in each)
    return Outlook(checkpoint, forecasts, start, ", ".join(words[0]), "; ".join(words[1]))


def _texts(each: Sequence[tuple[str, Load, Prices]]) -> tuple[list[str], list[str]]:
    return [prices.computes for _, _, prices in each], [prices.said for _, _, prices in each]


@dataclass(frozen=True)
class _Errand:
    """What is to be segmented, and how: so many ``volumes``."""

    project: Project
    checkpoint: str
    settings: SegmentSettings
    volumes: int

    def argv(self, case: str) -> list[str]:
        """The command line that measures with ``case``; it is told the knobs that the project does not turn."""
        folder = self.project.folder
        turns = turned(self.settings, project_knobs(SegmentSettings, folder, "segment"))
        words = ["forecast", str(folder), "--checkpoint", self.checkpoint, "--case", case]
        words += ["--only-measure", str(self.volumes)]
        return words + [word for turn in turns for word in ("--set", turn)]


def _measure(errand: _Errand, ask: Ask, case: Case) -> Job[Prices]:
    """The prices as a process of its own measures them."""
    argv, checkpoint = errand.argv(case.id), errand.checkpoint
    for attempt in range(_TRIES):
        doing = f"compute some tiles of {case.id}" if attempt else f"get {checkpoint} ready, and compute some tiles"
        said = yield from ask(doing, argv)
        if "prices" in said:
            begun, ended = said["ready_at"] - said["began"], said["ended"] - said["done_at"]
            return replace(Prices.from_json(said["prices"]), start=max(begun, 0.0) + max(ended, 0.0))
    raise UserError(
        f"The back end of {checkpoint!r} is being chosen by someone else, too.", "Try again when nothing else runs."
    )


def _load(case: Case, cut: Cut, settings: SegmentSettings) -> Load:
    return _load_of(case, (case.folder / CASE_FILE).stat().st_mtime_ns, cut, settings)


@lru_cache(maxsize=256)
def _load_of(case: Case, _: int, cut: Cut, settings: SegmentSettings) -> Load:
    """A case of 100 GB has tiles for a second of counting, and the dock asks whenever something changes."""
    return load_of(case.volume, case.body, case.schema, cut, asked_extras(settings, case.schema.classes))
