"""On a network share nothing of what two machines do at once is lost, though neither sees the other's locks."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from napari_medaka_kd.job import drain
from napari_medaka_kd.project import Project
from napari_medaka_kd.review import Decision, ReviewItem, VerdictReader, read_verdicts, verify_chain
from napari_medaka_kd.volumes import label_patch
from napari_medaka_kd.volumes.shares import network_disk, warn_of_share
from napari_medaka_kd.workflow.correct import begin_correction, commit_correction, corrected_labels

ELSEWHERE = """
import fcntl, sqlite3
from napari_medaka_kd.review import rows
from napari_medaka_kd.volumes import atomic, label_patch
connect = sqlite3.connect
def connect_without_locks(name, **more):
    name = name if name.startswith("file:") else f"file:{name}"
    return connect(f"{name}{'&' if '?' in name else '?'}nolock=1", **{**more, "uri": True})
sqlite3.connect = connect_without_locks
fcntl.flock = lambda *_: None
rows.on_share = atomic.on_share = label_patch.on_share = lambda _: True
"""
JUDGES = """
import sys
from pathlib import Path
from napari_medaka_kd.review import Decision, ReviewItem, Verdict, VerdictLog, now
log = VerdictLog(Path(sys.argv[1]), "ann")
for number in range(int(sys.argv[2])):
    log.append(Verdict(ReviewItem(f"case-{number}"), Decision.ACCEPTED, "ann", now()))
"""
CORRECTS = """
import sys
from pathlib import Path
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import open_project
from napari_medaka_kd.review import ReviewItem
from napari_medaka_kd.workflow.correct import begin_correction, commit_correction
project = open_project(Path(sys.argv[1]))
for z in map(int, sys.argv[3:]):
    correction = begin_correction(project, ReviewItem("fish-01", 1, (z, z + 2)), "teacher", sys.argv[2])
    painted = correction.labels.copy()
    painted[:, :3, :3] = 1
    correction.record(painted)
    drain(commit_correction(project, correction))
"""


@pytest.fixture
def on_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("review.rows", "volumes.atomic", "volumes.label_patch"):
        monkeypatch.setattr(f"napari_medaka_kd.{module}.on_share", lambda _: True)


def elsewhere(code: str, *words: object) -> subprocess.Popen[bytes]:
    """A process of another machine, whose locks do not show here, nor ours there."""
    return subprocess.Popen([sys.executable, "-c", ELSEWHERE + code, *map(str, words)])


@pytest.mark.usefixtures("on_a_share")
def test_a_log_is_read_while_another_machine_writes_it_and_not_touched(tmp_path: Path) -> None:
    writer, reader, seen = elsewhere(JUDGES, tmp_path, 300), VerdictReader(tmp_path), [0]
    while writer.poll() is None:
        seen.append(len(reader.read()))
    assert writer.returncode == 0
    assert [row.item.case for row in reader.read()] == [f"case-{number}" for number in range(300)]
    assert seen == sorted(seen)
    assert verify_chain(tmp_path / "ann.sqlite") == 300


def test_two_machines_correct_the_same_animal_and_both_are_heard(make_project: Callable[..., Project]) -> None:
    project = make_project(unlabelled=1, labelled=1, held_out=0)
    mine, theirs = range(0, 12, 2), range(12, 24, 2)
    both = [elsewhere(CORRECTS, project.folder, "ann", *mine), elsewhere(CORRECTS, project.folder, "bob", *theirs)]
    assert [process.wait() for process in both] == [0, 0]
    said = [row for row in read_verdicts(project.review_folder) if row.decision is Decision.CORRECTED]
    assert {(row.item.slab[0], row.reviewer) for row in said if row.item.slab and row.item.organ == 1} == {
        *((z, "ann") for z in mine),
        *((z, "bob") for z in theirs),
    }
    case = project.case("fish-01")
    proposed, reviewed = (case.labels(name).volume.read()[:24] == 1 for name in ("teacher", "reviewed"))
    assert (reviewed & ~proposed).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(corrected_labels(project, case, "teacher").volume.read()[:24] == 1, reviewed)


@pytest.mark.usefixtures("on_a_share")
def test_what_another_machine_may_still_read_stays_for_a_while(
    make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(unlabelled=1, labelled=1, held_out=0)
    labels = project.case("fish-01").store / "labels"

    def correct(z: int) -> list[str]:
        correction = begin_correction(project, ReviewItem("fish-01", 1, (z, z + 2)), "teacher", "ann")
        correction.record(np.ones_like(correction.labels))
        drain(commit_correction(project, correction))
        return sorted(folder.name for folder in labels.glob("reviewed.*"))

    assert [correct(0), correct(2)] == [["reviewed.1"], ["reviewed.1", "reviewed.2"]]
    monkeypatch.setattr(label_patch, "_READ_ON", 0.0)
    assert correct(4) == ["reviewed.3"]


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [("nfs4", "rw", "nfs4"), ("ntfs", "rw,remote", "a network drive"), ("btrfs", "rw", "")],
)
def test_a_network_share_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, options: str, told: str
) -> None:
    part = psutil.disk_partitions(all=True)[0]._replace(mountpoint=str(tmp_path), fstype=kind, opts=options)
    mounted = [part._replace(mountpoint="/", fstype="ext4", opts="rw"), part]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: mounted)
    assert network_disk(tmp_path / "review") == told
    assert [told in sentence for sentence in warn_of_share(tmp_path)] == ([True] if told else [])
