"""Layers: what the session shows, as napari layers; the only file that touches the viewer's layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer
from psygnal import Signal

from napari_medaka_kd.volumes.deepen import deepen
from napari_medaka_kd.volumes.picked import for_napari, same_source
from napari_medaka_kd.volumes.volume import whole

from .ahead import read_ahead
from .colours import GHOST, isolate, name_organs, tell_things_apart
from .crop import CropLayer
from .gaze import Gaze
from .session import OVERLAYS
from .shown import Shown, blank, gather, lay_crop_over
from .spoken import spoken

if TYPE_CHECKING:
    from napari_medaka_kd.project import Case
    from napari_medaka_kd.review import ReviewItem
    from napari_medaka_kd.volumes.growing import Growing
    from napari_medaka_kd.volumes.volume import Triple, Volume
    from napari_medaka_kd.workflow.correct import Correction
    from napari_medaka_kd.workflow.preview import Preview

    from .session import Session

_OPACITY = 0.5  # of the organs, so that tissue shows through
_DOUBT = 0.6  # opacity of the doubt, so that organs show through
_PREVIEW = "new scan"
_THINGS = "things "  # and the number of the layer
_ALL = 0  # in place of an organ's id


class Scene:
    """The session's case as layers of ``viewer``: scan, organs, doubt, and the crop that is being painted.

    The layers are made once and their data exchanged, which is ten times as fast. It follows the session's signals.

    Attributes
    ----------
    shown
        What is on show, ``None`` while there is no case.
    organ
        The organ that stands out, 0 when all do.
    hidden
        Whether the scan is shown alone, for as long as a key is held.
    crop
        What is being painted.
    ghost
        Opacity of the neighbours of the organ that stands out.
    """

    redrawn = Signal()  # data, colours or visibility differ
    went_wrong = Signal(str)

    def __init__(self, viewer: Any, session: Session, ghost: float = GHOST) -> None:
        self.viewer, self.session, self.ghost = viewer, session, ghost
        self.shown: Shown | None = None
        self.crop: CropLayer | None = None
        self.organ, self.hidden = _ALL, False
        self.gaze = Gaze(viewer, session.look)
        self._layers: dict[str, Layer] = {}
        self._tiles: tuple[Any, ...] = ()
        self._corrected: frozenset[ReviewItem] = frozenset()
        self._reading = self._resting = False
        self._read: tuple[ReviewItem, ...] = ()
        self.went_wrong.connect(session.went_wrong.emit)
        self._listen(connect=True)
        self.show_case(session.case)

    # ---- what is shown -----------------------------------------------------------------------------------------

    @spoken
    def show_case(self, case: Case | None) -> None:
        """Show ``case`` in the layers there are; nothing where it is ``None``."""
        project = self.session.project
        if case is None or project is None:
            self._rest()
            return
        self.shown = gather(project, case, self.session.checkpoint, self.session.growing)
        self.gaze.measure(self.shown.scan.shape, self.shown.scan.voxel_size)
        self._corrected = self._find_corrected()
        self._fill_scan(self.shown)
        self._fill_organs(self.shown)
        self._go_somewhere(self.shown)
        self.redrawn.emit()

    def show_preview(self, preview: Preview | None) -> None:
        """Show a scan that is not in the project yet, alone."""
        if preview is None:
            self._show_overlays()
            return
        self._rest()
        volume = deepen(preview.volume, None)
        layer = self._fill(_PREVIEW, volume, Image, contrast_limits=preview.window)
        layer.contrast_limits, layer.visible = preview.window, True
        self.gaze.measure(volume.shape, volume.voxel_size)
        z, y, x = (size / 2 for size in volume.shape)
        self.gaze.frame((z, y, x), whole(volume.shape))

    @spoken
    def show_item(self, item: ReviewItem | None) -> None:
        """Look at a proposal: its organ stands out, its neighbours are ghosts; all alike where it is ``None``."""
        organ = _ALL if item is None else item.organ
        if organ != self.organ:
            self.organ = organ
            self._colour()
        if item is not None and self.shown is not None and item.case == self.shown.case.id:
            found = self.session.place(item)
            self.gaze.frame(found.centre, found.box)
            self._read_ahead()
        self.redrawn.emit()

    @spoken
    def look_at(self, point: Triple) -> None:
        """Look at a voxel of level 0, (z, y, x)."""
        if self.shown is not None:
            self.gaze.move(point)

    def position(self) -> Triple:
        """Where the person looks, voxels of level 0, (z, y, x)."""
        return self.gaze.position

    def grow(self, growing: Growing | None) -> None:
        """Show the tiles that are finished so far, and the label map once it is whole."""
        tiles = () if growing is None else (growing.generation, growing.finished)
        if tiles != self._tiles:
            self._tiles = tiles
            self.reload()

    @spoken
    def reload(self) -> None:
        """Look at the label maps of the case on show anew."""
        project, case = self.session.project, self.session.case
        if project is not None and case is not None and self.shown is not None:
            self.shown = gather(project, case, self.session.checkpoint, self.session.growing)
            self._corrected = self._find_corrected()
            self._fill_organs(self.shown)
            self.redrawn.emit()

    def cycle_overlays(self) -> None:
        """Organs, with the teacher's doubt, with its disagreement where there is such a map, nothing, and so on."""
        known = self.shown is not None and self.shown.disagreement is not None
        more = known or self.session.overlay == "disagreement"
        self.session.cycle_overlay((*OVERLAYS[:2], "disagreement", *OVERLAYS[2:]) if more else OVERLAYS)

    def hide(self, hidden: bool) -> None:
        """Show the scan alone, or all of it again."""
        self.hidden = hidden
        self._show_overlays()

    def outline(self) -> None:
        """Organs as outlines, or filled again."""
        organs = self._layers.get("organs")
        if organs is not None:
            width = 0 if organs.contour else 1
            for name, layer in self._layers.items():
                if name in ("organs", "correction") or name.startswith(_THINGS):
                    layer.contour = width

    def close(self) -> None:
        """Take our layers away and listen no longer."""
        self._listen(connect=False)
        self.gaze.release()
        self._rest()
        ours = tuple(self._layers.values())
        for layer in [layer for layer in self.viewer.layers if layer in ours][::-1]:
            # From the top: napari 0.9.2 crashes under Mesa when it draws what lay above a layer that is gone.
            self.viewer.layers.remove(layer)
        self._layers = {}

    # ---- for the crop ------------------------------------------------------------------------------------------

    def find(self, name: str) -> Layer | None:
        """The layer of ours of that name, if it was made already."""
        return self._layers.get(name)

    def add(self, name: str, layer: Layer) -> None:
        """Put a layer of ours on top."""
        self._layers[name] = layer
        self.viewer.add_layer(layer)

    def activate(self, name: str) -> None:
        """Make a layer of ours the one that keys, tools and the status bar are about."""
        if name in self._layers:
            self.viewer.layers.selection.active = self._layers[name]

    # ---- inside: layers ----------------------------------------------------------------------------------------

    def _fill_scan(self, shown: Shown) -> None:
        known = "scan" in self._layers
        layer = self._fill("scan", shown.scan, Image, contrast_limits=shown.window)
        if known:
            layer.contrast_limits = shown.window
        if self._resting:
            layer.visible, self._resting = True, False

    def _fill_organs(self, shown: Shown) -> None:
        organs = shown.organs if self.crop is None else lay_crop_over(shown.organs, self.crop.region, None)
        schema = shown.case.schema
        layer = self._fill("organs", organs, Labels, opacity=_OPACITY, visible=self._is_visible("organs"))
        if layer.metadata.get("schema") != schema:
            layer.metadata["schema"] = schema
            layer.features = name_organs(schema)
            self._colour()
        self._fill_map("uncertainty", shown.doubt, "magma")
        if shown.disagreement is not None or "disagreement" in self._layers:
            self._fill_map("disagreement", shown.disagreement, "viridis")
        self._fill_things(shown)
        self._show_overlays()

    def _fill_things(self, shown: Shown) -> None:
        """A layer for each label map of things, over one another; blank where another case had more."""
        made = sum(name.startswith(_THINGS) for name in self._layers)
        who = "hand" if shown.finder == "manual" else shown.finder or "nobody"
        for number in range(max(made, len(shown.things))):
            there = number < len(shown.things)
            volume = shown.things[number] if there else blank(shown.scan, np.dtype(np.uint16))
            looks = {"opacity": _OPACITY, "colormap": tell_things_apart()}
            self._fill(f"{_THINGS}{number + 1}", volume, Labels, **looks).name = f"things by {who}, layer {number + 1}"
        if made < len(shown.things):
            self.activate(f"{_THINGS}1")  # the status bar then says which of them is under the cursor

    def _fill_map(self, name: str, values: Volume | None, colours: str) -> None:
        """A map of bytes as a glow over the organs; blank where there is none."""
        assert self.shown is not None
        made = name not in self._layers
        looks = {"contrast_limits": (0, 255), "colormap": colours, "blending": "additive", "opacity": _DOUBT}
        values = values or blank(self.shown.scan, np.dtype(np.uint8))
        self._fill(name, values, Image, visible=self._is_visible(name), **looks)
        if made:
            self.activate("organs")  # the status bar then names the organ under the cursor

    def _fill(self, name: str, volume: Volume, kind: type[Layer], **looks: Any) -> Any:
        """The layer of that name, made where there is none, with the levels of ``volume`` in it."""
        layer = self._layers.get(name)
        levels = for_napari(volume)
        if layer is None:
            grid = {"scale": volume.voxel_size, "units": ("um",) * 3, "axis_labels": ("z", "y", "x")}
            layer = kind(levels, multiscale=True, name=name, **grid, **looks)
            self.add(name, layer)
        elif not _same(layer.data, levels):
            if tuple(layer.scale) != volume.voxel_size:
                layer.scale = volume.voxel_size
            layer.data = levels
        return layer

    def _colour(self) -> None:
        """Let the organ that is looked at stand out."""
        organs = self._layers.get("organs")
        if organs is not None and self.shown is not None:
            organs.colormap = isolate(self.shown.case.schema, self.organ, self.ghost)

    def _is_visible(self, name: str) -> bool:
        if name == _PREVIEW:
            return self.session.preview is not None
        if self.hidden or self.shown is None:
            return False
        if name == "correction":
            return self.crop is not None
        if name.startswith(_THINGS):
            return self.session.overlay != "none" and int(name.removeprefix(_THINGS)) <= len(self.shown.things)
        if name == "organs":
            return self.session.overlay != "none"
        overlay, values = {
            "uncertainty": ("both", self.shown.doubt),
            "disagreement": ("disagreement", self.shown.disagreement),
        }[name]
        return self.session.overlay == overlay and values is not None

    @spoken
    def _show_overlays(self, _: str = "") -> None:
        """Setting what is so already would draw everything again."""
        wanted = {layer: self._is_visible(name) for name, layer in self._layers.items() if name != "scan"}
        for layer, visible in wanted.items():
            if layer.visible != visible:
                layer.visible = visible
        self.redrawn.emit()

    def _rest(self) -> None:
        """Show nothing; the layers stay, for they are soon needed and napari takes 0.2 s to remove one."""
        self.shown, self._tiles, self._read, self._resting = None, (), (), True
        self._on_correction(None)
        for layer in self._layers.values():
            layer.visible = False
        self.redrawn.emit()

    # ---- inside: what happens ----------------------------------------------------------------------------------

    def _listen(self, connect: bool) -> None:
        session = self.session
        pairs: tuple[tuple[Any, Any], ...] = (
            (session.case_changed, self.show_case),
            (session.checkpoint_changed, self._on_checkpoint),
            (session.data_changed, self.reload),
            (session.growing_changed, self.grow),
            (session.preview_changed, self.show_preview),
            (session.moved, self.look_at),
            (session.overlay_changed, self._show_overlays),
            (session.review.item_changed, self.show_item),
            (session.review.verdicts_changed, self._on_verdicts),
            (session.correcting.changed, self._on_correction),
            (self.viewer.layers.events.removed, self._on_removed),
        )
        for signal, slot in pairs:
            if connect:
                signal.connect(slot)
            else:
                signal.disconnect(slot)

    def _on_checkpoint(self, _: str) -> None:
        self.reload()

    def _on_verdicts(self) -> None:
        """A correction that is taken back is no longer laid over the proposals."""
        if self.shown is not None and self._find_corrected() != self._corrected:
            self.reload()

    def _find_corrected(self) -> frozenset[ReviewItem]:
        desk, case = self.session.review.desk, self.session.case
        if desk is None or case is None:
            return frozenset()
        proposals = desk.proposals.values()
        return frozenset(p.item for p in proposals if p.decision == "corrected" and p.item.case == case.id)

    @spoken
    def _on_correction(self, correction: Correction | None) -> None:
        if self.crop is not None:
            self.crop.close()
            self.crop = None
        if correction is not None and self.shown is not None:
            z, y, x = self.gaze.position
            depth = correction.region[0]
            self.gaze.move((min(max(z, depth.start), depth.stop - 1), y, x))  # napari refuses to paint beside a layer
            self.crop = CropLayer(self, correction)
        if self.shown is not None:
            self._fill_organs(self.shown)
        self.redrawn.emit()

    def _on_removed(self, event: Any) -> None:
        """Somebody threw a layer of ours away: the next case makes it anew; what was painted waits on the disk."""
        self._layers = {name: layer for name, layer in self._layers.items() if layer is not event.value}
        if self.crop is not None and event.value is self.crop.layer:
            self.session.correcting.leave()

    def _go_somewhere(self, shown: Shown) -> None:
        """Where a case is shown that is not under review just now, look at all of its body."""
        item = self.session.review.item
        if item is not None and item.case == shown.case.id:
            self.show_item(item)
        else:
            box = shown.case.body.box
            self.gaze.frame(tuple((side.start + side.stop) / 2 for side in box), box)

    # ---- inside: reading ahead ---------------------------------------------------------------------------------

    def _read_ahead(self) -> None:
        """Have the next items' slices ready in memory before they are shown."""
        upcoming, project = self.session.review.upcoming, self.session.project
        fresh = tuple(item for item in upcoming if item not in self._read)
        if fresh and project is not None and not self._reading:
            self._reading, self._read = True, upcoming
            self.session.play(read_ahead(project, fresh, self.session.checkpoint), self._on_read)

    def _on_read(self, _: Any) -> None:
        self._reading = False


def _same(now: Any, wanted: list[Any]) -> bool:
    return len(now) == len(wanted) and all(same_source(a, b) for a, b in zip(now, wanted, strict=True))
