"""Patches are a function of seed and step, wherever they are read from, and each is as likely as it should be."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from napari_medaka_kd.errors import InvalidVolume
from napari_medaka_kd.job import drain
from napari_medaka_kd.volumes.body import Body
from napari_medaka_kd.volumes.label_store import open_saved_labels, save_labels
from napari_medaka_kd.volumes.labels import LabelMap, LabelSchema
from napari_medaka_kd.volumes.lazy import DiskArray
from napari_medaka_kd.volumes.open import open_store
from napari_medaka_kd.volumes.organ_index import count_organs, index_of
from napari_medaka_kd.volumes.patches import Pair, PatchReader, Recipe
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume, whole

SHAPE = (70, 50, 90)
ORGANS = (1, 2, 9)
SCHEMA = LabelSchema.from_ids({1: "eye", 2: "gut", 9: "heart"})
SIZE = (10.0, 10.0, 10.0)
BOX = (slice(2, 66), slice(5, 45), slice(10, 88))


def arrays(seed, shape=SHAPE):
    """(scan, ids): a large gut, a small eye; 9 is only in odd ones."""
    rng = np.random.default_rng(seed)
    ids = np.zeros(shape, np.uint8)
    ids[4:-4, shape[1] // 2 :, 10:-10] = 2
    ids[20:24, 10:13, 30:35] = 1
    if seed % 2:
        ids[2, 2, 2] = 9
    return rng.integers(0, 60_000, shape).astype(np.uint16), ids


def pair(image, labels, organs=ORGANS):
    return Pair(image, labels, count_organs(Volume((labels,), SIZE)), organs, Body(BOX, (0.0, 1.0)))


def pairs():
    return tuple(pair(*arrays(seed)) for seed in (0, 1, 2))


def on_disk(folder, seed):
    image, ids = arrays(seed)
    store = folder / f"{seed}.ome.zarr"
    drain(save_volume(Volume((image,), SIZE, "fish"), store))
    drain(save_labels(LabelMap(Volume((ids,), SIZE, "truth"), SCHEMA), store, "manual"))
    labels = open_saved_labels(store, "manual", SCHEMA)
    return Pair(open_store(store).levels[0], labels.volume.levels[0], index_of(labels), ORGANS, Body(BOX, (0.0, 1.0)))


def same(one, other):
    return all(
        (a.pair, a.region) == (b.pair, b.region)
        and np.array_equal(a.image, b.image)
        and np.array_equal(a.labels, b.labels)
        for a, b in zip(one, other, strict=True)
    )


def steps(reader, first, count, **how):
    return list(itertools.islice(reader.play(first, **how), count))


RECIPES = st.builds(
    Recipe,
    size=st.tuples(*[st.sampled_from([1, 7, 16, 60])] * 3),
    rows=st.integers(1, 5),
    foreground=st.sampled_from([0.0, 0.7, 1.0]),
    patches_per_block=st.integers(1, 5),
)


@settings(max_examples=30)
@given(recipe=RECIPES, seed=st.integers(0, 99), first=st.integers(0, 12), budget=st.sampled_from([0, 10**6, 2**28]))
def test_batches_are_a_function_of_seed_and_step(recipe, seed, first, budget):
    run = steps(PatchReader(pairs(), recipe, (seed, 1)), 0, first + 3)
    resumed = steps(PatchReader(pairs(), recipe, (seed, 1), budget), first, 3)
    assert all(same(one, other) for one, other in zip(run[first:], resumed, strict=True))
    assert same(PatchReader(pairs(), recipe, (seed, 1)).read(first + 1), run[first + 1])
    assert (
        not same(PatchReader(pairs(), replace(recipe, size=(7, 7, 7)), (seed, 2)).read(0), run[0]) or recipe.size[0] > 7
    )


def test_other_steps_and_other_seeds_give_other_patches():
    recipe = Recipe((8, 8, 8), 3)
    batches = [PatchReader(pairs(), recipe, seed).read(step) for seed in ((0, 1), (0, 2), (1, 1)) for step in (0, 1)]
    assert not any(same(one, other) for one, other in itertools.combinations(batches, 2))


@settings(max_examples=30)
@given(recipe=RECIPES, step=st.integers(0, 50))
def test_a_patch_holds_what_lies_there_and_beyond_the_volume_its_edge(recipe, step):
    known = pairs()
    for patch in PatchReader(known, recipe, (0,)).read(step):
        z, y, x = (
            np.clip(np.arange(side.start, side.stop), 0, total - 1)
            for side, total in zip(patch.region, SHAPE, strict=True)
        )
        for found, array in ((patch.image, known[patch.pair].image), (patch.labels, known[patch.pair].labels)):
            np.testing.assert_array_equal(found, array[np.ix_(z, y, x)])
            assert found.shape == recipe.size
            assert not found.flags.writeable
        for side, total in zip(patch.region, SHAPE, strict=True):
            assert (side.start >= 0 and side.stop <= total) or side.stop - side.start > total


@pytest.mark.parametrize("count", [1, 3])
def test_it_does_not_matter_where_patches_are_read_from(tmp_path, count):
    seeds, recipe = (0, 1), Recipe((20, 16, 33), 3, patches_per_block=count)
    stored = [on_disk(tmp_path, seed) for seed in seeds]
    waiting = [
        replace(each, image=replace(each.image, begin_box=None), labels=replace(each.labels, begin_box=None))
        for each in stored
    ]
    known = steps(PatchReader([pair(*arrays(seed)) for seed in seeds], recipe, (4,)), 2, 6)
    for source in (stored, waiting):
        found = steps(PatchReader(source, recipe, (4,)), 2, 6)
        assert all(same(one, other) for one, other in zip(found, known, strict=True))


@pytest.mark.parametrize("count", [1, 4])
def test_every_organ_is_shown_equally_often_and_each_of_its_voxels(count):
    image, ids = arrays(1)
    recipe = Recipe((1, 1, 1), 4, foreground=1.0, patches_per_block=count)
    drawn = [batch[0] for batch in steps(PatchReader([pair(image, ids)], recipe, (3,)), 0, 2400, ahead=0)][::count]
    drawn += [batch[3] for batch in steps(PatchReader([pair(image, ids)], recipe, (4,)), 0, 2400, ahead=0)][::count]
    organs = [int(patch.labels.item()) for patch in drawn]
    assert chisquare([organs.count(organ) for organ in ORGANS]).pvalue > 0.01
    times = np.zeros(SHAPE, int)
    for patch in drawn:
        times[patch.region] += 1
    assert chisquare(times[ids == 1]).pvalue > 0.01


@pytest.mark.parametrize("count", [1, 4])
def test_other_patches_lie_anywhere_in_the_body_and_are_as_many_as_asked_for(count):
    image, ids = arrays(0)
    recipe = Recipe((1, 1, 1), 1, foreground=0.0, patches_per_block=count)
    drawn = [batch[0] for batch in steps(PatchReader([pair(image, ids)], recipe, (5,)), 0, 4000, ahead=0)][::count]
    for axis, side in enumerate(BOX):
        at = np.array([patch.region[axis].start for patch in drawn])
        assert chisquare(np.bincount(at - side.start, minlength=side.stop - side.start)).pvalue > 0.01
    some = Recipe((1, 1, 1), 1, foreground=0.7, patches_per_block=count)
    only_eye = PatchReader([pair(image, ids, organs=(1,))], some, (6,))
    shown = [batch[0].labels.item() == 1 for batch in steps(only_eye, 0, 2000 * count, ahead=0)][::count]
    assert np.mean(shown) == pytest.approx(0.7, abs=0.03)


def test_organs_that_nobody_has_or_asks_for_are_left_out():
    image, ids = arrays(0)
    assert pair(image, ids).present == (1, 2)
    assert pair(image, ids, organs=(2, 9)).present == (2,)
    nobody = PatchReader([pair(image, np.zeros_like(ids))], Recipe((4, 4, 4), 2, foreground=1.0), (0,))
    assert [patch.labels.any() for patch in nobody.read(0)] == [False, False]


def watched(array, log):
    """``array`` as one on the disk that is read without waiting; ``log`` hears of what is begun and what is taken."""

    def begin(box):
        log.append(box)
        return lambda: array[box].copy()

    return DiskArray(SHAPE, array.dtype, lambda box: array[box], begin_box=begin)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_block_serves_as_many_steps_as_asked_for_and_never_one_batch_twice(count):
    image, ids = arrays(1)
    log = []
    counting = replace(pair(image, ids), image=watched(image, log))
    reader = PatchReader([counting], Recipe((8, 8, 8), 4, patches_per_block=count), (0,))
    batches = steps(reader, 0, 10 * count, ahead=0)
    assert 4 * 10 <= len(log) <= 4 * 11
    for batch in batches:
        assert len({id(patch.image.base) for patch in batch}) == 4


def test_what_is_read_ahead_keeps_to_the_budget():
    image, ids = arrays(1)
    log = []
    counting = replace(pair(image, ids), image=watched(image, log))
    recipe = Recipe((8, 8, 8), 2)
    step = 2 * 8**3 * 3  # bytes: uint16 and uint8
    for budget, begun in ((0, 1), (2 * step, 2), (100 * step, 1 + 2)):
        log.clear()
        playing = PatchReader([counting], recipe, (0,), budget).play(0)
        next(playing)
        assert len(log) == 2 * begun
        for number in range(5):
            next(playing)
            assert len(log) == 2 * (begun + number + 1)


def test_a_damaged_chunk_is_refused_when_its_patch_is_wanted(tmp_path):
    stored = on_disk(tmp_path, 0)
    for file in (tmp_path / "0.ome.zarr" / "0" / "c").rglob("*"):
        if file.is_file():
            file.write_bytes(b"\0" * 100)
    with pytest.raises(InvalidVolume, match="cannot be read"):
        PatchReader([stored], Recipe((8, 8, 8), 1), (0,)).read(0)


def test_a_reader_touches_no_more_than_its_boxes():
    image, ids = arrays(1)
    log = []
    counting = replace(pair(image, ids), image=watched(image, log))
    PatchReader([counting], Recipe((8, 8, 8), 3), (0,)).read(0)
    assert all(side.stop - side.start == 8 for box in log for side in box)
    assert whole(SHAPE) not in log
