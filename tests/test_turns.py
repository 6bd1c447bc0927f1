"""Settings as words: what a form or a project says comes back the same."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.settings import (
    DistilSettings,
    NetworkSettings,
    SelfTrainingSettings,
    Settings,
    ShapeIntensitySettings,
    TrainSettings,
)
from napari_medaka_kd.turns import knobs, project_knobs, turned

networks = st.builds(
    NetworkSettings,
    dimensions=st.sampled_from([2, 3]),
    widths=st.lists(st.integers(1, 64), min_size=1, max_size=4).map(tuple),
    coordinates=st.booleans(),
    members=st.integers(1, 16),
)
trainings = st.builds(TrainSettings, seed=st.integers(0, 99), start=st.text(max_size=8), network=networks)
ways = st.builds(SelfTrainingSettings, rounds=st.integers(1, 3), ramp=st.sampled_from([0.2, 0.5])) | st.builds(
    ShapeIntensitySettings, feature_weight=st.sampled_from([2.0, 1.0]), raw=st.booleans()
)
distillings = st.builds(DistilSettings, network=st.none() | networks, warm_start=st.booleans(), strategy=ways)


@given(st.sampled_from([trainings, distillings]).flatmap(lambda kind: st.tuples(kind, kind)))
def test_turns_make_the_settings_of_any_base(pair: tuple[Settings, Settings]) -> None:
    wanted, base = pair
    kind: Any = type(wanted)
    assert knobs(kind, None, turned(wanted, base), base) == wanted


def test_what_is_not_turned_needs_no_word() -> None:
    assert turned(TrainSettings(), TrainSettings()) == ()
    changed = TrainSettings(network=NetworkSettings(members=3))
    assert turned(changed, TrainSettings()) == ("network.members=3",)


def test_a_projects_table_comes_before_the_file_and_that_before_the_words(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("[train]\nseed = 1\nfit = { steps = 7 }\n")
    base = project_knobs(TrainSettings, tmp_path, "train")
    assert (base.seed, base.fit.steps) == (1, 7)
    file = tmp_path / "mine.toml"
    file.write_text("seed = 2\n")
    assert knobs(TrainSettings, file, ["fit.steps=9"], base).model_dump() == (
        base.model_copy(update={"seed": 2, "fit": base.fit.model_copy(update={"steps": 9})}).model_dump()
    )


def test_a_project_without_settings_has_the_defaults(tmp_path: Path) -> None:
    assert project_knobs(TrainSettings, tmp_path, "train") == TrainSettings()


@pytest.mark.parametrize("text", ["train = 3", "[train]\nnonsense = 1", "[train", "[train]\nseed = 'x'"])
def test_a_projects_mistake_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.toml").write_text(text)
    with pytest.raises(UserError, match=r"settings|knob|train"):
        project_knobs(TrainSettings, tmp_path, "train")
