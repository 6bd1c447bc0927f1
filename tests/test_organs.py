"""organs.toml in a project: written, checked and carried by init; labels that break a rule are told at once."""

import json

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_medaka_kd.cli import app
from napari_medaka_kd.demo_settings import PhantomSettings
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import MANUAL, create_project, open_project
from napari_medaka_kd.quality.facts import look_at
from napari_medaka_kd.volumes.lazy import DiskArray
from napari_medaka_kd.volumes.phantom import MEDAKA, phantom_animal
from napari_medaka_kd.volumes.volume import Volume
from napari_medaka_kd.workflow import anatomy as work
from napari_medaka_kd.workflow.anatomy import FACTS, anatomy_of, facts_of, manual_flags, survey
from napari_medaka_kd.workflow.curate import Scan, add, status

FISH = PhantomSettings(shape=(48, 32, 32), voxel_size=533)
HEART = MEDAKA.names.index("heart") + 1


def fish(number):
    made = phantom_animal(FISH.model_copy(update={"animal": number}))
    return made.volume.read(), made.labels.volume.read()


def scan(folder, number, labels=None):
    image, truth = fish(number)
    for name, array in (("scan", image), ("labels", truth if labels is None else labels)):
        tifffile.imwrite(folder / f"{number}-{name}.tif", array)
    return Scan(folder / f"{number}-scan.tif", folder / f"{number}-labels.tif", f"fish-{number}", False, (533,) * 3)


def beheaded(labels):
    """Without a heart."""
    return np.where(labels == HEART, 0, labels).astype(labels.dtype)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project of three labelled fish, the third without its heart."""
    here = tmp_path_factory.mktemp("organs")
    project = create_project(here / "fish", "fish", MEDAKA)
    for number in range(3):
        drain(add(project, scan(here, number, beheaded(fish(2)[1]) if number == 2 else None)))
    return here / "fish"


def medaka(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_labels_that_break_a_rule_are_told_by_status(folder):
    now = status(open_project(folder))
    flags = {case["case"]: case["flags"] for case in now.cases}
    assert "heart: missing" in flags["fish-2"]
    assert "fish-2" in now.text()
    assert "its labels may be wrong: heart: missing" in now.text()


def test_what_labels_show_is_looked_at_once_and_again_when_damaged(folder, monkeypatch):
    case = open_project(folder).case("fish-0")
    kept = (case.folder / FACTS).read_bytes()
    labels = case.labels(MANUAL).volume
    assert facts_of(case) == look_at(MEDAKA.to_classes(labels.read()), labels.voxel_size)
    for damage in (b"", b"[]", b"{}", kept[:40], kept.replace(b"manual.1", b"manual.7")):
        (case.folder / FACTS).write_bytes(damage)
        assert work.kept_facts(case) is None
        assert facts_of(case).organs.keys() == set(range(1, 13))
        assert (case.folder / FACTS).read_bytes() == kept
    monkeypatch.setattr(work, "look_at", None)
    facts_of(case)


def test_a_large_map_is_looked_at_on_a_coarse_level():
    levels = tuple(DiskArray(shape, np.dtype(np.uint8), lambda region: None) for shape in ((800,) * 3, (400,) * 3))
    volume = Volume((*levels, DiskArray((200,) * 3, np.dtype(np.uint8), lambda region: None)), (1.0, 2.0, 3.0))
    level = volume.overview(work.OVERVIEW)
    assert level == 2
    assert work.voxel_size_at(volume, level) == (4.0, 8.0, 12.0)


def test_held_out_animals_say_nothing_of_what_is_usual(folder):
    project = open_project(folder)
    assert len(anatomy_of(project).cohort) == 3
    assert len(anatomy_of(project, [project.case("fish-1")]).cohort) == 1


def test_organs_lists_them_their_rules_and_who_breaks_one(folder):
    result = medaka("organs", folder)
    assert result.exit_code == 0
    assert "9 swim bladder" in result.output
    assert "Rules: medaka's, for 11 of 12 organs" in result.output
    assert "fish-2: heart: missing" in result.output
    data = json.loads(medaka("organs", folder, "--json").output.splitlines()[-1])
    assert data["flags"]["fish-2"][0] == "heart: missing"
    assert not data["rules"]["declared"]


def test_the_rules_are_written_once_to_be_edited_and_then_hold(tmp_path):
    project = create_project(tmp_path / "fish", "fish", MEDAKA)
    drain(add(project, scan(tmp_path, 0)))
    assert manual_flags(project) == {}
    assert medaka("organs", project.folder, "--rules").exit_code == 0
    file = project.folder / "organs.toml"
    assert "[rules.liver]" in file.read_text()
    again = medaka("organs", project.folder, "--rules")
    assert again.exit_code == 2
    assert "already" in again.output
    file.write_text("[rules.liver]\npieces = 4\n")
    assert drain(survey(project)).flags == {"fish-0": ("liver: in one piece (4 expected)",)}
    file.write_text("[rules.fin]\npieces = 4\n")
    told = status(project)
    assert "no organ 'fin'" in told.text()
    with pytest.raises(UserError, match="no organ 'fin'"):
        anatomy_of(project)


def test_a_file_of_rules_can_be_checked_before_it_is_used(folder, tmp_path):
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text("[rules.eyes]\npieces = 2\n[rules.liver]\npartner = 'heart'\n")
    bad.write_text("[rules.eye]\npieces = 2\n")
    assert "rules for 2 organs, 1 pairs" in medaka("organs", folder, "--check", good).output
    refused = medaka("organs", folder, "--check", bad)
    assert refused.exit_code == 2
    assert "no organ 'eye' in this project, which has eyes, lenses" in refused.output


def test_init_carries_the_rules_that_stand_beside_the_organs(tmp_path):
    file = tmp_path / "organs.toml"
    file.write_text('[organs]\n1 = "left eye"\n2 = "right eye"\n[rules."left eye"]\npieces = 1\n')
    assert medaka("init", tmp_path / "a", "--organs", file).exit_code == 0
    assert (tmp_path / "a" / "organs.toml").read_bytes() == file.read_bytes()
    file.write_text('[organs]\n1 = "left eye"\n')
    assert medaka("init", tmp_path / "b", "--organs", file).exit_code == 0
    assert not (tmp_path / "b" / "organs.toml").exists()
    file.write_text('[organs]\n1 = "left eye"\n[rules.gut]\n')
    assert medaka("init", tmp_path / "c", "--organs", file).exit_code == 2
    assert not (tmp_path / "c").exists()


def test_add_says_at_once_what_may_be_wrong(tmp_path):
    project = create_project(tmp_path / "fish", "fish", MEDAKA)
    drain(add(project, scan(tmp_path, 0)))
    given = scan(tmp_path, 1, beheaded(fish(1)[1]))
    words = ("add", project.folder, given.file, "--labels", given.labels, "--id", "one", "--voxel-size", 533, 533, 533)
    result = medaka(*words)
    assert result.exit_code == 0
    assert "Its labels may be wrong: heart: missing" in result.output
