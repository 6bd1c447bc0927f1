"""Anatomy: each fault is told by its own flag, and labels that are right by none, in whatever pose they lie."""

import math
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medaka_kd.quality.anatomy import ANATOMY, Anatomy
from napari_medaka_kd.quality.facts import look_at
from napari_medaka_kd.quality.rules import Rules, guessed_pairs, resolve
from napari_medaka_kd.volumes.labels import LabelSchema

NAMES = ("brain", "heart", "liver", "gut", "spine", "tail", "left eye", "right eye", "left fin", "right fin")
SCHEMA = LabelSchema.from_names(NAMES)
PAIRS = guessed_pairs(dict(enumerate(NAMES, start=1)))
LEFT_EYE, RIGHT_EYE = NAMES.index("left eye") + 1, NAMES.index("right eye") + 1
SHAPE = (56, 30, 34)
MICRONS = (10.0, 10.0, 10.0)

#: (z, y, x) of the first voxel, and sides; liver lies on the left, x grows to the left.
_BOXES = {
    "brain": ((6, 19, 13), (8, 6, 8)),
    "heart": ((14, 4, 14), (5, 5, 5)),
    "liver": ((23, 5, 17), (9, 6, 10)),
    "gut": ((32, 5, 14), (10, 7, 9)),
    "spine": ((18, 20, 15), (24, 3, 3)),
    "tail": ((46, 13, 14), (7, 7, 5)),
    "left eye": ((5, 10, 24), (6, 6, 5)),
    "right eye": ((5, 10, 5), (6, 6, 5)),
    "left fin": ((26, 12, 30), (7, 3, 3)),
    "right fin": ((26, 12, 1), (7, 3, 3)),
}


def animal(seed=0):
    """An animal of boxes: two pairs of organs, six on the middle plane, each moved by at most a voxel; int64."""
    rng = np.random.default_rng(seed)
    classes = np.zeros(SHAPE, np.int64)
    for name, (start, sides) in _BOXES.items():
        at = np.array(start) + rng.integers(-1, 2, 3) * (name not in ("liver", "gut", "spine"))
        box = tuple(slice(a, a + side) for a, side in zip(at, sides, strict=True))
        classes[box] = SCHEMA.names.index(name) + 1
    return classes


def organ(name):
    return NAMES.index(name) + 1


def swapped(classes, *pairs):
    table = np.arange(len(NAMES) + 1)
    for left, right in pairs or PAIRS:
        table[left], table[right] = right, left
    return table[classes]


def facts(classes, voxel_size=MICRONS):
    return look_at(classes, voxel_size)


KNOWN = tuple(facts(animal(100 + seed)) for seed in range(3))
USUAL = Anatomy(Rules(names=NAMES, pairs=PAIRS), KNOWN)


def anatomy(rules=None, animals=3):
    return USUAL if rules is None and animals == 3 else Anatomy(rules or USUAL.rules, KNOWN[:animals])


def told(classes, rules=None, voxel_size=MICRONS, animals=3):
    """The sentences about ``classes``."""
    return [flag.sentence for flag in anatomy(rules, animals).flags(facts(classes, voxel_size))]


SEEDS = st.integers(0, 10_000)


def turns():
    """The 24 turns by right angles, as (order of the axes, which are mirrored)."""
    for axes, flips in product(permutations(range(3)), product((1, -1), repeat=3)):
        if np.linalg.det(np.eye(3)[list(axes)] * np.array(flips)[:, None]) > 0:
            yield axes, flips


def turned(classes, turn):
    axes, flips = turn
    return np.transpose(classes, axes)[tuple(slice(None, None, flip) for flip in flips)]


def ruled(text):
    return resolve(text, SCHEMA)


@settings(max_examples=20)
@given(seed=SEEDS)
def test_labels_that_are_right_break_no_rule(seed):
    assert told(animal(seed)) == []


@settings(max_examples=30)
@given(seed=SEEDS, turn=st.sampled_from(list(turns())))
def test_an_animal_in_another_pose_breaks_no_rule(seed, turn):
    assert told(turned(animal(seed), turn)) == []


@settings(max_examples=30)
@given(seed=SEEDS, turn=st.sampled_from(list(turns())), pair=st.sampled_from(PAIRS))
def test_a_swapped_pair_is_always_told_in_any_pose_and_is_all_that_is_told(seed, turn, pair):
    left, right = (NAMES[place - 1] for place in pair)
    assert told(turned(swapped(animal(seed), pair), turn)) == [f"{left} and {right} are swapped"]


@settings(max_examples=20)
@given(seed=SEEDS, turn=st.sampled_from(list(turns())))
def test_all_pairs_swapped_are_told_from_a_mirrored_scan_by_an_organ_off_the_middle_plane(seed, turn):
    assert told(turned(swapped(animal(seed)), turn)) == ["all left and right organs are swapped"]
    mirrored = "the scan is mirrored, so that all left and right organs are on the wrong side"
    assert told(turned(animal(seed), turn)[::-1]) == [mirrored]
    even = np.where(animal(seed) == organ("liver"), 0, animal(seed))
    without = Rules(names=NAMES, pairs=PAIRS)
    said = [*told(turned(swapped(even), turn), without), *told(turned(even, turn)[::-1], without)]
    assert said == ["all left and right organs are swapped, or the scan is mirrored", "liver: missing"] * 2


@settings(max_examples=10)
@given(seed=SEEDS, turn=st.sampled_from(list(turns())))
def test_without_pairs_a_mirrored_scan_breaks_no_rule(seed, turn):
    plain = Rules(names=NAMES)
    assert told(turned(animal(seed), turn)[::-1], plain) == []


def test_a_swap_is_told_in_an_animal_that_is_turned_by_any_angle():
    from scipy import ndimage

    for seed in range(4):
        angle = np.random.default_rng(seed).uniform(0, 360)
        lying = ndimage.rotate(np.pad(animal(seed), 12), angle, (0, 1 + seed % 2), order=0)
        assert not [said for said in told(lying) if "swapped" in said]
        assert "left eye and right eye are swapped" in told(swapped(lying, (LEFT_EYE, RIGHT_EYE)))


@settings(max_examples=15)
@given(seed=SEEDS, factor=st.floats(0.05, 50))
def test_the_size_of_the_voxels_of_one_animal_changes_no_flag(seed, factor):
    spoilt = swapped(animal(seed), (LEFT_EYE, RIGHT_EYE))
    spoilt[spoilt == organ("tail")] = 0
    sizes = tuple(size * factor for size in MICRONS)
    assert told(spoilt, voxel_size=sizes) == told(spoilt)


@settings(max_examples=20)
@given(seed=SEEDS, order=st.permutations(range(1, len(NAMES) + 1)))
def test_the_order_in_which_organs_are_numbered_changes_no_flag(seed, order):
    table = np.array([0, *order])
    names = [""] * len(NAMES)
    for before, after in enumerate(order, start=1):
        names[after - 1] = NAMES[before - 1]
    pairs = tuple((int(table[left]), int(table[right])) for left, right in PAIRS)
    known = tuple(facts(table[animal(100 + number)]) for number in range(3))
    spoilt = swapped(animal(seed), (LEFT_EYE, RIGHT_EYE))
    spoilt[20:24][spoilt[20:24] == organ("spine")] = 0
    said = Anatomy(Rules(names=tuple(names), pairs=pairs), known).flags(facts(table[spoilt]))
    before = {(flag.kind, frozenset(NAMES[one - 1] for one in flag.organs)) for flag in USUAL.flags(facts(spoilt))}
    assert {(flag.kind, frozenset(names[one - 1] for one in flag.organs)) for flag in said} == before


def test_each_fault_is_told_in_words_with_figures():
    usual = animal(1)
    assert told(np.where(usual == organ("heart"), 0, usual)) == ["heart: missing"]
    big = usual.copy()
    big[14:23, 2:12, 12:21][big[14:23, 2:12, 12:21] == 0] = organ("heart")
    assert any(said.startswith("heart: volume ") and said.endswith("× the cohort") for said in told(big))
    far = np.where(usual == organ("heart"), 0, usual)
    far[44:49, 24:29, 4:9] = organ("heart")
    assert any(said.startswith("heart: ") and said.endswith("µm from its usual place") for said in told(far))
    crumbs = usual.copy()
    crumbs[1:6, 1:4, 1::8] = organ("gut")
    assert "gut: in 6 pieces (at most 2 usual)" in told(crumbs)
    gap = usual.copy()
    gap[30:34][gap[30:34] == organ("liver")] = 0
    gap[30:34][gap[30:34] == organ("gut")] = 0
    assert "liver and gut do not touch" in told(gap)
    thin = usual.copy()
    thin[:, 12:][thin[:, 12:] == LEFT_EYE] = 0
    assert any(said.startswith("right eye: ") and said.endswith("× left eye") for said in told(thin))
    hollow = usual.copy()
    hollow[25:30, 7:9, 20:25] = 0
    assert any(said.startswith("liver: ") and said.endswith(" % of it is holes") for said in told(hollow))
    slipped = usual.copy()
    slipped[27:][slipped[27:] == organ("liver")] = 0
    slipped[27:32, 13:19, 17:27] = organ("liver")
    assert any(flag.z == 27 and flag.sentence == "liver: jump at z = 27" for flag in anatomy().flags(facts(slipped)))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("pieces = 2", "gut: in one piece (2 expected)"),
        ("pieces = [2, 3]", "gut: in one piece (at least 2 expected)"),
        ("touches = ['brain']", "brain and gut do not touch"),
        ("apart = ['liver']", "liver and gut touch"),
        ("volume = [1.5, 3.0]", "gut: volume 1.0× the cohort"),
        ("volume_mm3 = [1, 2]", "gut: 0.00063 mm³, not 1 to 2 mm³"),
        ("side = 'left'", "gut: not on the left"),
    ],
)
def test_a_declared_rule_holds_whatever_is_usual(rule, said):
    classes = animal(3)
    if "side" in rule:
        classes = np.where(classes == organ("gut"), 0, classes)
        classes[32:42, 5:10, 6:12] = organ("gut")
    assert said in told(classes, ruled(f"[rules.gut]\n{rule}"))


def test_rules_alone_speak_where_nothing_is_guessed_or_nobody_is_labelled():
    spoilt = np.where(animal(0) == organ("heart"), 0, animal(0))
    spoilt[spoilt == organ("tail")] = organ("liver")
    rules = ruled("guess = false\n[rules.liver]\npieces = 1")
    assert told(spoilt, rules) == ["liver: in 2 pieces (1 expected)"]
    assert told(spoilt, ruled("[rules.liver]\npieces = 1"), animals=0) == ["liver: in 2 pieces (1 expected)"]


def test_two_pieces_of_an_organ_are_compared_where_a_ratio_is_demanded():
    classes = np.where(animal(0) == RIGHT_EYE, LEFT_EYE, animal(0))
    small = classes.copy()
    small[:, 12:, :12][small[:, 12:, :12] == LEFT_EYE] = 0
    rules = ruled("guess = false\n[rules.'left eye']\nratio = 1.5")
    assert told(classes, rules) == []
    assert told(small, rules) == ["left eye: one is 6.0× the other"]


@settings(max_examples=30)
@given(seed=SEEDS, cut=st.integers(0, SHAPE[0] - 1), animals=st.integers(0, 2))
def test_the_numbers_are_finite_for_any_labels_and_as_many_as_have_names(seed, cut, animals):
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, len(NAMES) + 1, (4, 5, 6))
    for classes in (noise, animal(seed)[cut:], np.zeros((3, 3, 3), np.int64)):
        seen = facts(classes)
        numbers = anatomy(animals=animals).numbers(seen)
        assert numbers.keys() == seen.organs.keys()
        for row in numbers.values():
            assert row.shape == (len(ANATOMY),)
            assert np.isfinite(row).all()
            assert (row >= 0).all()
        anatomy(animals=animals).flags(seen)


def test_the_numbers_grow_with_what_is_wrong():
    usual, classes = anatomy(), animal(5)
    right = usual.numbers(facts(classes))
    assert max(row[: ANATOMY.index("worst jump")].max() for row in right.values()) < 0.6
    wrong = usual.numbers(facts(swapped(classes, (LEFT_EYE, RIGHT_EYE))))
    side = ANATOMY.index("wrong side")
    assert wrong[LEFT_EYE][side] > 0.9
    assert right[LEFT_EYE][side] < 0.2


def test_it_comes_back_as_it_was_kept():
    kept = anatomy(ruled("[rules.gut]\npieces = [1, 2]\ntouches = ['liver']\nvolume = [0.5, 2]"))
    again = Anatomy.from_json(kept.to_json())
    assert again == kept
    seen = facts(swapped(animal(2), (LEFT_EYE, RIGHT_EYE)))
    assert again.flags(seen) == kept.flags(seen)
    assert math.isfinite(again.numbers(seen)[1].sum())
