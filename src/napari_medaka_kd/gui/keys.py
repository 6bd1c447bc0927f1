"""The keys of the review: what each does, how it is called, and how it is bound so that it works on any layer."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from inspect import isgeneratorfunction
from typing import TYPE_CHECKING, Any, TypeAlias

from .reviewing import REASONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .layers import Scene
    from .session import Session

PAINTED = "correction"  # the layer of the crop that is painted
_MAC = sys.platform == "darwin"

#: What a key does; one that yields undoes on release what it did on being pressed.
Deed: TypeAlias = "Callable[[Session, Any], Iterator[None] | None]"


@dataclass(frozen=True)
class Key:
    """A key, its word on buttons, its sentence in help, and what it does.

    Attributes
    ----------
    name
        As napari spells it: ``Shift-N``.
    painting
        Whether it does so while a crop is painted, too; else it is left to napari's tools there.
    """

    name: str
    word: str
    help: str
    deed: Deed
    painting: bool = True

    @property
    def shown(self) -> str:
        """As people read it: ``Shift+N``."""
        return self.name.replace("Control", "Cmd" if _MAC else "Ctrl").replace("-", "+")

    @property
    def binding(self) -> str:
        """As napari binds it here: what is Control elsewhere is Command, its Meta, on a Mac."""
        return self.name.replace("Control", "Meta") if _MAC else self.name


def _hold(_: Session, scene: Scene) -> Iterator[None]:
    scene.hide(True)
    yield
    scene.hide(False)


def _give_reason(reason: str, session: Session, _: Scene) -> None:
    session.review.toggle_reason(reason)


KEYS: dict[str, Key] = {
    key.word: key
    for key in (
        Key("A", "Accept", "the proposal is good enough to learn from", lambda s, _: s.judge("accepted")),
        Key("R", "Reject", "the student must not learn from it", lambda s, _: s.judge("rejected")),
        Key("S", "Unsure", "leave it to the classifier, and flag it", lambda s, _: s.judge("unsure")),
        Key("W", "Correct", "paint it right, in a crop around it", lambda s, _: s.correct()),
        Key("D", "Done", "keep the correction as a label", lambda s, _: s.commit()),
        Key("I", "Interpolate", "fill in between the slices that you edited", lambda s, _: s.correcting.interpolate()),
        Key("N", "Next", "the next item of the queue", lambda s, _: s.step(1)),
        Key("Shift-N", "Previous", "the item before", lambda s, _: s.step(-1)),
        Key("T", "Next organ", "the next organ in these slices", lambda s, _: s.next_organ(1)),
        Key("Q", "Organ before", "the organ before, in these slices", lambda s, _: s.next_organ(-1)),
        Key("G", "Worst spot", "where the teacher doubts it most", lambda s, _: s.go_to_worst()),
        Key("U", "Overlay", "organs, with doubt, with disagreement, nothing", lambda _, scene: scene.cycle_overlays()),
        Key("K", "Outline", "organs as outlines or filled", lambda _, scene: scene.outline()),
        Key("H", "Hide", "hold it to see the scan alone", _hold),
        Key("Control-Z", "Undo", "take back the last stroke, or the last verdict", lambda s, _: s.undo()),
        Key("Control-Shift-Z", "Redo", "bring the stroke back", lambda s, _: s.correcting.redo()),
        *(
            Key(str(number), reason, "why it was rejected", partial(_give_reason, reason), painting=False)
            for number, reason in enumerate(REASONS, start=1)
        ),
    )
}


class KeyBindings:
    """Binds :data:`KEYS` on the viewer and on every layer, for a layer's own keys come first in napari.

    What a layer or the viewer had bound by itself comes back on :meth:`release`.
    """

    def __init__(self, viewer: Any, session: Session, scene: Scene) -> None:
        self._viewer, self._session, self._scene = viewer, session, scene
        self._former: list[tuple[Any, dict[Any, Any]]] = []
        self.bound = False

    def bind(self) -> None:
        """Take the keys, also on layers that are added later."""
        if self.bound:
            return
        self.bound = True
        for target in (self._viewer, *self._viewer.layers):
            self._take(target)
        self._viewer.layers.events.inserted.connect(self._on_inserted)

    def release(self) -> None:
        """Give all keys back."""
        if not self.bound:
            return
        self.bound = False
        self._viewer.layers.events.inserted.disconnect(self._on_inserted)
        for target, former in self._former:
            target.keymap.clear()
            target.keymap.update(former)
        self._former.clear()

    def play(self, name: str) -> bool:
        """Do what the key of that name does, for one that another widget got; whether there is such a key."""
        key = next((key for key in KEYS.values() if key.name == name and not isgeneratorfunction(key.deed)), None)
        if key is not None:
            key.deed(self._session, self._scene)
        return key is not None

    def _on_inserted(self, event: Any) -> None:
        self._take(event.value)

    def _take(self, target: Any) -> None:
        self._former.append((target, dict(target.keymap)))
        painted = getattr(target, "name", "") == PAINTED
        for key in KEYS.values():
            if painted and not key.painting:
                continue
            target.bind_key(key.binding, self._deed(key), overwrite=True)

    def _deed(self, key: Key) -> Callable[[Any], Iterator[None] | None]:
        if isgeneratorfunction(key.deed):

            def held(_: Any) -> Iterator[None]:
                yield from key.deed(self._session, self._scene) or ()

            return held

        def pressed(_: Any) -> None:
            key.deed(self._session, self._scene)

        return pressed
