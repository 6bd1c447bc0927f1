"""Does a mean teacher of things that overlap do what its paper says? Nuclei pasted over each other, one tenth labelled.

    python benchmarks/claims_instances.py --source FOLDER --seeds 5 [--steps N] [--folder FOLDER]

FOLDER holds ``img2d.tif`` and ``mask2d.tif``: real nuclei and their ids. Scenes to learn from with labels, without, and
to test on are made of different nuclei. Every arm of a seed has the same scenes, steps, labelled patches and network.
Differences are paired by seed, with 95 % t-intervals. Interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parent))
from claims_arms import Claim, Study
from table import in_points, print_table, say_json

from napari_medaka_kd.job import drain
from napari_medaka_kd.project import Drawn, Project, add_case, create_project, open_project
from napari_medaka_kd.report import difference, plain
from napari_medaka_kd.settings import (
    AugmentSettings,
    FitSettings,
    MeanTeacherSettings,
    NetworkSettings,
    PatchSettings,
    SegmentSettings,
    TrainSettings,
)
from napari_medaka_kd.volumes.atomic import replace_file
from napari_medaka_kd.volumes.instances import Instance, instance
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.volume import Volume
from napari_medaka_kd.workflow.assess_things import compare_things
from napari_medaka_kd.workflow.propose import segment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Scan: TypeAlias = "tuple[Volume, tuple[Instance, ...]]"
Found: TypeAlias = dict[str, dict[str, dict[str, float]]]  # arm → figure → seed → value
Nucleus: TypeAlias = "tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]"  # brightness above ground, mask; (y, x)

SIDE, COUNT = 128, 22  # pixels and nuclei of a scene
_HIDDEN = 0.4  # of a nucleus at most under any other one
_LABELLED, _BARE, _TESTED = 2, 18, 8  # scenes
_SHARES = (0.15, 0.65)  # of the nuclei: in labelled scenes; in these and those without labels
FIGURES = {"AJI": "aji", "AP50": "ap50", "mean AP": "ap"}


@dataclass(frozen=True)
class ThingsMaterial:
    """One seed: scans of several scenes, a slice each, with their things.

    Attributes
    ----------
    labelled, unlabelled, tests
        By case: what an arm may learn from, the things of the middle ones unseen; and what it never learns from.
    plain
        How every arm is trained.
    """

    labelled: dict[str, Scan]
    unlabelled: dict[str, Scan]
    tests: dict[str, Scan]
    plain: TrainSettings


def nuclei_material(data: Path, seed: int, steps: int = 1500) -> ThingsMaterial:
    """Two labelled scenes, eighteen without labels and eight to test on, of nuclei that the others do not have."""
    import tifffile

    image, ids = tifffile.imread(data / "img2d.tif").astype(np.float32), tifffile.imread(data / "mask2d.tif")
    rng = np.random.default_rng((seed, 61))
    cut = nuclei(image, ids)
    order = rng.permutation(len(cut))
    parts = [[cut[place] for place in part] for part in np.split(order, [int(len(cut) * share) for share in _SHARES])]
    ground = image[ids == 0]
    return ThingsMaterial(
        {"labelled": scan(parts[0], ground, _LABELLED, rng)},
        {"bare": scan(parts[1], ground, _BARE, rng)},
        {f"test{number}": scan(parts[2], ground, 2, rng) for number in range(_TESTED // 2)},
        TrainSettings(
            network=NetworkSettings(dimensions=2, widths=(16, 32, 64), coordinates=False),
            patches=PatchSettings(patch=(1, 64, 64), batch=4),
            augment=AugmentSettings(flips=(False, True, True), rotation=180, scaling=0.1),
            fit=FitSettings(steps=steps, learning_rate=3e-3, save_every=max(1, steps // 4)),
        ),
    )


def nuclei(image: npt.NDArray[np.float32], ids: npt.NDArray[np.integer]) -> list[Nucleus]:
    """Each nucleus that does not touch the image's edge, cut out, how much brighter than the ground it is."""
    from scipy import ndimage

    ground, found = float(np.median(image[ids == 0])), []
    for which, box in enumerate(ndimage.find_objects(ids), start=1):
        if box is None or any(side.start == 0 or side.stop == size for side, size in zip(box, ids.shape, strict=True)):
            continue
        mask = ids[box] == which
        found.append((np.where(mask, np.maximum(image[box] - ground, 0), 0).astype(np.float32), mask))
    return found


def scan(pool: Sequence[Nucleus], ground: npt.NDArray[np.float32], scenes: int, rng: np.random.Generator) -> Scan:
    """``scenes`` of nuclei from ``pool`` as slices of one scan, and the things in them."""
    pages, things = [], []
    for z in range(scenes):
        page, masks = scene(pool, ground, rng)
        pages.append(page)
        things += [instance(mask[None], (z, 0, 0)) for mask in masks]
    image = np.stack(pages).clip(0, 65_535).round().astype(np.uint16)
    return Volume((image,), (1.0, 1.0, 1.0), "nuclei"), tuple(thing for thing in things if thing is not None)


def scene(
    pool: Sequence[Nucleus], ground: npt.NDArray[np.float32], rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], list[npt.NDArray[np.bool_]]]:
    """Nuclei over each other: each adds its light, and lets through between a third and all of what is below.

    The page (y, x) float32, and the whole mask (y, x) of each nucleus.
    """
    from scipy import ndimage

    page = ndimage.gaussian_filter(rng.choice(ground, (SIDE, SIDE)), 0.7)
    masks: list[npt.NDArray[np.bool_]] = []
    for _ in range(20 * COUNT):
        light, mask = turned(pool[int(rng.integers(len(pool)))], rng)
        y, x = (int(rng.integers(0, SIDE - side)) for side in mask.shape)
        placed = np.zeros((SIDE, SIDE), bool)
        placed[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
        if any((placed & other).sum() > _HIDDEN * min(mask.sum(), other.sum()) for other in masks):
            continue
        through = rng.uniform(1 / 3, 1)
        page[placed] = page[placed] * through + rng.uniform(0.7, 1.3) * light[mask]
        masks.append(placed)
        if len(masks) == COUNT:
            break
    return page, masks


def turned(nucleus: Nucleus, rng: np.random.Generator) -> Nucleus:
    """By a quarter turn or some, and perhaps mirrored: no pixel is made up."""
    quarters, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    light, mask = (np.rot90(each[:, ::-1] if mirrored else each, quarters) for each in nucleus)
    return light, mask


def _arm(**knobs: float | str | bool) -> Callable[[Study, str], None]:
    strategy = MeanTeacherSettings.model_validate({"instances": True, "unlabelled": 4, **knobs})
    return lambda study, name: study.distil(name, strategy, study.plain.augment)


INSTANCES = Claim(
    {
        "supervised": _arm(weight=0),
        "mean teacher, all samples": _arm(mining="all", feature_weight=0),
        "random mining": _arm(mining="random", feature_weight=0),
        "PSM": _arm(feature_weight=0),
        "MGD, unmasked": _arm(mining_weight=0, masked=False),
        "MGD, masked": _arm(mining_weight=0),
        "PSM and MGD, masked": _arm(),
    },
    ("supervised", "random mining"),
)


def opened(place: Path, material: ThingsMaterial) -> Project:
    """The project of one seed; the tests are cases that are held out."""
    schema = LabelSchema.from_names(["nucleus"])
    project = open_project(place) if place.exists() else create_project(place, "claims", schema)
    known = {case.id for case in project.cases}
    for animals, drawn, held_out in (
        (material.labelled, True, False),
        (material.unlabelled, False, False),
        (material.tests, True, True),
    ):
        for name, (volume, things) in animals.items():
            if name not in known:
                drain(add_case(project, volume, Drawn(None, things if drawn else ()), name, held_out))
    return project


def judged(project: Project, checkpoint: str) -> dict[str, float]:
    """By figure, the mean over the tests."""
    from napari_medaka_kd.networks.checkpoint import Checkpoint

    tests = [case.id for case in project.cases if case.held_out]
    drain(segment(project, checkpoint, SegmentSettings(), tests))
    means = drain(compare_things(project, [Checkpoint.open(project.checkpoint(checkpoint))], tests)).means()
    return {title: means[checkpoint][figure] for title, figure in FIGURES.items()}


def play(asked: argparse.Namespace, seed: int) -> dict[str, dict[str, float]]:
    """By arm and figure, what one seed gave; arms that were played before are read."""
    folder = asked.folder / f"seed-{seed}"
    file = folder / "figures.json"
    known: dict[str, dict[str, float]] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    if known.keys() >= INSTANCES.arms.keys():
        return {arm: known[arm] for arm in INSTANCES.arms}
    material = nuclei_material(asked.source, seed, asked.steps)
    project = opened(folder / "project", material)
    study = Study(project, material.plain.model_copy(update={"seed": seed}))
    for number, (arm, make) in enumerate(INSTANCES.arms.items()):
        if arm in known:
            continue
        print(f"instances, seed {seed}: {arm} …", file=sys.stderr)
        name = f"arm-{number}"
        if name not in project.checkpoints:
            make(study, name)
        known[arm] = judged(project, name)
        replace_file(file, json.dumps(plain(known)).encode())
    return known


def against(found: Found, base: str) -> dict[str, dict[str, dict[str, float]]]:
    """By arm and figure, the paired difference to ``base``."""
    return {
        arm: {figure: difference(values, found[base][figure]) for figure, values in figures.items()}
        for arm, figures in found.items()
        if arm != base
    }


def main() -> None:
    asked = arguments()
    found: Found = {arm: {figure: {} for figure in FIGURES} for arm in INSTANCES.arms}
    for seed in range(asked.seeds):
        for arm, figures in play(asked, seed).items():
            for figure, value in figures.items():
                found[arm][figure][str(seed)] = value
    gains = {base: against(found, base) for base in INSTANCES.references}
    if asked.json:
        say_json({"found": found, "against": gains})
        return
    means = [[arm, *(f"{100 * np.mean(list(f.values())):.1f}" for f in each.values())] for arm, each in found.items()]
    print_table(["mean, %", *FIGURES], means)
    for base, rows in gains.items():
        table = [[arm, *(in_points(each[figure]) for figure in FIGURES)] for arm, each in rows.items()]
        print_table([f"points more than {base}", *FIGURES], table)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder of img2d.tif and mask2d.tif")
    parser.add_argument("--seeds", type=int, default=5, help="0 … this many less one")
    parser.add_argument("--steps", type=int, default=1500, help="of every arm")
    parser.add_argument("--folder", type=Path, default=Path("medaka-bench") / "claims" / "instances")
    parser.add_argument("--json", action="store_true", help="one line for machines instead of the tables")
    return parser.parse_args()


if __name__ == "__main__":
    main()
