"""A training as its run folder tells it, without torch: losses, IoU against the teacher's, a preview; and stop."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from napari_medaka_kd.distil.metrics import FILE, KNOWN, ORGAN, PREVIEW, STOP, TEACHER, MetricsReader, is_loss
from napari_medaka_kd.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_medaka_kd.project import Project

#: (step, value), rising by step.
Curve = tuple[tuple[int, float], ...]
_ENOUGH = 6  # measurements that a trend can be seen in
_WORTH = 0.005  # of IoU, between the last quarter of the measurements and the one before
_LEARNED = 0.8  # IoU; mouse brains: 0.61 after 1000 steps, 0.88 after 4000, which found others 25 points of Dice better


@dataclass(frozen=True)
class Preview:
    """A slice of a held-out animal, and what was said of it after ``step``.

    Attributes
    ----------
    image
        (y, x) uint8.
    maps
        Organ ids (y, x) uint16 by ``truth``, ``teacher``, ``student``; the teacher's only where there is one.
    written
        When, in ns: two previews are the same if this is.
    """

    written: int
    step: int
    image: npt.NDArray[np.uint8] = field(compare=False)
    maps: Mapping[str, npt.NDArray[np.uint16]] = field(compare=False)


@dataclass(frozen=True)
class Training:
    """How a training stands.

    Attributes
    ----------
    run, stage
        Its run folder's name, and the network that is being trained.
    losses, ious
        Curves by term of the loss and by organ.
    teacher
        IoU of the teacher by organ, on the same places.
    known
        Mean IoU on labels that it learns from, by which the best weights are chosen.
    """

    run: str
    stage: str
    step: int
    steps: int
    losses: Mapping[str, Curve] = field(default_factory=dict)
    ious: Mapping[str, Curve] = field(default_factory=dict)
    teacher: Mapping[str, float] = field(default_factory=dict)
    known: Curve = ()
    preview: Preview | None = None

    @property
    def mean(self) -> Curve:
        """Mean IoU over the organs of the animals that are only looked at."""
        return _mean(self.ious)

    @property
    def trend(self) -> Literal["improving", "flat", "unknown"]:
        values = [value for _, value in self.mean or self.known]
        if len(values) < _ENOUGH:
            return "unknown"
        quarter = len(values) // 4 or 1
        gained = np.mean(values[-quarter:]) - np.mean(values[-2 * quarter : -quarter])
        return "improving" if gained > _WORTH else "flat"

    @property
    def sentence(self) -> str:
        """How it goes, for people."""
        words = {"improving": "still improving", "flat": "flat: it hardly gains any more", "unknown": "just begun"}
        how = words[self.trend] if self.step < self.steps else "done"
        said = f"{self.run}: step {self.step} of {self.steps}, {how}."
        if self.mean and self.teacher:
            gain = 100 * (self.mean[-1][1] - np.mean(list(self.teacher.values())))
            said += f" Mean IoU {self.mean[-1][1]:.1%}, {gain:+.1f} points against the teacher, on a few places."
        return " ".join(filter(None, (said, self.too_short)))

    @property
    def too_short(self) -> str:
        """That it ended before it had learned its labels, for people; empty where it had, or is not done."""
        if self.step < self.steps or not self.known or self.known[-1][1] >= _LEARNED:
            return ""
        return (
            f"It finds the organs that it learned from with an IoU of {self.known[-1][1]:.0%} only: more than "
            f"{self.steps} steps (fit.steps) may teach it more."
        )


def trainings(project: Project) -> tuple[str, ...]:
    """Names of the run folders of trainings, the one that was written to last first."""
    runs = project.folder / "runs"
    newest = {folder.name: _newest(folder) for kind in ("train", "distil") for folder in runs.glob(f"{kind}-*")}
    files = {name: file for name, file in newest.items() if file is not None}
    return tuple(sorted(files, key=lambda name: -_age(files[name])))


def read_training(project: Project, run: str) -> Training | None:
    """How the training in ``runs/<run>`` stands; ``None`` where nothing was written yet."""
    folder = project.folder / "runs" / run
    file = _newest(folder)
    if file is None:
        return None
    curves = _reader(file).read()
    done = max((curve[-1][0] for curve in curves.values()), default=0)
    measured = max((curve[-1][0] for name, curve in curves.items() if not is_loss(name)), default=0)
    return Training(
        run=run,
        stage=file.parent.name,
        step=done,
        steps=_steps(folder, done),
        losses={name.removeprefix(f"{file.parent.name} "): c for name, c in curves.items() if is_loss(name)},
        ious={name.removeprefix(ORGAN): c for name, c in curves.items() if name.startswith(ORGAN)},
        teacher={name.removeprefix(TEACHER): c[-1][1] for name, c in curves.items() if name.startswith(TEACHER)},
        known=curves.get(KNOWN, ()),
        preview=_preview(file.with_name(PREVIEW), measured),
    )


def too_short(project: Project, run: str) -> list[str]:
    """That the training in ``runs/<run>`` ended before it had learned its labels, a sentence; none where it had."""
    training = read_training(project, run)
    return [training.too_short] if training is not None and training.too_short else []


def stop_training(project: Project, name: str) -> None:
    """Have the training of checkpoint ``name`` end after its present step, in the best weights so far.

    Of a student that is trained in several rounds, the round that is under way ends, and the next one begins.

    Raises
    ------
    UserError
        If no training of that name is under way.
    """
    project.checkpoint(name)  # refuses what cannot be a folder's name
    runs, kept = project.folder / "runs", project.checkpoints
    rounds = [folder.name.removeprefix("distil-") for folder in runs.glob(f"distil-{name}-*")]
    names = [name, *(each for each in rounds if each.removeprefix(f"{name}-").isdecimal())]
    folders = [runs / f"{verb}-{each}" for verb in ("train", "distil") for each in names if each not in kept]
    open_ones = [folder for folder in folders if folder.is_dir()]
    if not open_ones:
        raise UserError(f"No training of {name!r} is under way.", "See: medaka-kd status.")
    for folder in open_ones:
        (folder / STOP).touch()


@lru_cache(maxsize=8)
def _reader(file: Path) -> MetricsReader:
    """Kept between two looks, a quarter of a second apart."""
    return MetricsReader(file)


def _newest(folder: Path) -> Path | None:
    return max(folder.glob(f"*/{FILE}"), key=_age, default=None)


def _age(file: Path) -> int:
    """When it was written to last, ns; 0 where it was removed meanwhile."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _steps(folder: Path, done: int) -> int:
    try:
        asked: dict[str, Any] = json.loads((folder / "asked.json").read_text("utf-8"))
        return int(asked["settings"]["fit"]["steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return done


def _mean(curves: Mapping[str, Curve]) -> Curve:
    by_step: dict[int, list[float]] = defaultdict(list)
    for curve in curves.values():
        for step, value in curve:
            by_step[step].append(value)
    return tuple((step, float(np.mean(values))) for step, values in sorted(by_step.items()))


def _preview(file: Path, step: int) -> Preview | None:
    try:
        written = file.stat().st_mtime_ns
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as planes:
            maps = {name: planes[name] for name in ("truth", "teacher", "student") if name in planes}
            return Preview(written, step, planes["image"], maps)
    except (OSError, ValueError, KeyError):
        return None
