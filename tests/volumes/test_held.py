"""One holder at a time, on whatever machine; the dead are not waited for longer than they may still live."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from napari_medaka_kd.volumes import held as module
from napari_medaka_kd.volumes.held import held

HOLDS = """
import sys, time
from pathlib import Path
from napari_medaka_kd.volumes.held import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
COUNTS = """
import sys
from pathlib import Path
from napari_medaka_kd.volumes.held import held
file = Path(sys.argv[1]) / "count"
for _ in range(40):
    with held(file.with_name("sign")):
        file.write_text(str(int(file.read_text()) + 1))
"""


@pytest.fixture
def dies(tmp_path):
    """A process that takes the sign and is killed."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path / "sign")], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def test_three_processes_count_together_and_nothing_is_left(tmp_path):
    (tmp_path / "count").write_text("0")
    counting = [subprocess.Popen([sys.executable, "-c", COUNTS, str(tmp_path)]) for _ in range(3)]
    assert [process.wait() for process in counting] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "120"
    assert os.listdir(tmp_path) == ["count"]


def test_it_is_free_again_after_an_error(tmp_path):
    with pytest.raises(ValueError, match="inside"), held(tmp_path / "sign"):
        raise ValueError("inside")
    assert not (tmp_path / "sign").exists()


def test_of_a_dead_process_of_this_machine_it_is_taken_at_once(tmp_path, dies):
    begun = time.monotonic()
    with held(tmp_path / "sign"):
        assert time.monotonic() - begun < 30, "the two minutes of another machine"


def test_of_another_machine_it_is_taken_when_there_was_no_sign_of_life_for_long(tmp_path, dies, monkeypatch):
    monkeypatch.setattr(module, "_machine", lambda: "another one")
    monkeypatch.setattr(module, "_SILENT", 0.5)
    begun = time.monotonic()
    with held(tmp_path / "sign"):
        assert time.monotonic() - begun > 0.5


def test_who_is_alive_keeps_it_however_long_others_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BEAT", 0.02)
    monkeypatch.setattr(module, "_SILENT", 0.5)
    monkeypatch.setattr(module, "_is_dead", lambda name: False)
    free, taken = threading.Event(), []

    def wait():
        with held(tmp_path / "sign"):
            taken.append(free.is_set())

    waits = threading.Thread(target=wait)
    with held(tmp_path / "sign"):
        waits.start()
        waits.join(1.5)
        free.set()
    waits.join()
    assert taken == [True]


def test_where_nothing_can_be_written_that_is_raised(tmp_path):
    with pytest.raises(FileNotFoundError), held(tmp_path / "missing" / "sign"):
        pass
