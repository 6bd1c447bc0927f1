"""Corrections: every stroke is kept, a commit happens wholly or not at all, and what was painted is what is learned."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import Project, add_case, open_project
from napari_medaka_kd.review import ALL_ORGANS, Decision, ReviewItem, Verdict, VerdictLog, fold, now, read_verdicts
from napari_medaka_kd.volumes.label_extras import Extra
from napari_medaka_kd.volumes.label_store import begin_labels, generation
from napari_medaka_kd.volumes.organ_index import count_organs, index_of
from napari_medaka_kd.volumes.volume import Volume
from napari_medaka_kd.workflow.correct import (
    Correction,
    abandon_correction,
    begin_correction,
    commit_correction,
    corrected_labels,
    open_corrections,
    settle,
)
from napari_medaka_kd.workflow.desk import Desk

CASE, SLAB = "fish-01", (16, 32)


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    return make_project(unlabelled=1, labelled=1, held_out=0)


def proposed(project: Project, name: str = "teacher", level: int = 0) -> np.ndarray:
    return project.case(CASE).labels(name).volume.read(level=level)


def shown(project: Project, name: str = "teacher", level: int = 0) -> np.ndarray:
    return corrected_labels(project, project.case(CASE), name).volume.read(level=level)


def an_item(project: Project, rank: int = 0) -> ReviewItem:
    """The organ with most voxels in the slab, or a smaller one."""
    organs, sizes = np.unique(proposed(project)[slice(*SLAB)], return_counts=True)
    ranked = [int(organ) for organ in organs[np.argsort(-sizes)] if organ]
    return ReviewItem(CASE, ranked[rank], SLAB)


def begin(project: Project, item: ReviewItem | None = None, reviewer: str = "ann") -> Correction:
    return begin_correction(project, item or an_item(project), "teacher", reviewer)


def paint(correction: Correction, where: tuple[slice, ...], organ: int) -> bool:
    painted = correction.labels.copy()
    painted[where] = organ
    return correction.record(painted)


CORNER = (slice(2, 5), slice(0, 4), slice(0, 4))  # background in the toy fish


def commit_corner(project: Project, item: ReviewItem | None = None, organ: int | None = None) -> ReviewItem:
    """Paint the corner of the crop and commit it."""
    correction = begin(project, item)
    paint(correction, CORNER, correction.item.organ if organ is None else organ)
    drain(commit_correction(project, correction, 3.0))
    return correction.item


def take_back(project: Project, *verdicts: Verdict) -> None:
    for verdict in verdicts:
        back = Verdict(
            verdict.item,
            Decision.UNDONE,
            verdict.reviewer,
            now(),
            checkpoint=verdict.checkpoint,
            gesture=verdict.gesture,
        )
        VerdictLog(project.review_folder, verdict.reviewer).append(back)


# --- the crop


def test_a_crop_holds_its_organ_in_the_slab_as_it_is_proposed(project: Project) -> None:
    item = an_item(project)
    correction = begin(project, item)
    z, y, x = correction.region
    assert (z.start, z.stop) == SLAB
    np.testing.assert_array_equal(correction.labels, proposed(project)[correction.region])
    everywhere = np.argwhere(proposed(project)[slice(*SLAB)] == item.organ)
    assert (everywhere.min(0)[1:] >= (y.start, x.start)).all()
    assert (everywhere.max(0)[1:] < (y.stop, x.stop)).all()
    assert correction.voxel_size == (500.0, 500.0, 500.0)
    assert (correction.can_undo, correction.can_redo, correction.strokes) == (False, False, 0)


def test_a_crop_of_a_whole_animals_organ_has_room_in_z(project: Project) -> None:
    organ = an_item(project).organ
    correction = begin_correction(project, ReviewItem(CASE, organ), "teacher", "ann", margin=2)
    inside = np.flatnonzero((proposed(project) == organ).any(axis=(1, 2)))
    assert correction.region[0].start == max(0, inside[0] - 2)
    assert correction.region[0].stop == min(48, inside[-1] + 3)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (ReviewItem("nobody", 1), "no case"),
        (ReviewItem(CASE, 99), "no organ 99"),
        (ReviewItem(CASE, 1, (40, 60)), "slices 0 to 47"),
    ],
)
def test_what_is_not_there_cannot_be_corrected(project: Project, item: ReviewItem, words: str) -> None:
    with pytest.raises(UserError, match=words):
        begin_correction(project, item, "teacher", "ann")
    with pytest.raises(UserError):
        begin_correction(project, an_item(project), "student", "ann")
    with pytest.raises(UserError, match="reviewer"):
        begin_correction(project, an_item(project), "teacher", "../ann")


# --- strokes


def test_strokes_are_undone_and_redone(project: Project) -> None:
    correction = begin(project)
    first = correction.labels.copy()
    assert paint(correction, CORNER, 3)
    second = correction.labels.copy()
    assert paint(correction, (slice(0, 1),), 0)
    assert not paint(correction, (slice(0, 1),), 0)
    third, place = correction.labels.copy(), correction.labels
    assert correction.undo()
    np.testing.assert_array_equal(correction.labels, second)
    assert correction.undo()
    assert not correction.undo()
    np.testing.assert_array_equal(correction.labels, first)
    assert correction.redo()
    assert correction.redo()
    assert not correction.redo()
    np.testing.assert_array_equal(correction.labels, third)
    assert correction.labels is place
    correction.undo()
    paint(correction, CORNER, 4)
    assert not correction.can_redo


def test_an_unknown_id_is_refused_and_nothing_of_the_stroke_stays(project: Project) -> None:
    correction = begin(project)
    before = correction.labels.copy()
    with pytest.raises(UserError, match="no organ 200"):
        paint(correction, CORNER, 200)
    np.testing.assert_array_equal(correction.labels, before)
    assert correction.strokes == 0


def test_a_correction_left_open_comes_back_with_its_history(project: Project) -> None:
    correction = begin(project)
    for organ in (1, 2, 3):
        paint(correction, CORNER, organ)
    correction.undo()
    correction.close()
    assert open_corrections(project, "ann") == (correction.item,)
    assert open_corrections(project, "bob") == ()
    again = begin(project)
    np.testing.assert_array_equal(again.labels, correction.labels)
    assert again.strokes == 2
    again.redo()
    assert (again.labels[CORNER] == 3).all()
    with pytest.raises(UserError, match="another window"):
        begin(project)
    abandon_correction(again)
    assert open_corrections(project, "ann") == ()
    assert begin(project).strokes == 0


def test_a_crop_that_nobody_painted_in_leaves_nothing(project: Project) -> None:
    begin(project).close()
    assert not list(project.review_folder.rglob("*.journal"))
    correction = begin(project)
    with pytest.raises(UserError, match="Nothing was painted"):
        drain(commit_correction(project, correction))


def test_interpolation_fills_between_painted_slices_and_is_one_stroke(project: Project) -> None:
    correction = begin(project)
    organ = correction.item.organ
    paint(correction, (slice(None),), 0)
    correction.undo()
    assert correction.edited_slices() == ()
    assert not correction.interpolate(organ)
    for z in (2, 8):
        painted = correction.labels.copy()
        painted[z] = 0
        painted[z, 4:10, 4 : 4 + z] = organ
        correction.record(painted)
    assert correction.edited_slices() == (2, 8)
    before = correction.labels.copy()
    assert correction.interpolate(organ)
    widths = [(correction.labels[z] == organ).any(axis=0).sum() for z in range(2, 9)]
    assert widths == sorted(widths)
    assert widths[0] < widths[3] < widths[-1]
    assert (correction.labels[3:8] == organ).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(correction.labels[[0, 1, 2, 8, 9]], before[[0, 1, 2, 8, 9]])
    assert correction.edited_slices() == (2, 8)
    assert correction.strokes == 3
    correction.undo()
    np.testing.assert_array_equal(correction.labels, before)


def test_interpolating_all_organs_fills_each_of_them(project: Project) -> None:
    correction = begin(project, ReviewItem(CASE, ALL_ORGANS, SLAB))
    for z in (1, 5):
        painted = correction.labels.copy()
        painted[z] = 0
        painted[z, :5], painted[z, 8:12] = 2, 3
        correction.record(painted)
    correction.interpolate(ALL_ORGANS)
    for z in range(1, 6):
        assert (correction.labels[z, :5] == 2).all()
        assert (correction.labels[z, 8:12] == 3).all()


# --- what a commit makes of them


def test_a_commit_is_a_verdict_and_a_label_map(project: Project) -> None:
    correction = begin(project)
    item, wanted = correction.item, proposed(project)
    paint(correction, CORNER, item.organ)
    correction.record(np.where(correction.labels == 0, correction.labels, item.organ))
    wanted[correction.region] = correction.labels
    lost = set(np.unique(proposed(project)[correction.region])) - {0, item.organ}
    verdicts = drain(commit_correction(project, correction, seconds=4.0))
    assert lost, "the toy has other organs there, which lost voxels to this one alone"
    assert [(v.item, v.decision, v.labels, v.seconds) for v in verdicts] == [
        (item, Decision.CORRECTED, "reviewed.1", 4.0)
    ]
    np.testing.assert_array_equal(shown(project), wanted)
    assert Desk(project, "teacher", "ann").proposals[item].decision == Decision.CORRECTED
    assert open_corrections(project, "ann") == ()
    assert not [path for path in project.review_folder.rglob("*") if path.suffix in (".journal", ".commit")]


def test_organs_that_gained_or_lost_to_the_background_are_corrected_too(project: Project) -> None:
    correction = begin(project)
    item, second, third = correction.item, an_item(project, 1).organ, an_item(project, 2).organ
    paint(correction, CORNER, second)
    painted = correction.labels.copy()
    painted[painted == third] = 0
    correction.record(painted)
    verdicts = drain(commit_correction(project, correction, seconds=6.0))
    assert [v.item for v in verdicts] == [item, *(ReviewItem(CASE, organ, SLAB) for organ in sorted((second, third)))]
    assert {v.gesture for v in verdicts} == {verdicts[0].gesture}
    assert [v.seconds for v in verdicts] == [2.0] * 3
    np.testing.assert_array_equal(shown(project)[correction.region], correction.labels)


def test_corrections_add_up_and_count_where_they_were_made(project: Project) -> None:
    wanted = proposed(project)
    for rank in (0, 1):
        correction = begin(project, an_item(project, rank))
        paint(correction, (slice(rank, rank + 3), *CORNER[1:]), correction.item.organ)
        wanted[correction.region] = correction.labels
        drain(commit_correction(project, correction))
        np.testing.assert_array_equal(shown(project), wanted)
    assert generation(project.case(CASE).store, "reviewed") == "reviewed.2"
    again = begin(project, an_item(project, 0))
    np.testing.assert_array_equal(again.labels, wanted[again.region])


def test_what_is_shown_is_right_at_every_level_and_in_every_box(project: Project) -> None:
    """Also where slabs begin and end between two coarse slices, and where two corrections overlap."""
    shape, rng = (150, 40, 44), np.random.default_rng(0)
    scan = Volume((np.zeros(shape, np.uint8),), (10.0, 10.0, 10.0), "long")
    case = drain(add_case(project, scan, None, "long", held_out=False))
    wanted = rng.integers(0, 5, shape, dtype=np.uint8)
    begun = begin_labels(case.store, "teacher", project.schema, "toy")
    begun.write(0, wanted)
    drain(begun.commit())
    for organ, slab in ((2, (31, 65)), (3, (47, 90)), (2, None)):
        correction = begin_correction(project, ReviewItem("long", organ, slab), "teacher", "ann")
        painted = correction.labels.copy()
        painted[rng.random(painted.shape) < 0.1] = organ
        painted[(painted == organ) & (rng.random(painted.shape) < 0.2)] = 0
        correction.record(painted)
        wanted[correction.region] = painted
        drain(commit_correction(project, correction))
    corrected = corrected_labels(project, case, "teacher")
    found, counted = index_of(corrected), count_organs(Volume((wanted,), (10.0,) * 3))
    np.testing.assert_array_equal(found.counts(), counted.counts())
    volume = corrected.volume
    assert len(volume.levels) == 3
    for level, array in enumerate(volume.levels):
        coarse = wanted[:: 2**level, :: 2**level, :: 2**level]
        np.testing.assert_array_equal(volume.read(level=level), coarse)
        for z in range(len(coarse)):
            np.testing.assert_array_equal(array[z], coarse[z])
        np.testing.assert_array_equal(array[3:21, 3:9, ::2], coarse[3:21, 3:9, ::2])


def test_a_correction_that_is_taken_back_no_longer_shows(project: Project) -> None:
    first = begin(project)
    second = an_item(project, 1).organ
    paint(first, CORNER, first.item.organ)
    paint(first, (slice(8, 12), *CORNER[1:]), second)
    verdicts = drain(commit_correction(project, first))
    take_back(project, *verdicts)
    np.testing.assert_array_equal(shown(project), proposed(project))


def test_far_from_the_crop_a_corrected_organ_lies_where_it_is_shown(project: Project) -> None:
    """Not where a correction that was taken back, or another checkpoint, had it."""
    shape = (20, 200, 200)
    case = drain(
        add_case(project, Volume((np.zeros(shape, np.uint8),), (10.0,) * 3, "wide"), None, "wide", held_out=False)
    )
    for name, at in (("teacher", 20), ("student", 100)):
        labels = np.zeros(shape, np.uint8)
        labels[5:10, at : at + 10, 10:20], labels[5:10, 170:180, 170:180] = 1, 2
        begun = begin_labels(case.store, name, project.schema, name)
        begun.write(0, labels)
        drain(begun.commit())
    first = begin_correction(project, ReviewItem("wide", 1), "teacher", "ann")
    paint(first, (slice(0, 1), slice(0, 5), slice(0, 5)), 2)
    paint(first, (slice(0, 1), slice(0, 5), slice(5, 9)), 1)
    take_back(project, *drain(commit_correction(project, first)))
    for name, organ in (("student", 2), ("student", 1)):
        wanted = corrected_labels(project, case, name).volume.read()
        second = begin_correction(project, ReviewItem("wide", organ), name, "ann")
        assert second.region[1].start > 30, "the crop should be far from the first one"
        paint(second, (slice(1, 2), slice(0, 5), slice(0, 5)), organ)
        wanted[second.region] = second.labels
        drain(commit_correction(project, second))
        np.testing.assert_array_equal(corrected_labels(project, case, name).volume.read(), wanted)


def test_the_desks_undo_takes_a_correction_back(project: Project) -> None:
    commit_corner(project)
    assert (shown(project) != proposed(project)).any()
    Desk(project, "teacher", "ann").undo()
    np.testing.assert_array_equal(shown(project), proposed(project))


def test_a_later_word_on_a_corrected_item_leaves_what_was_painted(project: Project) -> None:
    item = commit_corner(project)
    before = shown(project)
    for word in ("rejected", "unsure", "accepted"):
        Desk(project, "teacher", "bob").judge([item], word)
        np.testing.assert_array_equal(shown(project), before)


def test_two_people_correct_beside_each_other(project: Project) -> None:
    ann, bob = begin(project), begin(project, an_item(project, 1), "bob")
    paint(ann, CORNER, ann.item.organ)
    paint(bob, (slice(8, 12), *CORNER[1:]), bob.item.organ)
    wanted = proposed(project)
    for each in (ann, bob):
        np.copyto(wanted[each.region], each.labels, where=each.changed)
        drain(commit_correction(project, each))
    np.testing.assert_array_equal(shown(project), wanted)


def test_a_correction_outlives_the_proposals_it_was_made_of(project: Project) -> None:
    """A person's labels count for the next teacher as well, in the slices and for the organs that were corrected."""
    item = commit_corner(project)
    painted = shown(project) == item.organ
    case = project.case(CASE)
    begun = begin_labels(case.store, "student", project.schema, "another", extras=(Extra("uncertainty"),))
    other = np.roll(proposed(project), 5, axis=1)
    begun.write(0, other, {"uncertainty": np.zeros_like(other)})
    drain(begun.commit())
    now_shown, slab = shown(project, "student"), slice(*SLAB)
    np.testing.assert_array_equal(now_shown[slab] == item.organ, painted[slab])
    outside = np.ones(len(other), bool)
    outside[slab] = False
    np.testing.assert_array_equal(now_shown[outside], other[outside])
    correction = begin_correction(project, ReviewItem(CASE, an_item(project, 1).organ, SLAB), "student", "ann")
    paint(correction, (slice(8, 12), slice(0, 3), slice(28, 32)), correction.item.organ)
    wanted = now_shown.copy()
    wanted[correction.region] = correction.labels
    drain(commit_correction(project, correction))
    np.testing.assert_array_equal(shown(project, "student"), wanted)


def test_all_organs_of_a_slab_are_corrected_at_once(project: Project) -> None:
    correction = begin(project, ReviewItem(CASE, ALL_ORGANS, SLAB))
    correction.record(np.zeros_like(correction.labels))
    (verdict,) = drain(commit_correction(project, correction))
    assert verdict.item == ReviewItem(CASE, ALL_ORGANS, SLAB)
    wanted = proposed(project)
    wanted[correction.region] = 0
    np.testing.assert_array_equal(shown(project), wanted)


def test_who_looks_at_corrected_labels_can_go_on_looking(project: Project) -> None:
    commit_corner(project)
    seen = corrected_labels(project, project.case(CASE), "teacher").volume
    before = seen.read()
    commit_corner(project, an_item(project, 1))
    np.testing.assert_array_equal(seen.read(), before)


# --- killed in the middle

KILLED = """
import os, signal, sys
from pathlib import Path

left = int(sys.argv[2])

def fatal(deed):
    def run(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return deed(*args, **kwargs)
    return run

from napari_medaka_kd.job import drain
from napari_medaka_kd.project import open_project
from napari_medaka_kd.review import log
from napari_medaka_kd.workflow.correct import begin_correction, commit_correction, open_corrections

project = open_project(Path(sys.argv[1]))
(item,) = open_corrections(project, "ann")
correction = begin_correction(project, item, "teacher", "ann")
os.fsync, os.unlink, os.link, os.mkdir, os.replace = map(fatal, (os.fsync, os.unlink, os.link, os.mkdir, os.replace))
log.append_rows = fatal(log.append_rows)
drain(commit_correction(project, correction))
sys.stdout.write(str(-left))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
def test_a_commit_that_is_killed_has_happened_wholly_or_not_at_all(
    project: Project, tmp_path: Path, play: Callable[..., Any]
) -> None:
    """Killed before each of four of its writes and removals, and before every one of the last."""
    commit_corner(project, an_item(project, 1))
    before = shown(project)
    correction = begin(project)
    paint(correction, CORNER, correction.item.organ)
    correction.close()
    after = before.copy()
    after[correction.region] = correction.labels
    whole = copy(project, tmp_path / "whole")
    done = play(KILLED, whole.folder, 0)
    assert done.returncode == 0, done.stderr
    deeds = int(done.stdout)
    np.testing.assert_array_equal(shown(whole), after)
    outcomes = []
    for number, deadly in enumerate(sorted({*range(1, deeds, max(1, deeds // 4)), *range(deeds - 6, deeds + 1)})):
        victim = copy(project, tmp_path / f"victim-{number}")
        assert play(KILLED, victim.folder, deadly).returncode == -signal.SIGKILL
        outcomes.append(happened(victim, correction, before, after))
        if not outcomes[-1]:
            assert play(KILLED, victim.folder, 0).returncode == 0
        np.testing.assert_array_equal(shown(victim), after)
        assert left_over(victim) == []
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {False, True}


def copy(project: Project, folder: Path) -> Project:
    shutil.copytree(project.folder, folder)
    return open_project(folder)


def happened(project: Project, correction: Correction, before: np.ndarray, after: np.ndarray) -> bool:
    """Whether the correction was committed; either way it must be so wholly."""
    standing = fold(read_verdicts(project.review_folder), checkpoint="teacher")
    committed = standing.get(correction.item) is not None
    np.testing.assert_array_equal(shown(project), after if committed else before)
    assert open_corrections(project, "ann") == (() if committed else (correction.item,))
    if not committed:
        again = begin_correction(project, correction.item, "teacher", "ann")
        np.testing.assert_array_equal(again.labels, correction.labels)
        assert again.strokes == correction.strokes
        again.close()
    return committed


def left_over(project: Project) -> list[str]:
    """What a commit should have cleared away."""
    settle(project)
    labels = project.case(CASE).store / "labels"
    kept = {generation(project.case(CASE).store, name) for name in ("teacher", "reviewed")}
    stray = [path.name for path in labels.iterdir() if path.is_dir() and path.name not in kept]
    return stray + [path.name for path in (project.review_folder / "corrections").rglob("*") if path.is_file()]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
def test_a_stroke_that_was_acknowledged_survives_a_kill(project: Project, play: Callable[..., Any]) -> None:
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom napari_medaka_kd.project import open_project\n"
        "from napari_medaka_kd.review import ReviewItem\n"
        "from napari_medaka_kd.workflow.correct import begin_correction\n"
        "crop = begin_correction(open_project(Path(sys.argv[1])), ReviewItem('fish-01', int(sys.argv[2]), (16, 32)),"
        " 'teacher', 'ann')\n"
        "painted = crop.labels.copy()\npainted[3] = 0\ncrop.record(painted)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    item = an_item(project)
    assert play(script, project.folder, item.organ).returncode == -signal.SIGKILL
    correction = begin(project, item)
    assert correction.edited_slices() == (3,)
    assert not correction.labels[3].any()


def test_correcting_loads_no_torch() -> None:
    script = "import sys\nimport napari_medaka_kd.workflow.correct\nassert 'torch' not in sys.modules\n"
    assert subprocess.run([sys.executable, "-c", script], check=False, env={**os.environ}).returncode == 0
