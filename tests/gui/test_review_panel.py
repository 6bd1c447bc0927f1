"""The Review panel: what it shows, what its buttons do, and that it keeps up with a long queue."""

import gc
import json
import statistics
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from qtpy.QtCore import QModelIndex, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget

from napari_medaka_kd.demo_settings import PhantomSettings
from napari_medaka_kd.gui.keys import KEYS
from napari_medaka_kd.gui.panels.review import ReviewPanel
from napari_medaka_kd.gui.remembered import Remembered
from napari_medaka_kd.gui.session import Session
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import Project, add_case, create_project
from napari_medaka_kd.quality.quality import QualityScore
from napari_medaka_kd.quality.record import Record, save_record
from napari_medaka_kd.review import Order, read_verdicts
from napari_medaka_kd.volumes.label_store import begin_labels, generation
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.phantom import phantom_animal


@pytest.fixture
def panel(qtbot: Any, reviewing: Session) -> ReviewPanel:
    return show_panel(qtbot, reviewing)


def show_panel(qtbot: Any, session: Session, width: int = 320) -> ReviewPanel:
    panel = ReviewPanel(session)
    qtbot.addWidget(panel)
    panel.resize(width, 900)
    panel.show()
    qtbot.waitExposed(panel)
    return panel


def press(button: QWidget) -> None:
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def said(session: Session) -> list[str]:
    assert session.project is not None
    return [str(verdict.decision) for verdict in read_verdicts(session.project.review_folder)]


def rows(panel: ReviewPanel) -> list[str]:
    model = panel.queue.queue
    return [str(model.data(model.index(row))) for row in range(model.rowCount())]


def paint_a_stroke(session: Session) -> None:
    assert session.correcting.now is not None
    painted = session.correcting.now.labels.copy()
    painted[0, :4, :4] = session.correcting.now.item.organ
    session.correcting.record(painted)


# ---- nothing to do yet -----------------------------------------------------------------------------------------


def test_without_a_project_it_says_where_to_begin(qtbot: Any, session: Session) -> None:
    panel = show_panel(qtbot, session)
    asked: list[str] = []
    session.panel_asked.connect(asked.append)
    assert panel.notice.isVisible()
    assert not panel.work.isVisible()
    press(panel.notice.next)
    assert asked == ["Cases"]


def test_without_proposals_it_leads_to_the_teacher(
    qtbot: Any, session: Session, make_project: Callable[..., Project]
) -> None:
    session.open_project(make_project(unlabelled=0).folder)
    panel = show_panel(qtbot, session)
    asked: list[str] = []
    session.panel_asked.connect(asked.append)
    press(panel.notice.next)
    assert asked == ["Segment"]


def test_a_filter_that_leaves_nothing_can_be_lifted(panel: ReviewPanel, reviewing: Session) -> None:
    choose(panel.state, "flagged")
    assert reviewing.review.queue == ()
    assert panel.notice.isVisible()
    press(panel.notice.next)
    assert reviewing.review.queue
    assert panel.state.currentText() == "still open"
    assert not panel.notice.isVisible()


def test_when_all_is_judged_it_leads_to_the_student(panel: ReviewPanel, reviewing: Session) -> None:
    asked: list[str] = []
    reviewing.panel_asked.connect(asked.append)
    assert reviewing.review.desk is not None
    reviewing.review.select(reviewing.review.queue)
    reviewing.judge("accepted")
    press(panel.notice.next)
    assert asked == ["Distil"]


# ---- looking ---------------------------------------------------------------------------------------------------


def test_the_card_tells_organ_animal_slices_quality_and_why(panel: ReviewPanel, reviewing: Session) -> None:
    item = reviewing.review.queue[4]
    reviewing.show(item)
    assert reviewing.project is not None
    assert reviewing.review.desk is not None
    assert item.slab is not None
    proposal = reviewing.review.desk.proposals[item]
    assert reviewing.project.schema.names[item.organ - 1] in panel.card.organ.text()
    assert panel.card.place.text() == f"{item.case} · slices {item.slab[0]}-{item.slab[1] - 1}"
    assert f"{proposal.score:.2f}" in panel.card.quality.text()
    assert panel.card.bar.score == proposal.score
    assert panel.card.why.text() == "it is a toy"
    assert panel.card.said.text() == "no verdict yet"


def test_an_item_that_was_judged_says_by_whom_and_why(panel: ReviewPanel, reviewing: Session) -> None:
    item = reviewing.review.item
    reviewing.judge("rejected")
    reviewing.review.amend(["spills over"])
    reviewing.show(item)
    assert panel.card.said.text() == "✗ rejected by ada: spills over"


def test_the_session_line_counts_and_names_the_others(panel: ReviewPanel, reviewing: Session, tmp_path: Path) -> None:
    total = len(reviewing.review.queue)
    for decision in ("accepted", "unsure", "rejected"):
        reviewing.judge(decision)
    other = Session(Remembered(tmp_path / "other.json"), reviewer="bob")
    assert reviewing.project is not None
    other.open_project(reviewing.project.folder)
    other.judge("accepted")
    other.close()
    reviewing.listen()
    assert panel.tally.text().startswith(f"3 done · 1 flagged · {total - 4} left · about ")
    assert "with bob: 1 verdict" in panel.tally.text()


def test_a_conflict_is_shown_beside_the_item_with_both_names_and_can_be_listed(
    panel: ReviewPanel, reviewing: Session, tmp_path: Path
) -> None:
    item = reviewing.review.queue[0]
    reviewing.show(item)
    assert reviewing.project is not None
    other = Session(Remembered(tmp_path / "other.json"), reviewer="bob")
    other.open_project(reviewing.project.folder)
    other.show(item)
    other.judge("rejected", ["ragged"])
    reviewing.judge("accepted")
    reviewing.listen()
    reviewing.show(item)
    me = reviewing.review.reviewer
    told = panel.card.said.text()
    assert "in conflict" in told
    assert f"{me} accepted" in told
    assert "bob rejected (ragged)" in told
    assert "1 in conflict" in panel.tally.text()
    assert "agree on 0 of 1 items: too few for a kappa" in panel.tally.text()
    panel.state.setCurrentIndex(panel.state.findData("disputed"))
    panel.state.activated.emit(panel.state.currentIndex())
    assert reviewing.review.queue == (item,)


def test_the_list_is_the_queue_and_marks_the_item_on_show(panel: ReviewPanel, reviewing: Session) -> None:
    assert len(rows(panel)) == len(reviewing.review.queue)
    reviewing.step(3)
    assert panel.queue.currentIndex().row() == 3
    assert reviewing.review.item is not None
    assert reviewing.review.item.case in rows(panel)[3]


def test_a_click_in_the_list_shows_that_item(panel: ReviewPanel, reviewing: Session) -> None:
    wanted = reviewing.review.queue[2]
    place = panel.queue.visualRect(panel.queue.queue.index(2)).center()
    QTest.mouseClick(panel.queue.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert reviewing.review.item == wanted


def choose(box: Any, words: str) -> None:
    box.setCurrentText(words)
    box.activated.emit(box.currentIndex())


def test_every_order_says_what_it_is_and_that_a_part_is_drawn_at_random(panel: ReviewPanel) -> None:
    tips = {
        panel.order.itemData(row): panel.order.itemData(row, Qt.ItemDataRole.ToolTipRole)
        for row in range(panel.order.count())
    }
    assert set(tips) == set(get_args(Order))
    assert all("random" in tip for tip in tips.values())
    choose(panel.order, "at random")
    assert panel.order.toolTip() == tips["random"]


def test_the_session_line_says_what_is_known_of_the_unreviewed(panel: ReviewPanel, reviewing: Session) -> None:
    assert panel.stop.isHidden()
    for word in ("accepted", "accepted", "rejected"):
        reviewing.judge(word)
    assert reviewing.review.desk is not None
    rule = reviewing.review.desk.course.stop()
    assert rule.draws == 1
    assert panel.stop.text().startswith(rule.brief())
    assert rule.sentence() in panel.stop.toolTip()


def test_order_and_filters_make_the_queue(panel: ReviewPanel, reviewing: Session) -> None:
    assert reviewing.review.desk is not None
    choose(panel.order, "worst first")
    scores = [reviewing.review.desk.proposals[item].score for item in reviewing.review.queue]
    assert reviewing.review.order == "worst"
    assert scores[1] == min(scores)  # the first is drawn at random
    choose(panel.organ, "heart")
    choose(panel.case, "fish-02")
    assert {(item.organ, item.case) for item in reviewing.review.queue} == {(6, "fish-02")}
    assert reviewing.review.item in reviewing.review.queue


def test_judged_items_can_be_looked_at_again(panel: ReviewPanel, reviewing: Session) -> None:
    first = reviewing.review.item
    reviewing.judge("accepted")
    choose(panel.state, "judged")
    assert reviewing.review.queue == (first,)
    assert rows(panel)[0].startswith("✓ ")


def test_a_case_that_is_not_under_review_has_no_strip(panel: ReviewPanel, reviewing: Session) -> None:
    reviewing.look_at("labelled-00")
    assert not panel.strip.isVisible()
    assert "not under review" in panel.about_strip.text()


def test_broken_rules_of_anatomy_stand_below_the_strip(panel: ReviewPanel, reviewing: Session) -> None:
    assert reviewing.project is not None
    assert reviewing.review.desk is not None
    file = reviewing.project.case("fish-02").folder / "quality.json"
    flags = ["heart: missing", "gut: in 5 pieces (1 expected)", "liver: volume 2.3× the cohort", "eyes: missing"]
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {"flags": flags}), "utf-8")
    reviewing.review.desk.reload()
    reviewing.look_at("fish-02")
    panel.refresh()
    assert panel.about_strip.text().splitlines()[1:] == [f"⚠ {flag}" for flag in flags[:3]]
    assert panel.about_strip.toolTip().splitlines() == flags


# ---- judging ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "decision"), [("Accept", "accepted"), ("Reject", "rejected"), ("Unsure", "unsure")])
def test_a_button_judges_and_goes_on(panel: ReviewPanel, reviewing: Session, word: str, decision: str) -> None:
    first, second = reviewing.review.queue[:2]
    press(panel.judging.buttons[word])
    assert said(reviewing) == [decision]
    assert reviewing.review.item == second
    assert len(rows(panel)) == len(reviewing.review.queue)
    assert first not in panel.queue.queue.items


def test_next_previous_and_undo(panel: ReviewPanel, reviewing: Session) -> None:
    first, second = reviewing.review.queue[:2]
    press(panel.judging.buttons["Next"])
    assert reviewing.review.item == second
    press(panel.judging.buttons["Previous"])
    press(panel.judging.buttons["Accept"])
    press(panel.judging.buttons["Undo"])
    assert said(reviewing) == ["accepted", "undone"]
    assert reviewing.review.item == first


def test_every_button_prints_its_key_and_leaves_the_keys_to_the_canvas(panel: ReviewPanel) -> None:
    for buttons in (panel.judging.buttons, panel.painting.buttons):
        for word, button in buttons.items():
            assert word in button.text()
            assert button.text().endswith(KEYS[word].shown)
            assert KEYS[word].help in button.toolTip()
            assert button.focusPolicy() == Qt.FocusPolicy.NoFocus


def test_reasons_are_asked_after_a_reject_only(panel: ReviewPanel, reviewing: Session) -> None:
    press(panel.judging.buttons["Accept"])
    assert not panel.chips.isVisible()
    press(panel.judging.buttons["Reject"])
    assert panel.chips.isVisible()
    for chip in (panel.chips.chips[1], panel.chips.chips[4]):
        press(chip)
    assert reviewing.project is not None
    assert read_verdicts(reviewing.project.review_folder)[-1].reasons == ("spills over", "ragged")
    press(panel.chips.chips[1])
    assert read_verdicts(reviewing.project.review_folder)[-1].reasons == ("ragged",)


def test_a_reason_given_by_key_is_seen_and_gone_with_the_next_reject(panel: ReviewPanel, reviewing: Session) -> None:
    reviewing.judge("rejected")
    reviewing.review.toggle_reason("wrong place")
    assert panel.chips.chips[2].isChecked()
    assert panel.chips.chips[2].text().startswith("☑ 3")
    reviewing.judge("rejected")
    assert not any(chip.isChecked() for chip in panel.chips.chips)


def test_the_strip_marks_what_the_next_verdict_is_about(panel: ReviewPanel, reviewing: Session) -> None:
    heat = panel.strip.heat
    assert heat is not None
    items = heat.items(*panel_row(panel, 11))
    assert len(items) == 3
    panel.strip.selected.emit(items)
    assert "3 slabs: spine, slices 0-47" in panel.card.about.text()
    press(panel.judging.buttons["Accept"])
    assert said(reviewing) == ["accepted"] * 3
    assert panel.card.about.text() == ""
    row = heat.grid.organs.index(11)
    reviewing.look_at(items[0].case)
    assert panel.strip.heat is not None
    assert list(panel.strip.heat.grid.decision[row]) == ["accepted"] * 3


def panel_row(panel: ReviewPanel, organ: int) -> tuple[Any, Any]:
    from napari_medaka_kd.gui.lattice import Cell

    assert panel.strip.heat is not None
    row = panel.strip.heat.grid.organs.index(organ)
    return Cell(row, 0), Cell(row, len(panel.strip.heat.grid.slabs) - 1)


def test_a_click_in_the_strip_shows_the_proposal(panel: ReviewPanel, reviewing: Session) -> None:
    first, _ = panel_row(panel, 8)
    place = panel.strip.lattice.rect_of(first).center()
    QTest.mouseClick(panel.strip.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert reviewing.review.item is not None
    assert (reviewing.review.item.organ, reviewing.review.item.slab) == (8, (0, 16))
    assert reviewing.review.selection == (reviewing.review.item,)


def test_the_strip_points_at_the_slice_on_show(panel: ReviewPanel, reviewing: Session) -> None:
    reviewing.look((17.4, 3.0, 3.0))
    assert panel.strip.z == 17


# ---- correcting ------------------------------------------------------------------------------------------------


def test_while_correcting_the_buttons_are_those_of_painting(panel: ReviewPanel, reviewing: Session) -> None:
    press(panel.judging.buttons["Correct"])
    assert reviewing.correcting.now is not None
    assert panel.painting.isVisible()
    assert not panel.judging.isVisible()
    assert not any(box.isEnabled() for box in (panel.queue, panel.strip, panel.order, panel.organ))
    assert "no stroke yet" in panel.painting.strokes.text()
    assert not panel.painting.buttons["Undo"].isEnabled()
    paint_a_stroke(reviewing)
    assert "1 stroke" in panel.painting.strokes.text()
    press(panel.painting.buttons["Undo"])
    assert panel.painting.buttons["Redo"].isEnabled()
    press(panel.painting.buttons["Redo"])
    press(panel.painting.buttons["Done"])
    assert "corrected" in said(reviewing)
    assert panel.judging.isVisible()
    assert panel.queue.isEnabled()


def test_giving_up_asks_again_where_strokes_would_be_lost(panel: ReviewPanel, reviewing: Session) -> None:
    reviewing.correct()
    paint_a_stroke(reviewing)
    press(panel.painting.give_up)
    assert reviewing.correcting.now is not None
    assert "Really?" in panel.painting.give_up.text()
    paint_a_stroke_elsewhere(reviewing)
    assert panel.painting.give_up.text() == "Give up"
    press(panel.painting.give_up)
    press(panel.painting.give_up)
    assert reviewing.correcting.now is None
    assert said(reviewing) == []


def paint_a_stroke_elsewhere(session: Session) -> None:
    assert session.correcting.now is not None
    painted = session.correcting.now.labels.copy()
    painted[-1, :4, :4] = session.correcting.now.item.organ
    session.correcting.record(painted)


def test_without_a_stroke_one_gives_up_at_once(panel: ReviewPanel, reviewing: Session) -> None:
    reviewing.correct()
    press(panel.painting.give_up)
    assert reviewing.correcting.now is None


# ---- room, length, end -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("percent", [100, 150])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_nothing_is_wider_than_the_panel_at_320_pixels(
    qtbot: Any, reviewing: Session, theme: str, percent: int
) -> None:
    from napari.qt import get_stylesheet

    reviewing.judge("rejected")
    panel = show_panel(qtbot, reviewing, width=300)
    panel.setStyleSheet(get_stylesheet(theme, extra_variables={"font_size": f"{9 * percent // 100}pt"}))
    QApplication.processEvents()
    assert panel.minimumSizeHint().width() <= 300
    for button in (*panel.judging.buttons.values(), *panel.chips.chips):
        lines = button.text().split("\n")
        assert max(button.fontMetrics().horizontalAdvance(line) for line in lines) <= button.width()
        assert button.geometry().right() < button.parentWidget().width()


def make_long_project(folder: Path, organs: int = 40, slabs: int = 128) -> Project:
    """One animal in which every organ is proposed in every slab of two slices."""
    project = create_project(folder, "long", LabelSchema.from_names([f"organ number {n}" for n in range(organs)]))
    shape = (2 * slabs, 16, 16)
    scan = phantom_animal(PhantomSettings(shape=shape, voxel_size=500.0)).volume
    case = drain(add_case(project, scan, None, "fish-00", False))
    labels = np.broadcast_to((np.arange(256) % (organs + 1)).reshape(16, 16), shape).astype(np.uint8)
    begun = begin_labels(case.store, "teacher", project.schema, "long")
    begun.write(0, labels)
    drain(begun.commit())
    scores = tuple(
        QualityScore(organ, (2 * at, 2 * at + 2), (organ * 7 + at * 3) % 20 / 20, (), ("it is long",))
        for organ in range(1, organs + 1)
        for at in range(slabs)
    )
    save_record(Record("teacher", generation(case.store, "teacher"), 2, 0.5, scores), case.folder, project.schema)
    return project


def test_with_5000_items_a_verdict_is_seen_within_100_ms(qtbot: Any, session: Session, tmp_path: Path) -> None:
    session.open_project(make_long_project(tmp_path / "long").folder)
    panel = show_panel(qtbot, session)
    assert panel.queue.queue.rowCount() == 5120
    taken = []  # s of our own work, whatever else the machine does
    for _ in range(15):
        begun = time.process_time()
        session.judge("accepted")
        QApplication.processEvents()
        taken.append(time.process_time() - begun)
    assert panel.queue.queue.rowCount() == 5120 - 15
    assert statistics.median(taken) < 0.1


def test_an_item_that_leaves_does_not_reset_the_list(panel: ReviewPanel, reviewing: Session) -> None:
    removed: list[tuple[int, int]] = []
    resets: list[int] = []

    def note(_: QModelIndex, first: int, last: int) -> None:
        removed.append((first, last))

    panel.queue.queue.rowsRemoved.connect(note)
    panel.queue.queue.modelReset.connect(lambda: resets.append(1))
    reviewing.step(2)
    reviewing.judge("accepted")
    assert removed == [(2, 2)]
    assert resets == []


def test_a_panel_that_is_gone_hears_no_more(qtbot: Any, reviewing: Session) -> None:
    signals = (reviewing.review.verdicts_changed, reviewing.position_changed, reviewing.correcting.changed)
    before = [len(signal) for signal in signals]
    panel = ReviewPanel(reviewing)
    gone = weakref.ref(panel)
    panel.deleteLater()
    qtbot.waitUntil(lambda: not alive(gone()))
    reviewing.judge("accepted")
    assert [len(signal) for signal in signals] == before
    del panel
    gc.collect()
    assert gone() is None


def alive(panel: ReviewPanel | None) -> bool:
    from qtpy.compat import isalive

    return panel is not None and isalive(panel)
