"""The crop that is being painted: napari's own tools, with every stroke on the disk before the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from app_model.types import KeyCode, KeyMod
from napari.layers import Labels

from napari_medaka_kd.errors import UserError

from .colours import isolate, name_organs

if TYPE_CHECKING:
    from napari_medaka_kd.volumes.labels import LabelSchema
    from napari_medaka_kd.volumes.volume import Region, Triple
    from napari_medaka_kd.workflow.correct import Correction

    from .layers import Scene

_NAME = "correction"
_NOTHING = np.zeros((1, 1, 1), np.uint8)
_GHOST = 0.45  # opacity of the neighbours: fainter than what is painted, plain enough to paint along
_OPACITY = 0.6
_BRUSH = (2, 12)  # voxels


class CropLayer:
    """A layer to paint in, over the item that is being corrected.

    napari's brush, bucket, eraser and polygon work as ever; its own history does not: what is taken back or brought
    back is the session's business, for that is what is on the disk.

    Attributes
    ----------
    layer
        Holds a copy of the crop, in organ ids.
    region
        Where the crop lies in the scan.
    """

    def __init__(self, scene: Scene, correction: Correction) -> None:
        self.scene, self.correction, self.region = scene, correction, correction.region
        assert scene.shown is not None
        self._unseen = False
        self._recording = False
        self._laid_down: str | None = None  # the tool in use before the person left the crop
        self.layer = self._find_layer(correction, scene.shown.case.schema)
        self._bind_keys()
        self.layer.events.paint.connect(self._on_paint)
        self.layer.events.labels_update.connect(self._on_written)
        scene.session.correcting.stroke_made.connect(self.refresh)
        scene.session.position_changed.connect(self._on_position)
        self.layer.visible = not scene.hidden
        scene.activate(_NAME)
        self.layer.mode = "paint"

    def refresh(self) -> None:
        """Show the crop as the session has it."""
        if not self._recording:
            self.layer.data[...] = self.correction.labels
            self.layer.refresh()

    def switch_dimensions(self) -> None:
        """Paint and fill in the slice alone, or in all directions."""
        self.layer.n_edit_dimensions = 2 if self.layer.n_edit_dimensions == 3 else 3

    def close(self) -> None:
        """Empty the layer and hide it; the correction itself stays as it is."""
        self.layer.events.paint.disconnect(self._on_paint)
        self.layer.events.labels_update.disconnect(self._on_written)
        self.scene.session.correcting.stroke_made.disconnect(self.refresh)
        self.scene.session.position_changed.disconnect(self._on_position)
        self.layer.mode = "pan_zoom"
        self.layer.visible = False
        self.layer.data, self.layer.translate = _NOTHING.copy(), (0, 0, 0)
        self.scene.activate("organs")

    def _on_position(self, point: Triple) -> None:
        """Above and below the crop there is nothing to paint in, and napari's brush would fail: put it down."""
        depth = self.region[0]
        inside = depth.start - 0.5 <= point[0] < depth.stop - 0.5
        if inside and self._laid_down is not None:
            self.layer.mode, self._laid_down = self._laid_down, None
        elif not inside and self._laid_down is None:
            self._laid_down, self.layer.mode = str(self.layer.mode), "pan_zoom"
            self.scene.session.said.emit(f"The crop has slices {depth.start} to {depth.stop - 1}; go back to paint.")

    def _on_paint(self, _: Any) -> None:
        """A stroke has ended. The polygon tool says so before it has painted anything: then wait for it."""
        strokes = self.correction.strokes
        self._record()
        self._unseen = self.correction.strokes == strokes

    def _on_written(self, _: Any) -> None:
        if self._unseen:
            self._unseen = False
            self._record()

    def _record(self) -> None:
        correcting = self.scene.session.correcting
        if correcting.committing:  # too late: it is being written as it was
            self.refresh()
            return
        self._recording = True
        try:
            correcting.record(np.asarray(self.layer.data))
        except UserError as error:
            self._recording = False
            self.refresh()
            self.scene.session.went_wrong.emit(str(error))
        finally:
            self._recording = False

    def _find_layer(self, correction: Correction, schema: LabelSchema) -> Labels:
        """The same layer every time: napari takes a fifth of a second to remove one, and Mesa may crash of it."""
        layer = self.scene.find(_NAME)
        if layer is None:
            grid = {"scale": correction.voxel_size, "units": ("um",) * 3, "axis_labels": ("z", "y", "x")}
            layer = Labels(_NOTHING.copy(), name=_NAME, opacity=_OPACITY, visible=False, **grid)
            self.scene.add(_NAME, layer)
            _unbox_brush(self.scene.viewer)
        organ, size = correction.item.organ, correction.voxel_size
        layer.data, layer.scale = np.array(correction.labels), size
        layer.translate = [side.start * step for side, step in zip(correction.region, size, strict=True)]
        layer.colormap, layer.features = isolate(schema, organ, _GHOST).model_copy(), name_organs(schema)
        layer.selected_label = organ or schema.ids[0]
        layer.n_edit_dimensions = 2
        layer.brush_size = _brush(correction.region)
        return layer

    def _bind_keys(self) -> None:
        """On the layer itself, for its keys come before those of all label layers."""
        undo, redo = KeyMod.CtrlCmd | KeyCode.KeyZ, KeyMod.CtrlCmd | KeyMod.Shift | KeyCode.KeyZ
        self.layer.bind_key(undo, self._undo, overwrite=True)
        self.layer.bind_key(redo, self._redo, overwrite=True)

    def _undo(self, _: Labels) -> None:
        self.scene.session.undo()

    def _redo(self, _: Labels) -> None:
        self.scene.session.correcting.redo()


def _unbox_brush(viewer: Any) -> None:
    """Draw no box around the brush: napari 0.9.2 never takes it away; Mesa crashes when it alone is left to draw."""
    overlays = getattr(getattr(viewer, "canvas", None), "overlays", {})
    brush = overlays.get("_brush_circle")
    if brush is not None:
        brush.box = False


def _brush(region: Region) -> int:
    """A brush that suits the size of what is painted, voxels."""
    smallest = min(side.stop - side.start for side in region[1:])
    return int(np.clip(smallest // 16, *_BRUSH))
