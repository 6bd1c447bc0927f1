"""A form shows any of our settings and gives back what it shows."""

from typing import Any

import pytest
from qtpy.QtWidgets import QCheckBox, QComboBox, QSpinBox

from napari_medaka_kd.demo_settings import BeamlineSettings
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.gui.form import SettingsForm
from napari_medaka_kd.settings import (
    DistilSettings,
    NetworkSettings,
    QualitySettings,
    SegmentSettings,
    SelfTrainingSettings,
    Settings,
    TrainSettings,
)

KINDS = [TrainSettings, SegmentSettings, QualitySettings, DistilSettings, SelfTrainingSettings, BeamlineSettings]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_shown_comes_back_the_same(qtbot: Any, kind: type[Settings]) -> None:
    form = SettingsForm(kind())
    qtbot.addWidget(form)
    assert form.value == kind()


def test_other_settings_come_back_too_also_those_without_a_field(qtbot: Any) -> None:
    form = SettingsForm(TrainSettings())
    qtbot.addWidget(form)
    wanted = TrainSettings(seed=7, network=NetworkSettings(dimensions=2, widths=(3, 5), members=2))
    form.setValue(wanted)
    assert form.value == wanted


def test_a_knob_is_turned_by_hand_and_tells_so(qtbot: Any) -> None:
    form = SettingsForm(NetworkSettings())
    qtbot.addWidget(form)
    members, dimensions, coordinates = (form.fields[name].widget for name in ("members", "dimensions", "coordinates"))
    assert isinstance(members, QSpinBox)
    assert isinstance(dimensions, QComboBox)
    assert isinstance(coordinates, QCheckBox)
    with qtbot.waitSignal(form.changed):
        members.setValue(4)
    dimensions.setCurrentIndex(dimensions.findData(2))
    coordinates.click()
    assert form.value == NetworkSettings(members=4, dimensions=2, coordinates=False)


def test_showing_settings_is_no_change_by_hand(qtbot: Any) -> None:
    form = SettingsForm(TrainSettings())
    qtbot.addWidget(form)
    with qtbot.assertNotEmitted(form.changed):
        form.setValue(TrainSettings(network=NetworkSettings(members=3)))


def test_limits_are_those_of_the_settings(qtbot: Any) -> None:
    form = SettingsForm(NetworkSettings())
    qtbot.addWidget(form)
    members = form.fields["members"].widget
    assert (members.minimum(), members.maximum()) == (1, 16)


def test_what_cannot_be_is_told_with_the_title_of_the_knob(qtbot: Any) -> None:
    form = SettingsForm(NetworkSettings())
    qtbot.addWidget(form)
    form.fields["widths"].widget.setText("8, many")
    with pytest.raises(UserError, match="Channels"):
        _ = form.value


def test_an_optional_knob_counts_only_while_it_is_ticked(qtbot: Any) -> None:
    form = SettingsForm(SegmentSettings(tile=(8, 64, 64)))
    qtbot.addWidget(form)
    assert form.value.tile == (8, 64, 64)
    form.fields["tile"].widget.findChild(QCheckBox).click()
    assert form.value.tile is None


def test_titles_and_meanings_are_shown(qtbot: Any) -> None:
    form = SettingsForm(QualitySettings())
    qtbot.addWidget(form)
    assert "acceptable" in form.fields["good_iou"].widget.toolTip()


def test_it_fits_into_a_narrow_dock(qtbot: Any) -> None:
    form = SettingsForm(DistilSettings())
    qtbot.addWidget(form)
    assert form.minimumSizeHint().width() <= 300
