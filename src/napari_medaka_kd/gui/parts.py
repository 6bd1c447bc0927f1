"""Parts of panels: words that wrap, buttons that leave the keys to the canvas, choices, and the command line."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QWidget,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def words(text: str = "") -> QLabel:
    """Text that wraps, can be copied, and never makes a panel wider."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return label


def button(text: str, deed: Callable[[], object], tip: str = "") -> QPushButton:
    """A button that does not take the keys away from the canvas."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    made.clicked.connect(lambda _: deed())
    return made


def side_by_side(*widgets: QWidget) -> QWidget:
    """In a row, with nothing around them."""
    box = QWidget()
    row = QHBoxLayout(box)
    row.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        row.addWidget(widget)
    return box


def choice(tip: str = "") -> QComboBox:
    """A box of choices that gives way where there is little room."""
    box = QComboBox()
    box.setToolTip(tip)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(6)
    return box


def fill(box: QComboBox, choices: Mapping[str, object], chosen: object = None) -> None:
    """Offer ``choices``, words → value, without telling anyone; what was chosen stays so where it can."""
    before = box.currentData() if chosen is None else chosen
    box.blockSignals(True)
    box.clear()
    for text, value in choices.items():
        box.addItem(text, value)
    box.setCurrentIndex(max(0, box.findData(before)) if choices else -1)
    box.blockSignals(False)


def explain(box: QComboBox, tips: Mapping[str, str]) -> None:
    """Say of each choice what it means, by its value; the box says it of the one that is chosen."""
    for row in range(box.count()):
        box.setItemData(row, tips.get(box.itemData(row), ""), Qt.ItemDataRole.ToolTipRole)
    box.setToolTip(tips.get(box.currentData(), ""))


def scroll_to_top(panel: QWidget) -> None:
    """Show the top of a panel, whatever it lies in."""
    above = panel.parentWidget()
    while above is not None and not isinstance(above, QScrollArea):
        above = above.parentWidget()
    if above is not None:
        above.verticalScrollBar().setValue(0)


class CommandLine(QWidget):
    """The command line that a button starts, to be read and copied."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.text = words()
        self.text.setTextFormat(Qt.TextFormat.PlainText)
        copy = QToolButton()
        copy.setText("Copy")
        copy.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        copy.clicked.connect(self._on_copy)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.text, 1)
        row.addWidget(copy)

    def show_command(self, argv: Sequence[str]) -> None:
        """Show ``argv`` as it would be typed."""
        self.text.setText(shlex.join(["medaka-kd", *argv]))

    def _on_copy(self) -> None:
        QGuiApplication.clipboard().setText(self.text.text())
