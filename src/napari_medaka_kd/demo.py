"""The demo: a trial on made-up fish, the verbs one after the other, and a comparison that shows what helps."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .demo_report import Findings
from .errors import UserError
from .job import Job, Progress
from .project import Project, add_case, create_project, open_project
from .report import plain, write_report
from .settings import SegmentSettings
from .trial import CONTROL, STUDENTS, TEACHER, Trial, control_settings
from .volumes.atomic import replace_file
from .volumes.phantom import MEDAKA, PhantomAnimal, phantom_animal
from .workflow.assess import evaluate
from .workflow.propose import segment
from .workflow.sample import animals as animals
from .workflow.teach import train

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from .demo_settings import DemoSettings

#: What is compared, in the order of the report.
ARMS = {TEACHER: "teacher", CONTROL: "labels only, the student's compute"} | STUDENTS


@dataclass(frozen=True)
class Outcome:
    """What a demo found: mean IoU by arm, and how well the quality classifier judged what nobody had reviewed."""

    arms: Mapping[str, float]
    quality: Mapping[str, float]
    seconds: float
    seed: int
    report: Path
    sentences: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        kept = ("arms", "quality", "seconds", "seed")
        return {name: getattr(self, name) for name in kept} | {"report": str(self.report)}

    def text(self) -> str:
        rows = [f"  {ARMS[arm]:45s} {iou:6.1%}" for arm, iou in self.arms.items()]
        return "\n".join(["Mean IoU on held-out animals:", *rows, *self.sentences, f"Report: {self.report}"])


def demo(folder: Path, settings: DemoSettings) -> Job[Outcome]:
    """Play the whole way in ``folder``. Interrupted and called again with the same settings, it goes on."""
    begun = time.monotonic()
    project = _open(folder, settings)
    trial = Trial(project, settings, (yield from _add_animals(project, settings)))
    yield from trial.teach()
    yield from trial.review()
    yield from _train_arms(trial)
    yield from segment(project, TEACHER, SegmentSettings())
    evaluations = {}
    for arm in ARMS:
        evaluations[arm] = yield from evaluate(project, arm)
    findings = Findings(project, settings, evaluations, ARMS, *trial.judged(), trial.quality())
    seconds = time.monotonic() - begun
    page = write_report(findings.report(seconds), folder)
    arms = {arm: evaluation.mean_iou for arm, evaluation in evaluations.items()}
    outcome = Outcome(arms, findings.quality, round(seconds, 1), settings.seed, page, findings.sentences())
    replace_file(folder / "demo-result.json", json.dumps(plain(outcome.json())).encode())
    return outcome


def _open(folder: Path, settings: DemoSettings) -> Project:
    """The demo's project: the one that was begun with these settings, or a new one."""
    asked = settings.model_dump_json(indent=1)
    mark = folder / "demo.json"
    if mark.is_file() and mark.read_text("utf-8") != asked:
        shutil.rmtree(folder / "project", ignore_errors=True)
        (folder / "reviews.json").unlink(missing_ok=True)
    if folder.exists() and any(folder.iterdir()) and not mark.is_file():
        raise UserError(f"The folder {str(folder)!r} holds something else.", "Name another one with --folder.")
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(mark, asked.encode())
    place = folder / "project"
    return open_project(place) if place.exists() else create_project(place, "medaka demo", MEDAKA)


def _add_animals(project: Project, settings: DemoSettings) -> Job[dict[str, npt.NDArray[np.int64]]]:
    """Scan the fish; the true classes of those that come without labels, by case."""
    made, truth = animals(settings), {}
    known = {case.id for case in project.cases}
    for done, (case, phantom) in enumerate(made.items()):
        yield Progress("scan made-up fish", done, len(made))
        animal = phantom_animal(phantom)
        if case.startswith("unlabelled"):
            truth[case] = _classes(animal)
        if case not in known:
            labels = None if case.startswith("unlabelled") else animal.labels
            yield from _quietly(add_case(project, animal.volume, labels, case, case.startswith("heldout")))
    yield Progress("scan made-up fish", len(made), len(made))
    return truth


def _train_arms(trial: Trial) -> Job[None]:
    project, trusts = trial.project, trial.trusts()
    if CONTROL not in project.checkpoints:
        yield from train(project, CONTROL, control_settings(trial.settings))
    for arm in STUDENTS:
        if arm not in project.checkpoints:
            yield from trial.distil(arm, trusts[arm], soft=arm == "qc_kd")
    for arm in ARMS:
        held_out = [case.id for case in project.cases if case.held_out and arm not in case.label_names]
        if held_out:
            yield from segment(project, arm, SegmentSettings(), held_out)


def _classes(animal: PhantomAnimal) -> npt.NDArray[np.int64]:
    return MEDAKA.to_classes(animal.labels.volume.read())


def _quietly(job: Job[Any]) -> Job[None]:
    """Play ``job`` without its reports: thirty small copies are one thing to a person."""
    for _ in job:
        pass
    return
    yield
