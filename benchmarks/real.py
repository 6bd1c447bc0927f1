"""The main job on real scans, from the command line only: mouse brains (MRI) and mouse heads (micro-CT).

    python benchmarks/real.py --data FOLDER [--folder medaka-real] [--json]

FOLDER holds mouse_brain_mri/ (mouse1 … mouse5, each with _mri and _label, and labels.txt) and mouse_head_microct/
(template_ct, template_label, targets/). Every step is a call of medaka-kd; interrupted, the same command goes on.

Brains: two animals labelled, two not, one held out; teacher → proposals → quality → student → evaluation.
Heads: a teacher trained on the labelled average head segments one whole animal in another pose; organs measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage
from table import print_table, say_json

from napari_medaka_kd.project import open_project

HEAD_PARTS = {1: "cranium", 2: "right hemimandible", 3: "cervical vertebrae", 15: "endocranial cavity"}
HEAD_PARTS |= {21: "left hemimandible"}
TARGET = "A_J_"

#: Slices of 96² around an organ; forty organs that lie alike in every animal.
BRAIN = (
    "network.dimensions=2",
    "network.widths=[16,32,64,96]",
    "patches.patch=[1,96,96]",
    "augment.rotation=8",
    "augment.scaling=0.08",
)
#: Patches of 64³ turned every way; no coordinates, because the animals lie in any pose. Smaller ones miss the cavity.
HEAD = (
    "network.dimensions=3",
    "network.widths=[8,16,32,64,96]",
    "network.coordinates=false",
    "patches.patch=[64,64,64]",
    "patches.batch=2",
    "augment.rotation=180",
    "augment.scaling=0.2",
    "augment.noise=0.05",
    "fit.steps=600",
    "fit.learning_rate=5e-3",
)


def main() -> None:
    asked = arguments()
    begun = time.monotonic()
    asked.folder.mkdir(parents=True, exist_ok=True)
    brains = run_brains(asked.data / "mouse_brain_mri", asked.folder / "brains")
    head = run_head(asked.data / "mouse_head_microct", asked.folder / "heads")
    seconds = round(time.monotonic() - begun)
    if asked.json:
        say_json({"brains": brains, "head": head, "seconds": seconds})
        return
    print_table(["mouse brain, held-out animal", "mean IoU, %"], [[n, f"{100 * v:.1f}"] for n, v in brains.items()])
    rows = [
        [row["name"], *(f"{row[kind] / 1e9:.1f}" for kind in ("volume_um3", "template_um3"))] for row in head["organs"]
    ]
    print_table([f"mouse head {TARGET}", "volume, mm³", "in the template, mm³"], rows)
    on_bone, landmarks = head["landmarks_on_bone"], head["landmarks"]
    print(f"Skull landmarks within two voxels of proposed bone: {on_bone:.0%} of {landmarks}.")
    print(f"{seconds} s.")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the scans")
    parser.add_argument("--folder", type=Path, default=Path("medaka-real"), help="where to work; made if needed")
    parser.add_argument("--json", action="store_true", help="one line for machines instead of the tables")
    asked = parser.parse_args()
    if not asked.data.is_dir():
        parser.error(f"there is no folder {str(asked.data)!r}: name the one that holds mouse_brain_mri with --data")
    return asked


def run_brains(data: Path, project: Path) -> dict[str, float]:
    """Mean IoU on the held-out animal, by checkpoint."""
    if not project.exists():
        names = [line.split("\t") for line in (data / "labels.txt").read_text("utf-8").splitlines()]
        structures = {int(row[0]): row[1].strip() for row in names if row[0].isdigit()}
        right = {number: f"{name}, right" for number, name in structures.items()}
        init(project, right | {number + 20: f"{name}, left" for number, name in structures.items()})
    for number in range(1, 6):
        labels = ["--labels", data / f"mouse{number}_label.nii.gz"] if number in (1, 2, 5) else []
        held_out = ["--held-out"] if number == 5 else []
        add(project, f"mouse{number}", data / f"mouse{number}_mri.nii.gz", *labels, *held_out)
    teacher = ("patches.batch=12", "augment.cutmix=0", "fit.steps=1000", "fit.learning_rate=5e-3")
    train(project, "teacher", *BRAIN, *teacher)
    kd("segment", project, "--checkpoint", "teacher")
    kd("score", project, "--checkpoint", "teacher", *turned("slab=16", "critic_steps=100", "copies=12"))
    student = [turn for turn in BRAIN if not turn.startswith("network")]
    same = ("fit.steps=400", "fit.learning_rate=3e-3")
    if "student" not in open_project(project).checkpoints:
        half = ("patches.batch=8", "strategy.unlabelled=8")
        kd("distil", project, "--teacher", "teacher", *turned(*student, *same, *half))
    train(project, "control", *BRAIN, "start=teacher", *same, "patches.batch=16")
    for name in ("student", "control"):
        kd("segment", project, "--checkpoint", name, "--case", "mouse5")
    found = kd("evaluate", project, "--checkpoint", "student", "--against", "teacher", "--against", "control")
    scores: dict[str, float] = found["mean_iou"]
    return scores


def run_head(data: Path, project: Path) -> dict[str, Any]:
    """Organ volumes of one whole animal, and how many of its skull landmarks lie on what was called bone."""
    if not project.exists():
        init(project, HEAD_PARTS)
    add(project, "template", data / "template_ct.nii.gz", "--labels", data / "template_label.nii.gz")
    add(project, TARGET, data / "targets" / f"{TARGET}.nii.gz")
    train(project, "teacher", *HEAD)
    kd("segment", project, "--checkpoint", "teacher", "--case", TARGET)
    template = kd("measure", project, "--case", "template", "--labels", "manual")["organs"]
    organs = kd("measure", project, "--case", TARGET, "--labels", "teacher")["organs"]
    usual = {row["organ"]: row["volume_um3"] for row in template}
    near, total = landmarks_on_bone(data, project)
    rows = [row | {"template_um3": usual[row["organ"]]} for row in organs]
    return {"organs": rows, "landmarks_on_bone": near / total, "landmarks": total}


def landmarks_on_bone(data: Path, project: Path) -> tuple[int, int]:
    """How many manual skull landmarks lie within two voxels of the proposed skull or jaw, and how many there are."""
    labels = open_project(project).case(TARGET).labels("teacher").volume.read()
    away = ndimage.distance_transform_edt(~np.isin(labels, (1, 2, 21)))
    places = landmarks(data / "targets" / f"{TARGET}.mrk.json").round().astype(int)
    inside = places[((places >= 0) & (places < labels.shape)).all(1)]
    return int((away[tuple(inside.T)] <= 2).sum()), len(places)


def landmarks(file: Path) -> npt.NDArray[np.float64]:
    """Manual skull landmarks in voxels (z, y, x) of the scan beside their ``file``."""
    markups = json.loads(file.read_text("utf-8"))["markups"][0]
    points = np.array([point["position"] for point in markups["controlPoints"]]) * (-1, -1, 1)  # LPS → RAS, mm
    affine = nib.as_closest_canonical(nib.load(file.with_name(f"{file.name.partition('.')[0]}.nii.gz"))).affine
    places: npt.NDArray[np.float64] = nib.affines.apply_affine(np.linalg.inv(affine), points)[:, ::-1]
    return places


def init(project: Path, organs: dict[int, str]) -> None:
    file = project.with_suffix(".toml")
    lines = [f"{number} = {json.dumps(name)}" for number, name in sorted(organs.items())]
    file.write_text("\n".join(["[organs]", *lines]), "utf-8")
    kd("init", project, "--organs", file)


def add(project: Path, case: str, scan: Path, *more: str | Path) -> None:
    if case not in {known.id for known in open_project(project).cases}:
        kd("add", project, scan, "--id", case, *more)


def train(project: Path, name: str, *turns: str) -> None:
    if name not in open_project(project).checkpoints:
        kd("train", project, "--name", name, *turned(*turns))


def turned(*turns: str) -> list[str]:
    return [word for turn in turns for word in ("--set", turn)]


def kd(*words: str | Path) -> Any:
    """Call medaka-kd; its last line of JSON. Its progress goes to the terminal."""
    command = [str(Path(sys.executable).with_name("medaka-kd")), *map(str, words), "--json"]
    print("$", " ".join(command[:4]), file=sys.stderr)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
