"""Session: what is being looked at and done, by one person in one window. Evented; knows neither Qt nor napari."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from psygnal import Signal

from napari_medaka_kd.background import State
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Job, drain
from napari_medaka_kd.volumes.growing import Growing, open_growing
from napari_medaka_kd.workflow.correct import open_corrections
from napari_medaka_kd.workflow.curate import init, open_project
from napari_medaka_kd.workflow.herd import proposers
from napari_medaka_kd.workflow.look import Place, place, worst_spot
from napari_medaka_kd.workflow.preview import Preview, preview

from .board import Board
from .correcting import Correcting
from .defaults import Defaults
from .remembered import Remembered
from .reviewing import Reviewing
from .spoken import spoken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_medaka_kd.background import Task
    from napari_medaka_kd.project import Case, Project
    from napari_medaka_kd.review import ReviewItem
    from napari_medaka_kd.settings import Settings
    from napari_medaka_kd.volumes.labels import LabelSchema

S = TypeVar("S", bound="Settings")
Point = tuple[float, float, float]
OVERLAYS = ("organs", "both", "none")
_ANIMAL_BY_ANIMAL = ("segment", "propagate")  # these finish one after another, in hours


class Session:
    """What is being looked at and done, by one person in one window.

    The panels and the layers listen to its signals and call its methods; none of them knows another. Everything here
    happens on one thread. What a person can mend is told by ``went_wrong`` and never raised.

    Attributes
    ----------
    review, correcting, board, defaults
        Its parts: verdicts, the crop that is being painted, background tasks, the project's own settings.
    checkpoint
        Whose label maps are shown and judged; empty while there is none.
    growing
        The label map of the case on show that is just being written.
    position
        Where the person looks, voxels of level 0, (z, y, x).
    preview
        A scan on show that is not in the project yet.
    play
        Carries out a short job and calls back with its result; in a window, on another thread.
    """

    project_changed = Signal(object)
    case_changed = Signal(object)
    checkpoint_changed = Signal(str)
    data_changed = Signal()  # cases, label maps, checkpoints or results on disk may differ
    growing_changed = Signal(object)
    preview_changed = Signal(object)  # a scan that is not in the project yet is on show, or none any more
    moved = Signal(object)  # look at this voxel, (z, y, x)
    position_changed = Signal(object)  # the person looks there now
    overlay_changed = Signal(str)
    said = Signal(str)
    went_wrong = Signal(str)
    panel_asked = Signal(str)

    def __init__(self, remembered: Remembered | None = None, reviewer: str = "") -> None:
        self.remembered = remembered or Remembered()
        self.review, self.correcting, self.board = Reviewing(reviewer or getpass.getuser()), Correcting(), Board()
        self.defaults = Defaults()
        self.play: Callable[[Job[Any], Callable[[Any], None]], None] = _play_at_once
        self.project: Project | None = None
        self.case: Case | None = None
        self.checkpoint = ""
        self.growing: Growing | None = None
        self.preview: Preview | None = None
        self.overlay = OVERLAYS[0]
        self.position = self._asked_for = (0.0, 0.0, 0.0)
        self.review.said.connect(self.said.emit)
        self.review.item_changed.connect(self._on_item)
        self.defaults.went_wrong.connect(self.went_wrong.emit)
        self.board.changed.connect(self._look_for_tiles)
        self.board.went_on.connect(self._on_next)
        self.board.ended.connect(self._on_end)

    # ---- project, case, checkpoint -----------------------------------------------------------------------------

    @property
    def recent(self) -> tuple[Path, ...]:
        """Projects that were open lately and are still there, the last one first."""
        return self.remembered.projects()

    @spoken
    def open_project(self, folder: Path) -> None:
        """Open the project in ``folder`` where it was left."""
        project = open_project(Path(folder))
        self.close()
        self.project = project
        self.board.follow(project.folder)
        self.defaults.follow(project.folder)
        kept = self.remembered.recall(project.folder)
        self.review.order = kept.get("order", self.review.order)
        self.project_changed.emit(project)
        self.use(_one_of(kept.get("checkpoint"), proposers(project)))
        cases = [case.id for case in project.cases]
        if cases:
            self.look_at(_one_of(kept.get("case"), cases))
        self._resume(kept.get("item"))

    @spoken
    def new_project(self, folder: Path, name: str, organs: LabelSchema) -> None:
        """Make a project in an empty folder and open it."""
        self.open_project(init(Path(folder), name, organs).folder)

    @spoken
    def open_sample(self, folder: Path | None = None) -> None:
        """Open the project of made-up fish, and have them made where they are missing."""
        from napari_medaka_kd.workflow.sample import begin_sample

        project = begin_sample(folder or self.remembered.sample)
        self.open_project(project.folder)
        if not any(task.verb == "sample" for task in self.board.pending):
            self.start("make fish to try things on", ["sample", str(project.folder)])

    def close(self) -> None:
        """Leave the project; what runs in the background runs on."""
        if self.project is None:
            return
        self.remember()
        self.correcting.leave()
        self.review.leave()
        self._drop_preview()
        self.project, self.case, self.checkpoint, self.growing = None, None, "", None
        self.board.follow(None)
        self.defaults.follow(None)
        self.growing_changed.emit(None)
        self.case_changed.emit(None)
        self.project_changed.emit(None)

    def remember(self) -> None:
        """Keep where things were left, for the next time this project is opened."""
        if self.project is not None:
            left: dict[str, Any] = {"case": self.case.id if self.case else "", "checkpoint": self.checkpoint}
            left |= {"order": self.review.order, "item": self.review.place_kept()}
            self.remembered.keep(self.project.folder, left)

    @spoken
    def look_at(self, case_id: str) -> None:
        """Show that case."""
        shown = self.case is not None and self.case.id == case_id and self.preview is None
        if self.project is None or shown:
            return
        self._refuse_while_correcting()
        self._drop_preview()
        self.case = self.project.case(case_id)
        self.growing = None
        self.case_changed.emit(self.case)
        self._look_for_tiles()

    @spoken
    def use(self, checkpoint: str) -> None:
        """Show and judge the label maps of that checkpoint."""
        if self.project is None:
            return
        self._refuse_while_correcting()
        self.checkpoint = checkpoint
        self.review.leave()
        self.checkpoint_changed.emit(checkpoint)
        if checkpoint:
            self.review.sit_down(self.project, checkpoint)

    @spoken
    def reload(self) -> None:
        """Look at the project's files anew: something was added or made."""
        if self.project is None or self.correcting.now is not None:
            return
        cases = [case.id for case in self.project.cases]
        if self.case is not None:
            self.case = self.project.case(self.case.id)
        elif cases:
            self.look_at(cases[0])
        if not self.checkpoint:
            self.use(_one_of(None, proposers(self.project)))
        else:
            self.review.reload(self.project, self.checkpoint)
        self.data_changed.emit()

    @spoken
    def preview_scan(self, file: Path, voxel_size: Point | None = None) -> None:
        """Show the scan in ``file`` as it lies there; µm, (z, y, x), where it does not say how large voxels are."""
        self._refuse_while_correcting()
        self.play(preview(file, voxel_size), self._previewed)

    # ---- looking around ----------------------------------------------------------------------------------------

    def ask_for_panel(self, name: str) -> None:
        self.panel_asked.emit(name)

    def look(self, point: Point) -> None:
        """Note where the person looks."""
        self.position = point
        self.position_changed.emit(point)

    def place(self, item: ReviewItem) -> Place:
        """Where the organ of ``item`` lies."""
        assert self.project is not None
        return place(self.project, item, self.checkpoint)

    @spoken
    def show(self, item: ReviewItem) -> None:
        """Look at a proposal."""
        self._refuse_while_correcting()
        self.review.show(item)

    @spoken
    def step(self, by: int) -> None:
        """Go on in the queue, or back."""
        self._refuse_while_correcting()
        self.review.step(by)

    @spoken
    def next_organ(self, by: int) -> None:
        """The same slab of the animal's next proposed organ, or of one before."""
        self._refuse_while_correcting()
        self.review.next_organ(by)

    def go_to(self, case_id: str, point: Point, organ: int = 0) -> None:
        """Show a place of a case, and the organ's proposal there if it is under review."""
        self.look_at(case_id)
        inside = [i for i in self.review.known if i.case == case_id and i.organ == organ and _holds(i, point[0])]
        if inside:
            self.show(inside[0])
        self.moved.emit(point)

    def go_to_worst(self) -> None:
        """Look at where the teacher doubts the item most."""
        if self.project is not None and self.review.item is not None:
            self.moved.emit(worst_spot(self.project, self.review.item, self.checkpoint))

    def cycle_overlay(self, among: tuple[str, ...] = OVERLAYS) -> None:
        """The next of ``among``: organs, organs with the teacher's doubt, nothing, and so on."""
        self.set_overlay(among[(among.index(self.overlay) + 1) % len(among)])

    def set_overlay(self, overlay: str) -> None:
        self.overlay = overlay
        self.overlay_changed.emit(overlay)

    def begin_review(self) -> None:
        """Show the first of the queue, if no proposal is on show."""
        if self.review.item is None and self.review.queue:
            self.show(self.review.queue[0])

    # ---- a person's deeds --------------------------------------------------------------------------------------

    @spoken
    def judge(self, decision: str, reasons: Sequence[str] = ()) -> None:
        """Say what is marked is accepted, rejected or unsure."""
        self._refuse_while_correcting()
        self.review.judge(decision, reasons)

    @spoken
    def undo(self) -> None:
        """Take the last stroke back, or outside a correction the last verdict."""
        if self.correcting.now is not None:
            self.correcting.undo()
        else:
            self.review.undo()

    @spoken
    def correct(self) -> None:
        """Open the item on show for painting."""
        if self.project is not None and self.review.item is not None:
            self.correcting.begin(self.project, self.review.item, self.checkpoint, self.review.reviewer)

    def commit(self) -> None:
        """Write the correction into the reviewed labels, say ``corrected``, and go on."""
        looked = self.review.seconds, self.review.why
        job = self.correcting.commit(self.project, *looked) if self.project is not None else None
        if job is not None:
            self.said.emit("Writing the correction …")
            self.play(job, self._committed)

    @spoken
    def start(self, title: str, argv: Sequence[str]) -> Task | None:
        """Have a command line of ours carried out in the background, after those before it."""
        task = self.board.start(title, argv)
        self._asked_for = self.position
        if task is not None:
            self.said.emit(f"Begun: {title}")
        return task

    @spoken
    def listen(self) -> None:
        """Notice what other reviewers said in the meantime, and that the project's settings were written."""
        self.review.listen()
        self.defaults.listen()

    # ---- inside ------------------------------------------------------------------------------------------------

    def _refuse_while_correcting(self) -> None:
        if self.correcting.now is not None:
            raise UserError(
                f"{self.correcting.now.item.case!r} is being corrected.", "Finish it with D, or give it up first."
            )

    def _resume(self, kept: Any) -> None:
        """Show the item that was on show when the project was left."""
        assert self.project is not None
        self.review.resume(kept)
        unfinished = sorted({item.case for item in open_corrections(self.project, self.review.reviewer)})
        if unfinished:
            self.said.emit(f"Unfinished corrections in {', '.join(unfinished)}: W opens them again, every stroke kept.")

    def _committed(self, verdicts: tuple[Any, ...] | UserError) -> None:
        self.correcting.committing = False
        if isinstance(verdicts, UserError):
            self.went_wrong.emit(str(verdicts))
            return
        if self.correcting.now is not None:
            item = self.correcting.now.item
            self.correcting.leave()
            self.reload()
            self.review.go_on((item,))
            self.said.emit("Corrected; the student will learn from it as from a label.")

    def _previewed(self, found: Preview | UserError) -> None:
        if isinstance(found, UserError):
            self._drop_preview()
            self.went_wrong.emit(str(found))
        elif self.project is not None:
            self.preview = found
            self.preview_changed.emit(found)

    def _drop_preview(self) -> None:
        if self.preview is not None:
            self.preview = None
            self.preview_changed.emit(None)

    def _on_item(self, item: ReviewItem | None) -> None:
        """Its case comes first; the panels hear of the item after this."""
        if item is not None:
            self.look_at(item.case)

    def _on_end(self, task: Task) -> None:
        if task.state == State.DONE:
            self.said.emit(f"Done: {task.title}")
        elif task.state in (State.FAILED, State.LOST):
            self.went_wrong.emit(f"{task.title}: {task.complaint()}")
        self.reload()
        if task.verb == "add" and task.state == State.DONE and self.preview is not None:
            self.look_at(task.argv[task.argv.index("--id") + 1])

    def _on_next(self, task: Task) -> None:
        """One more animal may be finished: it is told now, not after the last one of hundreds."""
        if task.verb in _ANIMAL_BY_ANIMAL and self.correcting.now is None:
            self.data_changed.emit()

    @spoken
    def _look_for_tiles(self) -> None:
        """Follow the label map that is being written for the case on show; show the first case there is."""
        if self.project is not None and self.case is None and self.project.cases:
            self.reload()
        segmenting = any(task.verb == "segment" for task in self.board.pending)
        found = open_growing(self.case.store, self.checkpoint) if segmenting and self.case and self.checkpoint else None
        if found is not None and self.position != self._asked_for:
            found.look_at(self.position)
            self._asked_for = self.position
        if found != self.growing:
            self.growing = found
            self.growing_changed.emit(found)


def _one_of(wanted: Any, known: Sequence[str]) -> str:
    """``wanted`` where it is known, else the first; empty where nothing is."""
    return wanted if wanted in known else (known[0] if known else "")


def _holds(item: ReviewItem, z: float) -> bool:
    return item.slab is None or item.slab[0] <= z < item.slab[1]


def _play_at_once(job: Job[Any], done: Callable[[Any], None]) -> None:
    """Here and now; ``done`` gets the result, or what a person can mend."""
    try:
        result = drain(job)
    except UserError as error:
        result = error
    done(result)
