"""How many labels does self-training save? Student and control, from few labelled animals to nearly all of them.

    python benchmarks/claims_labels.py --seeds 3 --source FOLDER [--folder FOLDER]

Hippocampi, 28 of them, so many with labels and the others without. The question is where the student has what the
control has with all labels. Played as every claim is, see ``claims.py``; writes a table and a plot.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from claims import Seed, add_shared, folder_of
from claims_arms import CLAIMS
from claims_data import hippocampi
from table import in_points, print_table

from napari_medaka_kd.report import difference

STRATEGY, TEST = "self_training", "same scanner"
TEACHER, CONTROL, STUDENT = ARMS = ("teacher", "control, CutMix 0.5", "student, all pseudo-labels, CutMix 0.5")
LABELLED = {2: "hippocampi-2", 5: "hippocampi", 10: "hippocampi-10", 20: "hippocampi-20", 27: "hippocampi-27"}
Curve = dict[int, dict[str, dict[str, float]]]  # labelled animals → arm → seed → mean Dice


def main() -> None:
    asked = arguments()
    claim = CLAIMS[STRATEGY]
    claim.data.update({name: partial(hippocampi, labelled=count) for count, name in LABELLED.items()})
    found: Curve = {count: {arm: {} for arm in ARMS} for count in LABELLED}
    for seed in asked.seeds:
        for count, asked.data in LABELLED.items():
            for arm, figures in Seed(asked, claim, seed).play([*ARMS]).items():
                if arm in ARMS:
                    found[count][arm][str(seed)] = figures[TEST]
    show(found)
    asked.data = "labels"
    print(f"Plot: {draw(found, folder_of(asked) / 'claims.svg')}")


def show(found: Curve) -> None:
    rows = [
        [
            f"{count}",
            *(f"{mean(found, count, arm):.1f}" for arm in ARMS),
            in_points(difference(arms[STUDENT], arms[CONTROL])),
            in_points(difference(arms[STUDENT], found[max(found)][CONTROL])),
        ]
        for count, arms in found.items()
    ]
    print_table(["labelled of 28", *ARMS, "student − control", f"student − control with {max(found)}"], rows)
    for arm in (CONTROL, STUDENT):
        print(f"{arm}: what the control has with {max(found)} labels it has with {reached(found, arm)}.")


def reached(found: Curve, arm: str) -> str:
    """At how many labels ``arm`` has what the control has with all of them, between two counts on a straight line."""
    wanted, counts = mean(found, max(found), CONTROL), sorted(found)
    values = [mean(found, count, arm) for count in counts]
    for place, value in enumerate(values):
        if value >= wanted:
            before = max(0, place - 1)
            return f"{np.interp(wanted, values[before : place + 1], counts[before : place + 1]):.0f}"
    return f"more than {counts[-1]}"


def mean(found: Curve, count: int, arm: str) -> float:
    """Of the seeds, in %."""
    return 100 * float(np.mean([*found[count][arm].values()]))


def draw(found: Curve, file: Path) -> Path:
    """A line for each arm, each seed a dot."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    for arm, colour in zip(ARMS, ("#999999", "#e69f00", "#0072b2"), strict=True):
        axes.plot(list(found), [mean(found, count, arm) for count in found], "-", color=colour, label=arm)
        for count, arms in found.items():
            values = [100 * value for value in arms[arm].values()]
            axes.plot([count] * len(values), values, "o", color=colour, alpha=0.5, markersize=4)
    axes.set_xlabel("labelled animals of 28")
    axes.set_ylabel("mean Dice, %")
    axes.legend(fontsize="small")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
    return file


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_shared(parser, seeds=3)
    return parser.parse_args(namespace=argparse.Namespace(strategy=STRATEGY, arms=[*ARMS]))


if __name__ == "__main__":
    main()
