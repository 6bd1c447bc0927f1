"""Does a mean teacher of things that overlap do what its paper says? Nuclei pasted over each other, one tenth labelled.

    python benchmarks/claims_instances.py --strategy instances --data nuclei --seeds 5 --source FOLDER

FOLDER holds ``nuclei/img2d.tif`` and ``nuclei/mask2d.tif``: real nuclei and their ids. Scenes with labels, without, and
to test on are made of different nuclei. Every arm of a seed has the same scenes, steps, labelled patches and network;
played and shown as every claim is, see ``claims.py``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parent))
from claims import main
from claims_arms import BEGUN, CLAIMS, GUIDED, student
from claims_data import Material, trial_settings
from claims_study import Claim, Study, again

from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.project import Drawn, Project
from napari_medaka_kd.settings import (
    AugmentSettings,
    MeanTeacherSettings,
    NetworkSettings,
    PatchSettings,
    QualitySettings,
    SegmentSettings,
)
from napari_medaka_kd.volumes.instances import Instance, instance
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.volume import Volume
from napari_medaka_kd.workflow.assess_things import compare_things
from napari_medaka_kd.workflow.propose import segment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Scan: TypeAlias = "tuple[Volume, Drawn]"
Nucleus: TypeAlias = "tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]"  # brightness above ground, mask; (y, x)

_HIDDEN = 0.4  # of a nucleus at most under any other one
_LABELLED, _BARE, _TESTED = 2, 18, 40  # scenes
_SHARES = (0.15, 0.65)  # of the nuclei: in labelled scenes; in these and those without labels
FIGURES = {"AJI": "aji", "AP50": "ap50", "mean AP": "ap"}


@dataclass(frozen=True)
class Scene:
    """How many pixels wide and high a scene is, how many nuclei lie in it, and whether a worse microscope saw it."""

    side: int
    count: int
    worse: bool = False


LARGE, SMALL = Scene(128, 22), Scene(64, 6)


def nuclei(data: Path, seed: int, looks: Scene = LARGE, steps: int = 1800, all_labelled: bool = False) -> Material:
    """Two labelled scenes, eighteen without labels and forty to test on, of nuclei that the others do not have.

    A scene is a slice; a case has several. ``all_labelled``: the eighteen have labels, too. The labelled two
    come from the good microscope always, a worse one is another for each scene.
    """
    import tifffile

    folder = data / "nuclei"
    image, ids = tifffile.imread(folder / "img2d.tif").astype(np.float32), tifffile.imread(folder / "mask2d.tif")
    rng = np.random.default_rng((seed, 61))
    cut = cut_out(image, ids)
    pools = np.split(rng.permutation(len(cut)), [int(len(cut) * share) for share in _SHARES])
    few, many, tested = ([cut[place] for place in pool] for pool in pools)
    ground = image[ids == 0]
    trial = trial_settings(
        seed,
        QualitySettings(),
        network=NetworkSettings(dimensions=2, widths=(16, 32, 64), coordinates=False),
        patches=PatchSettings(patch=(1, 64, 64), batch=4),
        augment=AugmentSettings(flips=(False, True, True), rotation=180, scaling=0.1),
        steps=steps,
    )
    draw = partial(scan, looks, ground=ground, rng=rng)
    known: dict[str, Any] = {"labelled": scan(replace(looks, worse=False), few, ground, _LABELLED, rng)}
    bare: dict[str, Any] = {"bare": draw(many, scenes=_BARE)}
    tests: dict[str, Any] = {f"scenes{number}": draw(tested, scenes=2) for number in range(_TESTED // 2)}
    parts = (known | bare, {}) if all_labelled else (known, bare)
    return Material(LabelSchema.from_names(["nucleus"]), *parts, {"nuclei": tests}, trial)


def cut_out(image: npt.NDArray[np.float32], ids: npt.NDArray[np.integer]) -> list[Nucleus]:
    """Each nucleus that does not touch the image's edge, cut out, how much brighter than the ground it is."""
    from scipy import ndimage

    ground, found = float(np.median(image[ids == 0])), []
    for which, box in enumerate(ndimage.find_objects(ids), start=1):
        if box is None or any(side.start == 0 or side.stop == size for side, size in zip(box, ids.shape, strict=True)):
            continue
        mask = ids[box] == which
        found.append((np.where(mask, np.maximum(image[box] - ground, 0), 0).astype(np.float32), mask))
    return found


def scan(
    looks: Scene, pool: Sequence[Nucleus], ground: npt.NDArray[np.float32], scenes: int, rng: np.random.Generator
) -> Scan:
    """``scenes`` of nuclei from ``pool`` as slices of one scan, and the things in them."""
    pages: list[npt.NDArray[np.float32]] = []
    things: list[Instance] = []
    for z in range(scenes):
        page, masks = scene(looks, pool, ground, rng)
        pages.append(worsened(page, rng) if looks.worse else page)
        things += [thing for mask in masks if (thing := instance(mask[None], (z, 0, 0))) is not None]
    image = np.stack(pages).clip(0, 65_535).round().astype(np.uint16)
    return Volume((image,), (1.0, 1.0, 1.0), "nuclei"), Drawn(None, things)


def scene(
    looks: Scene, pool: Sequence[Nucleus], ground: npt.NDArray[np.float32], rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], list[npt.NDArray[np.bool_]]]:
    """Nuclei over each other: each adds its light, and lets through between a third and all of what is below.

    The page (y, x) float32, and the whole mask (y, x) of each nucleus.
    """
    from scipy import ndimage

    side = looks.side
    page = ndimage.gaussian_filter(rng.choice(ground, (side, side)), 0.7)
    masks: list[npt.NDArray[np.bool_]] = []
    for _ in range(20 * looks.count):
        light, mask = turned(pool[int(rng.integers(len(pool)))], rng)
        y, x = (int(rng.integers(0, side - each)) for each in mask.shape)
        placed = np.zeros((side, side), bool)
        placed[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
        if any((placed & other).sum() > _HIDDEN * min(mask.sum(), other.sum()) for other in masks):
            continue
        through = rng.uniform(1 / 3, 1)
        page[placed] = page[placed] * through + rng.uniform(0.7, 1.3) * light[mask]
        masks.append(placed)
        if len(masks) == looks.count:
            break
    return page, masks


def worsened(page: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """``page`` (y, x) as a worse microscope has it: dim by up to two thirds, blurred by up to 1.5 pixels, noisy."""
    from scipy import ndimage

    ground, bright = np.median(page), np.percentile(page, 95)
    dim = ground + (page - ground) * rng.uniform(1 / 3, 1)
    blurred = ndimage.gaussian_filter(dim, rng.uniform(0, 1.5))
    noise = rng.normal(0, rng.uniform(0, 0.15) * (bright - ground), page.shape)
    worse: npt.NDArray[np.float32] = (blurred + noise).astype(np.float32)
    return worse


def turned(nucleus: Nucleus, rng: np.random.Generator) -> Nucleus:
    """By a quarter turn or some, and perhaps mirrored: no pixel is made up."""
    quarters, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    light, mask = (np.rot90(each[:, ::-1] if mirrored else each, quarters) for each in nucleus)
    return light, mask


def judged(project: Project, name: str, material: Material, data: Path) -> dict[str, float]:
    """By figure, the mean over the tests."""
    tests = [case.id for case in project.cases if case.held_out]
    means = drain(compare_things(project, [Checkpoint.open(project.checkpoint(name))], tests)).means()[name]
    return {title: means[figure] for title, figure in FIGURES.items()}


def _things(**knobs: Any) -> MeanTeacherSettings:
    return MeanTeacherSettings(instances=True, unlabelled=4, **knobs)


def _learned(study: Study) -> str:
    """The checkpoint that learned from labels alone."""
    study.distil("labels", _things(weight=0))
    return "labels"


def _labels(study: Study, name: str) -> None:
    again(study.project, _learned(study), name)


def _continued(**knobs: Any) -> Any:
    """Begun with what labels taught."""
    return lambda study, name: study.distil(name, _things(**knobs), teacher=_learned(study))


def _pasted(**knobs: Any) -> Any:
    """Things pasted over each other: labelled ones."""
    return lambda study, name: study.distil(name, _things(paste=0.5, **knobs))


def _found_pasted(**knobs: Any) -> Any:
    """And those that were found lying alone, by what learned from labels alone; trained from scratch all the same."""

    def make(study: Study, name: str) -> None:
        teacher = _learned(study)
        if teacher not in study.project.case("bare").instance_names:  # found anew, they would begin a training anew
            drain(segment(study.project, teacher, SegmentSettings(), ["bare"]))
        study.distil(name, _things(paste=0.5, **knobs), teacher=teacher, begun=False)

    return make


DATA: dict[str, Callable[[Path, int], Material]] = {
    "nuclei": nuclei,
    "nuclei-all": partial(nuclei, all_labelled=True),
    "few-nuclei": partial(nuclei, looks=SMALL),
    "few-nuclei-all": partial(nuclei, looks=SMALL, all_labelled=True),
    "nuclei-elsewhere": partial(nuclei, looks=replace(LARGE, worse=True)),
    "few-nuclei-elsewhere": partial(nuclei, looks=replace(SMALL, worse=True)),
}
INSTANCES = Claim(
    data=DATA,
    arms={
        "supervised": _labels,
        **{title: student(_things(**knobs)) for title, knobs in GUIDED.items()},
        **{title: _continued(**knobs) for title, knobs in BEGUN.items()},
        "labels, labelled things pasted": _pasted(weight=0),
        "labels, found things pasted, too": _found_pasted(weight=0),
        "PSM and MGD, found things pasted": _found_pasted(),
    },
    references=("supervised", "plain mean teacher", "random mining", "labels, labelled things pasted"),
    figures=dict.fromkeys(DATA, judged),
)

if __name__ == "__main__":
    CLAIMS["instances"] = INSTANCES
    main()
