"""What the tests of the window share: nothing that they do is remembered by the person who runs them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from napari_medaka_kd.gui.remembered import Remembered
from napari_medaka_kd.gui.session import Session
from napari_medaka_kd.project import Project


@pytest.fixture(autouse=True)
def _forgetful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDAKA_KD_STATE", str(tmp_path / "remembered.json"))


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Nothing open yet."""
    session = Session(Remembered(tmp_path / "remembered.json"), reviewer="ada")
    yield session
    session.close()


@pytest.fixture
def reviewing(session: Session, make_project: Callable[..., Project]) -> Session:
    """The toy project open, with the teacher's proposals in the queue."""
    session.open_project(make_project().folder)
    return session


@pytest.fixture
def begun(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines that were begun, instead of beginning them."""
    lines: list[list[str]] = []
    monkeypatch.setattr(session.board, "start", lambda title, argv: lines.append(list(argv)))
    return lines
