"""The board: what is said of tasks may come late, and no task, nor the end of one, is missed for it."""

import time
from pathlib import Path

from napari_medaka_kd import background
from napari_medaka_kd.background import PENDING, Task
from napari_medaka_kd.gui.board import Board


def await_end(task: Task) -> None:
    until = time.monotonic() + 60  # s
    while task.state in PENDING and time.monotonic() < until:
        background.tasks(task.folder.parents[1])
    assert task.state not in PENDING


def test_a_task_that_was_begun_after_the_others_were_looked_at_is_kept_and_its_end_told(tmp_path: Path) -> None:
    board, ended = Board(), []
    board.ended.connect(ended.append)
    board.follow(tmp_path)
    first = board.start("first", ["status", str(tmp_path)])
    assert first is not None
    seen_before = background.tasks(tmp_path)
    second = board.start("second", ["status", str(tmp_path)])
    assert second is not None
    board.take(seen_before)
    assert board.tasks == (first, second)
    await_end(second)
    board.take(background.tasks(tmp_path))
    assert ended == [first, second]
    board.dismiss(second)
    assert board.tasks == (first,)
