"""The U-Net: its shapes, how far it sees, and that several of them vote by their mean probability."""

import pytest
import torch

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.networks.build import build, in_channels, network_reach, network_stride
from napari_medaka_kd.networks.unet import Ensemble, UNet
from napari_medaka_kd.settings import NetworkSettings

FLAT = NetworkSettings(dimensions=2, widths=(3, 4, 5))
DEEP = NetworkSettings(dimensions=3, widths=(3, 4, 5))


def network_of(looks, seed=0):
    """In evaluation mode, with the statistics and offsets of a network that was trained."""
    network = build(looks, 4, seed)
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.uniform_(0.5, 1.5, generator=generator)  # so that few voxels fall silent
    return network.eval()


def scan(shape, channels=4, seed=0):
    return torch.rand(1, channels, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("looks", "shape"), [(FLAT, (3, 8, 12)), (DEEP, (4, 8, 12))])
@pytest.mark.parametrize("members", [1, 2])
def test_a_network_answers_every_voxel_for_every_class(looks, shape, members):
    network = network_of(looks.model_copy(update={"members": members}))
    answer = network(scan(shape).expand(2, -1, -1, -1, -1))
    assert answer.shape == (2, 4, *shape)
    assert torch.isfinite(answer).all()


def test_coordinates_are_three_more_channels():
    assert in_channels(FLAT) == 4
    assert in_channels(FLAT.model_copy(update={"coordinates": False})) == 1


def test_the_stride_is_what_pooling_makes_it():
    assert network_stride(FLAT) == (1, 4, 4)
    assert network_stride(DEEP) == (4, 4, 4)


def test_the_same_seed_builds_the_same_network_and_leaves_the_dice_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, same, other = (build(DEEP, 4, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_the_members_of_an_ensemble_are_drawn_one_by_one():
    pair = build(FLAT.model_copy(update={"members": 2}), 4, seed=3)
    for number, member in enumerate(pair.members):
        alone = build(FLAT, 4, seed=3 + number).state_dict()
        assert all(torch.equal(member.state_dict()[key], alone[key]) for key in alone)


@pytest.mark.parametrize("widths", [(), (8,), (8, 0), (-1, 8)])
def test_a_network_of_one_width_or_none_is_refused(widths):
    with pytest.raises(UserError, match="at least two widths"):
        build(NetworkSettings(widths=widths), 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("looks", [FLAT, DEEP], ids=["2-D", "3-D"])
@torch.inference_mode()
def test_nothing_beyond_the_reach_has_any_influence_and_the_reach_is_not_a_guess(looks, dtype):
    network, reach = network_of(looks).to(dtype), network_reach(looks)
    side = 2 * reach[1] + 4
    image = scan((2 if looks.dimensions == 2 else 4, side, side) if looks.dimensions == 2 else (side, 12, 12)).to(dtype)
    long = 3 if looks.dimensions == 2 else 2  # the axis along which it is measured
    before, farthest = network(image), 0
    for at in range(side // 2 - 2, side // 2 + 2):  # each phase of the stride
        touched = image.clone()
        touched.select(long, at).add_(100.0)
        changed = (network(touched) != before).movedim(long, -1).flatten(0, -2).any(0).nonzero()[:, 0]
        farthest = max(farthest, int((changed - at).abs().max()))
    assert farthest <= reach[1]
    assert farthest > reach[1] / 2


@torch.inference_mode()
def test_a_flat_network_sees_each_slice_alone():
    network, image = network_of(FLAT), scan((5, 8, 8))
    touched = image.clone()
    touched[:, :, 2] += 10
    changed = (network(touched) != network(image)).flatten(3).any(3)[0].any(0)
    assert changed.tolist() == [False, False, True, False, False]
    torch.testing.assert_close(network(image)[:, :, 1:2], network(image[:, :, 1:2]))


@pytest.mark.parametrize("looks", [FLAT, DEEP], ids=["2-D", "3-D"])
@torch.inference_mode()
def test_a_crop_at_the_stride_with_the_reach_around_it_is_answered_as_in_the_whole(looks):
    network, (_, _, reach) = network_of(looks), network_reach(looks)
    step = network_stride(looks)[2]
    halo = -(-reach // step) * step
    whole = scan((4, 8, 2 * halo + 16))
    crop = whole[..., 4 : 4 + 2 * halo + 4]
    torch.testing.assert_close(
        network(crop)[..., halo : halo + 4], network(whole)[..., 4 + halo : 8 + halo], atol=1e-5, rtol=1e-4
    )


@torch.inference_mode()
def test_an_ensemble_answers_with_its_mean_probability():
    members = [network_of(FLAT, seed) for seed in (1, 2, 3)]
    image, ensemble = scan((2, 8, 8)), Ensemble(members).eval()
    mean = torch.stack([member(image).softmax(1) for member in members]).mean(0)
    torch.testing.assert_close(ensemble(image).softmax(1), mean, atol=1e-4, rtol=0)
    assert ensemble.votes(image).shape == (3, 1, 4, 2, 8, 8)


def test_every_weight_of_a_network_takes_part():
    network = UNet(3, 1, 3, (2, 3, 4))
    network(scan((8, 8, 8), 1)).square().sum().backward()
    assert all(float(parameter.grad.abs().max()) > 0 for parameter in network.parameters())
