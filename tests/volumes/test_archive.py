"""Zip files of others: whatever could lead out of a folder, fill the disk or hang is refused before it is unpacked."""

import copy
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_medaka_kd.errors import InvalidVolume, UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.volumes.archive import MOST_MEMBERS, is_archive, open_archive, write_archive


def zipped(path: Path, files: dict[str, bytes], packing: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def patched(path: Path, *changes: tuple[bytes, bytes]) -> Path:
    data = path.read_bytes()
    for before, after in changes:
        assert before in data
        data = data.replace(before, after)
    path.write_bytes(data)
    return path


def with_entries(path: Path, change: Callable[[list[zipfile.ZipInfo]], None]) -> Path:
    """A file with another directory than its contents deserve."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"x" * 1000)
        change(archive.filelist)
    return path


def link(path: Path) -> Path:
    info = zipfile.ZipInfo("a")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return path


def again(count: int, name: str) -> Callable[[list[zipfile.ZipInfo]], None]:
    """``count`` more entries for the same bytes."""

    def change(entries: list[zipfile.ZipInfo]) -> None:
        for number in range(count):
            entry = copy.copy(entries[0])
            entry.filename = f"{name}{number}"
            entries.append(entry)

    return change


def claim_size(entries: list[zipfile.ZipInfo]) -> None:
    entries[0].file_size = 100_000


def encrypted(path: Path) -> Path:
    data = bytearray(zipped(path, {"a": b"x"}).read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    return path


HOSTILE = {
    "above": lambda path: zipped(path, {"../a": b"x"}),
    "within": lambda path: zipped(path, {"a/../../b": b"x"}),
    "absolute": lambda path: zipped(path, {"/etc/a": b"x"}),
    "drive": lambda path: zipped(path, {"C:/a": b"x"}),
    "backslash": lambda path: zipped(path, {"..\\a": b"x"}),
    "here": lambda path: zipped(path, {"a/./b": b"x"}),
    "empty part": lambda path: zipped(path, {"a//b": b"x"}),
    "device": lambda path: zipped(path, {"a/NUL.txt": b"x"}),
    "trailing dot": lambda path: zipped(path, {"a.": b"x"}),
    "long": lambda path: zipped(path, {"/".join(["a" * 100] * 20): b"x"}),
    "nul": lambda path: patched(zipped(path, {"aXb": b"x"}), (b"aXb", b"a\0b")),
    "link": link,
    "encrypted": encrypted,
    "packed oddly": lambda path: zipped(path, {"a": b"x" * 99}, zipfile.ZIP_BZIP2),
    "bomb": lambda path: zipped(path, {"a": bytes(20_000_000)}, zipfile.ZIP_DEFLATED),
    "over one another": lambda path: with_entries(path, again(5, "b")),
    "alike": lambda path: zipped(path, {"a": b"x", "A": b"y"}),
    "many": lambda path: with_entries(path, again(MOST_MEMBERS, "b")),
    "long directory": lambda path: with_entries(path, again(9000, "b" * 1000)),
    "no zip": lambda path: path.write_bytes(b"PK\x03\x04 and no more") and path,
    "nothing": lambda path: path.write_bytes(b"") or path,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_hostile_is_refused_by_its_directory_alone(kind: str, tmp_path: Path) -> None:
    file = HOSTILE[kind](tmp_path / "x.zip")
    with pytest.raises(InvalidVolume, match=r"x\.zip"), open_archive(file):
        pytest.fail("it was opened")


LYING = {
    "shorter": lambda path: with_entries(path, claim_size),
    "other bytes": lambda path: patched(zipped(path, {"a": b"x" * 50}), (b"x" * 50, b"y" * 50)),
    "other name": lambda path: patched(zipped(path, {"a": b"1"}), (b"PK\x03\x04", b"PK\x03\x05")),
}


@pytest.mark.parametrize("kind", LYING)
def test_what_is_not_what_was_packed_is_refused_when_it_is_read(kind: str, tmp_path: Path) -> None:
    file = LYING[kind](tmp_path / "x.zip")
    (tmp_path / "out").mkdir()
    with open_archive(file) as archive, pytest.raises(InvalidVolume, match=r"x\.zip"):
        drain(archive.unpack(tmp_path / "out", archive.sizes))


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with (
        open_archive(zipped(tmp_path / "x.zip", {"a": b"x"})) as archive,
        pytest.raises(UserError, match="did not take"),
    ):
        drain(archive.unpack(tmp_path, archive.sizes))
    assert (tmp_path / "a").read_text() == "mine"


def tree(folder: Path) -> Path:
    for name in ("zarr.json", "b/zarr.json", "a/deep/zarr.json", "a/zarr.json", "a/c/0", ".lock", "a/.lock"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode() * 1000)
    return folder


def test_a_folder_comes_back_as_it_was_without_locks(tmp_path: Path) -> None:
    folder, file = tree(tmp_path / "tree"), tmp_path / "x.zip"
    assert drain(write_archive(folder, file)) == file.stat().st_size
    assert is_archive(file)
    (tmp_path / "out").mkdir()
    with open_archive(file) as archive:
        drain(archive.unpack(tmp_path / "out", archive.sizes))
        assert archive.read("a/c/0") == (folder / "a/c/0").read_bytes()
        assert "a/.lock" not in archive.sizes
    there = {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert there == {p.relative_to(folder) for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def test_metadata_come_first_from_the_root_down_and_nothing_is_packed(tmp_path: Path) -> None:
    drain(write_archive(tree(tmp_path / "tree"), tmp_path / "x.zip"))
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        infos = archive.infolist()
        assert json.loads(archive.comment)["ome"]["zipFile"] == {"centralDirectory": {"jsonFirst": True}}
    assert [info.filename for info in infos] == ["zarr.json", "a/zarr.json", "b/zarr.json", "a/deep/zarr.json", "a/c/0"]
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}


def test_closed_at_any_step_nothing_is_left_beside_the_folder(tmp_path: Path) -> None:
    folder = tree(tmp_path / "tree")
    for step in range(1, 6):
        job = write_archive(folder, tmp_path / "x.zip")
        for _ in range(step):
            next(job)
        job.close()
        assert [path.name for path in tmp_path.iterdir()] == ["tree"]


def test_an_archive_is_not_written_over_another(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_text("mine")
    with pytest.raises(UserError, match="there already"):
        drain(write_archive(tree(tmp_path / "tree"), tmp_path / "x.zip"))
    assert (tmp_path / "x.zip").read_text() == "mine"
