"""Which modality is the target and which one helps: as told, else by who has fewer labels, else nobody guesses."""

import pytest

from napari_medaka_kd.distil.modalities import Roles, roles, unclear
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.settings import MutualSettings


@pytest.mark.parametrize(
    ("knobs", "labelled", "wanted"),
    [
        ({}, {"phase": 2, "absorption": 9}, ("phase", "absorption")),
        ({}, {"phase": 9, "absorption": 2, "": 5, "mri": 0}, ("absorption", "phase")),
        ({"target": "phase"}, {"phase": 9, "absorption": 2}, ("phase", "absorption")),
        ({"assistant": "absorption"}, {"phase": 9, "absorption": 2}, ("phase", "absorption")),
        ({"target": "phase"}, {"phase": 3, "absorption": 3}, ("phase", "absorption")),
        ({"target": "mri", "assistant": "phase"}, {"phase": 1, "absorption": 2, "mri": 3}, ("mri", "phase")),
    ],
)
def test_the_parts_are_given_out(knobs, labelled, wanted):
    assert roles(MutualSettings(**knobs), labelled) == Roles(*wanted)
    assert unclear(MutualSettings(**knobs), labelled) == ""


@pytest.mark.parametrize(
    ("knobs", "labelled", "said"),
    [
        ({}, {}, "two modalities; there is: none"),
        ({}, {"": 4}, "there is: none"),
        ({}, {"phase": 4, "": 4}, r"there is: phase \(4\)"),
        ({}, {"phase": 4, "absorption": 4}, r"as many labelled animals: absorption \(4\), phase \(4\)"),
        ({}, {"phase": 4, "absorption": 2, "mri": 1}, "more than two"),
        ({"target": "phase"}, {"phase": 4, "absorption": 2, "mri": 1}, "more than two"),
        ({"target": "xray"}, {"phase": 4, "absorption": 2}, "'xray'; there is: absorption"),
        ({"target": "phase", "assistant": "phase"}, {"phase": 4, "absorption": 2}, "both 'phase'"),
    ],
)
def test_what_is_unclear_is_said_in_a_sentence(knobs, labelled, said):
    with pytest.raises(UserError, match=said) as told:
        roles(MutualSettings(**knobs), labelled)
    assert unclear(MutualSettings(**knobs), labelled) in str(told.value)
