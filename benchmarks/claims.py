"""Does a strategy do what its paper says? Its arms, side by side, on animals that no arm saw.

    python benchmarks/claims.py --strategy shape_intensity --data hippocampi --seeds 5 [--folder FOLDER]

Every arm of a seed has the same animals, steps, patches and network. Differences are paired by seed, with 95 %
t-intervals. Interrupted, the same command goes on; ``--arms`` plays some arms alone, for more seeds of what matters,
``--steps`` rehearses with so few steps that every arm is played within minutes, to see that it can be.
Writes a table, and a plot beside the results.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from claims_arms import CLAIMS
from claims_data import shortened
from claims_study import Claim, Study
from table import in_points, print_table, say_json

from napari_medaka_kd.evaluate import compare
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import MANUAL, Project, add_case, create_project, open_project, set_modality
from napari_medaka_kd.report import difference, plain
from napari_medaka_kd.settings import SegmentSettings
from napari_medaka_kd.volumes.atomic import replace_file
from napari_medaka_kd.workflow.propose import segment

if TYPE_CHECKING:
    from claims_data import Material

Found = dict[str, dict[str, dict[str, float]]]  # arm → test → seed → mean Dice


def main() -> None:
    asked = arguments()
    claim = CLAIMS[asked.strategy]
    if asked.data not in claim.data:
        sys.exit(f"{asked.strategy} is not tried on {asked.data}, but on: {', '.join(claim.data)}.")
    played = asked.arms or list(claim.arms)
    if unknown := [arm for arm in played if arm not in claim.arms]:
        sys.exit(f"{unknown[0]} is no arm of {asked.strategy}; there are: {'; '.join(claim.arms)}.")
    further = [FACTS] if claim.facts and not asked.arms else []
    seeds = {seed: Seed(asked, claim, seed).play([*played, *further]) for seed in asked.seeds}
    found: Found = {arm: {} for arm in played}
    for seed, arms in seeds.items():
        for arm in played:
            for figure, value in arms[arm].items():
                found[arm].setdefault(figure, {})[str(seed)] = value
    bases = [base for base in claim.references if base in played]
    if asked.json:
        say_json({"found": found, "against": {base: against(found, base) for base in bases}})
        return
    print(f"{asked.strategy} on {asked.data}: {len(seeds)} seeds.\n")
    in_percent = asked.data not in claim.figures
    show(found, bases, in_percent)
    if further:
        facts = [seed[FACTS] for seed in seeds.values()]
        print_table(list(facts[0]), [[f"{np.nanmean([each[name] for each in facts]):.2f}" for name in facts[0]]])
    print(f"Plot: {draw(found, folder_of(asked) / 'claims.svg', in_percent)}")


FACTS = "facts"


class Seed:
    """One seed of a claim, played in a project of its own; arms that were played before are read."""

    def __init__(self, asked: argparse.Namespace, claim: Claim, seed: int) -> None:
        self.asked, self.claim, self.seed = asked, claim, seed
        self.folder = folder_of(asked) / f"seed-{seed}"

    def play(self, wanted: list[str]) -> dict[str, dict[str, float]]:
        """By arm of those wanted, its figures on each test; ``facts`` among these are further ones."""
        file = self.folder / "figures.json"
        known: dict[str, dict[str, float]] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
        missing = [arm for arm in wanted if arm not in known]
        study = self._study() if missing else None
        for arm in missing:
            assert study is not None
            begun = time.monotonic()
            known[arm] = self._facts(study) if arm == FACTS else self._figures(study, arm)
            replace_file(file, json.dumps(plain(known)).encode())
            print(self.asked.strategy, self.asked.data, self.seed, arm, known[arm], file=sys.stderr, end=" ")
            print(f"{time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        return known

    def _study(self) -> Study:
        material = self.claim.data[self.asked.data](self.asked.source, self.seed)
        if self.asked.steps:
            material = replace(material, trial=shortened(material.trial, self.asked.steps))
        return Study(opened(self.folder / "project", material), material)

    def _facts(self, study: Study) -> dict[str, float]:
        assert self.claim.facts is not None
        return self.claim.facts(study)

    def _figures(self, study: Study, arm: str) -> dict[str, float]:
        """Make the arm's label maps, and judge them."""
        name, project = _called(arm), study.project
        tests = [case.id for case in project.cases if case.held_out]
        if name not in project.checkpoints:
            self.claim.arms[arm](study, name)
        if name in project.checkpoints:
            drain(segment(project, name, SegmentSettings(), tests))
        judge = self.claim.figures.get(self.asked.data)
        return judge(project, name, study.material, self.asked.source) if judge else dice(project, name, study.material)


def _called(arm: str) -> str:
    """An arm's title as the name of a checkpoint."""
    return "arm-" + re.sub(r"[^A-Za-z0-9]+", "-", arm).strip("-")


def opened(folder: Path, material: Material) -> Project:
    """The project of one seed; the animals of each test are cases that are held out."""
    project = open_project(folder) if folder.exists() else create_project(folder, "claims", material.organs)
    known = {case.id for case in project.cases}
    for name, (volume, labels) in (material.labelled | material.unlabelled).items():
        if name not in known:
            drain(add_case(project, volume, labels if name in material.labelled else None, name, held_out=False))
    for number, animals in enumerate(material.tests.values()):
        for name, (volume, labels) in animals.items():
            if (case := f"test{number}-{name}") not in known:
                drain(add_case(project, volume, labels, case, held_out=True))
    for name, modality in material.modalities.items():
        set_modality(project.case(name), modality)
    return project


def dice(project: Project, name: str, material: Material) -> dict[str, float]:
    """By test, the mean over organs and animals of the Dice of label maps ``name``."""
    found = {}
    for number, test in enumerate(material.tests):
        cases = [case for case in project.cases if case.id.startswith(f"test{number}-")]
        scores = [drain(compare(case.id, case.labels(MANUAL), case.labels(name))) for case in cases]
        found[test] = float(np.nanmean([score.dice for each in scores for score in each]))
    return found


def against(found: Found, base: str) -> dict[str, dict[str, dict[str, float]]]:
    """By arm and test, the paired difference to ``base``."""
    return {
        arm: {test: difference(values, found[base][test]) for test, values in tests.items()}
        for arm, tests in found.items()
        if arm != base
    }


def show(found: Found, bases: list[str], in_percent: bool) -> None:
    tests, scale = list(next(iter(found.values()))), 100 if in_percent else 1
    rows = [
        [arm, *(f"{scale * np.nanmean(list(each[test].values())):.{1 if in_percent else 3}f}" for test in tests)]
        for arm, each in found.items()
    ]
    print_table(["mean Dice, %" if in_percent else "", *tests], rows)
    for base in bases if len(found) > 1 else ():
        rows = [
            [arm, *(in_points(each[test]) if in_percent else in_units(each[test]) for test in tests)]
            for arm, each in against(found, base).items()
        ]
        print_table([f"{'points ' if in_percent else ''}more than {base}", *tests], rows)


def in_units(gain: dict[str, float]) -> str:
    return f"{gain['mean']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]"


def draw(found: Found, file: Path, in_percent: bool) -> Path:
    """Every seed a dot, joined from arm to arm by a faint line, every arm's mean a bar; test by test."""
    from matplotlib.figure import Figure

    tests, scale = list(next(iter(found.values()))), 100 if in_percent else 1
    lines = math.ceil(len(tests) / 3)
    figure = Figure(figsize=(9, lines * (1 + 0.3 * len(found))), layout="constrained")
    grid = figure.subplots(lines, min(3, len(tests)), sharey=True, squeeze=False)
    for axes, test in zip(grid.flat, tests, strict=False):
        values = scale * np.array([[*each[test].values()] for each in found.values()])
        axes.plot(values, np.arange(len(found)), "o-", color="#56b4e9", alpha=0.5, markersize=4, linewidth=0.7)
        axes.plot(values.mean(1), np.arange(len(found)), "|", color="#0072b2", markersize=14, markeredgewidth=2)
        axes.set_title(test, fontsize="medium")
        axes.set_xlabel("mean Dice, %" if in_percent else "")
    grid[0, 0].set_yticks(range(len(found)), list(found))
    grid[0, 0].invert_yaxis()
    for axes in list(grid.flat)[len(tests) :]:
        axes.set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
    return file


def folder_of(asked: argparse.Namespace) -> Path:
    """Where the seeds are played; of a rehearsal elsewhere."""
    data = f"{asked.data}-{asked.steps}-steps" if asked.steps else asked.data
    return Path(asked.folder / asked.strategy / data)


def numbers(text: str) -> list[int]:
    first, _, last = text.rpartition(":")
    return list(range(int(first or 0), int(last)))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategy", choices=CLAIMS, required=True)
    every = sorted({name for claim in CLAIMS.values() for name in claim.data})
    parser.add_argument("--data", choices=every, required=True)
    parser.add_argument("--arms", nargs="+", metavar="TITLE", help="these alone; by default all")
    parser.add_argument("--json", action="store_true", help="one line for machines instead of the tables")
    add_shared(parser, seeds=5)
    return parser.parse_args()


def add_shared(parser: argparse.ArgumentParser, seeds: int) -> None:
    """What every play of a claim is asked; ``seeds`` many by default."""
    parser.add_argument("--seeds", type=numbers, default=[*range(seeds)], help="how many, or those of a range: 5:10")
    parser.add_argument("--source", type=Path, required=True, help="folder of the real scans")
    parser.add_argument("--folder", type=Path, default=Path("medaka-bench") / "claims", help="where to work")
    parser.add_argument("--steps", type=int, default=0, help="a rehearsal: so many steps, in a folder of its own")


if __name__ == "__main__":
    main()
