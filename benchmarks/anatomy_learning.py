"""What the numbers of anatomy are worth to the quality classifier: AUROC with and without, on demos that were played.

    python benchmarks/demo_seeds.py --seeds 0 1 2 --folder bench-demo
    python benchmarks/anatomy_learning.py bench-demo/seed-0 bench-demo/seed-1 bench-demo/seed-2 [--json]

Both classifiers learn from the very same rows, before any verdict and after all of them; they are held against the
truth of the proposals that nobody reviewed. A demo that got as far as its verdicts is enough.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from table import print_table, say_json

from napari_medaka_kd.demo_settings import DemoSettings
from napari_medaka_kd.project import open_project
from napari_medaka_kd.quality.anatomy import ANATOMY
from napari_medaka_kd.quality.classifier import Examples, auroc, fit_classifier
from napari_medaka_kd.quality.evidence import PRIOR, columns, overlaps
from napari_medaka_kd.quality.quality import Quality
from napari_medaka_kd.review import Decision, ReviewItem, decision_for, fold, read_verdicts
from napari_medaka_kd.volumes.phantom import MEDAKA, phantom_animal
from napari_medaka_kd.workflow.sample import animals
from napari_medaka_kd.workflow.trusting import scored

_TEACHER = "teacher"


@dataclass(frozen=True)
class Played:
    """One demo: what the classifier learned from, what was reviewed, and the truth of the rest."""

    settings: DemoSettings
    examples: Examples
    reviewed: Examples
    rest: npt.NDArray[np.float64]
    good: npt.NDArray[np.bool_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demos", type=Path, nargs="+", help="folders of demos")
    parser.add_argument("--json", action="store_true", help="one line for machines instead of the table")
    asked = parser.parse_args()
    rows = [measure(folder) for folder in asked.demos]
    if asked.json:
        say_json(rows)
        return
    print_table(list(rows[0]), [[str(value) for value in row.values()] for row in rows])


def measure(folder: Path) -> dict[str, object]:
    """AUROC with and without the numbers of anatomy, before and after the verdicts."""
    played = read(folder)
    names = columns(played.rest.shape[1])
    sets = {"without": [place for place, name in enumerate(names) if name not in ANATOMY], "with": [*range(len(names))]}
    found: dict[str, object] = {"demo": folder.name, "proposals": len(played.good)}
    for when, reviewed in (("no verdicts", None), (f"{len(played.reviewed)} verdicts", played.reviewed)):
        for which, kept in sets.items():
            rows = [only(each, kept) if each is not None else None for each in (played.examples, reviewed)]
            assert rows[0] is not None
            wanted, prior = played.settings.quality.precision, [PRIOR[names[place]] for place in kept]
            began = time.perf_counter()
            fitted = fit_classifier(rows[0], wanted, rows[1], prior)
            found["seconds"] = round(time.perf_counter() - began, 2)
            found[f"{when}, {which}"] = round(auroc(fitted.probability(played.rest[:, kept]), played.good), 3)
    return found


def read(folder: Path) -> Played:
    settings = DemoSettings.model_validate_json((folder / "demo.json").read_text("utf-8"))
    project, quality = open_project(folder / "project"), settings.quality
    learned = Quality.open(project.checkpoint(_TEACHER) / "quality")
    assert learned.examples is not None
    verdicts = fold(read_verdicts(project.review_folder), checkpoint=_TEACHER)
    judged, rest = [], []
    for number, (case, record) in enumerate(scored(project, _TEACHER).items()):
        truth = MEDAKA.to_classes(phantom_animal(animals(settings)[case]).labels.volume.read())
        proposed = MEDAKA.to_classes(project.case(case).labels(_TEACHER).volume.read())
        ious = overlaps(proposed, truth, record.slab)
        for score in record.scores:
            said = decision_for(verdicts, ReviewItem(case, MEDAKA.ids[score.organ - 1], score.slab))
            if said in (Decision.ACCEPTED, Decision.REJECTED):
                judged.append((score.evidence, said is Decision.ACCEPTED, number))
            else:
                rest.append((score.evidence, ious[score.organ, *score.slab] >= quality.good_iou))
    beyond = int(learned.examples.animal.max()) + 1
    reviewed = Examples(
        np.array([evidence for evidence, _, _ in judged]),
        np.array([good for _, good, _ in judged]),
        np.full(len(judged), quality.verdict_weight),
        np.array([beyond + animal for _, _, animal in judged]),
    )
    return Played(settings, learned.examples, reviewed, np.array([e for e, _ in rest]), np.array([g for _, g in rest]))


def only(rows: Examples, kept: list[int]) -> Examples:
    return replace(rows, evidence=rows.evidence[:, kept])


if __name__ == "__main__":
    main()
