"""Several devices at once: one segmenter each, in a thread of its own, all taking blocks from the same order."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, Queue
from typing import TYPE_CHECKING, TypeAlias

import torch

from napari_medaka_kd.volumes.volume import Region

from .pipeline import answers
from .segmenter import Answer, Segmenter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from napari_medaka_kd.volumes.body import Body
    from napari_medaka_kd.volumes.volume import Volume

Block: TypeAlias = tuple[int, Region]
Found: TypeAlias = tuple[int, Answer] | BaseException | None
_AHEAD = 1  # answers of each device that wait to be written
_TURN = 0.1  # seconds between two looks at whether anyone still listens


def other_devices(wanted: str) -> tuple[str, ...]:
    """The GPUs beside the first one, if ``wanted`` is ``auto``; empty where there are none."""
    return tuple(f"cuda:{number}" for number in range(1, torch.cuda.device_count())) if wanted == "auto" else ()


def assemble(lead: Segmenter, devices: Sequence[str]) -> tuple[Segmenter, ...]:
    """``lead``, and one like it for each of ``devices``: the same weights, tiles, halo and back end.

    Raises
    ------
    UserError
        If a device does not exist, or does not have the back end.
    """
    team = [lead]
    for device in devices:
        settings = lead.settings.model_copy(
            update={"device": device, "precision": str(lead.precision).removeprefix("torch.")}
        )
        each = Segmenter(copy.deepcopy(lead.network), lead.looks, settings, lead.halo)
        each.tile = lead.tile
        each.compute_by(lead.backend.name)
        team.append(each)
    return tuple(team)


def answers_of_several(
    team: Sequence[Segmenter], volume: Volume, body: Body, blocks: Iterable[Block]
) -> Iterator[tuple[int, Answer]]:
    """(number, answer) of each of ``blocks``, as they come; each is answered by whoever of ``team`` is free.

    What is said of a block does not depend on who says it. Closed, or when one of them fails, all stop.
    """
    if len(team) == 1:
        yield from answers(team[0], volume, body, blocks)
        return
    shared, found = _Shared(blocks), Queue[Found](_AHEAD * len(team))
    with ThreadPoolExecutor(len(team), "one device each") as pool:
        playing = [pool.submit(_play, answers(each, volume, body, shared), found) for each in team]
        try:
            yield from _collect(found, len(team))
        finally:
            shared.stop()
            _make_room(found, playing)


class _Shared:
    """An iterator that several threads may take from, until it is stopped."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        self._blocks = iter(blocks)
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Block]:
        return self

    def __next__(self) -> Block:
        with self._lock:
            return next(self._blocks)

    def stop(self) -> None:
        with self._lock:
            self._blocks = iter(())


def _play(answered: Iterator[tuple[int, Answer]], found: Queue[Found]) -> None:
    """Put what is answered into ``found``, then None; or what went wrong."""
    try:
        for each in answered:
            found.put(each)
        found.put(None)
    except BaseException as error:  # it is raised where the answers are wanted
        found.put(error)


def _collect(found: Queue[Found], playing: int) -> Iterator[tuple[int, Answer]]:
    while playing:
        each = found.get()
        if isinstance(each, BaseException):
            raise each
        if each is None:
            playing -= 1
        else:
            yield each


def _make_room(found: Queue[Found], playing: Sequence[Future[None]]) -> None:
    """Throw away what is found until all have ended, who may be waiting for room."""
    while not all(each.done() for each in playing):
        with suppress(Empty):
            found.get(timeout=_TURN)
