"""Anatomy checks: how many faults made on purpose each finds, and how often it speaks of labels that are right.

    python benchmarks/anatomy.py [--mice ../shared/data/mouse_brain_mri] [--animals 40] [--json]

Phantoms, their eyes, lenses and gills parted into a left and a right one, against 1, 3 and 6 labelled animals; mouse
brains against the others. One fault at a time, in an organ drawn at random; found is a flag of the fault's own kind
that names the organ; in brackets, any flag that does.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from table import print_table, say_json

from napari_medaka_kd.demo_settings import PhantomSettings
from napari_medaka_kd.quality.anatomy import Anatomy
from napari_medaka_kd.quality.facts import look_at
from napari_medaka_kd.quality.rules import Rules, default_text, guessed_pairs, resolve
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.phantom import MEDAKA, phantom_animal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Classes = npt.NDArray[np.int64]
Random = np.random.Generator

PARTED = ("eyes", "lenses", "gills")
SHAPE, VOXEL = (96, 64, 64), 267.0  # µm
COHORTS = (1, 3, 6)


@dataclass(frozen=True)
class Fault:
    """A label map spoilt on purpose: which organs are wrong, and at which slice where it is about one."""

    classes: Classes
    organs: tuple[int, ...]
    z: int | None = None


@dataclass(frozen=True)
class Case:
    """One animal against the others: rules, its true labels, the size of its voxels in µm."""

    anatomy: Anatomy
    classes: Classes
    voxel: tuple[float, float, float]


def swap_pair(case: Case, rng: Random) -> Fault | None:
    pairs = [p for p in case.anatomy.rules.pairs if set(p) <= set(np.unique(case.classes).tolist())]
    if not pairs:
        return None
    left, right = pairs[rng.integers(len(pairs))]
    return Fault(exchanged(case.classes, ((left, right),)), (left, right))


def swap_all(case: Case, rng: Random) -> Fault | None:
    return Fault(exchanged(case.classes, case.anatomy.rules.pairs), ()) if len(case.anatomy.rules.pairs) > 1 else None


def leave_out(case: Case, rng: Random) -> Fault | None:
    organ = any_organ(case, rng)
    return Fault(np.where(case.classes == organ, 0, case.classes), (organ,))


def swell(case: Case, rng: Random) -> Fault | None:
    """Grow to two and a half times its volume and more, into the background."""
    organ = any_organ(case, rng)
    mask = case.classes == organ
    wanted, free = 2.5 * mask.sum(), case.classes == 0
    for _ in range(40):
        if mask.sum() >= wanted:
            return Fault(np.where(mask, organ, case.classes), (organ,))
        mask |= ndimage.binary_dilation(mask) & free
    return None


def shrink(case: Case, rng: Random) -> Fault | None:
    """Keep the thickest third."""
    organ = any_organ(case, rng)
    depth = ndimage.distance_transform_edt(case.classes == organ) + 0.01 * rng.random(case.classes.shape)
    inside = case.classes == organ
    least = np.quantile(depth[inside], 2 / 3)
    return Fault(np.where(inside & (depth < least), 0, case.classes), (organ,))


def move(case: Case, rng: Random) -> Fault | None:
    """By a third of the length of all organs, across or along the body."""
    organ = any_organ(case, rng)
    box = ndimage.find_objects((case.classes > 0).astype(int))[0]
    far = 0.33 * max((s.stop - s.start) * v for s, v in zip(box, case.voxel, strict=True))
    axis, way = int(rng.integers(3)), int(rng.choice((-1, 1)))
    step = [0, 0, 0]
    step[axis] = way * round(far / case.voxel[axis])
    rolled = ndimage.shift((case.classes == organ).astype(np.uint8), step, order=0)
    gone = np.where(case.classes == organ, 0, case.classes)
    moved = np.where(rolled > 0, organ, gone)
    return Fault(moved, (organ,)) if (moved == organ).sum() > 0.8 * (case.classes == organ).sum() else None


def litter(case: Case, rng: Random) -> Fault | None:
    """Four blobs of a tenth of the organ each in the background among the organs."""
    organ = any_organ(case, rng)
    near = ndimage.distance_transform_edt(case.classes != organ)
    among = np.argwhere((case.classes == 0) & (ndimage.distance_transform_edt(case.classes == 0) < 8) & (near > 6))
    if len(among) < 100:
        return None
    damaged = case.classes.copy()
    for centre in among[rng.integers(len(among), size=4)]:
        damaged[ball(case.classes.shape, centre, 0.1 * (case.classes == organ).sum()) & (damaged == 0)] = organ
    return Fault(damaged, (organ,))


def stray(case: Case, rng: Random) -> Fault | None:
    """Call half of another organ by its name, one that it does not touch."""
    organs = [int(o) for o in np.unique(case.classes) if o]
    touching = {pair[:2] for pair in look_at(case.classes, case.voxel).contacts}
    apart = [(a, b) for a in organs for b in organs if a != b and (min(a, b), max(a, b)) not in touching]
    one, other = apart[rng.integers(len(apart))]
    places = np.argwhere(case.classes == other)
    half = (places - places.mean(0)) @ rng.normal(size=3) > 0
    damaged = case.classes.copy()
    damaged[tuple(places[half].T)] = one
    return Fault(damaged, (one, other))


def retreat(case: Case, rng: Random) -> Fault | None:
    """Take away of an organ what lies within three voxels of one that it must touch."""
    must = sorted(case.anatomy.must_touch)
    must = [pair for pair in must if set(pair) <= set(np.unique(case.classes).tolist())]
    if not must:
        return None
    one, other = must[rng.integers(len(must))]
    near = ndimage.distance_transform_edt(case.classes != other) < 3.5
    damaged = np.where(near & (case.classes == one), 0, case.classes)
    return Fault(damaged, (one, other)) if (damaged == one).any() else None


def wither(case: Case, rng: Random) -> Fault | None:
    """Halve one of a pair."""
    pairs = [p for p in case.anatomy.rules.pairs if set(p) <= set(np.unique(case.classes).tolist())]
    if not pairs:
        return None
    pair = pairs[rng.integers(len(pairs))]
    organ = int(rng.choice(pair))
    inside = case.classes == organ
    depth = ndimage.distance_transform_edt(inside) + 0.01 * rng.random(inside.shape)
    least = np.quantile(depth[inside], 0.6)
    return Fault(np.where(inside & (depth < least), 0, case.classes), tuple(sorted(pair)))


def hollow(case: Case, rng: Random) -> Fault | None:
    """A hole of about an eighth of the organ, around its deepest voxel."""
    organ = any_organ(case, rng)
    depth = ndimage.distance_transform_edt(case.classes == organ)
    hole = ball(depth.shape, np.unravel_index(depth.argmax(), depth.shape), 0.125 * (case.classes == organ).sum())
    hole &= depth > 1.5
    return Fault(np.where(hole, 0, case.classes), (organ,)) if hole.sum() > 0.06 * (depth > 0).sum() else None


def slip(case: Case, rng: Random) -> Fault | None:
    """From a slice in its middle half on, move it aside by its own width."""
    organ = any_organ(case, rng)
    box = ndimage.find_objects((case.classes == organ).astype(int))[0]
    depth, width = box[0].stop - box[0].start, box[1].stop - box[1].start
    if depth < 8:
        return None
    z = box[0].start + int(rng.integers(depth // 4, 3 * depth // 4 + 1))
    mask = case.classes == organ
    moved = mask.copy()
    moved[z:] = ndimage.shift(mask[z:].astype(np.uint8), (0, width, 0), order=0) > 0
    damaged = np.where(moved, organ, np.where(mask, 0, case.classes))
    return Fault(damaged, (organ,), z) if moved[z].sum() > 0.8 * mask[z].sum() else None


#: What is done, the kinds of flags that find it, and in words.
FAULTS: tuple[tuple[Callable[[Case, Random], Fault | None], tuple[str, ...], str], ...] = (
    (swap_pair, ("side", "mirrored"), "left and right of a pair swapped"),
    (swap_all, ("mirrored",), "left and right of all pairs swapped"),
    (leave_out, ("missing",), "organ left out"),
    (swell, ("volume",), "organ of 2.5 times its volume"),
    (shrink, ("volume",), "a third of an organ"),
    (move, ("place",), "organ moved by a third of the body's length"),
    (litter, ("pieces",), "four blobs elsewhere"),
    (stray, ("neighbours",), "half of an organ called another"),
    (retreat, ("neighbours",), "gap to an organ that it must touch"),
    (wither, ("symmetry",), "one of a pair at 0.4 of its volume"),
    (hollow, ("holes",), "hole of an eighth"),
    (slip, ("jump",), "slipped sideways from a slice on"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mice", type=Path, help="folder of mouse<n>_label.nii.gz, ids 1-20 right, 21-40 left")
    parser.add_argument("--animals", type=int, default=40, help="phantoms that are looked at")
    parser.add_argument("--json", action="store_true", help="one line for machines instead of the tables")
    asked = parser.parse_args()
    sets = {f"phantoms against {n}": list(phantoms(asked.animals, n)) for n in COHORTS}
    if asked.mice:
        sets["mouse brains against 4"] = [case for _ in range(8) for case in mice(asked.mice)]
    quiet = {name: false_alarms(cases[:5] if "mouse" in name else cases) for name, cases in sets.items()}
    found = {name: detections(cases) for name, cases in sets.items()}
    if asked.json:
        say_json({"found": found, "false alarms": quiet})
        return
    print_table(
        ["fault", "flag", *sets],
        [[words, kinds[0], *(found[name][words] for name in sets)] for _, kinds, words in FAULTS],
    )
    print_table(
        ["labels that are right", *sets],
        [[row, *(quiet[name][row] for name in sets)] for row in next(iter(quiet.values()))],
    )


def detections(cases: list[Case]) -> dict[str, str]:
    """By fault: found of made, and found by any flag about the organ."""
    rows = {}
    for number, (make, kinds, words) in enumerate(FAULTS):
        made = found = anyhow = there = 0
        for seed, case in enumerate(cases):
            fault = make(case, np.random.default_rng((seed, number)))
            if fault is None:
                continue
            made += 1
            flags = case.anatomy.flags(look_at(fault.classes, case.voxel))
            about = [
                flag for flag in flags if not fault.organs or set(flag.organs) & set(fault.organs) or not flag.organs
            ]
            own = [flag for flag in about if flag.kind in kinds]
            found += bool(own)
            anyhow += bool(about)
            there += any(flag.z is not None and fault.z is not None and abs(flag.z - fault.z) <= 1 for flag in own)
        rows[words] = f"{found}/{made} ({anyhow})" if made else "-"
        if make is slip and made:
            rows[words] += f", place {there}"
    return rows


def is_about(flagged: tuple[int, ...], organs: tuple[int, ...]) -> bool:
    """Whether one of the organs is named; what is about the whole animal is about each of them."""
    return not flagged or not organs or bool(set(flagged) & set(organs))


def false_alarms(cases: list[Case]) -> dict[str, str]:
    flags = [case.anatomy.flags(look_at(case.classes, case.voxel)) for case in cases]
    organs = sum(len(np.unique(case.classes)) - 1 for case in cases)
    kinds = Counter(flag.kind for each in flags for flag in each)
    return {
        "animals with a flag": f"{sum(bool(each) for each in flags)} of {len(cases)}",
        "flags": f"{sum(kinds.values())} on {organs} organs",
        "of which": ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "-",
    }


def phantoms(count: int, cohort: int) -> Iterator[Case]:
    """Animals 0 … against ``cohort`` others, by medaka's rules with its paired organs parted."""
    names = [n for n in MEDAKA.names if n not in PARTED] + [f"{s} {n}" for n in PARTED for s in ("left", "right")]
    schema = LabelSchema.from_names(names)
    known = tuple(look_at(parted(1000 + number, schema), (VOXEL,) * 3) for number in range(cohort))
    anatomy = Anatomy(parted_rules(schema), known)
    for number in range(count):
        yield Case(anatomy, parted(number, schema), (VOXEL,) * 3)


def parted(animal: int, schema: LabelSchema) -> Classes:
    """A phantom's classes, its paired organs parted by the side on which their pieces lie."""
    labels = phantom_animal(PhantomSettings(shape=SHAPE, voxel_size=VOXEL, animal=animal)).labels.volume.read()
    classes = np.zeros(labels.shape, np.int64)
    brain = ndimage.center_of_mass(labels == MEDAKA.names.index("brain") + 1)
    for organ in MEDAKA.organs:
        mask = labels == organ.id
        if organ.name not in PARTED:
            classes[mask] = schema.names.index(organ.name) + 1
            continue
        pieces, count = ndimage.label(mask)
        for piece in range(1, count + 1):
            side = "left" if ndimage.center_of_mass(pieces == piece)[2] < brain[2] else "right"
            classes[pieces == piece] = schema.names.index(f"{side} {organ.name}") + 1
    return classes


def parted_rules(schema: LabelSchema) -> Rules:
    """Medaka's rules on the organs that are not parted; for the others what can be guessed."""
    import tomllib

    import tomli_w

    sheet: dict[str, Any] = tomllib.loads(default_text(MEDAKA))["rules"]
    kept = {
        name: {
            key: [o for o in value if o not in PARTED] if key in ("touches", "apart") else value
            for key, value in rule.items()
        }
        for name, rule in sheet.items()
        if name not in PARTED
    }
    return resolve(tomli_w.dumps({"rules": kept}), schema)


def mice(folder: Path) -> list[Case]:
    """Each brain against the others; nothing is declared, pairs are known by their names."""
    import nibabel

    lines = [line.split("\t") for line in (folder / "labels.txt").read_text().splitlines()]
    names = {int(line[0]): line[1].strip() for line in lines if len(line) > 1 and line[0].isdigit()}
    schema = LabelSchema.from_names([f"{side} {names[n]}" for side in ("right", "left") for n in range(1, 21)])
    images = [nibabel.load(file) for file in sorted(folder.glob("mouse*_label.nii.gz"))]
    maps = [np.asarray(image.dataobj).T.astype(np.int64) for image in images]
    sizes = [tuple(1000.0 * float(v) for v in image.header.get_zooms()[::-1]) for image in images]
    facts = [look_at(classes, size) for classes, size in zip(maps, sizes, strict=True)]
    rules = Rules(names=schema.names, pairs=guessed_pairs(dict(enumerate(schema.names, start=1))))
    return [
        Case(Anatomy(rules, tuple(f for other, f in enumerate(facts) if other != n)), maps[n], sizes[n])
        for n in range(len(maps))
    ]


def any_organ(case: Case, rng: Random) -> int:
    counts = np.bincount(case.classes.ravel())
    return int(rng.choice([organ for organ in range(1, len(counts)) if counts[organ] >= 64]))


def exchanged(classes: Classes, pairs: tuple[tuple[int, int], ...]) -> Classes:
    table = np.arange(classes.max() + 1)
    for left, right in pairs:
        table[left], table[right] = right, left
    return table[classes]


def ball(shape: tuple[int, ...], centre: Any, volume: float) -> npt.NDArray[np.bool_]:
    grids: Any = np.ogrid[tuple(slice(0, side) for side in shape)]
    radius = max(1.5, (0.24 * volume) ** (1 / 3))
    return np.asarray(sum((grid - at) ** 2 for grid, at in zip(grids, centre, strict=True)) <= radius**2)


if __name__ == "__main__":
    main()
