"""MetaImage: what others write is read lazily and lies alike; what is damaged or leads elsewhere is refused."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_medaka_kd.errors import InvalidVolume, UserError
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.open import open_labels, open_volume

SHAPE, SIZE = (12, 20, 17), (5.0, 2.0, 1.5)
SOME = (slice(3, 9), slice(4, 20), slice(1, 6))
TYPES = {
    "u1": "MET_UCHAR",
    "i2": "MET_SHORT",
    "u2": "MET_USHORT",
    "i4": "MET_LONG",
    "f4": "MET_FLOAT",
    "i8": "MET_LONG_LONG",
}
LPS = "-1 0 0 0 -1 0 0 0 1"  # the matrix of axes that run to the right, to the front and up


def voxels(dtype="u2"):
    return np.random.default_rng(0).integers(0, 200, SHAPE).astype(dtype)


def fields(array, **others):
    """The header of ``array``, (z, y, x), that runs to the right, to the front and up; ``None`` leaves a field out."""
    header = {
        "ObjectType": "Image",
        "NDims": array.ndim,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": array.dtype.byteorder == ">",
        "CompressedData": False,
        "TransformMatrix": LPS,
        "ElementSpacing": " ".join(str(size / 1e3) for size in SIZE[::-1]),
        "DimSize": " ".join(map(str, array.shape[::-1])),
        "ElementType": TYPES[array.dtype.str[1:]],
        "ElementDataFile": "LOCAL",
    } | others
    header["ElementDataFile"] = header.pop("ElementDataFile")  # the last line, always
    return "".join(f"{key} = {value}\n" for key, value in header.items() if value is not None).encode()


def mha(path, array, **others):
    file = path / "a.mha"
    file.write_bytes(fields(array, **others) + array.tobytes())
    return file


def mha_packed(path, array, **others):
    file = path / "a.mha"
    file.write_bytes(fields(array, **({"CompressedData": True} | others)) + zlib.compress(array.tobytes()))
    return file


def mhd(path, array, **others):
    (path / "a.raw").write_bytes(array.tobytes())
    file = path / "a.mhd"
    file.write_bytes(fields(array, **({"ElementDataFile": "a.raw"} | others)).replace(b"\n", b"\r\n"))
    return file


def mhd_after_another_header(path, array, **others):
    file = mhd(path, array, HeaderSize=-1, **others)
    (path / "a.raw").write_bytes(b"some other header" + array.tobytes())
    return file


@pytest.mark.parametrize("dtype", ["u1", "i2", ">u2", "<i4", "f4", "i8"])
@pytest.mark.parametrize("write", [mha, mha_packed, mhd, mhd_after_another_header])
def test_a_metaimage_gives_back_what_was_written(tmp_path, write, dtype):
    array = voxels(dtype)
    volume = open_volume(write(tmp_path, array))
    assert (volume.shape, volume.name) == (SHAPE, "a")
    assert volume.dtype == array.dtype.newbyteorder("=")
    assert volume.voxel_size == pytest.approx(SIZE)
    np.testing.assert_array_equal(volume.read(SOME), array[SOME])
    np.testing.assert_array_equal(volume.read(), array)


def test_voxels_packed_as_gzip_are_read_too(tmp_path):
    engine = zlib.compressobj(wbits=31)
    file = tmp_path / "a.mha"
    file.write_bytes(fields(voxels(), CompressedData="True") + engine.compress(voxels().tobytes()) + engine.flush())
    np.testing.assert_array_equal(open_volume(file).read(), voxels())


def test_a_large_packed_file_goes_to_the_disk_when_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_medaka_kd.volumes.raw_file._IN_MEMORY", 100)
    monkeypatch.setattr("napari_medaka_kd.volumes.raw_file._PIECE", 1000)
    np.testing.assert_array_equal(open_volume(mha_packed(tmp_path, voxels())).read(), voxels())


@settings(max_examples=48, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
def test_any_storage_order_gives_the_same_volume(tmp_path, axes, flips):
    array = voxels().transpose(2, 1, 0)  # x, y, z: to the right, to the front, up
    stored = array.transpose(axes)
    matrix = np.diag([-1, -1, 1])[list(axes)] * np.where(flips, -1, 1)[:, None]
    for axis, flip in enumerate(flips):
        stored = np.flip(stored, axis) if flip else stored
    spacing = " ".join(str(SIZE[::-1][axis] / 1e3) for axis in axes)
    told = " ".join(map(str, matrix.ravel()))
    volume = open_volume(mha(tmp_path, np.ascontiguousarray(stored.T), TransformMatrix=told, ElementSpacing=spacing))
    assert volume.voxel_size == pytest.approx(SIZE)
    np.testing.assert_array_equal(volume.read(SOME), voxels()[SOME])


def test_a_file_without_a_matrix_lies_as_metaimage_says_to_the_left_and_back(tmp_path):
    volume = open_volume(mha(tmp_path, voxels(), TransformMatrix=None))
    np.testing.assert_array_equal(volume.read(), voxels()[:, ::-1, ::-1])


def test_a_voxel_size_is_asked_for_where_there_is_none(tmp_path):
    path = mha(tmp_path, voxels(), ElementSpacing=None)
    with pytest.raises(InvalidVolume, match="does not say how large"):
        open_volume(path)
    assert open_volume(path, (3, 2, 1)).voxel_size == (3, 2, 1)
    assert open_volume(mha(tmp_path, voxels(), ElementSpacing="nan 1 1"), (3, 2, 1)).voxel_size == (3, 2, 1)
    old = mha(tmp_path, voxels(), ElementSpacing=None, ElementSize="0.001 0.002 0.003")
    assert open_volume(old).voxel_size == pytest.approx((3, 2, 1))


def test_labels_can_be_a_metaimage(tmp_path):
    schema = LabelSchema.from_ids({3: "eye", 300: "gut"})
    array = np.zeros(SHAPE, "f4")
    array[2:5], array[6] = 3, 300
    labels = open_labels(mha_packed(tmp_path, array), schema)
    assert labels.volume.dtype == np.uint16
    np.testing.assert_array_equal(labels.volume.read(), array)
    array[0, 0, 0] = 7
    with pytest.raises(InvalidVolume, match="7"):
        open_labels(mha_packed(tmp_path, array), schema).volume.read()


@pytest.mark.parametrize(
    "others",
    [
        {"DimSize": "17 20"},
        {"DimSize": "17 20 -12"},
        {"DimSize": "17 20 13"},
        {"DimSize": "17 20 11"},
        {"DimSize": "1000000000 1000000000 1000000000"},
        {"DimSize": None},
        {"NDims": 2},
        {"NDims": "many"},
        {"ElementType": "MET_STRING"},
        {"ElementType": "MET_USHORT_ARRAY"},
        {"ElementNumberOfChannels": 3},
        {"BinaryData": False},
        {"CompressedData": "perhaps"},
        {"HeaderSize": 100},
        {"HeaderSize": -1, "CompressedData": True},
        {"ElementSpacing": "nan 1 1"},
        {"ElementSpacing": "0 1 1"},
        {"ElementSpacing": "-1 1 1"},
        {"ElementSpacing": "1 1"},
        {"TransformMatrix": "0 0 0 0 0 0 0 0 0"},
        {"TransformMatrix": "1 0 0 0 1 0 0 0 inf"},
        {"ObjectType": "Scene"},
        {"ElementDataFile": None},
        {"Comment": "x" * 70_000},
        {"NDims ": "3\nNDims = 3"},
    ],
)
def test_a_header_that_cannot_be_true_is_refused_on_opening(tmp_path, others):
    with pytest.raises(InvalidVolume):
        open_volume(mha(tmp_path, voxels(), **others))


@pytest.mark.parametrize(
    "name", ["../a.raw", "/etc/passwd", "..", ".", "link.raw", "LIST", "a%03d.raw 1 10 1", "no.raw"]
)
def test_the_voxels_lie_beside_the_header_or_are_refused(tmp_path, name):
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "a.raw").write_bytes(voxels().tobytes())
    (inside / "link.raw").symlink_to(tmp_path / "a.raw")
    path = mhd(inside, voxels(), ElementDataFile=name)
    with pytest.raises(InvalidVolume, match=r"another folder|not there|several files"):
        open_volume(path)


def test_what_is_cut_off_is_refused(tmp_path):
    path = mha(tmp_path, voxels())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InvalidVolume, match=r"promises 8160 bytes .* holds 8159"):
        open_volume(path)
    path = mha_packed(tmp_path, voxels())
    whole = path.read_bytes()
    for end in (-1, -100):
        path.write_bytes(whole[:end])
        with pytest.raises(InvalidVolume, match="end mark"):
            open_volume(path).read()


def test_a_flipped_bit_in_packed_voxels_is_found(tmp_path):
    path = mha_packed(tmp_path, voxels())
    content = bytearray(path.read_bytes())
    content[-200] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidVolume):
        open_volume(path).read()


def test_packed_voxels_unpack_to_no_more_than_the_header_says(tmp_path):
    path = tmp_path / "a.mha"
    path.write_bytes(fields(voxels(), CompressedData=True) + zlib.compress(bytes(2**26)))
    with pytest.raises(InvalidVolume, match="more than the 8160 bytes"):
        open_volume(path).read()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 260), st.binary(min_size=1, max_size=6))
def test_any_damage_to_the_header_ends_in_a_volume_or_one_refusal(tmp_path: Path, place: int, junk: bytes):
    path = mha_packed(tmp_path, voxels())
    content = bytearray(path.read_bytes())
    content[place : place + len(junk)] = junk
    path.write_bytes(content)
    try:
        volume = open_volume(path)
        if np.prod(volume.shape) < 10**6:
            volume.read()
    except UserError:
        pass
