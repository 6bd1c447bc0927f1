"""Warping one animal's labels onto the others: from the panel Segment, without any network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_medaka_kd.gui.panels.segment import SegmentPanel
from napari_medaka_kd.gui.session import Session
from napari_medaka_kd.project import Project, create_project
from napari_medaka_kd.volumes.phantom import MEDAKA

MakeProject = Callable[..., Project]


@pytest.fixture
def panel(qtbot: Any, session: Session) -> SegmentPanel:
    panel = SegmentPanel(session)
    qtbot.addWidget(panel)
    panel.show()
    return panel


def test_the_only_labelled_animal_is_laid_onto_the_others_and_what_comes_of_it_is_under_review(
    panel: SegmentPanel, session: Session, make_project: MakeProject, begun: list[list[str]]
) -> None:
    project = make_project(labelled=1, unlabelled=2)
    session.open_project(project.folder)
    session.look_at("fish-01")
    assert panel.propagate.state.text() == "Those of labelled-00, onto 2 without."
    panel.propagate.start.click()
    assert begun == [["propagate", str(project.folder), "--name", "propagated", "--atlas", "labelled-00"]]
    assert session.checkpoint == panel.checkpoint.currentText() == "propagated"


def test_of_several_labelled_animals_the_one_on_show_is_the_atlas(
    panel: SegmentPanel, session: Session, make_project: MakeProject, begun: list[list[str]]
) -> None:
    session.open_project(make_project(labelled=2, unlabelled=1).folder)
    session.look_at("fish-02")
    assert not panel.propagate.start.isEnabled()
    assert "look at the animal" in panel.propagate.state.text()
    session.look_at("labelled-01")
    panel.propagate.start.click()
    assert begun[0][-2:] == ["--atlas", "labelled-01"]


@pytest.mark.parametrize(
    ("kinds", "said"),
    [({"labelled": 1, "unlabelled": 0}, "is without labels"), ({"labelled": 0, "unlabelled": 2}, "has labels")],
)
def test_where_nothing_is_to_be_warped_or_nowhere_it_cannot_be_begun(
    panel: SegmentPanel, session: Session, make_project: MakeProject, kinds: dict[str, int], said: str
) -> None:
    session.open_project(make_project(**kinds).folder)
    assert not panel.propagate.start.isEnabled()
    assert said in panel.propagate.state.text()


def test_label_maps_of_no_network_are_shown_and_reviewed_but_segment_nothing(
    panel: SegmentPanel, session: Session, make_project: MakeProject
) -> None:
    session.open_project(make_project().folder)
    assert panel.checkpoint.currentText() == "teacher"
    assert session.review.queue
    assert "4 of 4 animals have proposals" in panel.state.text()
    assert not any(part.isEnabled() for part in (panel.this, panel.all, panel.score))
    assert not any(part.isVisible() for part in (panel.forecast, panel.command))


def test_where_nobody_proposed_anything_there_is_nobody_to_choose(
    panel: SegmentPanel, session: Session, tmp_path: Path
) -> None:
    create_project(tmp_path / "empty", "empty", MEDAKA)
    session.open_project(tmp_path / "empty")
    assert not panel.work.isVisible()
    assert panel.train.isVisible()


def test_out_of_sight_the_panel_asks_nothing_and_in_sight_it_knows_again(
    panel: SegmentPanel, session: Session, make_project: MakeProject
) -> None:
    session.open_project(make_project(labelled=2, unlabelled=1).folder)
    session.look_at("labelled-00")
    panel.hide()
    session.look_at("labelled-01")
    assert "labelled-00" in panel.propagate.state.text()
    panel.show()
    assert "labelled-01" in panel.propagate.state.text()
