"""An atlas laid onto other animals: any pose is found, labels follow the warp, and nothing is warped whole."""

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from napari_medaka_kd.distil.atlas.affine import align, correlations
from napari_medaka_kd.distil.atlas.placement import Placement, warped_image, warped_labels
from napari_medaka_kd.distil.atlas.register import choose_atlas, register
from napari_medaka_kd.distil.atlas.synthetic import SpotIndex, deformed, warped_onto
from napari_medaka_kd.distil.atlas.view import Frame, look
from napari_medaka_kd.distil.batches import Source
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.warp import affine, lattice
from napari_medaka_kd.settings import ReconstructionSettings
from napari_medaka_kd.volumes.body import Body
from napari_medaka_kd.volumes.labels import LabelMap, LabelSchema
from napari_medaka_kd.volumes.volume import Volume, whole

SIDE = 18
FISH = LabelSchema.from_ids({1: "head", 2: "fin"})
QUICK = ReconstructionSettings(grid=16, registration_steps=0)


def fish(places):
    """A body with a head at one end, a fin on its back and one on its left, so that no pose looks like another."""
    z, y, x = places.unbind(-1)

    def blob(middle, radii):
        away = sum(((at - m) / r) ** 2 for at, m, r in zip((z, y, x), middle, radii, strict=True))
        return torch.exp(-(away**2))

    parts = [
        0.5 * blob((0, 0, 0), (0.6, 0.25, 0.2)),
        1.0 * blob((-0.45, 0, 0), (0.18, 0.2, 0.16)),
        0.7 * blob((0.1, 0.3, 0), (0.2, 0.14, 0.1)),
        0.9 * blob((0.25, 0, 0.24), (0.12, 0.1, 0.12)),
    ]
    return sum(parts)[None, None]


def turn(angles):
    matrix = torch.zeros(3, 3)
    matrix[[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]] = torch.tensor(
        [-angles[2], angles[1], angles[2], -angles[0], -angles[1], angles[0]], dtype=torch.float32
    )
    return torch.matrix_exp(matrix)


def posed(angles, scale, shift, flip):
    """(moving, fixed, the matrix that leads from fixed to moving)."""
    linear = turn(angles) @ torch.diag(torch.tensor([1.0, 1.0, -1.0 if flip else 1.0])) * scale
    matrix = torch.cat((linear, torch.tensor(shift)[:, None]), dim=1)
    places = lattice((SIDE,) * 3, torch.zeros(()))
    return fish(places), fish(places @ linear.T + matrix[:, 3]), matrix


angle, near = st.floats(-3.1, 3.1), st.floats(-0.15, 0.15)


@settings(max_examples=3, deadline=None, derandomize=True, phases=[Phase.generate])
@given(st.tuples(angle, angle, angle), st.floats(1.0, 1.35), st.tuples(near, near, near), st.booleans())
def test_an_animal_in_any_pose_is_laid_onto_the_atlas(angles, scale, shift, flip):
    moving, fixed, truth = posed(angles, scale, shift, flip)
    found = align(moving, fixed, mirror=flip)
    assert torch.det(found[:, :3]).sign() == torch.det(truth[:, :3]).sign()
    places = lattice((SIDE,) * 3, truth)[fixed[0, 0] > 0.2]
    wrong = (places @ (found - truth)[:, :3].T + (found - truth)[:, 3]).norm(dim=-1)
    assert float(wrong.max()) < 0.15
    assert float(correlations(found[None], moving, fixed)[0]) > 0.97


def test_it_is_not_mirrored_unless_that_is_allowed_and_always_the_same():
    moving, fixed, _ = posed((0.4, 1.0, -0.3), 1.0, (0, 0, 0), flip=True)
    found = align(moving, fixed)
    assert float(torch.det(found[:, :3])) > 0
    assert torch.equal(found, align(moving, fixed))
    assert float(torch.det(align(moving, fixed, mirror=True)[:, :3])) < 0


# --- warping


def atlas_of(shape=(20, 16, 12), size=(10.0, 10.0, 10.0), levels=1):
    """A scan whose intensities and labels say where one is, with its body all of it."""
    z, y, x = np.indices(shape)
    scan = (z + 100 * y + 10_000 * x).astype(np.float32)
    ids = np.where(z < shape[0] // 2, 1, 2).astype(np.uint8)
    steps = [2**level for level in range(levels)]
    image = Volume(tuple(scan[::s, ::s, ::s] for s in steps), size, "atlas")
    labels = LabelMap(Volume(tuple(ids[::s, ::s, ::s] for s in steps), size), FISH)
    return Source("atlas", image, Body(whole(shape), (0.0, float(scan.max()))), labels)


def straight(source, field=None, linear=None):
    frame = Frame.around(source.body, source.image.voxel_size)
    matrix = torch.eye(3, 4) if linear is None else torch.cat((linear, torch.zeros(3, 1)), dim=1)
    return Placement(frame, frame, matrix, torch.zeros(1, 3, 4, 4, 4) if field is None else field)


def test_without_a_warp_the_atlas_is_itself():
    atlas = atlas_of()
    image = warped_image(atlas.image, straight(atlas), atlas.image, air=-1.0)
    labels = warped_labels(atlas.labels, straight(atlas), atlas.image)
    np.testing.assert_allclose(image.read(), atlas.image.read(), rtol=1e-5, atol=0.3)
    np.testing.assert_array_equal(labels.read(), atlas.labels.volume.read())
    assert labels.dtype == np.uint8


@pytest.mark.parametrize("steps", [(3, 0, 0), (0, -2, 0), (0, 0, 1), (2, 1, -3)])
def test_a_shift_of_whole_voxels_shifts_image_and_labels_and_leaves_air_behind(steps):
    atlas = atlas_of()
    half = max(atlas.image.shape) / 2
    field = torch.tensor(steps, dtype=torch.float32).view(1, 3, 1, 1, 1).expand(1, 3, 4, 4, 4) / half
    placement = straight(atlas, field)
    image = warped_image(atlas.image, placement, atlas.image, air=-1.0).read()
    labels = warped_labels(atlas.labels, placement, atlas.image).read()
    z, y, x = (index + step for index, step in zip(np.indices(atlas.image.shape), steps, strict=True))
    there = np.all([(at >= 0) & (at < side) for at, side in zip((z, y, x), atlas.image.shape, strict=True)], axis=0)
    np.testing.assert_allclose(image[there], (z + 100 * y + 10_000 * x)[there], rtol=1e-4, atol=0.5)
    np.testing.assert_array_equal(image[~there], -1.0)
    np.testing.assert_array_equal(labels, np.where(there, np.where(z < 10, 1, 2), 0))


def test_a_quarter_turn_between_scans_of_other_voxel_sizes_finds_its_voxels():
    atlas = atlas_of((16, 16, 16))
    scan = Volume((np.zeros((8, 8, 8), np.uint8),), (20.0, 20.0, 20.0))
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    labels = warped_labels(atlas.labels, straight(atlas, linear=quarter), scan).read()
    assert labels.shape == (8, 8, 8)
    np.testing.assert_array_equal(labels, np.where(np.arange(8)[None, :, None] < 4, 2, 1) * np.ones((8, 1, 8)))


def test_a_part_is_warped_as_in_the_whole_and_reads_a_part_of_the_atlas():
    atlas = atlas_of((40, 40, 40))
    field = 0.1 * torch.randn(1, 3, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    asked = []

    class Watched:
        shape, dtype = atlas.image.shape, atlas.image.dtype

        def __getitem__(self, box):
            asked.append(np.prod([side.stop - side.start for side in box]))
            return atlas.image.levels[0][box]

    watched = Volume((Watched(),), atlas.image.voxel_size)
    image = warped_image(watched, straight(atlas, field), atlas.image, air=0.0)
    assert asked == []
    part = (slice(10, 18), slice(5, 13), slice(30, 38))
    np.testing.assert_allclose(image.read(part), image.read()[part], rtol=1e-5, atol=0.5)
    assert asked[0] < 24**3


def test_a_coarse_scan_takes_the_atlas_at_a_coarse_level():
    atlas = atlas_of((32, 32, 32), levels=3)
    placement = straight(atlas)
    assert [placement.level(atlas.image, (size,) * 3) for size in (5.0, 10.0, 19.0, 20.0, 45.0)] == [0, 0, 0, 1, 2]


def test_organs_of_warped_labels_are_found_without_counting_them():
    atlas = atlas_of((40, 40, 40))
    labels = LabelMap(warped_labels(atlas.labels, straight(atlas), atlas.image), FISH)
    index = SpotIndex.of(labels, atlas.body)
    assert index.total(1) == index.total(2) == 40**3 // 2
    assert index.total(3) == 0
    rng, ids = np.random.default_rng(0), labels.volume.read()
    for organ in (1, 2):
        drawn = np.concatenate([index.draw(rng, organ, ids, 3) for _ in range(20)])
        assert all(ids[tuple(voxel)] == organ for voxel in drawn)


def test_a_view_is_a_cube_around_the_body_whatever_the_voxels_are():
    shape, size = (20, 10, 40), (40.0, 80.0, 20.0)  # a cube of 800 µm
    scan = np.zeros(shape, np.float32)
    scan[5:15, 2:8, 10:30] = 1.0
    view = look(Volume((scan,), size), Body(whole(shape), (0.0, 1.0)), 16)
    assert view.frame == Frame((400.0, 400.0, 400.0), 400.0)
    assert view.image.shape == (1, 1, 16, 16, 16)
    assert view.air == 0.0
    inside = view.image[0, 0] > 0.5
    assert inside[5:11, 5:11, 5:11].all()
    assert not inside[:3].any()


# --- register


def test_the_atlas_is_the_only_labelled_animal_or_the_one_that_is_named(toy):
    one, two = toy.source(1), toy.source(2)
    assert choose_atlas((one,), "") is one
    assert choose_atlas((one, two), "fish2") is two
    with pytest.raises(UserError, match="fish1, fish2"):
        choose_atlas((one, two), "")
    with pytest.raises(UserError, match="called 'fish9'"):
        choose_atlas((one, two), "fish9")


def test_registered_pairs_imitate_their_targets_and_random_ones_nobody(toy, tmp_path):
    target = toy.source(10)
    atlas, (placement,) = drain(register(toy.source(1), (target,), QUICK, toy.run(tmp_path, 2, 1)))
    pair = warped_onto(atlas, target, placement)
    assert (pair.case, pair.image.shape, pair.twin) == ("fish10", target.image.shape, target)
    assert set(np.unique(pair.labels.volume.read())) <= {0, 2, 7}
    first, second = deformed(atlas, 2, seed=1)
    assert first.twin is None
    assert not np.array_equal(first.image.read(), second.image.read())
    np.testing.assert_array_equal(first.image.read(), deformed(atlas, 1, seed=1)[0].image.read())


def test_training_the_registration_brings_the_atlas_nearer(toy, tmp_path):
    """On a body whose head lies elsewhere, which no affine matrix can mend."""
    places = lattice((32, 32, 32), torch.zeros(()))
    bent = places.clone()
    bent[..., 1] += 0.25 * torch.sin(3 * places[..., 0])
    sources = []
    for name, image in (("straight", fish(places)), ("bent", fish(bent))):
        volume = Volume((image[0, 0].numpy(),), (10.0, 10.0, 10.0))
        labels = LabelMap(Volume(((image[0, 0].numpy() > 0.5).astype(np.uint8),), (10.0, 10.0, 10.0)), FISH)
        sources.append(Source(name, volume, Body(whole((32, 32, 32)), (0.0, 1.0)), labels))
    overlap = []
    for steps in (0, 20):
        knobs = QUICK.model_copy(update={"grid": 32, "registration_steps": steps, "smoothness": 0.02})
        run = toy.run(tmp_path / str(steps), 2, 100)
        atlas, (placement,) = drain(register(sources[0], sources[1:], knobs, run))
        found = warped_onto(atlas, sources[1], placement).labels.volume.read() > 0
        truth = sources[1].labels.volume.read() > 0
        overlap.append(2 * (found & truth).sum() / (found.sum() + truth.sum()))
    assert overlap[0] > 0.6
    assert overlap[1] > overlap[0] + 0.03


def test_affine_leaves_nothing_beyond_the_image():
    away = torch.cat((torch.eye(3), torch.tensor([[2.5], [0], [0]])), 1)
    assert float(affine(torch.ones(1, 1, 8, 8, 8), away[None], (8,) * 3).abs().sum()) == 0
