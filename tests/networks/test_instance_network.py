"""Networks of things that overlap: masks made at their centres, apart from one another, in two and three dimensions."""

import pytest
import torch

from napari_medaka_kd.networks.instances import InstanceNetwork, peaks
from napari_medaka_kd.networks.unet import UNet


def network(dimensions=3, reach=3):
    with torch.random.fork_rng():
        torch.manual_seed(dimensions)
        return InstanceNetwork(UNet(dimensions, 1, 1, (4, 6)), reach).eval()


@pytest.mark.parametrize("dimensions", [2, 3])
@torch.no_grad()
def test_masks_are_the_same_whatever_box_is_asked_for(dimensions):
    net = network(dimensions)
    features = net(torch.rand(1, 1, 4, 12, 12))[1][0]
    places = torch.tensor([[1, 5, 5], [3, 0, 11]])
    whole = net.masks(features, places, torch.zeros_like(places), (4, 12, 12))
    for place, wanted in zip(places, whole, strict=True):
        corner = place - torch.tensor(net.reach)
        size = tuple(2 * side + 1 for side in net.reach)
        (found,) = net.masks(features, place[None], corner[None], size)
        for voxel in torch.cartesian_prod(*(torch.arange(side) for side in size)):
            z, y, x = (corner + voxel).tolist()
            if 0 <= z < 4 and 0 <= y < 12 and 0 <= x < 12:
                torch.testing.assert_close(found[tuple(voxel)], wanted[z, y, x], rtol=1e-4, atol=1e-4)
            else:
                assert found[tuple(voxel)] < -1e3


@torch.no_grad()
def test_a_mask_ends_where_its_reach_ends_and_a_slice_knows_no_other():
    for dimensions, depth in ((2, 1), (3, 5)):
        net = network(dimensions, reach=2)
        features = net(torch.rand(1, 1, 8, 12, 12))[1][0]
        place = torch.tensor([[4, 6, 6]])
        (mask,) = net.masks(features, place, torch.zeros_like(place), (8, 12, 12))
        assert int((mask > -1e3).sum()) == depth * 5 * 5


@torch.no_grad()
def test_no_place_makes_no_mask():
    net = network()
    none = torch.zeros(0, 3, dtype=torch.long)
    assert net.masks(torch.rand(4, 2, 2, 2), none, none, (2, 2, 2)).shape == (0, 2, 2, 2)


def test_peaks_are_the_voxels_that_no_neighbour_exceeds():
    score = torch.zeros(1, 2, 5, 5)
    score[0, 0, 1, 1], score[0, 1, 1, 2], score[0, 0, 4, 4] = 0.5, 0.9, 0.3
    high = score > 0.1
    assert (peaks(score, flat=False) & high).nonzero().tolist() == [[0, 0, 4, 4], [0, 1, 1, 2]]
    assert (peaks(score, flat=True) & high).nonzero().tolist() == [[0, 0, 1, 1], [0, 0, 4, 4], [0, 1, 1, 2]]
