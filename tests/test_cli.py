"""The whole loop through the command line, on small real files of every format."""

import json
from pathlib import Path
from typing import Any

import h5py
import nibabel
import nrrd
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from typer.testing import CliRunner

from napari_medaka_kd.cli import app
from napari_medaka_kd.demo_settings import PhantomSettings
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import open_project
from napari_medaka_kd.volumes.open import open_volume
from napari_medaka_kd.volumes.phantom import MEDAKA, phantom_animal
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume

VERBS = [
    "add",
    "adopt",
    "convert",
    "demo",
    "disagree",
    "distil",
    "doctor",
    "evaluate",
    "forecast",
    "init",
    "label",
    "measure",
    "merge",
    "methods",
    "modality",
    "organs",
    "pack",
    "propagate",
    "readiness",
    "sample",
    "score",
    "segment",
    "status",
    "stop",
    "train",
    "unpack",
    "verdict",
]
EDGE = 32
MICRONS = 800.0
NETWORK = ("--set", "network.dimensions=2", "--set", "network.widths=[8,16]")
PATCHES = ("--set", "patches.patch=[1,32,32]", "--set", "patches.batch=8")

Scan = tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]


def medaka(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def told(*words: object) -> Any:
    """The one line of JSON that a command ends with."""
    result = medaka(*words, "--json")
    assert result.exit_code == 0, result.stderr
    (line,) = result.stdout.splitlines()
    return json.loads(line, parse_constant=pytest.fail)


def fish(number: int) -> Scan:
    animal = phantom_animal(PhantomSettings(shape=(EDGE,) * 3, voxel_size=MICRONS, animal=number, scan=number))
    return animal.volume.read(), animal.labels.volume.read()


def write_tiff(file: Path, array: npt.NDArray[Any]) -> Path:
    told_scale = {"spacing": MICRONS, "unit": "um", "axes": "ZYX"}
    tifffile.imwrite(file, array, imagej=True, resolution=(1 / MICRONS, 1 / MICRONS), metadata=told_scale)
    return file


def write_nifti(file: Path, array: npt.NDArray[Any]) -> Path:
    image = nibabel.Nifti1Image(array.transpose(2, 1, 0), np.diag([MICRONS / 1000] * 3 + [1]))  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")
    nibabel.save(image, file)  # type: ignore[no-untyped-call]
    return file


def write_nrrd(file: Path, array: npt.NDArray[Any]) -> Path:
    sizes = np.diag([MICRONS / 1000] * 3)
    header = {"space": "right-anterior-superior", "space directions": sizes, "space units": ["mm"] * 3}
    nrrd.write(str(file), array.transpose(2, 1, 0), header)
    return file


def write_hdf5(file: Path, array: npt.NDArray[Any]) -> str:
    """Where in the file the scan is, beside another one."""
    with h5py.File(file, "w") as there:
        there["entry/dark"] = array[:3]
        there["entry/scan"] = array
        there["entry"].attrs["element_size_um"] = [MICRONS] * 3
    return f"{file}::/entry/scan"


def write_zarr(folder: Path, array: npt.NDArray[Any]) -> Path:
    drain(save_volume(Volume((array,), (MICRONS,) * 3, folder.stem), folder))
    return folder


def write_slices(folder: Path, array: npt.NDArray[Any]) -> Path:
    folder.mkdir()
    for number, plane in enumerate(array):
        tifffile.imwrite(folder / f"slice_{number:03d}.tif", plane)
    return folder


def write_organs(file: Path) -> Path:
    rows = [f'{organ.id} = "{organ.name}"' for organ in MEDAKA.organs]
    file.write_text("\n".join(["[organs]", *rows]), "utf-8")
    return file


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    result = medaka(verb, "--help")
    assert result.exit_code == 0
    assert "--json" in result.stdout


def test_there_are_no_other_verbs() -> None:
    commands = [command.callback for command in app.registered_commands]
    assert sorted(command.__name__ for command in commands if command) == VERBS


def test_verdicts_have_verbs_of_their_own() -> None:
    (group,) = app.registered_groups
    assert group.typer_instance is not None
    names = [command.name or command.callback.__name__ for command in group.typer_instance.registered_commands]  # type: ignore[union-attr]
    assert sorted(names) == ["check", "conflicts", "export", "import"]
    for name in names:
        result = CliRunner().invoke(app, ["verdicts", name, "--help"])
        assert result.exit_code == 0
        assert "--json" in result.stdout


# --- the loop


def test_the_whole_loop_from_scans_of_six_formats_to_an_evaluated_student(tmp_path: Path) -> None:
    project = tmp_path / "project"
    assert told("init", project, "--organs", write_organs(tmp_path / "organs.toml"), "--name", "fish") == {
        "project": "fish"
    }
    add_five_animals(project, tmp_path)
    assert "train" in told("status", project)["next"]

    made = told("train", project, *NETWORK, *PATCHES, "--set", "network.members=2", "--set", "fit.steps=40")
    assert made["trained_on"] == ["labelled-1", "labelled-2"]
    assert "segment" in told("status", project)["next"]
    everyone = ["heldout", "labelled-1", "labelled-2", "unlabelled-1", "unlabelled-2"]
    assert told("segment", project)["cases"] == everyone
    assert told("segment", project)["cases"] == []
    assert "score" in told("status", project)["next"]

    scored = score_and_judge(project)
    assert told("readiness", project)["ready"]
    assert "brain" in medaka("readiness", project).stdout
    student = told("distil", project, *PATCHES, "--set", "fit.steps=4", "--set", "strategy.unlabelled=4")
    assert student["trained_on"] == ["labelled-1", "labelled-2", "unlabelled-1", "unlabelled-2"]
    assert told("segment", project, "--checkpoint", "student", "--case", "heldout")["cases"] == ["heldout"]
    check_evaluation(told("evaluate", project, "--against", "teacher"))
    check_measures(told("measure", project, "--case", "heldout", "--labels", "manual"))
    assert told("disagree", project)["cases"] == ["heldout"]
    assert {organ["case"] for organ in told("measure", project)["organs"]} == set(everyone)

    status = told("status", project)
    assert status["checkpoints"] == ["student", "teacher"]
    assert status["verdicts"] == {"accepted": 1, "rejected": 1}
    assert {case["case"]: case["scored"] for case in status["cases"]} == {name: "un" in name for name in everyone}
    assert scored["units"] > 2


def add_five_animals(project: Path, folder: Path) -> None:
    (one, its), (two, twos), (three, _), (four, _), (five, fives) = map(fish, range(5))
    tiff, nifti = write_tiff(folder / "one.tif", one), write_nifti(folder / "its.nii.gz", its)
    assert told("add", project, tiff, "--labels", nifti, "--id", "labelled-1")["labelled"]
    nifti, store = write_nifti(folder / "labelled-2.nii", two), write_nrrd(folder / "twos.nrrd", twos)
    assert told("add", project, nifti, "--labels", store)["case"] == "labelled-2"
    assert not told("add", project, write_hdf5(folder / "unlabelled-1.h5", three))["labelled"]
    phase = told("add", project, write_zarr(folder / "unlabelled-2.ome.zarr", four), "--modality", "phase")
    assert phase["case"] == "unlabelled-2"
    slices, truth = write_slices(folder / "slices", five), write_tiff(folder / "truth.tif", fives)
    size = ("--voxel-size", MICRONS, MICRONS, MICRONS)
    told("add", project, slices, "--labels", truth, "--id", "heldout", "--held-out", *size)
    for case in told("status", project)["cases"]:
        assert case["shape"] == [EDGE] * 3
        assert case["voxel_size_um"] == pytest.approx([MICRONS] * 3)
    assert told("modality", project, "absorption", "labelled-1", "heldout")["cases"] == ["labelled-1", "heldout"]
    kinds = [(case["case"], case["modality"]) for case in told("status", project)["cases"] if case["modality"]]
    assert kinds == [("heldout", "absorption"), ("labelled-1", "absorption"), ("unlabelled-2", "phase")]
    assert "absorption; held out" in medaka("status", project).stdout
    for number, scan in enumerate((one, two)):
        kept = open_project(project).case(f"labelled-{number + 1}")
        assert np.array_equal(kept.volume.read(), scan)
        assert np.array_equal(kept.labels("manual").volume.read(), (its, twos)[number])


def score_and_judge(project: Path) -> Any:
    """Two verdicts turn the scores of two organs; the score of the rejected one falls."""
    knobs = ("--set", "critic_steps=2", "--set", "copies=8", "--set", "good_iou=0.3")
    first = told("score", project, *knobs)
    assert {unit["case"] for unit in first["worst"]} <= {"unlabelled-1", "unlabelled-2"}
    worst, other = first["worst"][:2]
    place = ("--case", worst["case"], "--organ", worst["organ"], "--z", *worst["z"])
    judged = told("verdict", project, "rejected", *place, "--reviewer", "ann", "--reason", "too small")
    assert judged["decision"] == "rejected"
    assert judged["item"]["slab"] == worst["z"]
    told("verdict", project, "accepted", "--case", other["case"], "--organ", other["organ"], "--reviewer", "bob")
    again = told("score", project, *knobs)
    assert again["units"] == first["units"]
    assert again != first
    return again


def check_evaluation(evaluation: Any) -> None:
    assert set(evaluation["mean_iou"]) == {"teacher", "student"}
    assert evaluation["cases"] == ["heldout"]
    assert len(evaluation["organs"]) == 2 * len(MEDAKA.organs)
    assert all(Path(table).read_text("utf-8").startswith("case,organ") for table in evaluation["tables"].values())
    page = Path(evaluation["report"])
    assert "<html" in page.read_text("utf-8")
    json.loads(page.with_name("evaluation.json").read_text("utf-8"), parse_constant=pytest.fail)


def check_measures(measures: Any) -> None:
    truth = fish(4)[1]
    for organ in measures["organs"]:
        assert organ["voxels"] == int((truth == organ["organ"]).sum())
        assert organ["volume_um3"] == pytest.approx(organ["voxels"] * MICRONS**3)
    assert Path(measures["table"]).is_file()


def test_a_projects_own_settings_come_before_the_words(tmp_path: Path) -> None:
    project = tmp_path / "project"
    told("init", project, "--organs", write_organs(tmp_path / "organs.toml"))
    told("add", project, write_zarr(tmp_path / "scan.ome.zarr", fish(0)[0]), *labels_of(tmp_path, 0))
    (project / "settings.toml").write_text(
        "[train]\nnetwork = { dimensions = 2, widths = [4, 8] }\npatches = { patch = [1, 32, 32], batch = 2 }\n"
        "fit = { steps = 5 }\n"
    )
    told("train", project, "--set", "fit.steps=3", "--set", "network.members=2")
    card = json.loads((project / "checkpoints" / "teacher" / "checkpoint.json").read_text("utf-8"))
    assert card["network"]["widths"] == [4, 8]
    assert card["network"]["members"] == 2
    assert card["history"]["settings"]["fit"]["steps"] == 3
    result = medaka("stop", project, "teacher", "--json")
    assert result.exit_code == 2
    assert "under way" in json.loads(result.stdout)["error"]


def test_what_is_looked_at_is_segmented_first(tmp_path: Path) -> None:
    project = tmp_path / "project"
    told("init", project, "--organs", write_organs(tmp_path / "organs.toml"))
    told("add", project, write_zarr(tmp_path / "a.ome.zarr", fish(0)[0]), *labels_of(tmp_path, 0))
    for name in ("b", "c"):
        told("add", project, write_zarr(tmp_path / f"{name}.ome.zarr", fish(1)[0]))
    told("train", project, *NETWORK, *PATCHES, "--set", "fit.steps=2")
    assert told("segment", project, "--first", "c", "--at", 16, 16, 16)["cases"] == ["c", "a", "b"]


def labels_of(folder: Path, number: int) -> tuple[str, Path]:
    return "--labels", write_zarr(folder / f"labels-{number}.ome.zarr", fish(number)[1])


def test_doctor_looks_at_python_the_disk_torch_and_qt() -> None:
    assert {"Python", "memory", "disk", "torch", "Qt"} <= {row["what"] for row in told("doctor")["findings"]}
    assert "Python" in medaka("doctor").stdout


def test_a_scan_of_another_format_becomes_a_pyramid_that_says_where_it_came_from(tmp_path: Path) -> None:
    array, _ = fish(0)
    scan, target = write_slices(tmp_path / "slices", array), tmp_path / "fish.ome.zarr"
    size = ("--voxel-size", "2", "1", "1")
    assert told("convert", scan, target, *size) == {"target": str(target), "shape": list(array.shape), "levels": 1}
    made = open_volume(target)
    np.testing.assert_array_equal(made.read(), array)
    assert made.voxel_size == (2.0, 1.0, 1.0)
    small = tmp_path / "small.ome.zarr"
    told("convert", scan, small, *size, "--window", "1", "99")
    assert open_volume(small).dtype == np.uint8
    assert "there already" in medaka("convert", scan, small, *size).stderr
