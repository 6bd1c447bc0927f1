"""Segmenting on a cluster: the labels of one process bit for bit, whoever dies; real schedulers, real workers."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from napari_medaka_kd.cli import app
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.networks.inputs import encode
from napari_medaka_kd.segment.cluster import connect
from napari_medaka_kd.segment.cohort import Scan, segment_cohort
from napari_medaka_kd.segment.errand import decide, run_errand
from napari_medaka_kd.segment.run import segment
from napari_medaka_kd.segment.segmenter import Segmenter
from napari_medaka_kd.settings import NetworkSettings, SegmentSettings
from napari_medaka_kd.volumes.body import Body
from napari_medaka_kd.volumes.growing import open_growing
from napari_medaka_kd.volumes.label_store import label_names, open_saved_labels
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.open import open_volume
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume, whole

SCHEMA = LabelSchema.from_ids({3: "eye", 40: "gut"})
LOOKS = NetworkSettings(dimensions=2, widths=(4, 6), coordinates=False)
SETTINGS = SegmentSettings(precision="float32", device="cpu")
SHAPE = (1500, 12, 14)  # six blocks
BODY = Body(whole(SHAPE), (0.0, 1.0))


@pytest.fixture(scope="module")
def cluster():
    with connect("local:2", "cpu") as begun:
        yield begun


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """Two scans, a checkpoint, and in ``plain`` the labels that one process makes of the first scan."""
    folder, rng = tmp_path_factory.mktemp("cluster"), np.random.default_rng(0)
    for name in ("one", "two"):
        drain(save_volume(Volume((rng.random(SHAPE, np.float32),), (10.0, 10.0, 10.0)), folder / f"{name}.ome.zarr"))
    Checkpoint(name="teacher", network=LOOKS, organs=SCHEMA).save(network(), folder / "teacher")
    shutil.copytree(folder / "one.ome.zarr", folder / "plain" / "one.ome.zarr")
    segment_plainly(folder / "plain" / "one.ome.zarr", folder / "teacher")
    assert set(np.unique(open_saved_labels(folder / "plain" / "one.ome.zarr", "teacher", SCHEMA).volume.read())) == {
        0,
        3,
        40,
    }
    return folder


def network():
    """One that has opinions: over noise, each class comes first somewhere."""
    made, noise = build(LOOKS, SCHEMA.classes, 0).eval(), np.random.default_rng(1).random((8, 12, 14), np.float32)
    image = torch.from_numpy(encode(noise, whole(noise.shape), BODY, LOOKS))[None]
    with torch.no_grad():
        logits = made(image).movedim(1, 0).flatten(1)  # (classes, voxels)
        made.head.weight.div_(logits.std(1).view(-1, *[1] * (made.head.weight.ndim - 1)))
        made.head.bias.copy_((made.head.bias - logits.mean(1)) / logits.std(1))
    return made


@pytest.fixture
def folder(origin, tmp_path):
    for name in ("one.ome.zarr", "two.ome.zarr", "teacher"):
        shutil.copytree(origin / name, tmp_path / name)
    return tmp_path


def segment_plainly(store, checkpoint, settings=SETTINGS):
    card = Checkpoint.open(checkpoint)
    segmenter = Segmenter(card.load(checkpoint), card.network, settings)
    how = decide(checkpoint, settings, store, BODY)
    segmenter.use_halo(how.halo)
    drain(segment(open_volume(store), BODY, card, segmenter))


def scans(folder, *names):
    return [Scan(replace(open_volume(folder / f"{name}.ome.zarr"), name=name), BODY) for name in names]


def spread(folder, cluster, *names, settings=SETTINGS):
    return segment_cohort(scans(folder, *names), folder / "teacher", settings, cluster)


def files_of(store):
    """What the label map consists of, byte by byte; the ledger has an order of its own."""
    labels = store / "labels"
    return {
        file.relative_to(labels).as_posix(): file.read_bytes()
        for file in sorted(labels.rglob("*"))
        if file.is_file() and file.name not in (".ledger", ".lock")
    }


def notes_of(store, generation="teacher.1"):
    lines = (store / "labels" / generation / ".ledger").read_text().splitlines()[1:]
    return Counter(json.loads(line)["block"] for line in lines)


def kill_a_worker(cluster):
    os.kill(cluster.result(cluster.submit(os.getpid)), signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
def test_a_worker_killed_midway_costs_no_block_and_changes_no_bit(folder, origin, cluster):
    killed = False
    for report in spread(folder, cluster, "one", "two"):
        if report.done and not killed:
            kill_a_worker(cluster)
            killed = True
    assert killed
    assert files_of(folder / "one.ome.zarr") == files_of(origin / "plain" / "one.ome.zarr")
    for name in ("one", "two"):
        assert notes_of(folder / f"{name}.ome.zarr") == dict.fromkeys(range(6), 1)
        assert label_names(folder / f"{name}.ome.zarr") == ("teacher",)


def test_workers_write_what_is_asked_for_beside_the_labels_as_one_process_does(folder, cluster):
    more = SETTINGS.model_copy(update={"soft": True, "disagreement": "dropout", "rounds": 1})
    store = folder / "one.ome.zarr"
    drain(spread(folder, cluster, "one", settings=more))
    found = files_of(store)
    shutil.rmtree(store / "labels")
    segment_plainly(store, folder / "teacher", more)
    assert found == files_of(store)
    assert {name.split("/")[1] for name in found if "/" in name} >= {"uncertainty", "disagreement", "soft"}


def test_what_a_cluster_began_one_process_ends_and_the_other_way_round(folder, origin, cluster):
    for begin in ("on the cluster", "alone"):
        store = folder / "one.ome.zarr"
        shutil.rmtree(store / "labels", ignore_errors=True)
        card = Checkpoint.open(folder / "teacher")
        segmenter = Segmenter(card.load(folder / "teacher"), card.network, SETTINGS)
        segmenter.use_halo(decide(folder / "teacher", SETTINGS, store, BODY).halo)
        alone = segment(open_volume(store), BODY, card, segmenter)
        jobs = [spread(folder, cluster, "one"), alone]
        first, second = jobs if begin == "on the cluster" else jobs[::-1]
        with closing(first):
            assert next(report for report in first if report.done).done < 6
        there = len(open_growing(store, "teacher").finished)
        assert there >= 1
        reports = []
        drain(second, reports.append)
        assert next(report.done for report in reports if report.doing.startswith("segment")) == there
        assert files_of(store) == files_of(origin / "plain" / "one.ome.zarr")
        assert notes_of(store) == dict.fromkeys(range(6), 1)


def test_scans_that_are_complete_up_to_their_list_need_no_worker(folder, cluster):
    job = spread(folder, cluster, "one")
    for report in job:
        if report.doing.startswith("Completing"):
            job.close()
    assert label_names(folder / "one.ome.zarr") == ()
    drain(spread(folder, cluster, "one", "two"))
    assert label_names(folder / "one.ome.zarr") == ("teacher",)


def test_what_a_worker_cannot_do_it_says_in_two_sentences(folder, cluster):
    how = replace(decide(folder / "teacher", SETTINGS, folder / "one.ome.zarr", BODY), computes="a quantum computer")
    job = spread(folder, cluster, "one")
    next(report for report in job if report.done == 0 and report.total == 6)
    (generation,) = (folder / "one.ome.zarr" / "labels").glob("teacher.*")
    errand = errand_of(folder, generation, how)
    with pytest.raises(UserError, match="the others by 'a quantum computer'") as said:
        cluster.result(cluster.submit(run_errand, errand, (0,)))
    assert "Use workers of one kind" in said.value.remedy
    for other, words in ((replace(errand, version="0"), "version"), (replace(errand, weights="0"), "was changed")):
        with pytest.raises(UserError, match=words):
            cluster.result(cluster.submit(run_errand, other, (0,)))
    job.close()


def errand_of(folder, generation, how):
    from napari_medaka_kd.segment.errand import Errand

    fingerprint = json.loads((generation / ".ledger").read_text().splitlines()[0])["fingerprint"]
    weights = Checkpoint.open(folder / "teacher").weights_sha256
    return Errand((generation, fingerprint), folder / "one.ome.zarr", BODY, folder / "teacher", weights, how)


@pytest.mark.parametrize("address", ["local:0", "local", "tcp://", "elsewhere:8786", "http://host:8786"])
def test_what_is_no_cluster_is_refused_in_a_sentence(address):
    with pytest.raises(UserError, match="is no cluster") as said, connect(address):
        pass
    assert "local:4" in said.value.remedy


def test_where_no_scheduler_answers_one_sentence_says_so():
    with pytest.raises(UserError, match="No scheduler answers"), connect("tcp://127.0.0.1:1", patience=0.2):
        pass


@pytest.fixture
def scheduler(tmp_path):
    """The address of a scheduler with one worker, both begun as anyone would, that announces a GPU."""
    ours = ("--host", "127.0.0.1", "--scheduler-file", str(tmp_path / "scheduler.json"))
    worker = (*ours, "--nthreads", "1", "--no-dashboard", "--no-nanny", "--resources", "GPU=1")
    commands = (("scheduler", *ours, "--port", "0", "--no-dashboard"), ("worker", *worker))
    begun = []
    for name, *words in commands:
        command = [sys.executable, "-m", f"distributed.cli.dask_{name}", *words]
        begun.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
    for line in begun[0].stderr:
        if b"Scheduler at" in line:
            yield line.split()[-1].decode()
            break
    for process in begun:
        process.kill()
        process.communicate()


def test_the_command_line_uses_a_scheduler_that_is_running_and_its_gpus(make_project, scheduler):
    project = make_project(unlabelled=2, labelled=0, held_out=0)
    card = Checkpoint(name="new", network=LOOKS, organs=project.schema)
    card.save(build(LOOKS, project.schema.classes, 0), project.checkpoint("new"))
    command = ["segment", str(project.folder), "--checkpoint", "new", "--cluster", scheduler, "--json"]
    done = CliRunner().invoke(app, [*command, "--set", "precision=float32"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["cases"] == ["fish-00", "fish-01"]
    made = {case.id: case.labels("new").volume.read() for case in project.cases}
    done = CliRunner().invoke(
        app, [*command[:4], "--case", "fish-00", "--case", "fish-01", "--set", "precision=float32"]
    )
    assert done.exit_code == 0, done.output
    for case in project.cases:
        np.testing.assert_array_equal(case.labels("new").volume.read(), made[case.id])


def test_the_files_of_this_test_are_those_of_a_label_map(origin):
    names = {Path(name).name for name in files_of(origin / "plain" / "one.ome.zarr")}
    assert {"zarr.json", "organs.npz", "0"} <= names
