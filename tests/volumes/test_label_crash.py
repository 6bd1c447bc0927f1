"""A process that writes labels may be killed at any fsync: what is listed is whole, a resumed run is identical."""

import os
import shutil
import signal
import sys

import numpy as np
import pytest

from napari_medaka_kd.job import drain
from napari_medaka_kd.volumes.label_extras import Extra
from napari_medaka_kd.volumes.label_store import begin_labels, label_names, open_saved_labels
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
SHAPE = (270, 260, 34)
SCHEMA = LabelSchema.from_names(["eye", "gut", "heart"])

RUN = """
import os, signal, sys
from pathlib import Path
import numpy as np
from napari_medaka_kd.job import drain
from napari_medaka_kd.volumes.label_extras import Extra
from napari_medaka_kd.volumes.label_store import begin_labels
from napari_medaka_kd.volumes.labels import LabelSchema

EXTRAS = [Extra("uncertainty"), Extra("soft", 2)]
left = int(sys.argv[2])
fsync = os.fsync

def fatal_fsync(handle):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)

os.fsync = fatal_fsync
values = np.random.default_rng(5).integers(0, 4, (270, 260, 34)).astype("u1")
begun = begin_labels(Path(sys.argv[1]), "teacher", LabelSchema.from_names(["eye", "gut", "heart"]), "f", EXTRAS)
for index in begun.pending:
    block = values[begun.blocks[index]]
    begun.write(index, block, {"uncertainty": 255 - block, "soft": np.stack([block, block // 2])})
drain(begun.commit())
sys.stdout.write(str(-left))
"""


def tree(folder):
    """Every file below ``folder`` with its bytes, but for the ledger, which tells in how many goes it was written."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".ledger")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crash")
    drain(save_volume(Volume((np.zeros(SHAPE, "u1"),), (9.0, 9.0, 9.0), "fish"), folder / "a.ome.zarr"))
    return folder / "a.ome.zarr"


@pytest.fixture(scope="module")
def uninterrupted(scan, play):
    """(the complete store, how many fsyncs it took)."""
    store = scan.with_name("whole.ome.zarr")
    shutil.copytree(scan, store)
    done = play(RUN, store, 0)
    assert done.returncode == 0, done.stderr
    return store, int(done.stdout)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.8, 0.97, 1.0])
def test_a_killed_run_resumes_to_the_same_bytes(scan, uninterrupted, tmp_path, play, share):
    whole, fsyncs = uninterrupted
    store = tmp_path / "a.ome.zarr"
    shutil.copytree(scan, store)
    killed = play(RUN, store, max(int(share * fsyncs), 1))
    assert killed.returncode == -signal.SIGKILL
    if label_names(store):
        labels = open_saved_labels(store, "teacher", SCHEMA).volume.read()
        np.testing.assert_array_equal(labels, open_saved_labels(whole, "teacher", SCHEMA).volume.read())
    else:
        resumed = play(RUN, store, 0)
        assert resumed.returncode == 0, resumed.stderr
        assert int(resumed.stdout) < fsyncs or share < 0.3
    assert tree(store / "labels" / "teacher.1") == tree(whole / "labels" / "teacher.1")
    assert not [path for path in store.rglob("*") if path.name.endswith(("__lock", ".partial"))]


FULL_DISK = (
    RUN.replace("left = int(sys.argv[2])", "left = 0")
    .replace("drain(begun.commit())", "raise AssertionError('the disk took it all')")
    .replace(
        "for index in", "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\nfor index in"
    )
)


def test_a_disk_that_fills_up_says_so_lists_nothing_and_can_be_resumed(scan, tmp_path, play):
    store = tmp_path / "a.ome.zarr"
    shutil.copytree(scan, store)
    full = play(FULL_DISK, store)
    assert full.returncode == 1
    assert "UserError: The disk did not take what was written" in full.stderr
    assert label_names(store) == ()
    assert play(RUN, store, 0).returncode == 0
    assert os.listdir(store / "labels" / "teacher.1" / "0" / "c")
    assert begin_labels(store, "teacher", SCHEMA, "f", [Extra("uncertainty")]).name == "teacher.2"
