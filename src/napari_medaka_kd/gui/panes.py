"""The two other views: what the canvas shows slice by slice, seen from the front and from the side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPen
from qtpy.QtWidgets import QHBoxLayout, QSizePolicy, QWidget

from napari_medaka_kd.errors import UserError

from .cuts import Cut, choose_level, choose_window, clip, draw_cut, is_inside

if TYPE_CHECKING:
    from typing import Any

    from qtpy.QtCore import QEvent
    from qtpy.QtGui import QMouseEvent, QPaintEvent, QWheelEvent

    from napari_medaka_kd.volumes.volume import Region, Triple

    from .layers import Scene
    from .session import Session

_NAMES = "zyx"
_NOTCH = 120  # what one notch of a wheel counts, in Qt's eighths of a degree
_CROSS = QColor(255, 255, 255, 150)
_BEHIND = QColor(0, 0, 0, 150)  # under words, so that they are read on bright tissue too


class Pane(QWidget):
    """One plane around the item: z downwards, one of y and x to the right; a click moves the viewer, a wheel the plane.

    Voxels are as wide and high as they are in µm.

    Attributes
    ----------
    window_shown
        The part of the volume that is seen, voxels of level 0.
    picture
        Of that part, as it was read last.
    complaint
        Why there is none, in words.
    """

    def __init__(self, scene: Scene, across: int) -> None:
        super().__init__()
        self.scene, self.across, self.along = scene, across, 3 - across
        self.window_shown: Region | None = None
        self._cut: Cut | None = None
        self.picture: QImage | None = None
        self.complaint = ""
        self._turned = 0
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setMinimumSize(48, 48)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setCursor(Qt.CursorShape.CrossCursor)
        plane = f"{_NAMES[self.across]}-z".upper()
        self.setToolTip(f"The {plane} plane through the middle of the canvas. Click to look there; the wheel moves it.")

    @property
    def label(self) -> str:
        """What is where, and where the plane lies."""
        return f"z ↓  {_NAMES[self.across]} →   {_NAMES[self.along]} = {self._at()}"

    @property
    def frame(self) -> QRectF:
        """Where in the widget the picture is drawn: as large as fits, in proportion."""
        wide, high = self._span()
        scale = min(self.width() / wide, self.height() / high)
        size = wide * scale, high * scale
        return QRectF((self.width() - size[0]) / 2, (self.height() - size[1]) / 2, *size)

    def show_window(self, window: Region | None) -> None:
        """Show that part of the volume; nothing where it is ``None``."""
        self.window_shown = window
        self.redraw()

    def redraw(self) -> None:
        """The data or their colours differ: paint them anew, when it is next time to paint."""
        self._cut = None
        self.update()

    def point_at(self, place: QPointF) -> Triple:
        """The voxel under a place of the widget, in the plane."""
        frame, point = self.frame, list(self.scene.position())
        assert self.window_shown is not None
        for axis, share in (
            (0, (place.y() - frame.top()) / frame.height()),
            (self.across, (place.x() - frame.left()) / frame.width()),
        ):
            side = self.window_shown[axis]
            point[axis] = side.start + share * (side.stop - side.start) - 0.5
        assert self.scene.shown is not None
        return clip((point[0], point[1], point[2]), self.scene.shown.scan.shape)

    def place_of(self, point: Triple) -> QPointF:
        """Where in the widget a voxel is drawn."""
        assert self.window_shown is not None
        frame = self.frame
        down, right = (
            (point[axis] + 0.5 - self.window_shown[axis].start)
            / (self.window_shown[axis].stop - self.window_shown[axis].start)
            for axis in (0, self.across)
        )
        return QPointF(frame.left() + right * frame.width(), frame.top() + down * frame.height())

    def sizeHint(self) -> QSize:  # noqa: N802  Qt's name
        return QSize(240, 200)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802  Qt's name
        painter = QPainter(self)
        painter.fillRect(self.rect(), Qt.GlobalColor.black)
        if self.window_shown is not None and self.scene.shown is not None:
            self._renew()
            if self.picture is not None:
                painter.drawImage(self.frame, self.picture)
            self._draw_cross(painter)
            self._write(painter, self.complaint or self.label)
        painter.end()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802  Qt's name
        self._follow(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802  Qt's name
        self._follow(event)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802  Qt's name
        """Touchpads report parts of a notch, which add up."""
        self._turned += event.angleDelta().y()
        notches = int(self._turned / _NOTCH)
        self._turned -= notches * _NOTCH
        if notches and self.scene.shown is not None:
            point = list(self.scene.position())
            point[self.along] += notches
            self.scene.look_at(clip((point[0], point[1], point[2]), self.scene.shown.scan.shape))
        event.accept()

    def _follow(self, event: QMouseEvent) -> None:
        if self.window_shown is not None and event.buttons() & Qt.MouseButton.LeftButton:
            self.scene.look_at(self.point_at(event.position()))

    def _at(self) -> int:
        return round(self.scene.position()[self.along])

    def _span(self) -> tuple[float, float]:
        """(width, height) of what is shown, µm."""
        if self.window_shown is None or self.scene.shown is None:
            return 1.0, 1.0
        size = self.scene.shown.scan.voxel_size
        wide, high = (
            (self.window_shown[axis].stop - self.window_shown[axis].start) * size[axis] for axis in (self.across, 0)
        )
        return wide, high

    def _renew(self) -> None:
        """Read the plane, unless it is the one that was painted last."""
        window, shown = self.window_shown, self.scene.shown
        assert window is not None
        assert shown is not None
        cut = Cut(self.along, self.across, self._at(), window, choose_level(window, shown.scan))
        if cut == self._cut:
            return
        self._cut, self.complaint, self.picture = cut, "", None
        try:
            pixels = draw_cut(cut, self.scene)
        except UserError as error:
            self.complaint = str(error)
            return
        high, wide, _ = pixels.shape
        self.picture = QImage(pixels.tobytes(), wide, high, 3 * wide, QImage.Format.Format_RGB888).copy()

    def _draw_cross(self, painter: QPainter) -> None:
        """Where the canvas' slice, and the other pane's plane, cut this one."""
        place, frame = self.place_of(self.scene.position()), self.frame
        painter.setPen(QPen(_CROSS, 0, Qt.PenStyle.DashLine))
        painter.drawLine(QPointF(frame.left(), place.y()), QPointF(frame.right(), place.y()))
        painter.drawLine(QPointF(place.x(), frame.top()), QPointF(place.x(), frame.bottom()))

    def _write(self, painter: QPainter, words: str) -> None:
        room = QRectF(self.rect()).adjusted(4, 2, -4, -2)
        flags = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop | Qt.TextFlag.TextWordWrap
        under = painter.boundingRect(room, flags, words)
        painter.fillRect(under.adjusted(-3, -1, 3, 1), _BEHIND)
        painter.setPen(Qt.GlobalColor.white)
        painter.drawText(room, flags, words)


class OrthoViews(QWidget):
    """The front and the side view of what the viewer shows, linked with it both ways.

    They keep still as long as one looks at the same item; only the lines move.
    """

    def __init__(self, session: Session, scene: Scene) -> None:
        super().__init__()
        self.session, self.scene = session, scene
        self.front, self.side = Pane(scene, across=2), Pane(scene, across=1)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(2)
        for pane in (self.front, self.side):
            row.addWidget(pane, 1)
        self._about: Any = None
        session.position_changed.connect(self._on_position)
        scene.redrawn.connect(self._on_redrawn)
        session.correcting.stroke_made.connect(self._on_redrawn)
        self._on_redrawn()

    def closeEvent(self, event: QEvent) -> None:  # noqa: N802  Qt's name
        self.release()
        super().closeEvent(event)

    def release(self) -> None:
        """Follow the session no longer."""
        self.session.position_changed.disconnect(self._on_position, missing_ok=True)
        self.scene.redrawn.disconnect(self._on_redrawn, missing_ok=True)
        self.session.correcting.stroke_made.disconnect(self._on_redrawn, missing_ok=True)

    def _on_position(self, point: Triple) -> None:
        if not isalive(self):
            self.release()
            return
        window = self.front.window_shown
        if window is not None and not is_inside(point, window):
            self._move_window(None)
        for pane in (self.front, self.side):
            pane.update()

    def _on_redrawn(self) -> None:
        if not isalive(self):
            self.release()
            return
        item, shown = self.session.review.item, self.scene.shown
        about = (shown.scan if shown else None, item)
        if shown is None:
            self._show(None)
        elif about != self._about:
            here = item is not None and item.case == shown.case.id
            self._move_window(self.session.place(item).box if item is not None and here else shown.case.body.box)
        for pane in (self.front, self.side):
            pane.redraw()
        self._about = about

    def _move_window(self, box: Region | None) -> None:
        if self.scene.shown is not None:
            self._show(choose_window(self.scene.position(), box, self.scene.shown.scan))

    def _show(self, window: Region | None) -> None:
        for pane in (self.front, self.side):
            pane.show_window(window)
