"""The panel Cases: the project, its animals and how far each is, and new ones dropped in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QHeaderView,
    QLineEdit,
    QMenu,
    QPlainTextEdit,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.workflow.curate import name_case, read_organs
from napari_medaka_kd.workflow.herd import CaseLine, herd, name_organs
from napari_medaka_kd.workflow.unpack import is_pack_file

from ..labelling import LabelsBox
from ..packs import PackBox, open_any
from ..parts import button, side_by_side, words

if TYPE_CHECKING:
    from qtpy.QtGui import QDragEnterEvent, QDropEvent

    from napari_medaka_kd.workflow.preview import Preview

    from ..session import Session

_BEGIN = "Open a project, or make one. To look around first, take the sample project: made-up fish, no data needed."
_NO_CASES = (
    "No animals yet. Drop a scan here: OME-Zarr, NIfTI, NRRD, MetaImage, HDF5, or TIFF or DICOM (a file or a folder of "
    "slices)."
)
_COLUMNS = ("animal", "state", "organs")


class CasesPanel(QWidget):
    """Projects, and the animals of the one that is open."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.setAcceptDrops(True)
        self.title, self.help = words(), words(_BEGIN)
        self.table = self._table()
        self.new, self.scan, self.packs = NewProject(session), NewScan(session), PackBox(session)
        self.labels = LabelsBox(session)
        self.add = button("Add scan …", self._on_add, "A scan, and its labels if it has any; or drop it here.")
        self.recent = button("Recent", self._on_recent, "Projects that were open lately.")
        self._lay_out()
        for signal in (session.project_changed, session.case_changed):
            signal.connect(self._on_change)
        session.data_changed.connect(self.refresh)
        session.review.verdicts_changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the project as it is now."""
        project = self.session.project
        self.title.setText("" if project is None else f"<b>{project.name}</b><br>{project.folder}")
        self.recent.setEnabled(bool(self.session.recent))
        self.add.setVisible(project is not None)
        self.packs.refresh()
        self.labels.refresh()
        lines = () if project is None else herd(project, self.session.checkpoint)
        self.table.setVisible(bool(lines))
        self._fill(lines)
        self.help.setText(_BEGIN if project is None else "" if lines else _NO_CASES)
        self.help.setVisible(bool(self.help.text()))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802  Qt's name
        files = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        if files and (self.session.project is not None or is_pack_file(files[0])):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802  Qt's name
        """A scan that is dropped is looked at in the form before it is added; a review pack is opened."""
        files = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        if files:
            event.acceptProposedAction()
            if is_pack_file(files[0]):
                open_any(self.session, files[0])
            else:
                self.scan.ask(files[0])

    def _fill(self, lines: tuple[CaseLine, ...]) -> None:
        self.table.blockSignals(True)
        self.table.setRowCount(len(lines))
        for row, line in enumerate(lines):
            for column, text in enumerate((line.case, line.state, f"{line.organs} / {line.of}")):
                cell = QTableWidgetItem(text)
                cell.setToolTip(line.detail)
                self.table.setItem(row, column, cell)
            if self.session.case is not None and line.case == self.session.case.id:
                self.table.selectRow(row)
        self.table.blockSignals(False)

    def _table(self) -> QTableWidget:
        table = QTableWidget(0, len(_COLUMNS))
        table.setHorizontalHeaderLabels(_COLUMNS)
        table.verticalHeader().hide()
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        table.setWordWrap(False)
        header = table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        table.itemSelectionChanged.connect(self._on_selected)
        return table

    def _lay_out(self) -> None:
        grid = QGridLayout()
        buttons = (
            button("Open …", self._on_open, "Open the folder of a project."),
            button("New …", self.new.show, "Make a project in an empty folder."),
            self.recent,
            button("Sample", self._on_sample, "A project of made-up fish, made in a few seconds."),
        )
        for place, each in enumerate(buttons):
            grid.addWidget(each, place // 2, place % 2)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 0)
        column.addWidget(self.title)
        column.addLayout(grid)
        for widget in (self.new, self.help, self.table, self.labels, self.add, self.scan, self.packs):
            column.addWidget(widget, 1 if widget is self.table else 0)
        column.addStretch()

    def _on_change(self, _: object) -> None:
        self.refresh()

    def _on_selected(self) -> None:
        rows = self.table.selectionModel().selectedRows()
        if rows:
            self.session.look_at(self.table.item(rows[0].row(), 0).text())

    def _on_open(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "The folder of a project")
        if folder:
            self.session.open_project(Path(folder))

    def _on_recent(self) -> None:
        menu = QMenu(self)
        for folder in self.session.recent:
            menu.addAction(str(folder)).setData(str(folder))
        chosen = menu.exec(self.recent.mapToGlobal(self.recent.rect().bottomLeft()))
        if chosen is not None:
            self.session.open_project(Path(chosen.data()))

    def _on_sample(self) -> None:
        self.session.open_sample()

    def _on_add(self) -> None:
        self.scan.ask(None)


class NewProject(QWidget):
    """What a new project needs: a folder, a name, the organs."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.folder, self.name, self.organs = QLineEdit(), QLineEdit(), QPlainTextEdit()
        self.organs.setPlaceholderText("brain, heart, liver …  or  1 = brain, one a line")
        self.organs.setMaximumHeight(6 * self.fontMetrics().height())
        form = QFormLayout(self)
        form.addRow("Folder", _with_button(self.folder, button("…", self._on_folder)))
        form.addRow("Name", self.name)
        form.addRow("Organs", self.organs)
        form.addRow(button("Organs from a TOML file …", self._on_file))
        form.addRow(side_by_side(button("Make", self.make), button("Not now", self.hide)))
        self.hide()

    def make(self) -> None:
        """Make the project of what was filled in."""
        try:
            organs = name_organs(self.organs.toPlainText())
        except UserError as error:
            self.session.went_wrong.emit(str(error))
            return
        folder = Path(self.folder.text()).expanduser()
        self.session.new_project(folder, self.name.text() or folder.name, organs)
        self.setVisible(self.session.project is None or self.session.project.folder != folder)

    def _on_folder(self) -> None:
        self.folder.setText(QFileDialog.getExistingDirectory(self, "An empty folder") or self.folder.text())

    def _on_file(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "Organs", filter="TOML (*.toml)")
        if not file:
            return
        try:
            self.organs.setPlainText("\n".join(f"{o.id} = {o.name}" for o in read_organs(Path(file)).organs))
        except UserError as error:
            self.session.went_wrong.emit(str(error))


class NewScan(QWidget):
    """What a scan needs to be added: the file, labels if there are any, an id, how it was scanned, whether held out."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.file, self.labels, self.things, self.case, self.size, self.modality = (QLineEdit() for _ in range(6))
        self.things.setPlaceholderText("where they may overlap: a file, or several with ;")
        self.size.setPlaceholderText("where the file says none: z, y, x")
        self.modality.setPlaceholderText("if you scan in several: a word, as phase")
        self.found = words()
        self.held_out = QCheckBox("Keep it for testing; nothing ever learns from it")
        form = QFormLayout(self)
        folder = button("Folder …", self._on_folder, "An OME-Zarr, or the folder of a scan's slices, as TIFF or DICOM.")
        drawn = button("Folder …", self._on_labels_folder, "An OME-Zarr, or a folder of slices.")
        form.addRow("Scan", side_by_side(_with_button(self.file, button("…", self._on_file)), folder))
        form.addRow(self.found)
        form.addRow("Labels", side_by_side(_with_button(self.labels, button("…", self._on_labels)), drawn))
        form.addRow("Things", _with_button(self.things, button("…", self._on_things, "A label map for each layer.")))
        form.addRow("Name", self.case)
        form.addRow("Voxel (µm)", self.size)
        form.addRow("Modality", self.modality)
        form.addRow(self.held_out)
        form.addRow(side_by_side(button("Add", self.add), button("Not now", self.hide)))
        self.file.editingFinished.connect(self.look)
        self.size.editingFinished.connect(self.look)
        session.preview_changed.connect(self._on_preview)
        self.hide()

    def ask(self, file: Path | None) -> None:
        """Show the form, for ``file``, and that in the canvas, if there is one already."""
        self.show()
        if file is not None:
            self.file.setText(str(file))
            self.case.setText(name_case(file))
            self.look()

    def look(self) -> None:
        """Show the scan that the form is about, as it lies in its file."""
        if self.file.text():
            self.session.preview_scan(Path(self.file.text()).expanduser(), self._voxel_size())

    def add(self) -> None:
        """Have the scan copied in the background."""
        project = self.session.project
        if project is None or not self.file.text():
            self.session.went_wrong.emit("There is no scan to add. Choose a file or a folder first.")
            return
        name = self.case.text() or name_case(Path(self.file.text()))
        argv = ["add", str(project.folder), self.file.text(), "--id", name]
        argv += ["--labels", self.labels.text()] if self.labels.text() else []
        things = (file.strip() for file in self.things.text().split(";"))
        argv += [word for file in things if file for word in ("--instances", file)]
        argv += ["--held-out"] if self.held_out.isChecked() else []
        argv += ["--voxel-size", *self._sizes()] if self.size.text() else []
        argv += ["--modality", self.modality.text()] if self.modality.text() else []
        self.session.start(f"add {name}", argv)
        for line in (self.file, self.labels, self.things, self.case, self.size, self.modality):
            line.clear()
        self.hide()

    def _on_file(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "A scan")
        if file:
            self.ask(Path(file))

    def _sizes(self) -> list[str]:
        return self.size.text().replace(",", " ").split()

    def _voxel_size(self) -> tuple[float, float, float] | None:
        try:
            z, y, x = (float(word) for word in self._sizes())
        except ValueError:
            return None
        return z, y, x

    def _on_preview(self, preview: Preview | None) -> None:
        self.found.setText("" if preview is None else preview.sentence)

    def _on_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "A scan")
        if folder:
            self.ask(Path(folder))

    def _on_things(self) -> None:
        files, _ = QFileDialog.getOpenFileNames(self, "Label maps of things that may overlap")
        self.things.setText("; ".join(files) or self.things.text())

    def _on_labels(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "Its labels")
        self.labels.setText(file or self.labels.text())

    def _on_labels_folder(self) -> None:
        self.labels.setText(QFileDialog.getExistingDirectory(self, "Its labels") or self.labels.text())


def _with_button(line: QLineEdit, press: QWidget) -> QWidget:
    press.setMaximumWidth(3 * line.fontMetrics().height())
    return side_by_side(line, press)
