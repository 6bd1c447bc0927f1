"""What the command line says when something is wrong: one plain sentence, exit code 2, and nothing half-written."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from typer.testing import CliRunner

from napari_medaka_kd.cli import app
from napari_medaka_kd.demo_settings import PhantomSettings
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.settings import NetworkSettings
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.phantom import MEDAKA, phantom_animal

LOCKS = {".claims", ".lock"}  # empty files that only ever say who is at work


def medaka(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def done(*words: object) -> None:
    result = medaka(*words)
    assert result.exit_code == 0, result.stderr


def refused(*words: object) -> str:
    """The plain line, after those on progress, with which a command that could not be done ends on standard error."""
    result = medaka(*words)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    *progress, line = result.stderr.splitlines()
    assert all(" s  " in earlier for earlier in progress), result.stderr
    assert ". " in line, line
    return str(line)


def tree(folder: Path) -> dict[str, str]:
    """Every file and folder, with what is in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in folder.rglob("*")
        if path.name not in LOCKS
    }


def fish(number: int) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    animal = phantom_animal(PhantomSettings(shape=(32,) * 3, voxel_size=800, animal=number, scan=number))
    return animal.volume.read(), animal.labels.volume.read()


def write_nifti(file: Path, array: npt.NDArray[Any]) -> Path:
    image = nibabel.Nifti1Image(array.transpose(2, 1, 0), np.diag([0.8] * 3 + [1]))  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")
    nibabel.save(image, file)  # type: ignore[no-untyped-call]
    return file


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project of three cases, a checkpoint that was never trained, and files to add."""
    folder = tmp_path_factory.mktemp("small")
    rows = [f'{organ.id} = "{organ.name}"' for organ in MEDAKA.organs]
    (folder / "organs.toml").write_text("\n".join(["[organs]", *rows]), "utf-8")
    done("init", folder / "project", "--organs", folder / "organs.toml")
    for number, case in enumerate(("labelled", "heldout", "unlabelled")):
        scan, labels = fish(number)
        write_nifti(folder / f"{case}.nii.gz", scan)
        write_nifti(folder / f"{case}-labels.nii", labels)
        truth = ("--labels", folder / f"{case}-labels.nii") if case != "unlabelled" else ()
        held = ("--held-out",) if case == "heldout" else ()
        done("add", folder / "project", folder / f"{case}.nii.gz", *truth, *held)
    save_checkpoint(folder / "project", "teacher", MEDAKA)
    save_checkpoint(folder / "project", "stranger", LabelSchema.from_names(["heart", "liver"]))
    done("segment", folder / "project")
    write_bad_files(folder)
    return folder


def save_checkpoint(project: Path, name: str, organs: LabelSchema) -> None:
    network = NetworkSettings(dimensions=2, widths=(4, 8))
    card = Checkpoint(name=name, network=network, organs=organs, trained_on=("labelled",))
    card.save(build(network, organs.classes, 0), project / "checkpoints" / name)


def write_bad_files(folder: Path) -> None:
    scan, labels = fish(0)
    tifffile.imwrite(folder / "flat.tif", scan[0])
    write_nifti(folder / "shorter.nii", labels[:-2])
    write_nifti(folder / "strange.nii", np.where(labels == 3, np.uint8(99), labels))
    with_nan = scan.astype(np.float32)
    with_nan[20, 20, 20] = np.nan
    write_nifti(folder / "nan.nii", with_nan)
    (folder / "notes.txt").write_text("fish")
    (folder / "tiny.toml").write_text(TINY)
    (folder / "torn.nii").write_bytes((folder / "nan.nii").read_bytes()[:5000])
    (folder / "knobs.toml").write_text("[fit\n")
    (folder / "latin.toml").write_bytes(b"seed = 1 # \xe9\n")
    (folder / "no-organs.toml").write_text("fish = 1\n")


TINY = """
network = { dimensions = 2, widths = [8, 16] }
patches = { patch = [1, 32, 32], batch = 8 }
fit = { steps = 1 }
"""

#: What is wrong → how it comes about, and a word that the sentence must quote.
BAD = {
    "a missing file": ("add {project} {here}/nowhere.tif", "There is no"),
    "a 2-D image": ("add {project} {here}/flat.tif", "2-D"),
    "labels of another shape": (
        "add {project} {here}/labelled.nii.gz --labels {here}/shorter.nii --id new",
        "(30, 32, 32)",
    ),
    "an unknown organ id": ("add {project} {here}/labelled.nii.gz --labels {here}/strange.nii --id new", "99"),
    "missing labels": ("add {project} {here}/labelled.nii.gz --labels {here}/none.nii --id new", "There is no"),
    "NaN intensities": ("add {project} {here}/nan.nii", "NaN"),
    "an unknown format": ("add {project} {here}/notes.txt", "notes.txt"),
    "a truncated file": ("add {project} {here}/torn.nii", "torn.nii"),
    "a case that is there already": ("add {project} {here}/labelled.nii.gz", "'labelled'"),
    "a case of an impossible name": ("add {project} {here}/labelled.nii.gz --id ../x", "../x"),
    "a voxel of no size": ("add {project} {here}/labelled.nii.gz --id new --voxel-size 0 1 1", "0"),
    "no project": ("status {here}", "not a project"),
    "a project that is there already": ("init {project} --organs {here}/organs.toml", "already"),
    "a missing list of organs": ("init {here}/new --organs {here}/none.toml", "none.toml"),
    "a list without organs": ("init {here}/new --organs {here}/no-organs.toml", "no-organs.toml"),
    "a checkpoint with other organs": ("segment {project} --checkpoint stranger", "'heart'"),
    "a teacher with other organs": ("distil {project} --teacher stranger", "'heart'"),
    "no such checkpoint": ("segment {project} --checkpoint nobody", "nobody"),
    "an impossible checkpoint": ("segment {project} --checkpoint ../teacher", "../teacher"),
    "a held-out animal named for training": ("train {project} --name new --case heldout", "held out"),
    "an unlabelled animal named for training": ("train {project} --name new --case unlabelled", "no labels"),
    "an unknown animal": ("train {project} --name new --case nessie", "nessie"),
    "a checkpoint that is there already": ("train {project}", "already"),
    "a checkpoint called like people's labels": ("train {project} --name manual", "manual"),
    "a checkpoint whose name is a path": ("train {project} --name ../../new", "../../new"),
    "an animal that was trained on": ("evaluate {project} --checkpoint teacher --case labelled", "trained on"),
    "an animal without truth": ("evaluate {project} --checkpoint teacher --case unlabelled", "no manual labels"),
    "a student that is not there": ("evaluate {project}", "student"),
    "an unknown knob": ("train {project} --name new --set fit.stepz=3", "fit.stepz"),
    "an unknown group of knobs": ("train {project} --name new --set fits.steps=3", "fits"),
    "a knob turned too far": ("train {project} --name new --set fit.steps=0", "fit.steps"),
    "a knob that is no number": ("train {project} --name new --set fit.learning_rate=NaN", "fit.learning_rate"),
    "a turn of nothing": ("train {project} --name new --set fit.steps", "turns nothing"),
    "a group turned like a knob": ("train {project} --name new --set fit=3 --set fit.steps=3", "fit"),
    "an unknown strategy": ("distil {project} --strategy magic", "magic"),
    "missing settings": ("train {project} --name new --settings {here}/none.toml", "none.toml"),
    "settings that are no TOML": ("train {project} --name new --settings {here}/knobs.toml", "knobs.toml"),
    "settings that are no text": ("train {project} --name new --settings {here}/latin.toml", "latin.toml"),
    "an unknown organ": ("verdict {project} accepted --case unlabelled --organ wing", "wing"),
    "an unknown verdict": ("verdict {project} nice --case unlabelled", "nice"),
    "a verdict on nothing": ("verdict {project} accepted --case unlabelled --checkpoint student", "student"),
    "a reviewer whose name is a path": ("verdict {project} accepted --case unlabelled --reviewer ../x", "../x"),
    "slices that are not there": ("verdict {project} accepted --case unlabelled --z 40 50", "40"),
    "slices the wrong way round": ("verdict {project} accepted --case unlabelled --z 9 3", "9"),
    "measuring what is not there": ("measure {project} --case unlabelled --labels manual", "manual"),
    "a device that is not there": ("segment {project} --case unlabelled --set device=abacus", "abacus"),
    "a student without scores": ("distil {project}", "score"),
}


@pytest.mark.parametrize("wrong", BAD)
def test_what_the_user_can_mend_gets_one_plain_sentence_and_changes_nothing(wrong: str, small: Path) -> None:
    command, word = BAD[wrong]
    before = tree(small)
    said = refused(*(part.format(project=small / "project", here=small) for part in command.split()))
    assert word in said
    assert tree(small) == before


@pytest.mark.parametrize("file", ["project.toml", "checkpoints/teacher/checkpoint.json", "cases/unlabelled/case.json"])
def test_what_a_newer_version_made_is_refused(file: str, small: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(small / "project", project)
    text = (project / file).read_text("utf-8")
    newer = text.replace("format = 1", "format = 99").replace('"format": 1,', '"format": 99,')
    (project / file).write_text(newer, "utf-8")
    before = tree(project)
    said = refused("segment", project, "--case", "unlabelled")
    assert "format 99" in said
    assert "Update" in said
    assert tree(project) == before


def test_a_failure_is_told_to_machines_too(small: Path) -> None:
    result = medaka("train", small / "project", "--name", "new", "--case", "heldout", "--json")
    assert result.exit_code == 2
    (line,) = result.stdout.splitlines()
    assert json.loads(line)["error"] == "Case 'heldout' is held out for evaluation."


# --- in a process of its own


def run_child(setup: str, *words: object) -> subprocess.CompletedProcess[str]:
    asked = ["medaka-kd", *map(str, words)]
    code = f"import sys\n{setup}\nsys.argv = {asked!r}\nfrom napari_medaka_kd.cli import app\napp()"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)


WITHOUT_TORCH = """
class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "safetensors", "sklearn", "monai"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Gone())
"""


@pytest.mark.parametrize("verb", ["train", "segment"])
def test_without_the_training_extra_a_sentence_names_the_command_that_installs_it(verb: str, small: Path) -> None:
    before = tree(small)
    child = run_child(WITHOUT_TORCH, verb, small / "project")
    assert child.returncode == 2
    assert child.stderr == "This needs torch. Install it with: pip install 'napari-medaka-kd[train]'\n"
    assert tree(small) == before


def test_without_the_training_extra_scans_are_added_judged_and_measured(small: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(small / "project", project)
    for words in (
        ("add", project, small / "labelled.nii.gz", "--id", "new"),
        ("verdict", project, "accepted", "--case", "unlabelled"),
        ("status", project),
    ):
        child = run_child(WITHOUT_TORCH, *words)
        assert child.returncode == 0, child.stderr


def full_disk(free: int) -> str:
    """No file may grow beyond ``free`` bytes: the kernel refuses the rest of a write, as a full disk does."""
    return f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({free}, {free}))"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
@pytest.mark.parametrize(
    ("free", "words"),
    [
        (20_000, "add {project} {here}/labelled.nii.gz --id new"),
        (0, "add {project} {here}/labelled.nii.gz --id new"),
        (0, "verdict {project} accepted --case unlabelled"),
        (3_000, "train {project} --name new --settings {here}/tiny.toml"),
    ],
)
def test_on_a_full_disk_a_verb_says_so_and_leaves_nothing_half_written(
    free: int, words: str, small: Path, tmp_path: Path
) -> None:
    shutil.copytree(small / "project", tmp_path / "project")
    before = tree(tmp_path)
    asked = [part.format(project=tmp_path / "project", here=small) for part in words.split()]
    child = run_child(full_disk(free), *asked)
    assert child.returncode == 2, child.stderr
    assert "Traceback" not in child.stderr
    assert "disk" in child.stderr.splitlines()[-1]
    after = tree(tmp_path)
    assert [name for name in after if ".partial" in name] == []
    assert {name: after[name] for name in before} == before
    assert not (tmp_path / "project" / "checkpoints" / "new").exists()
    assert not (tmp_path / "project" / "cases" / "new").exists()
    assert "verdicts: none" in medaka("status", tmp_path / "project").stdout


def test_progress_is_told_in_lines_where_there_is_no_terminal(small: Path, tmp_path: Path) -> None:
    child = run_child("", "add", small / "project", small / "labelled.nii.gz", "--id", "labelled")
    assert child.returncode == 2
    shutil.copytree(small / "project", tmp_path / "project")
    child = run_child("", "add", tmp_path / "project", small / "labelled.nii.gz", "--id", "again", "--json")
    assert child.returncode == 0
    assert " s  Copying" in child.stderr
    assert len(child.stdout.splitlines()) == 1
