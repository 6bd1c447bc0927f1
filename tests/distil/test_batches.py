"""Batches: the same for the same seed and step, whole in all their parts, and silent where nobody is to be believed."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_medaka_kd.distil.batches import Diet, class_balance, side_by_side, trusted
from napari_medaka_kd.distil.losses import IGNORE
from napari_medaka_kd.distil.trust import trust_table
from napari_medaka_kd.settings import PatchSettings
from napari_medaka_kd.volumes.lazy import DiskArray


def same(one, other):
    pairs = [(getattr(one, part.name), getattr(other, part.name)) for part in fields(one)]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def diet(toy, patch=(1, 16, 16), **more):
    given = {"labelled": (toy.source(1),), "unlabelled": (), "unlabelled_rows": 0, "rim": 1} | more
    patches = PatchSettings(patch=patch, batch=3)
    return Diet(patches=patches, augment=toy.STILL, network=toy.FLAT, seed=0, **given)


@pytest.mark.parametrize("looks", ["FLAT", "DEEP"])
def test_batches_are_a_function_of_seed_and_step(toy, looks):
    looks = getattr(toy, looks)
    stream = toy.diet(looks).batches()(0)
    from_the_start = [next(stream) for _ in range(5)]
    again = toy.diet(looks).batches()
    assert same(next(again(3)), from_the_start[3])
    assert same(next(again(1)), from_the_start[1])
    assert not torch.equal(from_the_start[0].image, from_the_start[1].image)
    other = next(toy.diet(looks, seed=1).batches()(0))
    assert not torch.equal(other.image, from_the_start[0].image)


def test_batches_that_share_blocks_are_a_function_of_seed_and_step_too(toy):
    settings = PatchSettings(patch=(1, 8, 8), batch=3, patches_per_block=4)
    shared = replace(diet(toy, unlabelled=(toy.source(3),), unlabelled_rows=2), patches=settings)
    stream = shared.batches()(0)
    from_the_start = [next(stream) for _ in range(9)]
    for first in (1, 3, 4, 7):
        assert same(next(shared.batches()(first)), from_the_start[first])


def test_batches_side_by_side_are_those_of_each_diet_for_the_same_step(toy):
    main, other = toy.diet(), diet(toy, labelled=(toy.source(4),))
    both = next(side_by_side(main, help=other)(3))
    assert same(replace(both, beside={}), next(main.batches()(3)))
    assert same(both.beside["help"], next(other.batches()(3)))
    assert same(both.to(torch.device("cpu")).beside["help"], both.beside["help"])


@pytest.mark.parametrize(("each", "in_all"), [(0, 10**9), (10**9, 2 * 3072), (10**9, 10**9)])
def test_batches_are_the_same_whether_animals_fit_in_memory_or_not(toy, monkeypatch, each, in_all):
    asked = set()

    def stored(volume, name):
        array = volume.levels[0]

        def read(box):
            asked.add(name)
            return array[box]

        return replace(volume, levels=(DiskArray(array.shape, array.dtype, read),))

    def on_disk(number):
        animal = toy.source(number)
        labels = replace(animal.labels, volume=stored(animal.labels.volume, number))
        return replace(animal, image=stored(animal.image, number), labels=labels)

    numbers = (1, 2, 3)
    wanted = next(diet(toy, labelled=tuple(map(toy.source, numbers))).batches()(5))
    monkeypatch.setattr("napari_medaka_kd.distil.batches._KEEP_IN_MEMORY", each)
    monkeypatch.setattr("napari_medaka_kd.distil.batches._KEEP_IN_ALL", in_all)
    play = diet(toy, labelled=tuple(map(on_disk, numbers))).batches()
    asked.clear()
    batches = play(0)
    assert same([next(batches) for _ in range(6)][5], wanted)
    kept = 0 if each == 0 else min(3, in_all // 3072)
    assert asked == set(numbers[kept:])


@pytest.mark.parametrize("looks", ["FLAT", "DEEP"])
def test_a_batch_holds_what_it_says(toy, looks):
    looks = getattr(toy, looks)
    diet = toy.diet(looks)
    batch = next(diet.batches()(7))
    rows, patch = diet.patches.batch + diet.unlabelled_rows, diet.patches.patch
    assert (batch.step, batch.labelled) == (7, diet.patches.batch)
    assert batch.image.shape == batch.clean.shape == (rows, 4, *patch)
    assert batch.target.shape == batch.weight.shape == (rows, *patch)
    assert batch.pasted.shape == (rows, 1, *patch)
    assert batch.image.dtype == batch.clean.dtype == batch.weight.dtype == torch.float32
    assert batch.target.dtype == torch.int64
    assert set(batch.target.unique().tolist()) <= {IGNORE, *range(toy.SCHEMA.classes)}
    assert torch.isfinite(batch.image).all()


def test_image_target_and_weight_are_pasted_alike(toy):
    """Brightness tells the organ, so a target that was pasted elsewhere than its image would show."""
    trust = np.array([[0.3, 0.6, 0.9]], np.float32)
    cut = replace(
        diet(toy, unlabelled=(toy.source(3, trust),), unlabelled_rows=4, rim=0),
        augment=toy.STILL.model_copy(update={"cutmix": 1.0}),
    )
    for _, batch in zip(range(4), cut.batches()(0), strict=False):
        assert bool(batch.pasted.any())
        seen = torch.bucketize(batch.image[:, 0].contiguous(), torch.tensor([0.3, 0.7]))
        assert torch.equal(seen, batch.target)
        guessed = slice(batch.labelled, None)
        torch.testing.assert_close(batch.weight[guessed], torch.from_numpy(trust)[0][batch.target[guessed]])
        assert (batch.weight[: batch.labelled] == 1).all()


def test_what_lies_beyond_the_scan_is_unknown(toy):
    batch = next(diet(toy, patch=(16, 20, 16)).batches()(0))
    outside = batch.target == IGNORE
    assert torch.equal(outside.any(0), outside.all(0))
    assert int((~outside[0]).sum()) == np.prod(toy.SHAPE)
    assert torch.isfinite(batch.image).all()
    # The edge goes on, rather than a wall of air that no scan shows.
    assert float(batch.image[:, 0].min()) > -0.25


def test_what_lies_beyond_the_scan_weighs_nothing_in_any_term(toy):
    batch = next(diet(toy, patch=(16, 20, 16)).batches()(0))
    assert not batch.weight[batch.target == IGNORE].any()


def test_every_organ_is_shown_equally_often_however_small(toy):
    animal = toy.source(1)
    ids = animal.labels.volume.read().copy()
    ids[ids == 7] = 0
    ids[9, 12, 12] = 7  # one voxel
    volume = replace(animal.labels.volume, levels=(ids,))
    small = replace(animal, labels=replace(animal.labels, volume=volume))
    fed = replace(diet(toy, labelled=(small,), patch=(1, 4, 4)), patches=PatchSettings(patch=(1, 4, 4), foreground=1.0))
    shown = [(batch.target == 2).flatten(1).any(1) for _, batch in zip(range(20), fed.batches()(0), strict=False)]
    assert float(torch.cat(shown).float().mean()) == pytest.approx(0.5, abs=0.12)


def test_class_balance_lifts_what_is_rare_and_is_one_on_average(toy):
    factors = class_balance([toy.source(1)], toy.SCHEMA.classes, 0.5)
    _, ids = toy.animal(1)
    counts = np.bincount(toy.SCHEMA.to_classes(ids).ravel())
    assert float(factors.mean()) == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(factors[1] / factors[0], (counts[0] / counts[1]) ** 0.5, rtol=1e-5)
    assert torch.equal(class_balance([toy.source(1)], 3, 0.0), torch.ones(3))
    assert torch.isfinite(class_balance([toy.source(1)], 9, 1.0)).all()  # organs that nobody has


@pytest.mark.parametrize("rim", [0, 1, 2])
def test_a_rejected_organ_and_its_rim_weigh_nothing(toy, rim):
    _, ids = toy.animal(1)
    target = toy.SCHEMA.to_classes(ids)
    table = np.array([[1, 1, 1], [0.5, 0, 0.7]], np.float32)  # the eye is rejected from z = 3 on
    source = replace(toy.source(1), trust=table, slab=3)
    weight = trusted(source, (slice(0, 12), slice(0, 16), slice(0, 16)), target, rim)
    rejected = np.zeros(target.shape, bool)
    rejected[3:] = target[3:] == 1
    assert rejected.any()
    near = np.zeros_like(rejected)
    for z, y, x in np.argwhere(rejected):
        near[max(0, z - rim) : z + rim + 1, max(0, y - rim) : y + rim + 1, max(0, x - rim) : x + rim + 1] = True
    slab = np.minimum(np.arange(12) // 3, 1)  # the last row goes on
    np.testing.assert_array_equal(weight, np.where(near, 0, table[slab[:, None, None], target]))


def test_labels_of_a_person_are_believed_wholly(toy):
    target = np.ones((4, 4, 4), np.int64)
    weight = trusted(toy.source(1), (slice(0, 4), slice(0, 4), slice(0, 4)), target, 2)
    assert weight.dtype == np.float32
    assert (weight == 1).all()


def test_a_rejected_organ_of_a_slice_has_its_rim_within_the_slice(toy):
    target = np.zeros((1, 5, 5), np.int64)
    target[0, 2, 2] = 1
    source = replace(toy.source(1), trust=np.array([[1, 0, 1]], np.float32))
    weight = trusted(source, (slice(3, 4), slice(0, 5), slice(0, 5)), target, 1)
    assert int((weight == 0).sum()) == 9


@given(
    trust=st.dictionaries(st.tuples(st.integers(1, 4), st.integers(0, 3)), st.floats(0, 1, width=32)),
    depth=st.integers(7, 8),
)
def test_a_trust_table_believes_what_was_said_and_nothing_else(trust, depth):
    table = trust_table(trust, 5, depth, 2).table
    assert table.shape == (4, 5)
    for row in range(4):
        said = [trust.get((organ, row)) for organ in range(1, 5)]
        assert table[row, 1:].tolist() == [value or 0.0 for value in said]
        known = [value for value in said if value is not None]
        assert table[row, 0] == pytest.approx(np.mean(known) if known else 1.0, abs=1e-6)


def test_a_whole_animal_is_one_slab_where_no_slab_is_named():
    table = trust_table({(1, 0): 1.0, (2, 0): 0.0}, 3, 100, 0)
    assert table.slab == 0
    assert table.table.tolist() == [[0.5, 1.0, 0.0]]
