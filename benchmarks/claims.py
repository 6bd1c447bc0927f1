"""Does a strategy do what its paper says? Its arms, side by side, on animals that no arm saw.

    python benchmarks/claims.py --strategy shape_intensity --data hippocampi --seeds 5 [--folder FOLDER]

Every arm of a seed has the same animals, steps, patches and network. Differences are paired by seed, with 95 %
t-intervals. Interrupted, the same command goes on. Writes a table, and a plot beside the results.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from claims_arms import CLAIMS, Claim, Study
from claims_data import DATA, Material
from table import in_points, print_table, say_json

from napari_medaka_kd.job import drain
from napari_medaka_kd.project import Project, add_case, create_project, open_project
from napari_medaka_kd.report import difference, plain
from napari_medaka_kd.settings import SegmentSettings
from napari_medaka_kd.volumes.atomic import replace_file
from napari_medaka_kd.workflow.assess import evaluate
from napari_medaka_kd.workflow.propose import segment

Found = dict[str, dict[str, dict[str, float]]]  # arm → test → seed → mean Dice


def main() -> None:
    asked = arguments()
    claim = CLAIMS[asked.strategy]
    found: Found = {arm: {} for arm in claim.arms}
    for seed in range(asked.seeds):
        for arm, tests in play(asked, claim, seed).items():
            for test, dice in tests.items():
                found[arm].setdefault(test, {})[str(seed)] = dice
    if asked.json:
        say_json({"found": found, "against": {base: against(found, base) for base in claim.references}})
        return
    print(f"{asked.strategy} on {asked.data}: {DATA[asked.data].__doc__} {asked.seeds} seeds.\n")
    show(found, claim)
    place = draw(found, asked.folder / asked.strategy / asked.data / "claims.svg")
    print(f"Plot: {place}")


def play(asked: argparse.Namespace, claim: Claim, seed: int) -> dict[str, dict[str, float]]:
    """By arm and test, the mean Dice of one seed; arms that were played before are read."""
    folder = asked.folder / asked.strategy / asked.data / f"seed-{seed}"
    file = folder / "dice.json"
    known: dict[str, dict[str, float]] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    if known.keys() >= claim.arms.keys():
        return {arm: known[arm] for arm in claim.arms}
    material = claim.prepare(DATA[asked.data](asked.source, seed), seed)
    project = opened(folder / "project", material)
    study = Study(project, material.plain.model_copy(update={"seed": seed}))
    for number, (arm, make) in enumerate(claim.arms.items()):
        if arm in known:
            continue
        print(f"{asked.strategy}, {asked.data}, seed {seed}: {arm} …", file=sys.stderr)
        name = f"arm-{number}"
        if name not in project.checkpoints:
            make(study, name)
        known[arm] = judged(project, name, material)
        replace_file(file, json.dumps(plain(known)).encode())
    return known


def opened(place: Path, material: Material) -> Project:
    """The project of one seed; the animals of each test are cases that are held out."""
    project = open_project(place) if place.exists() else create_project(place, "claims", material.organs)
    known = {case.id for case in project.cases}
    for name, (volume, labels) in (material.labelled | material.unlabelled).items():
        if name not in known:
            drain(add_case(project, volume, labels if name in material.labelled else None, name, held_out=False))
    for number, animals in enumerate(material.tests.values()):
        for name, (volume, labels) in animals.items():
            if (case := f"test{number}-{name}") not in known:
                drain(add_case(project, volume, labels, case, held_out=True))
    return project


def judged(project: Project, checkpoint: str, material: Material) -> dict[str, float]:
    """By test, the mean Dice over organs and animals."""
    tests = [case.id for case in project.cases if case.held_out]
    drain(segment(project, checkpoint, SegmentSettings(), tests))
    scores = drain(evaluate(project, checkpoint, tests)).scores
    return {
        test: float(np.nanmean([score.dice for score in scores if score.case.startswith(f"test{number}-")]))
        for number, test in enumerate(material.tests)
    }


def against(found: Found, base: str) -> dict[str, dict[str, dict[str, float]]]:
    """By arm and test, the paired difference to ``base``."""
    return {
        arm: {test: difference(values, found[base][test]) for test, values in tests.items()}
        for arm, tests in found.items()
        if arm != base
    }


def show(found: Found, claim: Claim) -> None:
    tests = list(next(iter(found.values())))
    rows = [
        [arm, *(f"{100 * np.mean(list(each[test].values())):.1f}" for test in tests)] for arm, each in found.items()
    ]
    print_table(["mean Dice, %", *tests], rows)
    for base in claim.references:
        gains = against(found, base)
        print_table(
            [f"points more than {base}", *tests],
            [[arm, *(in_points(each[test]) for test in tests)] for arm, each in gains.items()],
        )


def draw(found: Found, file: Path) -> Path:
    """Every seed a dot, every arm's mean a line, test by test."""
    from matplotlib.figure import Figure

    tests = list(next(iter(found.values())))
    figure = Figure(figsize=(9, 1 + 0.35 * len(found) * math.ceil(len(tests) / 3)), layout="constrained")
    grid = figure.subplots(math.ceil(len(tests) / 3), min(3, len(tests)), sharey=True, squeeze=False)
    for axes, test in zip(grid.flat, tests, strict=False):
        for row, each in enumerate(found.values()):
            values = [100 * value for value in each[test].values()]
            axes.plot(values, [row] * len(values), "o", color="#56b4e9", alpha=0.6, markersize=4)
            axes.plot([np.mean(values)] * 2, [row - 0.3, row + 0.3], color="#0072b2")
        axes.set_yticks(range(len(found)), list(found))
        axes.invert_yaxis()
        axes.set_title(test, fontsize="medium")
        axes.set_xlabel("mean Dice, %")
    for axes in list(grid.flat)[len(tests) :]:
        axes.set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
    return file


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategy", choices=CLAIMS, required=True)
    parser.add_argument("--data", choices=DATA, required=True)
    parser.add_argument("--seeds", type=int, default=5, help="0 … this many less one")
    parser.add_argument("--source", type=Path, required=True, help="folder of the real scans")
    parser.add_argument("--folder", type=Path, default=Path("medaka-bench") / "claims", help="where to work")
    parser.add_argument("--json", action="store_true", help="one line for machines instead of the tables")
    return parser.parse_args()


if __name__ == "__main__":
    main()
