"""Strategies: what a project lacks for each, and which one suits it."""

import pytest

from napari_medaka_kd.settings import strategies
from napari_medaka_kd.workflow.requirements import Census, advise, missing


@pytest.mark.parametrize(
    ("found", "strategy"),
    [
        (Census(0, 9, 1), ""),
        (Census(5, 0, 1), "shape_intensity"),
        (Census(1, 9, 1), "reconstruction"),
        (Census(1, 2, 1), "self_training"),
        (Census(4, 20, 1), "self_training"),
        (Census(14, 5, 1, {"phase": 2, "absorption": 12}), "mutual"),
        (Census(14, 5, 1, {"": 2, "absorption": 12}), "self_training"),
        (Census(2, 14, 1, {"phase": 2}, strangers=14), "mean_teacher"),
        (Census(2, 14, 1, {"phase": 2}, strangers=7), "self_training"),
    ],
)
def test_the_advice_follows_from_what_is_there_and_lacks_nothing(found, strategy):
    advice = advise(found)
    assert advice.strategy == strategy
    assert bool(advice.why) == bool(strategy)
    if strategy:
        assert missing(strategies()[strategy][1](), found) == ""


@pytest.mark.parametrize("name", strategies())
def test_without_labels_every_strategy_lacks_something(name):
    assert missing(strategies()[name][1](), Census(0, 5, 1))
