"""The demo with several seeds: mean IoU of each arm, and what the student gains over teacher and control.

    python benchmarks/demo_seeds.py --seeds 0 1 2 3 4 --folder bench-demo [--set KEY=VALUE …] [--json]

Each seed has its own animals, networks and verdicts, in a folder of its own. Interrupted, the same command goes on;
finished seeds are not run again. Knobs are the demo's.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from table import in_points, print_table, say_json

from napari_medaka_kd.console import play
from napari_medaka_kd.demo import ARMS, demo
from napari_medaka_kd.demo_settings import DemoSettings
from napari_medaka_kd.report import difference
from napari_medaka_kd.turns import knobs


def main() -> None:
    asked = arguments()
    results = {seed: run(seed, asked) for seed in asked.seeds}
    arms = {arm: {str(seed): result["arms"][arm] for seed, result in results.items()} for arm in ARMS}
    against = {
        base: {arm: difference(values, arms[base]) for arm, values in arms.items() if arm != base}
        for base in ("teacher", "control")
    }
    if asked.json:
        say_json({"seeds": asked.seeds, "arms": arms, "against": against, "quality": quality(results)})
        return
    rows = [
        [
            title,
            f"{100 * sum(arms[arm].values()) / len(arms[arm]):.1f}",
            *(gain(against[base].get(arm)) for base in against),
        ]
        for arm, title in ARMS.items()
    ]
    print_table(["arm", "mean IoU, %", "− teacher, points", "− control, points"], rows)
    print_table(
        ["quality classifier", "mean over the seeds"], [[name, f"{v:.2f}"] for name, v in quality(results).items()]
    )


def gain(found: dict[str, float] | None) -> str:
    return in_points(found) if found else ""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="fixed before the first run")
    parser.add_argument("--folder", type=Path, default=Path("bench-demo"), help="where to work; made if needed")
    parser.add_argument("--settings", type=Path, help="a TOML file of the demo's knobs")
    parser.add_argument(
        "--set", dest="turns", metavar="KEY=VALUE", action="append", help="turn one of the demo's knobs"
    )
    parser.add_argument("--json", action="store_true", help="one line for machines instead of the table")
    return parser.parse_args()


def run(seed: int, asked: argparse.Namespace) -> dict[str, Any]:
    """The result of one seed: read if it is there for these knobs, else made."""
    settings = knobs(DemoSettings, asked.settings, [*(asked.turns or ()), f"seed={seed}"])
    folder = asked.folder / f"seed-{seed}"
    result, mark = folder / "demo-result.json", folder / "demo.json"
    if not (result.is_file() and mark.read_text("utf-8") == settings.model_dump_json(indent=1)):
        play(demo(folder, settings))
    found: dict[str, Any] = json.loads(result.read_text("utf-8"))
    return found


def quality(results: dict[int, dict[str, Any]]) -> dict[str, float]:
    """Each figure of the quality classifier, over the seeds that have it."""
    names = ("auroc", "precision", "threshold", "kept")
    known = {name: [r["quality"][name] for r in results.values() if r["quality"][name] is not None] for name in names}
    return {name: sum(values) / len(values) for name, values in known.items() if values}


if __name__ == "__main__":
    main()
