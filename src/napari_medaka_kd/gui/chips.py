"""Chips: why a proposal was rejected, one click or one digit each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget
from superqt import QFlowLayout

from .reviewing import REASONS

if TYPE_CHECKING:
    from collections.abc import Sequence


class ReasonChips(QWidget):
    """Buttons for the usual reasons; several may be down. They fill as many rows as it takes.

    Emits ``chosen`` with the reasons that are down, whenever one changes.
    """

    chosen = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.about = QLabel()
        self.about.setWordWrap(True)
        self.about.setTextFormat(Qt.TextFormat.PlainText)
        self.chips = [self._chip() for _ in REASONS]
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.about)
        flow = QFlowLayout()
        flow.setContentsMargins(0, 0, 0, 0)
        flow.setSpacing(4)
        for chip in self.chips:
            flow.addWidget(chip)
        column.addLayout(flow)
        self._word()
        self.hide()

    def ask(self, about: str) -> None:
        """Ask why ``about`` was rejected."""
        self.about.setText(f"Rejected: {about}. Why?")
        self.show()

    def press(self, reasons: Sequence[str]) -> None:
        """Show these reasons as chosen, without telling anyone."""
        for chip, reason in zip(self.chips, REASONS, strict=True):
            chip.blockSignals(True)
            chip.setChecked(reason in reasons)
            chip.blockSignals(False)
        self._word()

    def _word(self) -> None:
        """Sign and digit of each, for a colour alone does not tell everyone what is down."""
        for number, (chip, reason) in enumerate(zip(self.chips, REASONS, strict=True), start=1):
            chip.setText(f"{'☑' if chip.isChecked() else '☐'} {number} {reason}")

    def _chip(self) -> QPushButton:
        chip = QPushButton(self)
        chip.setCheckable(True)
        chip.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        chip.toggled.connect(self._on_toggled)
        return chip

    def _on_toggled(self, _: bool) -> None:
        self._word()
        self.chosen.emit(tuple(r for chip, r in zip(self.chips, REASONS, strict=True) if chip.isChecked()))
