"""Things that overlap in the window: layers over one another, whose they are, and what cannot be done with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from napari.utils._proxies import PublicOnlyProxy
from qtpy.QtWidgets import QApplication

from napari_medaka_kd.gui.layers import Scene
from napari_medaka_kd.gui.notice import Notice
from napari_medaka_kd.gui.panels.cases import NewScan
from napari_medaka_kd.gui.panels.distil import DistilPanel
from napari_medaka_kd.gui.panels.results import ResultsPanel
from napari_medaka_kd.gui.panels.segment import SegmentPanel
from napari_medaka_kd.gui.session import Session
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks.build import build_instances
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.networks.instance_settings import InstanceSettings
from napari_medaka_kd.project import Drawn, Project, add_case, create_project
from napari_medaka_kd.settings import NetworkSettings
from napari_medaka_kd.volumes.instance_store import save_instances
from napari_medaka_kd.volumes.instances import from_stack
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.volume import Volume
from napari_medaka_kd.workflow.assess import compare_checkpoints
from napari_medaka_kd.workflow.measure_things import measure_things

SHAPE = (4, 48, 48)
LOOKS = NetworkSettings(dimensions=2, widths=(4, 6))
THINGS = InstanceSettings(reach=9)


def masks(*places: tuple[int, int]) -> Any:
    _, y, x = np.indices(SHAPE)
    return np.stack([(y - a) ** 2 + (x - b) ** 2 < 90 for a, b in places])


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Three discs over each other by hand, four by a checkpoint of which two overlap; and a bare scan."""
    made = create_project(tmp_path / "cells", "cells", LabelSchema.from_names(["cell"]))
    drawn = masks((16, 16), (16, 24), (22, 20))
    scan = (100 + 200 * drawn.sum(axis=0)).astype(np.uint16)
    case = drain(add_case(made, Volume((scan,), (1, 1, 1), "a"), Drawn(None, from_stack(drawn)), "a", False))
    drain(add_case(made, Volume((scan,), (1, 1, 1), "b"), None, "b", False))
    drain(save_instances(from_stack(masks((16, 12), (16, 26), (34, 14), (34, 28))), case.store, "finder"))
    card = Checkpoint(name="finder", network=LOOKS, organs=made.schema, things=THINGS, history={"verb": "distil"})
    card.save(build_instances(LOOKS, THINGS), made.checkpoint("finder"))
    return made


@pytest.fixture
def looking(session: Session, project: Project) -> Session:
    session.open_project(project.folder)
    return session


def shown(viewer: Any) -> list[str]:
    return [layer.name for layer in viewer.layers if layer.visible]


def test_every_layer_of_things_is_a_labels_layer_that_says_whose_they_are(looking: Session) -> None:
    viewer = ViewerModel()
    scene = Scene(viewer, looking)
    assert looking.checkpoint == "finder"
    assert shown(viewer) == ["scan", "organs", "things by finder, layer 1", "things by finder, layer 2"]
    looking.use("")
    by_hand = [f"things by hand, layer {number}" for number in (1, 2, 3)]
    assert shown(viewer) == ["scan", "organs", *by_hand]
    layers = [viewer.layers[name] for name in by_hand]
    assert all(isinstance(layer, Labels) and layer.multiscale for layer in layers)
    kept = [set(np.unique(np.asarray(layer.data[0]))) - {0} for layer in layers]
    assert kept == [{1}, {2}, {3}]
    colours = {tuple(layer.get_color(which)) for layer, (which,) in zip(layers, kept, strict=True)}
    assert len(colours) == 3
    assert all(max(colour[:3]) == 1 for colour in colours), "bright, as tissue is dark"
    looking.set_overlay("none")
    assert shown(viewer) == ["scan"]
    looking.set_overlay("organs")
    looking.look_at("b")
    assert shown(viewer) == ["scan", "organs"]
    assert not any(np.asarray(layer.data[0]).any() for layer in layers)
    assert looking.case is not None
    drain(save_instances(from_stack(masks((20, 20), (20, 28))), looking.case.store, "finder"))
    looking.use("finder")
    looking.reload()  # as after a task that segmented
    assert shown(viewer) == ["scan", "organs", "things by finder, layer 1", "things by finder, layer 2"]
    scene.close()


def test_things_over_each_other_are_seen_on_the_canvas(
    make_napari_viewer: Callable[..., Any], looking: Session
) -> None:
    viewer = make_napari_viewer(show=True)
    scene = Scene(PublicOnlyProxy(viewer), looking)
    looking.use("")
    QApplication.processEvents()
    canvas = viewer.screenshot(canvas_only=True, flash=False, size=(400, 400))[..., :3].astype(int)
    colourful = canvas[canvas.max(-1) - canvas.min(-1) > 40]
    assert len(colourful) > 1000
    assert len(np.unique(colourful // 16, axis=0)) >= 5  # three things, and mixtures where they overlap
    scene.close()
    QApplication.processEvents()


def test_they_are_looked_at_and_not_reviewed_or_scored(qtbot: Any, looking: Session) -> None:
    notice, panel = Notice(looking), SegmentPanel(looking)
    for widget in (notice, panel):
        qtbot.addWidget(widget)
        widget.show()
    notice.refresh()
    assert "not reviewed" in notice.text.text()
    assert not panel.score.isEnabled()
    assert "1 of 2 animals" in panel.state.text()
    begun: list[list[str]] = []
    looking.start = lambda title, argv: begun.append(list(argv))  # type: ignore[method-assign, assignment]
    panel.segment_all()
    assert [argv[0] for argv in begun] == ["segment"]


def test_the_form_offers_things_and_the_adviser_proposes_them(qtbot: Any, looking: Session) -> None:
    panel = DistilPanel(looking)
    qtbot.addWidget(panel)
    with qtbot.waitExposed(panel):
        panel.show()
    panel.strategy.setCurrentIndex(panel.strategy.findData("mean_teacher"))
    panel.strategy.activated.emit(0)
    assert "strategy.instances=true" in panel.advice.text()
    assert not panel.start.isEnabled()
    panel.forms["mean_teacher"].fields["instances"].widget.setChecked(True)
    assert panel.start.isEnabled()
    assert "strategy.instances=true" in panel._argv()


def test_a_finder_of_things_is_evaluated_alone_and_what_came_of_it_is_said(
    qtbot: Any, looking: Session, project: Project
) -> None:
    drawn = masks((16, 16), (30, 30))
    scan = Volume((drawn.any(axis=0).astype(np.uint16),), (1, 1, 1), "c")
    case = drain(add_case(project, scan, Drawn(None, from_stack(drawn)), "c", True))
    panel = ResultsPanel(looking)
    qtbot.addWidget(panel)
    with qtbot.waitExposed(panel):
        panel.show()
    assert panel.student.currentData() == "finder"
    begun: list[list[str]] = []
    looking.start = lambda title, argv: begun.append(list(argv))  # type: ignore[method-assign, assignment]
    assert panel.evaluate.isEnabled()
    assert not panel.compare.isEnabled()
    panel.start_evaluation()
    assert [argv[0] for argv in begun] == ["segment", "evaluate"]
    assert begun[0][-1] == "c"
    drain(save_instances(from_stack(drawn[:1]), case.store, "finder"))
    drain(compare_checkpoints(project, ["finder"]))
    panel.refresh()
    assert "AJI 0.500, AP50 0.500" in panel.state.text()
    assert (panel.measure.text(), panel.measure.isEnabled()) == ("Measure things", True)
    panel.start_measuring()
    assert begun[-1] == ["measure", str(project.folder), "--labels", "finder"]
    drain(measure_things(project, "finder"))
    panel.refresh()
    assert "a: 4 things, 4 over others" in panel.state.text()
    assert "AJI" in panel.state.text()


def test_a_scan_is_added_with_several_layers_of_things(qtbot: Any, looking: Session) -> None:
    form = NewScan(looking)
    qtbot.addWidget(form)
    begun: list[list[str]] = []
    looking.start = lambda title, argv: begun.append(list(argv))  # type: ignore[method-assign, assignment]
    form.file.setText("scan.tif")
    form.things.setText("one.tif; two.tif")
    form.add()
    assert begun[0][begun[0].index("--instances") :][:4] == ["--instances", "one.tif", "--instances", "two.tif"]
    assert form.things.text() == ""
