"""Review packs in the dock: making one for a colleague, bringing one home, opening one that somebody sent."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QFormLayout, QGridLayout, QLineEdit, QSpinBox, QVBoxLayout, QWidget

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.workflow.pack import ENDING, Wanted
from napari_medaka_kd.workflow.pack_card import is_pack
from napari_medaka_kd.workflow.unpack import is_pack_file, unpack

from .panels.review import ORDERS
from .parts import CommandLine, button, choice, fill, side_by_side, words
from .saving import ask_where

if TYPE_CHECKING:
    from .session import Session

_KIND = f"Review pack (*{ENDING} *.zip)"
_PACK, _SEND = "Pack for a colleague …", "Send verdicts back …"
_TIP = (
    "One file with crops of the scans, the proposals and the queue: reviewed on a laptop, without the scans and a GPU."
)
_ALL = {"all animals": ""}


def open_any(session: Session, path: Path) -> None:
    """Open the project in a folder; a review pack is unpacked beside its file first, or found there."""
    if is_pack_file(path):
        session.said.emit(f"Unpacking {path.name} …")
        session.play(unpack(path), partial(_opened, session))
    else:
        session.open_project(path)


class PackBox(QWidget):
    """What can be done with review packs: the buttons, and the form of a new one."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.open = button("Open a pack …", self._on_open, "A review pack that somebody sent.")
        self.pack = button(_PACK, self._on_pack, _TIP)
        self.merge = button("Merge a pack …", self._on_merge, "Bring the verdicts home that were given in a pack.")
        self.form = NewPack(session)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        grid = QGridLayout()
        for place, each in enumerate((self.open, self.merge)):
            grid.addWidget(each, 0, place)
        grid.addWidget(self.pack, 1, 0, 1, 2)
        column.addLayout(grid)
        column.addWidget(self.form)

    def refresh(self) -> None:
        """Offer what can be done with the project that is open."""
        project = self.session.project
        inside = project is not None and is_pack(project)
        self.pack.setText(_SEND if inside else _PACK)
        self.pack.setVisible(project is not None)
        self.merge.setVisible(project is not None and not inside)
        if project is None or inside:
            self.form.hide()

    def send_back(self, file: Path) -> None:
        """Have the verdicts that were given in the pack written to ``file``."""
        project = self.session.project
        if project is not None:
            self.session.start("verdicts to send back", ["pack", str(project.folder), str(file)])

    def bring_home(self, file: Path) -> None:
        """Have the verdicts of the pack ``file`` merged into the project."""
        project = self.session.project
        if project is not None:
            self.session.start(f"merge {file.name}", ["merge", str(project.folder), str(file)])

    def _on_open(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "A review pack", filter=_KIND)
        if file:
            open_any(self.session, Path(file))

    def _on_pack(self) -> None:
        project = self.session.project
        if project is not None and is_pack(project):
            file = ask_where(self, f"{project.name}-verdicts{ENDING}", _KIND)
            if file is not None:
                self.send_back(file)
        else:
            self.form.ask()

    def _on_merge(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "What was sent back", filter=_KIND)
        if file:
            self.bring_home(Path(file))


class NewPack(QWidget):
    """What a pack needs to be made: how much of the queue, of which animals, how large, and where to."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        usual = Wanted()
        self.items = _number(usual.items, 100_000, "all")
        self.limit = _number(usual.limit // 10**6, 1_000_000)
        self.limit.setMinimum(1)
        self.order, self.case = choice("In which order items are taken"), choice("Of which animal")
        self.file, self.command = QLineEdit(), CommandLine()
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow(words("The next items of the queue, with the scans around them."))
        form.addRow("Items", self.items)
        form.addRow("Order", self.order)
        form.addRow("Animals", self.case)
        form.addRow("At most (MB)", self.limit)
        form.addRow("File", side_by_side(self.file, button("…", self._on_file)))
        form.addRow(self.command)
        form.addRow(side_by_side(button("Pack", self.make), button("Not now", self.hide)))
        for signal in (self.items.valueChanged, self.limit.valueChanged, self.file.textChanged):
            signal.connect(self._on_change)
        for box in (self.order, self.case):
            box.activated.connect(self._on_change)
        self.hide()

    def ask(self) -> None:
        """Show the form for the project that is open."""
        project, desk = self.session.project, self.session.review.desk
        if project is None:
            return
        fill(self.order, ORDERS, self.session.review.order)
        fill(self.case, _ALL | {case: case for case in (desk.cases if desk is not None else ())})
        if not self.file.text():
            self.file.setText(str(Path.home() / f"{project.name}{ENDING}".replace(" ", "-")))
        self._on_change()
        self.show()

    def argv(self) -> list[str]:
        """The command line that makes it."""
        project = self.session.project
        line = ["pack", str(project.folder if project is not None else ""), self.file.text()]
        line += ["--checkpoint", self.session.checkpoint, "--items", str(self.items.value())]
        line += ["--order", self.order.currentData(), "--limit", str(self.limit.value())]
        return [*line, "--case", self.case.currentData()] if self.case.currentData() else line

    def make(self) -> None:
        """Have it made in the background."""
        if self.session.review.desk is None:
            self.session.went_wrong.emit("There is nothing to review, so nothing to pack. Segment an animal first.")
            return
        self.session.start(f"pack {Path(self.file.text()).name}", self.argv())
        self.hide()

    def _on_change(self, *_: Any) -> None:
        self.command.show_command(self.argv())

    def _on_file(self) -> None:
        file = ask_where(self, Path(self.file.text()).name, _KIND)
        if file is not None:
            self.file.setText(str(file))


def _opened(session: Session, result: Any) -> None:
    if isinstance(result, UserError):
        session.went_wrong.emit(str(result))
    else:
        session.open_project(result.folder)


def _number(value: int, most: int, zero: str = "") -> QSpinBox:
    box = QSpinBox()
    box.setRange(0, most)
    box.setValue(value)
    box.setSpecialValueText(zero)
    return box
