"""A checkpoint comes back as it was saved, or is refused in a plain sentence."""

import json

import pytest
import torch

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.checkpoint import CARD, WEIGHTS, Checkpoint
from napari_medaka_kd.settings import NetworkSettings
from napari_medaka_kd.volumes.labels import LabelSchema

ORGANS = LabelSchema.from_ids({3: "eye", 9: "gut"})
LOOKS = NetworkSettings(dimensions=2, widths=(2, 3), members=2)


@pytest.fixture
def folder(tmp_path):
    card = Checkpoint(
        name="teacher", network=LOOKS, organs=ORGANS, trained_on=("a", "b"), left_out=(("a",), ("b",)), history={"x": 1}
    )
    card.save(build(LOOKS, ORGANS.classes, seed=7), tmp_path / "teacher")
    return tmp_path / "teacher"


def refused(action):
    """What a person is told: one or two plain sentences on one line."""
    with pytest.raises(UserError) as told:
        action()
    assert "\n" not in str(told.value)
    assert told.value.remedy
    return str(told.value)


def edit(folder, **changes):
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | changes))


def test_a_checkpoint_comes_back_as_it_was_saved(folder):
    card = Checkpoint.open(folder)
    assert (card.name, card.network, card.organs) == ("teacher", LOOKS, ORGANS)
    assert (card.trained_on, card.left_out, card.history) == (("a", "b"), (("a",), ("b",)), {"x": 1})
    network, saved = card.load(folder), build(LOOKS, ORGANS.classes, seed=7)
    assert not network.training
    assert all(torch.equal(value, saved.state_dict()[key]) for key, value in network.state_dict().items())
    assert sorted(path.name for path in folder.iterdir()) == sorted((CARD, WEIGHTS))


def test_saving_again_replaces_both(folder):
    card = Checkpoint.open(folder).save(build(LOOKS, ORGANS.classes, seed=8), folder)
    assert Checkpoint.open(folder) == card
    fresh = build(LOOKS, ORGANS.classes, seed=8).state_dict()
    assert all(torch.equal(value, fresh[key]) for key, value in card.load(folder).state_dict().items())


def test_a_missing_checkpoint_is_named(tmp_path):
    assert "'" + str(tmp_path / "nobody") + "'" in refused(lambda: Checkpoint.open(tmp_path / "nobody"))


@pytest.mark.parametrize(
    "card",
    [
        "",
        "{",
        "[]",
        "null",
        '"teacher"',
        "{}",
        "[" * 100_000,
        '{"name": "teacher"}',
        '{"name": "../up", "network": {}, "organs": {"organs": []}}',
        "\x00",
    ],
)
def test_a_damaged_card_is_refused(folder, card):
    (folder / CARD).write_text(card)
    assert "damaged" in refused(lambda: Checkpoint.open(folder))


@pytest.mark.parametrize(
    "changes", [{"weights_sha256": 5}, {"network": {"dimensions": 4}}, {"unknown": 1}, {"format": "new"}]
)
def test_a_card_with_nonsense_is_refused(folder, changes):
    edit(folder, **changes)
    assert "damaged" in refused(lambda: Checkpoint.open(folder))


def test_a_card_that_is_no_text_is_refused(folder):
    (folder / CARD).write_bytes(b"\xff\xfe\x00")
    assert "damaged" in refused(lambda: Checkpoint.open(folder))


def test_a_checkpoint_of_a_newer_version_says_so(folder):
    edit(folder, format=3, something_new=True)
    told = refused(lambda: Checkpoint.open(folder))
    assert "format 3" in told
    assert "Update" in told


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_truncated_weights_are_refused(folder, keep):
    weights = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(weights[:keep])
    assert "'teacher'" in refused(lambda: Checkpoint.open(folder).load(folder))


def test_weights_with_one_changed_bit_are_refused(folder):
    weights = bytearray((folder / WEIGHTS).read_bytes())
    weights[-3] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(weights))
    assert "not those that it was saved with" in refused(lambda: Checkpoint.open(folder).load(folder))


def test_missing_weights_are_refused(folder):
    (folder / WEIGHTS).unlink()
    refused(lambda: Checkpoint.open(folder).load(folder))


@pytest.mark.parametrize("widths", [[2, 4], [2, 3, 4], [2], [], [0, 3], [-1, 3]])
def test_weights_that_do_not_fit_the_network_are_refused(folder, widths):
    edit(folder, network=LOOKS.model_dump() | {"widths": widths})
    refused(lambda: Checkpoint.open(folder).load(folder))


def test_weights_of_other_organs_are_refused(folder):
    edit(folder, organs=LabelSchema.from_names(["a", "b", "c"]).model_dump())
    refused(lambda: Checkpoint.open(folder).load(folder))


@pytest.mark.parametrize(
    "organs", [{3: "eye"}, {3: "eye", 9: "liver"}, {3: "eye", 8: "gut"}, {3: "eye", 9: "gut", 10: "fin"}]
)
def test_a_project_with_other_organs_is_refused_with_both_lists(folder, organs):
    card = Checkpoint.open(folder)
    told = refused(lambda: card.require_schema(LabelSchema.from_ids(organs)))
    assert "'eye'" in told
    assert str(organs) in told


def test_colours_do_not_matter(folder):
    plain = LabelSchema(organs=tuple(organ.model_copy(update={"color": "#123456"}) for organ in ORGANS.organs))
    Checkpoint.open(folder).require_schema(plain)
