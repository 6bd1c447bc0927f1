"""The buttons of the review, each with its key: those that judge, and those of a correction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QPushButton, QSizePolicy, QWidget

from .keys import KEYS
from .marks import SIGNS
from .parts import button, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QResizeEvent

    from napari_medaka_kd.workflow.correct import Correction

    from .session import Session

_COLUMNS = 2
_PADDING = 16  # pixels that the style keeps around words


class KeyButton(QPushButton):
    """Does what a key of the review does, and says which key that is."""

    def __init__(self, session: Session, word: str, sign: str) -> None:
        key = KEYS[word]
        super().__init__()
        self._word, self._key = f"{sign} {word}", key.shown
        self.session, self.deed = session, key.deed
        self.setToolTip(f"{key.shown}: {key.help}.")
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.clicked.connect(self._on_clicked)
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802  Qt's name
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        """The key beside the word, or under it where there is no room."""
        line = f"{self._word}  {self._key}"
        roomy = self.fontMetrics().horizontalAdvance(line) + _PADDING < self.width()
        self.setText(line if roomy else f"{self._word}\n{self._key}")

    def _on_clicked(self) -> None:
        self.deed(self.session, None)  # none of these needs the layers


class JudgingButtons(QWidget):
    """A word on what is marked, and on to the next.

    Attributes
    ----------
    buttons
        By word.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        signs = {
            "Accept": SIGNS["accepted"],
            "Reject": SIGNS["rejected"],
            "Correct": SIGNS["corrected"],
            "Unsure": SIGNS["unsure"],
            "Previous": "◀",
            "Next": "▶",
            "Undo": "↶",
            "Worst spot": "◎",
        }
        self.buttons = {word: KeyButton(session, word, sign) for word, sign in signs.items()}
        _lay_out(self, *_pairs(self.buttons))


class PaintingButtons(QWidget):
    """What can be done with the crop that is painted; giving it up asks once more if there is anything to lose.

    Attributes
    ----------
    buttons
        By word.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.strokes = words()
        signs = {"Done": SIGNS["accepted"], "Interpolate": "≋", "Undo": "↶", "Redo": "↷"}
        self.buttons = {word: KeyButton(session, word, sign) for word, sign in signs.items()}
        self.give_up = button("Give up", self._on_give_up, "Throw the strokes of this correction away.")
        self._asked = False
        _lay_out(self, [self.strokes], *_pairs(self.buttons), [self.give_up])

    def refresh(self) -> None:
        """Show how the correction under way stands."""
        now = self.session.correcting.now
        self._asked = False
        self.give_up.setText("Give up")
        if now is not None:
            self.strokes.setText(f"Correcting: {_counted(now)}.")
            self.buttons["Undo"].setEnabled(now.can_undo)
            self.buttons["Redo"].setEnabled(now.can_redo)
            self.buttons["Interpolate"].setEnabled(len(now.edited_slices()) > 1)

    def _on_give_up(self) -> None:
        now = self.session.correcting.now
        if now is not None and now.strokes and not self._asked:
            self._asked = True
            self.give_up.setText("Really? Press again")
        else:
            self.session.correcting.abandon()


def _counted(now: Correction) -> str:
    if not now.strokes:
        return "no stroke yet"
    return "1 stroke, on the disk" if now.strokes == 1 else f"{now.strokes} strokes, all on the disk"


def _lay_out(box: QWidget, *rows: Sequence[QWidget]) -> None:
    """Row by row; what is alone in one takes all of it."""
    grid = QGridLayout(box)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setSpacing(4)
    for row, widgets in enumerate(rows):
        for column, widget in enumerate(widgets):
            grid.addWidget(widget, row, column, 1, _COLUMNS if len(widgets) == 1 else 1)
    for column in range(_COLUMNS):
        grid.setColumnStretch(column, 1)


def _pairs(buttons: dict[str, KeyButton]) -> list[list[KeyButton]]:
    listed = list(buttons.values())
    return [listed[start : start + _COLUMNS] for start in range(0, len(listed), _COLUMNS)]
