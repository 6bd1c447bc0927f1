"""Translators and judges: what they see, what they leave alone, and that a cut changes nothing inside."""

import pytest
import torch

from napari_medaka_kd.networks.align import judges, line_between, translators


def scan_of(dimensions, size=(16, 48, 48)):
    torch.manual_seed(0)
    return torch.rand(2, 4, *(size if dimensions == 3 else (2, 128, 128)))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_translation_has_the_shape_of_the_scan_and_its_coordinates(dimensions):
    image = scan_of(dimensions)
    translated = translators(dimensions, 4, seed=1).target(image)
    assert translated.shape == image.shape
    assert torch.equal(translated[:, 1:], image[:, 1:])
    assert not torch.equal(translated[:, :1], image[:, :1])
    torch.testing.assert_close(translated[:, :1], image[:, :1], atol=0.2, rtol=0)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_neither_looks_at_the_coordinates(dimensions):
    image = scan_of(dimensions)
    elsewhere = image.clone()
    elsewhere[:, 1:] += 1
    translator, judge = translators(dimensions, 4, seed=1).target, judges(dimensions, 4, seed=1).target.eval()
    assert torch.equal(translator(image)[:, 0], translator(elsewhere)[:, 0])
    assert torch.equal(judge(image), judge(elsewhere))


def test_a_slice_is_translated_and_judged_alone():
    image = scan_of(2)
    for network in (translators(2, 4, seed=1).target, judges(2, 4, seed=1).target.eval()):
        both, first = network(image[:1]), network(image[:1, :, :1])
        torch.testing.assert_close((both[:, :, :1] if both.ndim == 5 else both[:1]), first)


def test_there_is_no_statistic_of_the_tile():
    """Far from the faces of a cut the answer is that of the whole."""
    image = scan_of(2)
    translator = translators(2, 4, seed=1).target
    whole, part = translator(image), translator(image[..., :96])
    torch.testing.assert_close(part[..., :60], whole[..., :60])
    alone = translator(image[:1])
    torch.testing.assert_close(alone, whole[:1])


def test_the_two_of_a_kind_differ_and_come_from_the_seed():
    for make in (translators, judges):
        one, again, other = make(3, 4, seed=1), make(3, 4, seed=1), make(3, 4, seed=2)
        weights = [next(each.parameters()) for each in (one.target, one.assistant, other.target, again.target)]
        assert not torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])
        assert torch.equal(weights[0], weights[3])


@pytest.mark.parametrize(("slope", "offset"), [(0.8, 0.1), (-1.5, 0.9)])
def test_the_line_between_brightnesses_goes_up_or_down_as_they_do_and_its_reverse_leads_back(slope, offset):
    one = torch.tensor([0.1, 0.3, 0.8])
    other = slope * one + offset
    there, back = line_between(one, other), line_between(other, one)
    torch.testing.assert_close(there, torch.tensor([slope, offset]))
    torch.testing.assert_close(back[0] * other + back[1], one)


def test_the_line_of_brightnesses_that_hardly_differ_is_not_steep():
    there = line_between(torch.tensor([0.5, 0.501, 0.5]), torch.tensor([0.0, 1.0, 0.2]))
    assert there[0] == 2
