"""Files are replaced as a whole or not at all."""

import os
import subprocess
import sys

import pytest

from napari_medaka_kd.volumes.atomic import in_use, locked, replace_file, share, sync_tree


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    file = tmp_path / "a.json"
    replace_file(file, b"old")
    replace_file(file, b"new")
    assert file.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.json"]


FULL_DISK = """
import resource, sys
from pathlib import Path
from napari_medaka_kd.volumes.atomic import replace_file
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    replace_file(Path(sys.argv[1]), bytes(5000))
except OSError:
    sys.exit(7)
"""


def test_a_write_that_the_disk_refuses_leaves_the_old_file(tmp_path):
    file = tmp_path / "a.json"
    replace_file(file, b"old")
    assert subprocess.run([sys.executable, "-c", FULL_DISK, str(file)], check=False).returncode == 7
    assert file.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_shared_file_is_in_use_until_it_is_closed(tmp_path):
    file = tmp_path / "ledger"
    with file.open("wb") as held:
        share(held)
        assert in_use(file)
    assert not in_use(file)


def test_a_lock_is_free_again_after_an_error(tmp_path):
    with pytest.raises(ValueError, match="inside"), locked(tmp_path / "lock"):
        raise ValueError("inside")
    with locked(tmp_path / "lock"):
        pass


def test_a_whole_tree_can_be_synced(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(b"x")
    sync_tree(tmp_path)
