"""What a person looks at is segmented first; how fast a checkpoint is, is kept beside it."""

import json

import numpy as np
import pytest

from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.project import open_project
from napari_medaka_kd.quality.anatomy import ANATOMY
from napari_medaka_kd.quality.evidence import FEATURES
from napari_medaka_kd.quality.record import open_record
from napari_medaka_kd.settings import NetworkSettings, QualitySettings, SegmentSettings
from napari_medaka_kd.workflow.propose import SPEED, First, score, segment

LOOKS = NetworkSettings(dimensions=2, widths=(4, 8))
QUICK = SegmentSettings(precision="float32", device="cpu")


@pytest.fixture
def project(make_project):
    """A labelled animal, two others, a held-out one; and a checkpoint that segmented none of them."""
    made = make_project()
    card = Checkpoint(name="new", network=LOOKS, organs=made.schema)
    card.save(build(LOOKS, made.schema.classes, 0), made.checkpoint("new"))
    return open_project(made.folder)


def speed_of(project):
    return json.loads((project.checkpoint("new") / SPEED).read_text())


@pytest.mark.parametrize("first", [None, First("fish-02"), First("fish-02", (40, 3, 3)), First("unheard-of")])
def test_the_case_on_show_comes_first(project, first):
    names = [case.id for case in project.cases]
    done = drain(segment(project, "new", QUICK, first=first))
    assert sorted(done) == sorted(names)
    rest = [name for name in names if first is None or name != first.case]
    assert list(done) == [name for name in names if name not in rest] + rest


def test_the_order_changes_no_label(project, make_project):
    drain(segment(project, "new", QUICK, ("fish-01",)))
    plain = project.case("fish-01").labels("new").volume.read()
    drain(segment(project, "new", QUICK, ("fish-02", "fish-01"), First("fish-01", (47, 31, 31))))
    np.testing.assert_array_equal(project.case("fish-01").labels("new").volume.read(), plain)


def test_the_speed_adds_up_over_the_cases(project):
    drain(segment(project, "new", QUICK, ("fish-01",)))
    one = speed_of(project)
    voxels = np.prod(project.case("fish-01").volume.shape)
    assert (one["voxels"], one["device"], one["precision"]) == (voxels, "cpu", "torch.float32")
    assert 0 < one["seconds"] < 60
    drain(segment(project, "new", QUICK))
    assert speed_of(project)["voxels"] == 4 * voxels
    assert speed_of(project)["seconds"] > one["seconds"]


def test_what_an_earlier_run_computed_does_not_count(project):
    job = segment(project, "new", QUICK, ("fish-01",))
    for report in job:
        if report.doing == "Waiting for the disk":  # its only block is written
            job.close()
            break
    assert not (project.checkpoint("new") / SPEED).exists()
    drain(segment(project, "new", QUICK, ("fish-01",)))
    assert not (project.checkpoint("new") / SPEED).exists()
    assert "new" in project.case("fish-01").label_names


@pytest.mark.parametrize("found", ["", "[]", '{"device": "cpu", "precision": "torch.float32"}', "\udcff"])
def test_a_damaged_speed_is_begun_anew(project, found):
    (project.checkpoint("new") / SPEED).write_bytes(found.encode("utf-8", "surrogateescape"))
    drain(segment(project, "new", QUICK, ("fish-01",)))
    assert speed_of(project)["voxels"] == np.prod(project.case("fish-01").volume.shape)


def test_the_speed_of_another_precision_is_not_added(project):
    file = project.checkpoint("new") / SPEED
    file.write_text(json.dumps({"device": "cuda", "precision": "torch.bfloat16", "voxels": 7, "seconds": 1.0}))
    drain(segment(project, "new", QUICK, ("fish-01",)))
    assert speed_of(project)["voxels"] == np.prod(project.case("fish-01").volume.shape)


def test_what_a_second_look_says_joins_what_an_organ_is_judged_by(make_project):
    project = make_project(unlabelled=1, labelled=2)
    trained = tuple(case.id for case in project.cases if case.labelled and not case.held_out)
    card = Checkpoint(name="new", network=LOOKS, organs=project.schema, trained_on=trained)
    network = build(LOOKS, project.schema.classes, 0)
    network.head.bias.data[0] = -100  # it finds organs everywhere
    card.save(network, project.checkpoint("new"))
    (wild,) = [case.id for case in project.cases if not case.labelled]
    quick = QualitySettings(copies=4, critic_steps=0)
    numbers = []
    for settings in (QUICK, QUICK.model_copy(update={"disagreement": "flips"}), QUICK):
        drain(segment(project, "new", settings, (wild,)))
        drain(score(project, "new", quick, (wild,)))
        numbers.append({len(each.evidence) for each in open_record(project.case(wild).folder, project.schema).scores})
    count = len(FEATURES) + len(ANATOMY)
    assert numbers == [{count}, {count + 2}, {count + 2}]
