"""organs.toml: what it may say, what is refused in a plain sentence, and what medaka's says."""

import pytest

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.quality.rules import FILE, default_text, guessed_pairs, open_rules, project_rules, resolve
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.phantom import MEDAKA

SCHEMA = LabelSchema.from_ids({3: "left eye", 7: "right eye", 9: "gut", 12: "heart"})


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left eye", "right eye"),
        ("Eye_L", "Eye_R"),
        ("eye (left)", "eye (right)"),
        ("LH hippocampus", "RH hippocampus"),
        ("hippocampus-lt", "hippocampus-rt"),
    ],
)
def test_pairs_are_known_by_a_word_of_their_names(left, right):
    assert guessed_pairs({1: right, 2: "liver", 5: left}) == ((5, 1),)


def test_names_that_only_look_like_sides_are_no_pair():
    assert guessed_pairs({1: "liver", 2: "river", 3: "left lung", 4: "bright spot", 5: "right atrium"}) == ()


def test_organs_are_named_by_name_or_id_and_become_classes():
    rules = resolve("[rules.gut]\npieces = 1\ntouches = [12]\n[rules.12]\napart = ['left eye']", SCHEMA)
    assert rules.of(3).pieces == (1, 1)
    assert rules.of(3).touches == (4,)
    assert rules.of(4).apart == (1,)
    assert rules.pairs == ((1, 2),)
    assert (rules.partner(1), rules.partner(2), rules.partner(3)) == (2, 1, 0)


def test_a_declared_partner_goes_before_a_guessed_one():
    assert resolve("[rules.gut]\npartner = 'heart'", SCHEMA).pairs == ((1, 2), (3, 4))
    assert resolve("guess = false\n[rules.gut]\npartner = 'heart'", SCHEMA).pairs == ((3, 4),)
    assert resolve("[rules.7]\npartner = 3\n[rules.3]\npartner = 7", SCHEMA).pairs == ((1, 2),)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[rules.liver]\npieces = 1", "no organ 'liver' in this project, which has left eye, right eye, gut, heart"),
        ("[rules.gut]\ntouches = ['liver']", "no organ 'liver'"),
        ("[rules.gut]\npeices = 1", "rules.gut.peices"),
        ("[rules.gut]\npieces = 0", "rules.gut.pieces"),
        ("[rules.gut]\npieces = [3, 1]", "must rise"),
        ("[rules.gut]\nside = 'up'", "rules.gut.side"),
        ("[rules.gut]\nratio = 0.5", "rules.gut.ratio"),
        ("[rules.gut]\nvolume = [0.5, nan]", "rules.gut.volume"),
        ("[rules.gut]\npartner = 'gut'", "not each other's partner"),
        ("[rules.gut]\npartner = 3\n[rules.heart]\npartner = 3", "not each other's partner"),
        ("[rules.gut]\n[rules.9]", "two tables"),
        ("rule = 1", "rule"),
        ("[rules.gut", "end of document"),
        ("\0", "line 1"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_plain_sentence(tmp_path, text, complaint):
    file = tmp_path / FILE
    file.write_text(text)
    with pytest.raises(UserError, match="cannot be used") as said:
        open_rules(file, SCHEMA)
    assert complaint in str(said.value)
    assert "\n" not in str(said.value)


def test_a_side_needs_a_pair_to_be_told_from_the_other():
    with pytest.raises(ValueError, match="pairs"):
        resolve("[rules.gut]\nside = 'left'", LabelSchema.from_names(["gut", "heart"]))


def test_a_file_that_is_too_large_or_absent_is_refused(tmp_path):
    file = tmp_path / FILE
    with pytest.raises(UserError):
        open_rules(file, SCHEMA)
    file.write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(UserError, match="1 MiB"):
        open_rules(file, SCHEMA)


def test_medaka_has_rules_without_a_file_and_others_only_what_can_be_guessed(tmp_path):
    medaka = project_rules(tmp_path, MEDAKA)
    assert medaka.of(MEDAKA.names.index("eyes") + 1).pieces == (2, 2)
    mouse = project_rules(tmp_path, SCHEMA)
    assert mouse.pairs == ((1, 2),)
    assert all(mouse.of(organ) == type(mouse.of(organ))() for organ in range(1, 5))


def test_a_file_in_the_project_goes_before_the_default(tmp_path):
    (tmp_path / FILE).write_text("guess = false\n")
    assert project_rules(tmp_path, MEDAKA).demands == {}


@pytest.mark.parametrize("names", [["gut"], ['odd "name"', "back\\slash", "tab\there", "größe", "a.b"]])
def test_the_file_to_begin_with_can_be_read_as_it_is(names):
    schema = LabelSchema.from_names(names)
    text = default_text(schema)
    assert len(resolve(text, schema).demands) == len(names)
    assert "pieces = 2" in text


def test_one_file_can_hold_the_organs_and_their_rules():
    assert resolve('[organs]\n9 = "gut"\n[rules.gut]\npieces = 1', SCHEMA).of(3).pieces == (1, 1)
