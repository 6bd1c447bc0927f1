"""A journal gives back every stroke that was acknowledged, whatever cut the last one short."""

import json
import shutil
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.review import ReviewItem
from napari_medaka_kd.review.journal import Begun, Move, Stroke, begin_journal, open_journal, read_journal

REGION = (slice(4, 8), slice(10, 20), slice(0, 10))
BEGUN = Begun(ReviewItem("fish-01", 3, (4, 8)), "teacher", "teacher.2", REGION, "ann")


def stroke(*where, organ=3, painted=True):
    return Stroke(np.array(where, np.uint32), np.full(len(where), organ, np.uint8), painted)


STROKES = st.builds(
    lambda where, organ, painted: stroke(*sorted(where), organ=organ, painted=painted),
    st.sets(st.integers(0, 399), min_size=1),
    st.integers(0, 255),
    st.booleans(),
)
RECORDS = st.lists(st.one_of(STROKES, st.sampled_from(Move)), max_size=6)


def plain(records):
    """Comparable."""
    return [r if isinstance(r, Move) else (r.where.tolist(), r.after.tolist(), r.painted) for r in records]


def written(path, records):
    journal = begin_journal(path, BEGUN)
    for record in records:
        journal.append(record)
    journal.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=RECORDS)
def test_what_was_written_is_read(tmp_path, records):
    written(tmp_path / "a.journal", records)
    journal = open_journal(tmp_path / "a.journal")
    assert journal.begun == BEGUN
    assert plain(journal.records) == plain(records)
    journal.close()


def test_ids_above_255_and_an_item_of_the_whole_animal_come_back(tmp_path):
    begun = Begun(ReviewItem("fish", 0), "teacher", "teacher.1", REGION, "ann")
    journal = begin_journal(tmp_path / "a", begun)
    journal.append(Stroke(np.array([7, 9], np.uint32), np.array([300, 2], np.uint16)))
    journal.close()
    found, (record,), _ = read_journal(tmp_path / "a")
    assert found == begun
    assert record.after.tolist() == [300, 2]


def test_cut_anywhere_only_what_was_not_acknowledged_is_lost(tmp_path):
    records = [stroke(1, 2, 3), Move.UNDO, stroke(5, organ=0, painted=False)]
    journal = begin_journal(tmp_path / "whole", BEGUN)
    ends = [(tmp_path / "whole").stat().st_size]
    for record in records:
        journal.append(record)
        ends.append((tmp_path / "whole").stat().st_size)
    journal.close()
    data = (tmp_path / "whole").read_bytes()
    for length in range(len(data)):
        torn = tmp_path / "torn"
        torn.write_bytes(data[:length])
        journal = open_journal(torn)
        if length < ends[0]:
            assert journal is None
            continue
        known = sum(end <= length for end in ends) - 1
        assert plain(journal.records) == plain(records[:known])
        journal.append(Move.REDO)
        journal.close()
        assert plain(read_journal(torn)[1]) == plain([*records[:known], Move.REDO])


def test_a_byte_that_changed_ends_the_journal_there(tmp_path):
    written(tmp_path / "a", [stroke(1), stroke(2), stroke(3)])
    data = bytearray((tmp_path / "a").read_bytes())
    data[-1] ^= 1
    (tmp_path / "a").write_bytes(data)
    assert plain(read_journal(tmp_path / "a")[1]) == plain([stroke(1), stroke(2)])


def framed(data):
    return struct.pack("<II", len(data), zlib.crc32(data)) + data


@pytest.mark.parametrize(
    "record",
    [
        framed(b""),
        framed(b"x"),
        framed(struct.pack("<cBI", b"s", 1, 2) + b"no zlib"),
        framed(struct.pack("<cBI", b"s", 8, 1) + zlib.compress(bytes(12))),
        framed(struct.pack("<cBI", b"s", 1, 2) + zlib.compress(bytes(2**20))),
        framed(struct.pack("<cBI", b"s", 1, 1) + zlib.compress(struct.pack("<IB", 400, 1))),
        struct.pack("<II", 2**31, 0),
    ],
    ids=["empty", "unknown", "no zlib", "wide ids", "too much", "outside the crop", "endless"],
)
def test_a_record_that_is_none_of_ours_is_dropped(tmp_path, record):
    written(tmp_path / "a", [stroke(1)])
    with (tmp_path / "a").open("ab") as file:
        file.write(record)
    assert plain(read_journal(tmp_path / "a")[1]) == plain([stroke(1)])


def test_a_crop_larger_than_can_be_painted_and_a_newer_format_are_refused(tmp_path):
    card = {"item": {"case": "a", "organ": 1, "slab": None}, "checkpoint": "t", "labels": "t.1", "reviewer": "ann"}
    large = {"format": 1, "region": [[0, 10**6]] * 3, **card}
    (tmp_path / "a").write_bytes(framed(json.dumps(large).encode()))
    assert open_journal(tmp_path / "a") is None
    (tmp_path / "a").write_bytes(framed(json.dumps({**large, "format": 2}).encode()))
    with pytest.raises(UserError, match="Update"):
        open_journal(tmp_path / "a")


def test_a_journal_is_open_in_one_window_only(tmp_path):
    journal = begin_journal(tmp_path / "a", BEGUN)
    with pytest.raises(UserError, match="another window"):
        open_journal(tmp_path / "a")
    journal.close()
    open_journal(tmp_path / "a").remove()
    assert open_journal(tmp_path / "a") is None


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.review.journal import Stroke, open_journal
journal = open_journal(Path(sys.argv[1]))
where = np.arange(400, dtype=np.uint32)
noise = np.random.default_rng(0).integers(0, 255, 400, dtype=np.uint8)
size = Path(sys.argv[1]).stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, size + 100))
try:
    journal.append(Stroke(where, noise))
except UserError as error:
    sys.stdout.write(str(error))
journal.append(Stroke(where[:1], noise[:1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits are POSIX's")
def test_a_disk_that_is_full_says_so_and_loses_nothing(tmp_path):
    written(tmp_path / "a", [stroke(1)])
    shutil.copy(tmp_path / "a", tmp_path / "b")
    full = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "b")], check=False, capture_output=True, text=True
    )
    assert full.returncode == 0, full.stderr
    assert "The disk did not take the stroke" in full.stdout
    records = read_journal(tmp_path / "b")[1]
    assert len(records) == 2
    assert plain(records[:1]) == plain([stroke(1)])
