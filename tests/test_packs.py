"""Review packs: what goes in, that verdicts come home about the very slices and labels, and what is refused."""

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medaka_kd.demo_settings import PhantomSettings
from napari_medaka_kd.errors import InvalidVolume, UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import Project, add_case, create_project, open_project
from napari_medaka_kd.quality.quality import QualityScore
from napari_medaka_kd.quality.record import FILE, Record, save_record
from napari_medaka_kd.review import Decision, ReviewItem, VerdictLog, fold, read_verdicts
from napari_medaka_kd.volumes.label_extras import Extra
from napari_medaka_kd.volumes.label_store import begin_labels, open_uncertainty
from napari_medaka_kd.volumes.phantom import MEDAKA, phantom_animal
from napari_medaka_kd.workflow.correct import begin_correction
from napari_medaka_kd.workflow.curate import Word, status, verdict
from napari_medaka_kd.workflow.desk import Desk
from napari_medaka_kd.workflow.merge import Merged, merge
from napari_medaka_kd.workflow.pack import Wanted, pack
from napari_medaka_kd.workflow.pack_card import CARD, PackedCase, read_card
from napari_medaka_kd.workflow.pack_crop import lay_edges
from napari_medaka_kd.workflow.unpack import unpack

DEEP, SLAB = (131, 40, 36), 13  # three levels, and slabs that no level cuts evenly
ALL = Wanted()


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    return make_project(labelled=0, held_out=0)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One animal with three levels, scored in slabs of 13 slices."""
    project = create_project(tmp_path_factory.mktemp("deep") / "deep", "deep", MEDAKA)
    animal = phantom_animal(PhantomSettings(shape=DEEP, voxel_size=200.0, animal=1, scan=1))
    case = drain(add_case(project, animal.volume, None, "fish", False))
    begun = begin_labels(case.store, "teacher", MEDAKA, "truth", extras=(Extra("uncertainty"),))
    labels = animal.labels.volume.read()
    begun.write(0, labels, {"uncertainty": (labels > 0).astype(np.uint8) * 90})
    drain(begun.commit())
    score(project, labels, "teacher.1")
    return project


def score(project: Project, labels: np.ndarray[Any, Any], name: str) -> None:
    """Each reason names the slab's first slice."""
    slabs = [(first, min(first + SLAB, DEEP[0])) for first in range(0, DEEP[0], SLAB)]
    units = [(int(organ), slab) for slab in slabs for organ in np.unique(labels[slice(*slab)]) if organ]
    scores = tuple(QualityScore(o, s, (o * 7 + s[0]) % 20 / 20, (0.5,), (f"a jump at z = {s[0]}",)) for o, s in units)
    save_record(Record("teacher", name, SLAB, 0.5, scores), project.case("fish").folder, MEDAKA)


def packed(project: Project, wanted: Wanted = ALL, name: str = "x") -> Project:
    """Packed, and unpacked again."""
    file = project.folder.parent / f"{name}.pack.zip"
    drain(pack(project, file, wanted))
    return drain(unpack(file))


def sent_back(pack_: Project, name: str = "back") -> Path:
    file = pack_.folder.parent / f"{name}.zip"
    file.unlink(missing_ok=True)
    drain(pack(pack_, file, Wanted()))
    return file


def stands(project: Project) -> dict[ReviewItem, tuple[Any, ...]]:
    said = fold(read_verdicts(project.review_folder), "teacher")
    return {i: (v.decision, v.reviewer, v.time, v.seconds, v.reasons, v.labels) for i, v in said.items()}


# --- what goes in


def test_the_next_of_the_queue_go_in_with_their_scores_and_nothing_else(project: Project) -> None:
    desk = Desk(project, "teacher")
    there = packed(project, Wanted(items=7, order="worst"))
    chosen = desk.queue("worst")[:7]
    found = Desk(there, "teacher").proposals
    card = read_card(there.folder)
    assert card is not None
    assert [item.item() for item in card.items] == list(chosen)
    assert len(found) == 7
    home = {replace(item, slab=card.cases[item.case].back(item.slab)): p for item, p in found.items()}
    assert {item: (p.score, p.reasons) for item, p in home.items()} == {
        item: (desk.proposals[item].score, desk.proposals[item].reasons) for item in chosen
    }


def test_only_the_animals_asked_for_go_in(project: Project) -> None:
    there = packed(project, Wanted(items=0, cases=("fish-00",)))
    assert [case.id for case in there.cases] == ["fish-00"]
    mine = [item for item in Desk(project, "teacher").proposals if item.case == "fish-00"]
    assert len(Desk(there, "teacher").proposals) == len(mine)


def test_at_full_resolution_scan_labels_and_doubt_are_those_of_the_crop(deep: Project, tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    drain(pack(deep, file, Wanted(items=3, margin=2)))
    there = drain(unpack(file)).case("fish")
    card = read_card(tmp_path / "x")
    assert card is not None
    frame, case = card.cases["fish"], deep.case("fish")
    box = tuple(slice(a, b) for a, b in zip(frame.start, frame.stop, strict=True))
    assert frame.factor == (1, 1, 1)
    assert there.volume.shape < DEEP
    np.testing.assert_array_equal(there.volume.read(), case.volume.read(box))
    np.testing.assert_array_equal(there.labels("teacher").volume.read(), case.labels("teacher").volume.read(box))
    doubt, whole = open_uncertainty(there.store, "teacher"), open_uncertainty(case.store, "teacher")
    assert doubt is not None
    assert whole is not None
    np.testing.assert_array_equal(doubt.read(), whole.read(box))
    assert there.body.window == case.body.window
    assert (there.volume.dtype, there.volume.voxel_size) == (case.volume.dtype, case.volume.voxel_size)


def test_where_the_limit_is_small_scans_are_taken_coarser_and_the_file_keeps_to_it(
    deep: Project, tmp_path: Path
) -> None:
    fine = drain(pack(deep, tmp_path / "fine.zip", Wanted(items=0)))
    coarse = drain(pack(deep, tmp_path / "coarse.zip", Wanted(items=0, limit=fine.size // 2)))
    assert (fine.coarser, coarse.coarser) == (1, 2)
    assert coarse.size <= fine.size // 2
    there = drain(unpack(tmp_path / "coarse.zip")).case("fish")
    assert there.volume.voxel_size == (400.0, 400.0, 400.0)
    np.testing.assert_array_equal(there.volume.read(), deep.case("fish").volume.read(level=1))
    with pytest.raises(UserError, match="however coarse"):
        drain(pack(deep, tmp_path / "none.zip", Wanted(items=0, limit=1000)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coarse", "coarse.zip", "fine.zip"]


def test_an_animal_without_scores_goes_in_whole(project: Project) -> None:
    (project.case("fish-01").folder / FILE).unlink()
    there = packed(project, Wanted(items=2, cases=("fish-01",)))
    assert there.case("fish-01").volume.shape[0] == project.case("fish-01").volume.shape[0]
    desk = Desk(there, "teacher", "bob")
    item = next(iter(desk.queue()))
    assert item.slab is None
    desk.judge([item], "accepted")
    drain(merge(project, there.folder))
    assert list(stands(project)) == [item]


def test_what_cannot_be_packed_is_told(project: Project, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no order 'best'.*worst"):
        drain(pack(project, tmp_path / "x.zip", Wanted(order="best")))
    with pytest.raises(UserError, match=r"Nothing of 'another'.*fish-01"):
        drain(pack(project, tmp_path / "x.zip", Wanted(cases=("another",))))
    with pytest.raises(UserError, match="Nothing is proposed by 'other'"):
        drain(pack(project, tmp_path / "x.zip", Wanted("other")))
    Desk(project, "teacher").judge([ReviewItem("fish-01"), ReviewItem("fish-00")], "accepted")
    with pytest.raises(UserError, match="nothing left"):
        drain(pack(project, tmp_path / "x.zip", Wanted()))
    (tmp_path / "x.zip").write_text("mine")
    with pytest.raises(UserError, match="there already"):
        drain(pack(project, tmp_path / "x.zip", Wanted()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fish", "x.zip"]


def test_cancelled_at_any_step_nothing_is_left(project: Project, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    steps = sum(1 for _ in pack(project, tmp_path / "whole.zip", Wanted(items=2)))
    (tmp_path / "whole.zip").unlink()
    for stop in range(1, steps - 1, 9):
        job = pack(project, tmp_path / "cut.zip", Wanted(items=2))
        for _ in range(stop):
            next(job)
        job.close()
        assert sorted(tmp_path.rglob("*")) == before
    file = tmp_path / "cut.zip"
    drain(pack(project, file, Wanted(items=2)))
    steps = sum(1 for _ in unpack(file, tmp_path / "there"))
    for stop in range(1, steps, 9):
        job = unpack(file, tmp_path / "elsewhere")
        for _ in range(stop):
            next(job)
        job.close()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.zip", "fish", "there"]


def test_two_do_not_write_the_same_file_and_what_a_killed_one_left_is_swept(project: Project, tmp_path: Path) -> None:
    left = tmp_path / ".x.zip.making" / "pack" / "cases"
    left.mkdir(parents=True)
    (left / "half").write_text("")
    job = pack(project, tmp_path / "x.zip", Wanted(items=2))
    next(job)
    assert not left.exists()
    with pytest.raises(UserError, match="by another process"):
        drain(pack(project, tmp_path / "x.zip", Wanted(items=2)))
    assert drain(job).items == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fish", "x.zip"]


def test_zarr_opens_each_image_in_the_file_without_unpacking_it(project: Project, tmp_path: Path) -> None:
    drain(pack(project, tmp_path / "x.zip", Wanted()))
    with zarr.storage.ZipStore(tmp_path / "x.zip", mode="r") as store:
        root = zarr.open_group(store, mode="r")
        assert list(root["cases"].group_keys()) == ["fish-00", "fish-01"]
        for case in project.cases:
            if case.id.startswith("fish"):
                image = root[f"cases/{case.id}/volume.ome.zarr"]
                labels = image[f"labels/{image['labels'].attrs['ome']['labels'][0]}"]
                for group in (image, labels, labels["uncertainty"]):
                    levels = group.attrs["ome"]["multiscales"][0]["datasets"]
                    assert all(group[level["path"]].ndim == 3 for level in levels)
                assert image["0"].shape == labels["0"].shape
                assert labels["0"][:].max() > 0


def test_reasons_name_slices_as_the_pack_counts_them(packs_of_deep: dict[int, Project]) -> None:
    for there in packs_of_deep.values():
        found = Desk(there, "teacher").proposals
        assert {p.reasons for p in found.values()} == {(f"a jump at z = {i.slab[0]}",) for i in found if i.slab}


# --- the way back


@pytest.fixture(scope="module")
def packs_of_deep(deep: Project) -> dict[int, Project]:
    """All of it by how coarse it is."""
    full = packed(deep, Wanted(items=0, margin=5), "full")
    size = (deep.folder.parent / "full.pack.zip").stat().st_size
    return {1: full, 2: packed(deep, Wanted(items=0, limit=size // 2), "half")}


@settings(max_examples=12)
@given(data=st.data())
def test_judging_in_a_pack_is_judging_in_the_project(
    deep: Project, packs_of_deep: dict[int, Project], data: st.DataObject
) -> None:
    """Whatever was packed of it, and whatever slices and organs are judged, taken back, or judged again."""
    there = packs_of_deep[data.draw(st.sampled_from((1, 2)), "coarser")]
    card = read_card(there.folder)
    assert card is not None
    frame = card.cases["fish"]
    for folder in (there.review_folder, deep.review_folder):
        shutil.rmtree(folder, ignore_errors=True)
    known = list(Desk(deep, "teacher").proposals)
    direct = deep.folder.parent / "direct"
    shutil.rmtree(direct, ignore_errors=True)
    desk = Desk(there, "teacher", "bob")
    for _ in range(data.draw(st.integers(1, 4), "gestures")):
        item = data.draw(st.sampled_from(known), "item")
        how = data.draw(st.sampled_from(("proposal", "slices", "animal", "undo", "amend")), "how")
        if how == "undo":
            desk.undo()
        elif how == "amend":
            desk.amend(("because",))
        else:
            slab = frame.into(item.slab)
            if how == "slices":
                first = data.draw(st.integers(0, frame.slices - 1))
                slab = (first, data.draw(st.integers(first + 1, frame.slices)))
            word = data.draw(st.sampled_from(("accepted", "rejected", "unsure")))
            desk.judge([ReviewItem("fish", item.organ, slab if how != "animal" else None)], word, seconds=2)
    said = read_verdicts(there.review_folder)
    log = VerdictLog(direct, "bob")
    home = [replace(v, item=replace(v.item, slab=expected(frame, v.item.slab)), digest=frame.digest) for v in said]
    log.append_all(home)
    drain(merge(deep, there.folder))
    assert fold(read_verdicts(deep.review_folder)) == fold(read_verdicts(direct))


def expected(frame: Any, slab: tuple[int, int] | None) -> tuple[int, int] | None:
    """Slices of the scan, told apart from what is tested: a proposed slab's, else those under the pack's."""
    if slab is None:
        return None if (frame.start[0], frame.stop[0]) == (0, DEEP[0]) else (frame.start[0], frame.stop[0])
    by, shift = frame.factor[0], frame.start[0] // frame.factor[0]
    cuts = {at // by: at for at in range(0, DEEP[0], SLAB)} | {-(-DEEP[0] // by): DEEP[0]}
    first, last = (cuts.get(at + shift, min((at + shift) * by, frame.stop[0])) for at in slab)
    return first, last


@settings(max_examples=300)
@given(
    start=st.integers(0, 200), slices=st.integers(1, 300), below=st.integers(0, 50),
    by=st.sampled_from((1, 2, 4, 8)), slab=st.integers(1, 60),
)  # fmt: skip
def test_slabs_go_into_a_pack_and_come_back(start: int, slices: int, below: int, by: int, slab: int) -> None:
    """Proposed slabs wherever a pack tells them apart, and all others as the slices that they show."""
    start -= start % by
    stop = start + slices
    depth = stop + below
    known = frozenset((*range(0, depth, slab), depth))
    edges = lay_edges(known, (start, stop), by)
    if any(a[1] >= b[1] for a, b in pairwise(edges)):
        assert by > 1
        return
    frame = PackedCase(
        scan="0" * 64, labels="teacher.7", digest="0" * 64, packed="teacher.1", depth=depth,
        start=(start, 0, 0), stop=(stop, 9, 9), factor=(by, 1, 1), edges=edges,
    )  # fmt: skip
    inside = sorted({at for at in known if start <= at <= stop} | {start, stop})
    for first, last in pairwise(inside):
        assert frame.back(frame.into((first, last))) == (first, last)
    rows = [frame.back((at, at + 1)) for at in range(frame.slices)]
    assert rows[0] is not None
    assert rows[-1] is not None
    assert (rows[0][0], rows[-1][1]) == (start, stop)
    assert all(a and b and a[0] < a[1] == b[0] for a, b in pairwise(rows))
    assert frame.back(None) == (None if (start, stop) == (0, depth) else (start, stop))


def test_merging_again_adds_nothing_and_merging_a_longer_log_adds_the_rest(project: Project) -> None:
    there = packed(project)
    desk = Desk(there, "teacher", "bob")
    desk.judge(desk.queue()[:3], "accepted", seconds=6)
    back = sent_back(there)
    assert drain(merge(project, back)).verdicts == {"bob": 3}
    before = stands(project)
    again = drain(merge(project, back))
    assert (again.verdicts, again.known) == ({"bob": 0}, 3)
    assert stands(project) == before
    desk.undo()
    desk.judge(desk.queue()[:1], "rejected", ("ragged",))
    newer = drain(merge(project, sent_back(there)))
    assert (newer.verdicts, newer.known) == ({"bob": 4}, 3)
    assert len(stands(project)) == 1
    assert drain(merge(project, back)).verdicts == {"bob": 0}
    assert stands(project) != before
    assert (project.review_folder / "bob.sqlite").exists() is False


def test_one_reviewer_on_two_machines_and_in_the_project_loses_nothing(project: Project, tmp_path: Path) -> None:
    """Gestures count from 1 in each of the three logs; undoing one takes back none of another."""
    first = packed(project)
    (tmp_path / "other").mkdir()
    second = drain(unpack(tmp_path / "x.pack.zip", tmp_path / "other" / "x"))
    one, two, three = Desk(first, "teacher", "bob"), Desk(second, "teacher", "bob"), Desk(project, "teacher", "bob")
    items = list(three.proposals)
    said = [three.judge([items[0]], "accepted"), one.judge([one.queue()[0]], "rejected")]
    said += [two.judge([item], "rejected") for item in two.queue()[-2:]]
    for folder in (second.folder, first.folder):
        drain(merge(project, folder))
    assert len(read_verdicts(project.review_folder)) == 4
    three.refresh()
    assert len({verdict.gesture for verdict in read_verdicts(project.review_folder)}) == 4
    assert len(three.undo()) == 1
    assert len(stands(project)) == len({v.item for (v,) in said}) - 1


def test_what_others_said_meanwhile_stays_and_conflicts_show_both_names(project: Project) -> None:
    there = packed(project, Wanted(items=0))
    bob, ann = Desk(there, "teacher", "bob"), Desk(project, "teacher", "ann")
    items = [item for item in ann.queue("worst") if item.case == "fish-01"]
    ann.judge([items[0]], "rejected")
    ann.judge([ReviewItem("fish-01", items[1].organ)], "rejected")
    ann.judge([items[-1]], "accepted")
    bob.judge(items[:2], "accepted")
    bob.judge([items[-1]], "accepted")
    merged: Merged = drain(merge(project, sent_back(there)))
    told = merged.text()
    assert f"{MEDAKA.names[items[0].organ - 1]}, z {items[0].slab[0]}-" in told
    assert "bob says accepted, ann says rejected" in told
    assert {c.item for c in merged.conflicts} >= set(items[:2])
    assert items[-1] not in {c.item for c in merged.conflicts}
    names = {v.reviewer for v in read_verdicts(project.review_folder)}
    assert names == {"ann", "bob"}
    assert len(read_verdicts(project.review_folder)) == 6
    assert json.dumps(merged.json())


def test_a_newer_label_map_is_told_and_the_words_stay_with_the_old_one(project: Project) -> None:
    there = packed(project)
    desk = Desk(there, "teacher", "bob")
    item = next(item for item in desk.queue() if item.case == "fish-01")
    desk.judge([item], "accepted")
    case = project.case("fish-01")
    begun = begin_labels(case.store, "teacher", project.schema, "another")
    begun.write(0, np.ones(case.volume.shape, np.uint8))
    drain(begun.commit())
    merged = drain(merge(project, sent_back(there)))
    assert merged.moved_on == (("fish-01", "teacher.1", "teacher.2"),)
    assert "judged was teacher.1, by now there is teacher.2" in merged.text()
    assert [v.labels for v in read_verdicts(project.review_folder)] == ["teacher.1"]


def test_a_pack_says_what_to_do_next_and_nothing_can_be_painted_in_it(project: Project) -> None:
    there = packed(project)
    assert "send back" in status(there).next
    with pytest.raises(UserError, match=r"painted in a review pack.*Reject"):
        begin_correction(there, Desk(there, "teacher").queue()[0], "teacher", "bob")
    with pytest.raises(UserError, match="No verdict was given"):
        sent_back(there)
    with pytest.raises(UserError, match="is a pack itself"):
        drain(merge(there, there.folder))
    said = verdict(there, Word("rejected", "fish-01", "liver", reviewer="bob"))
    assert said.decision is Decision.REJECTED
    assert drain(merge(project, sent_back(there))).verdicts == {"bob": 1}


def test_a_pack_is_unpacked_once_and_opened_again_with_its_verdicts(project: Project, tmp_path: Path) -> None:
    there = packed(project)
    Desk(there, "teacher", "bob").judge([ReviewItem("fish-01")], "accepted")
    again = drain(unpack(tmp_path / "x.pack.zip"))
    assert len(read_verdicts(again.review_folder)) == 1
    drain(pack(project, tmp_path / "y.zip", Wanted()))
    with pytest.raises(UserError, match="not this pack"):
        drain(unpack(tmp_path / "y.zip", there.folder))
    with pytest.raises(UserError, match="nothing to review"):
        drain(unpack(sent_back(there), tmp_path / "z"))


def test_a_pack_of_another_project_is_not_merged(project: Project, tmp_path: Path) -> None:
    there = packed(project, Wanted(items=2, cases=("fish-01",)))
    Desk(there, "teacher", "bob").judge([ReviewItem("fish-01")], "accepted")
    other = create_project(tmp_path / "other", "other", MEDAKA)
    drain(add_case(other, project.case("fish-01").volume, None, "fish-01", held_out=False))
    with pytest.raises(UserError, match=r"another project.*'fish-01'.*'fish'"):
        drain(merge(other, sent_back(there)))
    with pytest.raises(UserError, match="no review pack"):
        drain(merge(project, other.folder))
    with pytest.raises(UserError, match="There is no"):
        drain(merge(project, other.folder / "none.zip"))
    assert not (other.folder / "review").exists()


def test_a_copy_of_the_project_elsewhere_takes_it_too(project: Project, tmp_path: Path) -> None:
    there = packed(project)
    Desk(there, "teacher", "bob").judge([ReviewItem("fish-01")], "accepted")
    shutil.copytree(project.folder, tmp_path / "moved")
    assert drain(merge(open_project(tmp_path / "moved"), there.folder)).verdicts == {"bob": 1}


# --- packs of strangers


@pytest.fixture(scope="module")
def honest(deep: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with nothing wrong."""
    file = tmp_path_factory.mktemp("honest") / "x.zip"
    drain(pack(deep, file, Wanted(items=2, margin=0)))
    return file


def rewritten(file: Path, target: Path, changes: dict[str, bytes | None]) -> Path:
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            if info.filename not in changes:
                new.writestr(info.filename, old.read(info))
        for name, data in changes.items():
            if data is not None:
                new.writestr(name, data)
    return target


def changed_card(file: Path, **values: Any) -> bytes:
    with zipfile.ZipFile(file) as archive:
        return json.dumps(json.loads(archive.read(CARD)) | values).encode()


STORE = "cases/fish/volume.ome.zarr"
STRANGE: dict[str, Callable[[Path], dict[str, bytes | None]]] = {
    "a task": lambda _: {"tasks/1-x/task.json": b"{}"},
    "weights": lambda _: {"checkpoints/teacher/checkpoint.json": b"{}"},
    "settings": lambda _: {"settings.toml": b""},
    "a journal of SQLite's": lambda _: {"review/bob.sqlite-journal": b""},
    "a mask": lambda _: {"cases/fish/body.npz": b""},
    "no card": lambda _: {CARD: None},
    "a damaged card": lambda _: {CARD: b"{"},
    "a deep card": lambda _: {CARD: b'{"a":' * 100_000},
    "an unknown word": lambda file: {CARD: changed_card(file, run="rm")},
    "cases elsewhere": lambda file: {CARD: changed_card(file, cases={"../x": {}})},
    "no project": lambda _: {"project.toml": None},
    "a damaged case": lambda _: {"cases/fish/case.json": b'{"a":' * 100_000},
    "damaged scores": lambda _: {"cases/fish/quality.json": b"[]"},
    "a case too few": lambda _: {"cases/fish/case.json": None},
    "absurd metadata": lambda _: {f"{STORE}/0/zarr.json": b"{}"},
    "no labels": lambda _: {f"{STORE}/labels/zarr.json": None},
    "a log that is none": lambda _: {"review/bob.sqlite": b"SQLite format 3\0" + bytes(200)},
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_strange_pack_is_refused_and_leaves_nothing(kind: str, honest: Path, tmp_path: Path) -> None:
    strange = rewritten(honest, tmp_path / "strange.zip", STRANGE[kind](honest))
    with pytest.raises(UserError):
        drain(unpack(strange))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["strange.zip"]


def test_a_pack_of_a_newer_version_is_refused_as_such(honest: Path, tmp_path: Path) -> None:
    newer = {CARD: changed_card(honest, format=2, more=1)}
    with pytest.raises(UserError, match=r"format 2.*Update"):
        drain(unpack(rewritten(honest, tmp_path / "newer.zip", newer)))


def log_of(folder: Path, rows: list[dict[str, Any]], reviewer: str = "bob", more: str = "") -> bytes:
    """A log with whatever rows, its chain in order."""
    path = folder / "made.sqlite"
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE verdicts (row INTEGER PRIMARY KEY, verdict TEXT NOT NULL, hash TEXT NOT NULL)")
        link = "0" * 64
        for number, row in enumerate(rows, start=1):
            text = json.dumps(row)
            link = hashlib.sha256(f"{link}\n{text}".encode()).hexdigest()
            database.execute("INSERT INTO verdicts VALUES (?, ?, ?)", (number, text, link))
        if more:
            database.execute(more)
    database.close()
    return path.read_bytes()


def row(**values: Any) -> dict[str, Any]:
    item = {"case": "fish", "organ": 1, "slab": None}
    said = {"item": item, "decision": "accepted", "reviewer": "bob", "time": "2026-01-01T00:00:00+00:00"}
    return said | {"seconds": 1.0, "reasons": [], "checkpoint": "teacher", "labels": "teacher.1", "gesture": 1} | values


BAD_ROWS: dict[str, list[dict[str, Any]]] = {
    "another's words": [row(reviewer="ann")],
    "another case": [row(item={"case": "another", "organ": 1, "slab": None})],
    "no case": [row(item={"case": "../x", "organ": 1, "slab": None})],
    "no organ": [row(item={"case": "fish", "organ": 99, "slab": None})],
    "slices beyond": [row(item={"case": "fish", "organ": 1, "slab": [0, 4000]})],
    "slices backwards": [row(item={"case": "fish", "organ": 1, "slab": [3, 2]})],
    "another checkpoint": [row(checkpoint="student")],
    "painted labels": [row(labels="reviewed.1", decision="corrected")],
    "the future": [row(time="2999-01-01T00:00:00+00:00")],
    "no time zone": [row(time="2026-01-01T00:00:00")],
    "time runs back": [row(), row(time="2025-01-01T00:00:00+00:00")],
    "odd reasons": [row(reasons=[{"a": 1}])],
    "endless": [row(seconds="inf")],
    "a gesture beyond": [row(gesture=2**62)],
    "no decision": [row(decision="eaten")],
    "unknown words": [row(colour="red")],
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_verdicts_that_nobody_can_have_given_are_refused_whole(
    kind: str, deep: Project, honest: Path, tmp_path: Path
) -> None:
    shutil.rmtree(deep.review_folder, ignore_errors=True)
    rows = [row(time="2024-01-01T00:00:00+00:00"), *BAD_ROWS[kind]]
    bad = rewritten(honest, tmp_path / "bad.zip", {"review/bob.sqlite": log_of(tmp_path, rows)})
    with pytest.raises(UserError):
        drain(merge(deep, bad))
    assert not deep.review_folder.exists()


def test_a_log_with_code_in_it_is_refused(deep: Project, honest: Path, tmp_path: Path) -> None:
    shutil.rmtree(deep.review_folder, ignore_errors=True)
    endless = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT n FROM t"
    for code in (
        f"CREATE VIEW v AS {endless}",
        "CREATE TRIGGER t AFTER INSERT ON verdicts BEGIN DELETE FROM verdicts; END",
        "CREATE VIRTUAL TABLE f USING fts5(x)",
        f"CREATE TABLE other AS {endless} LIMIT 3",
    ):
        log = log_of(tmp_path, [row()], more=code)
        bad = rewritten(honest, tmp_path / "bad.zip", {"review/bob.sqlite": log})
        if "TABLE other" in code:  # a plain table by now
            assert drain(merge(deep, bad)).verdicts == {"bob": 1}
            continue
        with pytest.raises(InvalidVolume, match="more than verdicts"):
            drain(merge(deep, bad))


def test_a_log_that_was_changed_after_it_was_merged_is_refused(deep: Project, honest: Path, tmp_path: Path) -> None:
    shutil.rmtree(deep.review_folder, ignore_errors=True)
    for rows, merged in (([row()], True), ([row(decision="rejected")], False)):
        log = {"review/bob.sqlite": log_of(tmp_path, rows)}
        file = rewritten(honest, tmp_path / "bad.zip", log)
        if merged:
            drain(merge(deep, file))
        else:
            with pytest.raises(UserError, match="changed or exchanged"):
                drain(merge(deep, file))
    assert [v.decision for v in read_verdicts(deep.review_folder)] == ["accepted"]


# --- real processes


def test_packing_reviewing_and_merging_by_command_line_without_torch_and_without_the_scans(
    project: Project, tmp_path: Path
) -> None:
    """While the pack is reviewed, the project is elsewhere."""

    def medaka(*lines: tuple[object, ...]) -> list[dict[str, Any]]:
        """What the command lines say, one after the other in one process."""
        told = json.dumps([[*map(str, line), "--json"] for line in lines])
        code = "import json, sys; from napari_medaka_kd.cli import app\n"
        code += "for line in json.loads(sys.argv[1]): app(line, standalone_mode=False)\n"
        code += "sys.exit([name for name in ('torch', 'qtpy', 'napari') if name in sys.modules] or 0)"
        done = subprocess.run([sys.executable, "-c", code, told], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    file, back, there = tmp_path / "x.pack.zip", tmp_path / "back.zip", tmp_path / "x"
    (made,) = medaka(("pack", project.folder, file, "--items", 5, "--limit", 50))
    assert (made["items"], made["size"]) == (5, file.stat().st_size)
    project.folder.rename(tmp_path / "away")
    word = ("verdict", there, "rejected", "--case", "fish-01", "--reviewer", "bob")
    opened, said, answer = medaka(("unpack", file), word, ("pack", there, back))
    assert (opened["project"], said["decision"], answer["verdicts"]) == (str(there), "rejected", 1)
    (tmp_path / "away").rename(project.folder)
    (merged,) = medaka(("merge", project.folder, back))
    assert merged["verdicts"] == {"bob": 1}
    assert [v.reviewer for v in read_verdicts(project.review_folder)] == ["bob"]
