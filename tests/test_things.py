"""Things that overlap, the whole way: brought in, learned, found, evaluated; and what is refused, in plain words."""

import csv
import json
import shutil
import sys

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_medaka_kd.cli import app
from napari_medaka_kd.errors import InvalidVolume, UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.networks.instances import InstanceNetwork
from napari_medaka_kd.project import Drawn, add_case, create_project, open_project
from napari_medaka_kd.settings import (
    AugmentSettings,
    DistilSettings,
    FitSettings,
    MeanTeacherSettings,
    NetworkSettings,
    PatchSettings,
    QualitySettings,
    SegmentSettings,
    SelfTrainingSettings,
)
from napari_medaka_kd.volumes.instance_files import boxes_in, open_layers, things_of_layers
from napari_medaka_kd.volumes.instance_store import open_instances, save_instances
from napari_medaka_kd.volumes.instances import from_stack
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.volume import Volume
from napari_medaka_kd.workflow.assess import compare_checkpoints, evaluate, measure
from napari_medaka_kd.workflow.cohort import measure_cohort
from napari_medaka_kd.workflow.curate import Word, status, verdict
from napari_medaka_kd.workflow.disagree import disagree
from napari_medaka_kd.workflow.find_things import find_things
from napari_medaka_kd.workflow.forecast import forecast
from napari_medaka_kd.workflow.herd import herd
from napari_medaka_kd.workflow.kinds import finds_things
from napari_medaka_kd.workflow.measure_things import measure_things, read_measured_things
from napari_medaka_kd.workflow.propose import score, segment
from napari_medaka_kd.workflow.readiness import readiness
from napari_medaka_kd.workflow.requirements import Census, advise, census, missing
from napari_medaka_kd.workflow.rounds import distil
from napari_medaka_kd.workflow.spread import Spread, segment_spread

SIZE = (1.0, 1.0, 1.0)
CELLS = LabelSchema.from_names(["cell"])
STILL = AugmentSettings(rotation=0, scaling=0, gamma=0, contrast=0, brightness=0, noise=0, blur=0)
STRATEGY = MeanTeacherSettings(instances=True, views=2, unlabelled=1)
LEARN = DistilSettings(
    network=NetworkSettings(dimensions=2, widths=(8, 12), coordinates=False),
    patches=PatchSettings(patch=(1, 24, 24), batch=4),
    augment=STILL,
    fit=FitSettings(steps=3, save_every=1, learning_rate=1e-2, precision="float32", device="cpu"),
    strategy=STRATEGY,
)


def discs(seed, count=4):
    """(scan of bright discs of radius 5 in two slices that lie over each other, a mask for each)."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices((2, 40, 40))
    places = [(number % 2, *rng.uniform(6, 34, 2)) for number in range(2 * count)]
    masks = np.stack([(z == c) & ((y - a) ** 2 + (x - b) ** 2 < 25) for c, a, b in places])
    scan = 100 + 300 * masks.sum(axis=0) + rng.normal(0, 10, (2, 40, 40))
    return Volume((scan.astype(np.float32),), SIZE, f"scan{seed}"), masks


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two scans with labelled discs, one without labels, one held out."""
    made = create_project(tmp_path_factory.mktemp("made") / "cells", "cells", CELLS)
    for seed, (case, known, held_out) in enumerate(
        (("one", True, False), ("two", True, False), ("bare", False, False), ("test", True, True))
    ):
        scan, masks = discs(seed)
        drain(add_case(made, scan, Drawn(None, from_stack(masks) if known else ()), case, held_out))
    return made


@pytest.fixture
def project(made, tmp_path):
    """A copy of it to work in."""
    shutil.copytree(made.folder, tmp_path / "cells")
    return open_project(tmp_path / "cells")


def learned(project, name="cells", **knobs):
    return drain(distil(project, name, "", LEARN.model_copy(update=knobs)))


def painted(things, shape):
    masks = np.zeros((len(things), *shape), bool)
    for mask, thing in zip(masks, things, strict=True):
        mask[thing.box] = thing.mask
    return masks


# ---- brought in


def test_layers_and_stacks_of_masks_keep_what_overlaps(tmp_path):
    scan, masks = discs(0)
    lower, upper = masks[0] + np.uint8(2) * masks[1], masks[2] * np.uint8(1)
    files = [tmp_path / name for name in ("lower.tif", "upper.tif", "masks.tif")]
    for file, page in zip(files, (lower, upper, masks.reshape(-1, 40, 40).astype(np.uint8)), strict=True):
        tifffile.imwrite(file, page, photometric="minisblack")
    two = things_of_layers(open_layers(files[:2], scan, SIZE))
    np.testing.assert_array_equal(painted(two, scan.shape), masks[:3])
    np.testing.assert_array_equal(painted(things_of_layers(open_layers(files[2:], scan, SIZE)), scan.shape), masks)


def test_things_are_found_whole_across_blocks_and_whatever_their_ids():
    ids = np.zeros((1, 600, 20), np.int64)
    ids[0, 500:530, 3:9], ids[0, 0:4, 0:4] = 2_000_000_000, 7
    layer = Volume((ids,), SIZE)
    assert boxes_in(layer) == {
        7: (slice(0, 1), slice(0, 4), slice(0, 4)),
        2_000_000_000: (slice(0, 1), slice(500, 530), slice(3, 9)),
    }
    assert [thing.size for thing in things_of_layers([layer])] == [16, 180]


def test_what_is_no_label_map_of_things_is_refused(tmp_path):
    scan, _ = discs(0)
    with pytest.raises(UserError, match="nothing but 0"):
        things_of_layers([Volume((np.zeros((1, 4, 4), np.uint8),), SIZE)])
    for odd in (1.5, -1, np.nan):
        with pytest.raises(InvalidVolume, match="no id of a thing"):
            things_of_layers([Volume((np.full((1, 4, 4), odd, np.float32),), SIZE)])
    tifffile.imwrite(tmp_path / "small.tif", np.ones((3, 40, 40), np.uint8), photometric="minisblack")
    with pytest.raises(UserError, match="the scan"):
        open_layers([tmp_path / "small.tif"], scan, SIZE)


def test_the_command_line_adds_layers_and_old_cases_know_of_none(tmp_path):
    made = create_project(tmp_path / "cells", "cells", CELLS)
    scan, masks = discs(0)
    tifffile.imwrite(tmp_path / "scan.tif", scan.read())
    for number in (0, 1):
        tifffile.imwrite(tmp_path / f"{number}.tif", masks[number].astype(np.uint8))
    words = ["add", str(made.folder), str(tmp_path / "scan.tif"), "--voxel-size", "1", "1", "1", "--json"]
    given = [word for number in (0, 1) for word in ("--instances", str(tmp_path / f"{number}.tif"))]
    told = []
    for extra in (["--id", "known", *given], ["--id", "bare"]):
        result = CliRunner().invoke(app, [*words, *extra])
        told.append(json.loads(result.stdout)["instances"])
    assert told == [True, False]
    known, bare = (open_project(made.folder).case(name) for name in ("known", "bare"))
    assert (known.instance_names, known.label_names, bare.instance_names) == (("manual",), (), ())
    np.testing.assert_array_equal(painted(open_instances(known.store, "manual"), scan.shape), masks[:2])
    assert "labelled" in herd(made)[1].state


# ---- learned


def test_a_student_of_things_is_a_checkpoint_of_its_own_kind(project):
    card = learned(project)
    assert card.trained_on == ("bare", "one", "two")
    again = Checkpoint.open(project.checkpoint("cells"))
    assert again.things is not None
    assert again.things.reach >= 5
    assert isinstance(again.load(project.checkpoint("cells")), InstanceNetwork)
    assert finds_things(project, "cells")
    assert json.loads((project.checkpoint("cells") / "checkpoint.json").read_text())["format"] == 2


def test_a_card_of_things_on_several_networks_is_damaged(project):
    learned(project)
    card = project.checkpoint("cells") / "checkpoint.json"
    told = json.loads(card.read_text())
    told["network"]["members"] = 2
    card.write_text(json.dumps(told))
    with pytest.raises(UserError, match=r"damaged.*one U-Net"):
        Checkpoint.open(card.parent)
    assert not finds_things(project, "cells")


def test_without_weight_it_learns_from_labels_alone_and_a_later_one_goes_on_from_it(project):
    plain = learned(project, strategy=STRATEGY.model_copy(update={"weight": 0}))
    assert plain.trained_on == ("one", "two")
    warm = drain(distil(project, "warm", "cells", LEARN.model_copy(update={"network": None})))
    assert warm.history["start"] == plain.weights_sha256
    assert (warm.network, warm.things) == (plain.network, plain.things)


def test_what_a_teacher_found_alone_is_pasted_and_its_scan_counts_as_learned_from(project):
    teach = LEARN.model_copy(update={"strategy": STRATEGY.model_copy(update={"weight": 0.0})})
    paste = LEARN.model_copy(update={"strategy": STRATEGY.model_copy(update={"weight": 0.0, "paste": 1.0})})
    drain(distil(project, "teacher", "", teach))
    own = drain(distil(project, "own", "teacher", paste))
    assert own.trained_on == ("one", "two")
    _, masks = discs(2)
    drain(save_instances(from_stack(masks[:1]), project.case("bare").store, "teacher"))
    both = drain(distil(project, "both", "teacher", paste))
    assert both.trained_on == ("bare", "one", "two")
    assert both.weights_sha256 != own.weights_sha256


def test_cancelled_and_asked_again_it_ends_in_the_same_weights(project):
    undisturbed = learned(project, "one-go")
    job = distil(project, "two-goes", "", LEARN)
    for progress in job:
        if progress.doing == "student" and progress.done == 2:
            job.close()
            break
    assert learned(project, "two-goes").weights_sha256 == undisturbed.weights_sha256


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
def test_killed_and_asked_again_it_ends_in_the_same_weights(project, play):
    code = (
        "import os, sys, pathlib; from napari_medaka_kd.project import open_project\n"
        "from napari_medaka_kd.settings import DistilSettings; from napari_medaka_kd.workflow.rounds import distil\n"
        "for progress in distil(open_project(pathlib.Path(sys.argv[1])), 'killed', '',"
        " DistilSettings.model_validate_json(sys.argv[2])):\n"
        "    if progress.doing == 'student' and progress.done == 2: os.kill(os.getpid(), 9)"
    )
    assert play(code, project.folder, LEARN.model_dump_json()).returncode == -9
    assert project.checkpoints == ()
    assert learned(project, "killed").weights_sha256 == learned(project, "undisturbed").weights_sha256


def test_what_is_missing_is_said_and_the_adviser_proposes_it():
    alone = STRATEGY.model_copy(update={"weight": 0})
    assert "no animal has labels of things" in missing(STRATEGY, Census(3, 2, 1, {}, 0, 5))
    assert "every animal has labels of things" in missing(STRATEGY, Census(0, 2, 1, {}, 2, 0))
    assert missing(alone, Census(0, 2, 1, {}, 2, 0)) == missing(STRATEGY, Census(0, 5, 1, {}, 2, 3)) == ""
    assert "strategy.instances=true" in missing(MeanTeacherSettings(), Census(0, 5, 1, {}, 2, 3))
    for bare in (3, 0):
        advice = advise(Census(0, 2 + bare, 1, {}, 2, bare))
        assert advice.strategy == "mean_teacher"
        assert "strategy.instances=true" in advice.why
        assert "strategy.paste=0.5" in advice.why
        assert ("strategy.weight=0" in advice.why) is (bare == 0)


def test_the_project_knows_what_it_holds_and_what_comes_next(project):
    assert (census(project).things, census(project).bare) == (2, 1)
    assert "strategy.instances=true" in status(project).next
    learned(project)
    assert "segment" in status(project).next
    drain(segment(project, "cells", SegmentSettings(device="cpu")))
    found = status(project)
    assert "evaluate" in found.next
    assert "things that overlap: cells, manual" in found.text()


# ---- found and evaluated


def test_it_finds_discs_that_lie_over_each_other(project):
    fit = LEARN.fit.model_copy(update={"steps": 150, "save_every": 1000})
    learned(project, fit=fit, strategy=STRATEGY.model_copy(update={"weight": 0}))
    assert drain(segment(project, "cells", SegmentSettings(device="cpu"), ["test"])) == ("test",)
    result = drain(compare_checkpoints(project, ["cells"]))
    (one,) = result.scores
    assert one.true == 8
    assert one.aji > 0.4
    assert one.ap50 >= one.ap75
    told = result.json()
    assert told["means"]["cells"]["aji"] == one.aji
    assert "AJI" in result.text()
    assert result.table.read_text().startswith("checkpoint,case,true,found,aji,ap50,ap75,ap\n")


def test_segmenting_goes_on_with_the_cases_that_were_not_finished(project):
    learned(project)
    for progress in (job := segment(project, "cells", SegmentSettings(device="cpu"))):
        if progress.doing == "segment with cells" and progress.done == 2:
            job.close()
            break
    assert sum(case.has("cells") for case in project.cases) == 2
    assert len(drain(segment(project, "cells", SegmentSettings(device="cpu")))) == 2
    assert all("cells" in case.instance_names for case in project.cases)


# ---- measured


def test_each_thing_has_its_volume_its_place_and_what_it_shares(tmp_path):
    made = create_project(tmp_path / "eggs", "eggs", CELLS)
    first, second = np.zeros((2, 3, 8, 8), bool)
    first[0:2, 1:5, 1:5], second[1, 4:8, 4:7] = True, True
    scan = Volume((np.ones((3, 8, 8), np.uint8),), (2.0, 1.0, 0.5))
    drain(add_case(made, scan, Drawn(None, from_stack(np.stack([first, second]))), "one", held_out=False))
    drain(add_case(made, scan, None, "bare", held_out=False))
    found = drain(measure_things(made, "manual"))
    large, small = found.rows
    assert (large.voxels, large.volume_um3, large.shared, large.centroid_um) == (32, 32, 1, (1, 2.5, 1.25))
    assert (small.voxels, small.shared, small.box) == (12, 1, ((1, 2), (4, 8), (4, 7)))
    assert "2 things, 2 over others; 22 µm³ (median" in found.text()
    heads, *rows = csv.reader(found.table.read_text().splitlines())
    assert dict(zip(heads, rows[1], strict=True))["volume_um3"] == "12.0"
    told = CliRunner().invoke(app, ["measure", str(made.folder), "--labels", "manual", "--things", "--json"])
    assert [thing["shared"] for thing in json.loads(told.stdout)["things"]] == [1, 1]
    with pytest.raises(UserError, match="Case 'bare' has no things by 'manual'"):
        drain(measure_things(made, "manual", "bare"))
    with pytest.raises(UserError, match="No case has things by 'eggs'"):
        drain(measure_things(made, "eggs"))


def test_the_things_of_a_checkpoint_are_measured_in_every_scan_that_it_segmented(project):
    learned(project)
    drain(segment(project, "cells", SegmentSettings(device="cpu"), ["bare", "test"]))
    told = CliRunner().invoke(app, ["measure", str(project.folder), "--labels", "cells"])
    assert told.exit_code == 0
    assert [line.split(":")[0] for line in told.stdout.splitlines()[:2]] == ["bare", "test"]
    assert "measure again" not in read_measured_things(project, "cells")
    store = project.case("bare").store
    drain(save_instances(open_instances(store, "cells"), store, "cells"))
    assert "Some scans are newer" in read_measured_things(project, "cells")


# ---- refused


def test_what_is_about_organs_is_refused_in_plain_words(project):
    card = learned(project)
    drain(segment(project, "cells", SegmentSettings(device="cpu"), ["bare", "test"]))
    teach = LEARN.model_copy(update={"strategy": SelfTrainingSettings()})
    ask = SegmentSettings(device="cpu")
    cases = [project.case("bare")]
    for deed, what in (
        (lambda: drain(segment_spread(project, "cells", ask, (), Spread("local:1"))), "on a cluster"),
        (lambda: drain(score(project, "cells", QualitySettings())), "scoring"),
        (lambda: verdict(project, Word("accepted", "bare", checkpoint="cells")), "reviewing"),
        (lambda: drain(measure(project, "bare", "cells")), "measuring organs"),
        (lambda: drain(measure_cohort(project, "cells")), "measuring organs"),
        (lambda: drain(disagree(project, "cells", "others")), "looking for disagreements"),
        (lambda: drain(evaluate(project, "cells")), "comparing organs"),
        (lambda: drain(forecast(project, "cells", ask, None)), "a forecast"),
        (lambda: drain(distil(project, "student", "cells", teach)), "learning from its proposals"),
        (lambda: drain(find_things(project, card, SegmentSettings(soft=True), cases)), "keeping soft labels"),
        (lambda: drain(find_things(project, card, SegmentSettings(disagreement="flips"), cases)), "a second look"),
        (lambda: drain(find_things(project, card, SegmentSettings(precision="bfloat16"), cases)), "another back end"),
    ):
        with pytest.raises(UserError, match=f"finds things that overlap, and .*{what}"):
            deed()


def test_readiness_says_that_it_has_no_organs_to_teach(project):
    learned(project)
    assert "no organs to teach" in readiness(project, "cells").sentence


def test_only_what_was_held_out_labelled_and_segmented_is_evaluated(project):
    learned(project)
    for case, why in (("one", "was trained on"), ("test", "has no things by")):
        with pytest.raises(UserError, match=why):
            drain(compare_checkpoints(project, ["cells"], [case]))


def test_a_layer_s_name_is_no_checkpoint_s(project):
    with pytest.raises(UserError, match="as layers of things are"):
        learned(project, "cells-overlap-1")
