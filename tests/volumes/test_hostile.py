"""What comes from others may be damaged or made to do harm: it ends in an array or in one plain sentence."""

import gzip
import importlib.util
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import google_crc32c
import nibabel
import numcodecs
import numpy as np
import pytest
import tifffile
import zarr

from napari_medaka_kd.errors import InvalidVolume, UserError
from napari_medaka_kd.volumes.label_store import label_names
from napari_medaka_kd.volumes.open import open_volume

SHAPE = (8, 8, 8)
PROGRAM = Path(__file__).with_name("hostile")
GIB = 2**30


@pytest.mark.skipif(sys.platform != "linux", reason="the limits and the peak of memory are read from /proc")
def test_a_thousand_spoiled_volumes_end_in_an_array_or_a_plain_sentence():
    """No crash, hang, traceback or run code; at most 256 MiB for an input, see ``LIMITS`` in hostile/__main__.py."""
    command = [sys.executable, str(PROGRAM), "--inputs", "1000", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert told["failures"] == [], done.stderr
    assert told["inputs"] == 1000
    assert set(told["outcomes"]) == {"array", "refused"}


@pytest.fixture(scope="module")
def bombs():
    spec = importlib.util.spec_from_file_location("bombs", PROGRAM / "bombs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def store(path, zarr_format=3, **how):
    """A store of one level of 8³ voxels in one chunk, and that chunk's file."""
    group = zarr.create_group(path, zarr_format=zarr_format)
    group.create_array("0", data=np.ones(SHAPE, "u1"), **({"chunks": SHAPE} | how))
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
    scale = [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    old = {"multiscales": [image | {"version": "0.4"}]}
    group.attrs.update({"ome": {"version": "0.5", "multiscales": [image]}} if zarr_format == 3 else old)
    return path / "0" / ("c/0/0/0" if zarr_format == 3 else "0.0.0")


def refusal(path):
    with pytest.raises(InvalidVolume) as caught:
        open_volume(path).read()
    assert str(caught.value).isprintable()
    return str(caught.value)


BLOSC = {2: numcodecs.Blosc("lz4"), 3: zarr.codecs.BloscCodec()}


@pytest.mark.parametrize("kind", ["blosc_bomb", "blosc_boast"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_blosc_chunk_that_would_become_a_gibibyte_is_not_unpacked(tmp_path, bombs, zarr_format, kind):
    chunk = store(tmp_path / "a.zarr", zarr_format, compressors=BLOSC[zarr_format])
    chunk.write_bytes(getattr(bombs, kind)()[:1000])  # its header is enough
    assert "would become 1,073,741,824 bytes where 512 belong" in refusal(tmp_path / "a.zarr")


def write_shard(file, pieces, length):
    """A shard of eight pieces, as (offset, bytes) by number, that says that each is ``length`` bytes long."""
    index = np.full((8, 2), 2**64 - 1, "<u8")
    content = bytearray()
    for number, (offset, data) in pieces.items():
        index[number] = offset, length
        content[offset : offset + len(data)] = data
    packed = index.tobytes()
    file.write_bytes(bytes(content) + packed + struct.pack("<I", google_crc32c.value(packed)))


def test_a_bomb_in_a_shard_is_not_unpacked_and_the_others_are_read(tmp_path, bombs):
    how = {"chunks": (4, 4, 4), "shards": SHAPE, "compressors": BLOSC[3]}
    file = store(tmp_path / "a.zarr", **how)
    good = bytes(numcodecs.Blosc("lz4").encode(np.full(64, 5, "u1")))
    write_shard(file, {0: (0, good), 7: (100, bombs.blosc_boast()[:80])}, 80)
    volume = open_volume(tmp_path / "a.zarr")
    with pytest.raises(InvalidVolume, match="would become"):
        volume.read((slice(4, 8),) * 3)
    assert (volume.read((slice(0, 4),) * 3) == 5).all()


def test_a_piece_of_a_shard_that_claims_to_be_long_is_not_read(tmp_path):
    file = store(tmp_path / "a.zarr", chunks=(4, 4, 4), shards=SHAPE)
    write_shard(file, {0: (0, b"x" * 100)}, 3 * GIB)
    assert "takes 3,221,225,472 bytes" in refusal(tmp_path / "a.zarr")


@pytest.mark.parametrize("how", [{}, {"chunks": (4, 4, 4), "shards": SHAPE}])
def test_a_chunk_file_that_is_far_longer_than_its_chunk_is_not_read(tmp_path, how):
    os.truncate(store(tmp_path / "a.zarr", **how), 3 * GIB)
    assert "takes 3,221,225,472 bytes" in refusal(tmp_path / "a.zarr")


def codec(name, **configuration):
    return {"name": name, "configuration": configuration}


BYTES, ZSTD = codec("bytes", endian="little"), codec("zstd", level=1, checksum=False)
PACKED = codec("blosc", cname="lz4", clevel=1, shuffle="noshuffle", typesize=1, blocksize=0)


CHECKED = (BYTES, codec("crc32c"))


def shards(codecs, piece, index=CHECKED):
    return codec("sharding_indexed", chunk_shape=piece, codecs=list(codecs), index_codecs=list(index))


@pytest.mark.parametrize(
    ("codecs", "words"),
    [
        ([BYTES, PACKED, ZSTD], "packed several times"),
        ([BYTES, ZSTD, PACKED], "packed several times"),
        ([BYTES, PACKED, PACKED], "packed several times"),
        ([shards([shards([BYTES], [1, 1, 1])], [2, 2, 2])], "hold shards"),
        ([shards([BYTES], [2, 2, 2]), ZSTD], "once more as a whole"),
        ([shards([BYTES], [2, 2, 2], [BYTES, PACKED])], "index of its shards"),
        ([shards([BYTES], [3, 2, 2])], "whole chunks"),
    ],
)
def test_packings_that_cannot_be_looked_into_are_refused(tmp_path, codecs, words):
    file = store(tmp_path / "a.zarr").parents[3] / "zarr.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"codecs": codecs}))
    assert words in refusal(tmp_path / "a.zarr")


def test_a_shard_of_a_thousand_million_pieces_is_refused(tmp_path):
    file = store(tmp_path / "a.zarr").parents[3] / "zarr.json"
    grid = {"shape": [1024] * 3, "chunk_grid": codec("regular", chunk_shape=[1024] * 3)}
    file.write_text(json.dumps(json.loads(file.read_text()) | grid | {"codecs": [shards([BYTES], [1, 1, 1])]}))
    assert "more than 1048576 chunks" in refusal(tmp_path / "a.zarr")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(SHAPE, "u1"))
    (tmp_path / "slices").mkdir()
    chunk = store(tmp_path / "a.zarr")
    chunk.unlink()
    os.mkfifo(chunk)
    assert "is no file" in refusal(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "zarr.json").unlink()
    for pipe in ("a.zarr/zarr.json", "slices/1.tif", "a.nii", "a.nrrd"):
        os.mkfifo(tmp_path / pipe)
    for path in ("a.zarr", "slices", "a.nii", "a.nrrd"):
        with pytest.raises(UserError, match=r"no file|There is no"):
            open_volume(tmp_path / path)


def test_a_chunk_that_is_not_there_yet_is_looked_at_when_it_is(tmp_path):
    chunk = store(tmp_path / "a.zarr")
    chunk.unlink()
    volume = open_volume(tmp_path / "a.zarr")
    assert not volume.read().any()
    chunk.touch()
    os.truncate(chunk, GIB)
    with pytest.raises(InvalidVolume, match="takes"):
        volume.read()


def nifti(path, **fields):
    """A header of 8³ voxels with other ``fields``, without extensions or voxels."""
    header = nibabel.Nifti1Header()
    header.set_data_shape(SHAPE)
    header.set_data_dtype(np.uint8)
    header["pixdim"][1:4], header["vox_offset"] = 1, 352
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + b"\0\0\0\0"


def test_the_extensions_of_a_nifti_are_not_read(tmp_path, bombs):
    start = bytearray(nifti(tmp_path, vox_offset=GIB))
    start[348:] = b"\1\0\0\0" + struct.pack("<ii", GIB - 352, 6)
    whole = bombs.gzip_bomb(bytes(start))
    (tmp_path / "a.nii.gz").write_bytes(whole[:1500] + b"\xff" * 1000)  # whoever reads on meets damage
    volume = open_volume(tmp_path / "a.nii.gz")
    assert volume.shape == SHAPE
    with pytest.raises(InvalidVolume, match="cannot become"):
        volume.read()


def test_packed_voxels_are_not_unpacked_where_they_cannot_be_all(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(nifti(tmp_path, dim=[3, 4000, 4000, 4000, 1, 1, 1, 1])))
    assert "cannot become the 64,000,000,000" in refusal(tmp_path / "a.nii.gz")
    bombing = b"NRRD0004\ntype: double\ndimension: 3\nsizes: 10000 10000 10000\nspacings: 1 1 1\nencoding: bzip2\n\n"
    (tmp_path / "a.nrrd").write_bytes(bombing + b"BZh9")
    assert "has room for" in refusal(tmp_path / "a.nrrd")


RESOLUTION = {"resolution": (1e4, 1e4), "resolutionunit": 3, "metadata": None, "photometric": "minisblack"}


def patched(path, old, new):
    """The file with one run of bytes in the place of another that it holds."""
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path


def test_a_jpeg_that_is_larger_than_its_page_is_not_unpacked(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 16, 16), "u1"), compression="jpeg", **RESOLUTION)
    assert open_volume(tmp_path / "a.tif").read().shape == (4, 16, 16)
    patched(tmp_path / "a.tif", b"\x08\x00\x10\x00\x10\x01", b"\x08\xff\x00\xff\x00\x01")
    assert "JPEG of 4,261,478,400 pixels" in refusal(tmp_path / "a.tif")


def test_a_tiff_packed_as_pictures_of_any_size_is_refused_when_it_is_opened(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 16, 16), "u1"), compression="png", **RESOLUTION)
    with pytest.raises(InvalidVolume, match=r"packed by PNG.*compressions: none, LZW, Deflate"):
        open_volume(tmp_path / "a.tif")


def test_a_strip_that_takes_far_more_bytes_than_it_becomes_is_not_read(tmp_path):
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, np.zeros((4, 16, 16), "u1"), compression="zlib", **RESOLUTION)
    with tifffile.TiffFile(file) as tiff:
        at = tiff.pages.first.tags["StripByteCounts"].offset + 8
    data = bytearray(file.read_bytes())
    data[at - 6 : at + 4] = struct.pack("<HII", 4, 1, GIB)
    file.write_bytes(data)
    os.truncate(file, 2 * GIB)
    assert "takes 1,073,741,824 bytes" in refusal(file)


OME = """<?xml version="1.0"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1"><Image ID="i">
<Pixels ID="p" DimensionOrder="XYZCT" Type="uint8" SizeX="8" SizeY="8" SizeZ="8" SizeC="1" SizeT="1"
PhysicalSizeX="1" PhysicalSizeY="1" PhysicalSizeZ="1">
<TiffData IFD="0" FirstZ="0" PlaneCount="{planes}"><UUID FileName="{file}">urn:uuid:{number}</UUID></TiffData>
</Pixels></Image></OME>"""


def ome(path, **words):
    xml = OME.format_map({"planes": 8, "file": "a.ome.tif", "number": 1} | words)
    tifffile.imwrite(path, np.zeros(SHAPE, "u1"), description=xml.encode(), metadata=None, ome=False)
    return path


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_an_ome_tiff_that_names_another_file_does_not_have_it_opened(tmp_path):
    assert open_volume(ome(tmp_path / "a.ome.tif")).read().shape == SHAPE
    (tmp_path / "in").mkdir()
    os.mkfifo(tmp_path / "outside.tif")  # whoever opens it waits for ever
    assert "several files" in refusal(ome(tmp_path / "in" / "a.ome.tif", file="../outside.tif", number=2))


def test_an_ome_tiff_of_a_thousand_million_planes_is_refused(tmp_path):
    assert "claims 1,000,000,000 slices" in refusal(ome(tmp_path / "a.ome.tif", planes=10**9))


@pytest.mark.parametrize("xml", ["<OME", "<OME></OME>", '<OME><Image><Pixels SizeX="x"/></Image></OME>'])
def test_damaged_ome_xml_is_one_plain_refusal(tmp_path, xml):
    how = {"description": f"<?xml version='1.0'?>{xml}<!-- OME>".encode(), "metadata": None, "ome": False}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros(SHAPE, "u1"), **how)
    refusal(tmp_path / "a.ome.tif")


def test_a_list_of_labels_that_is_absurd_or_leads_out_is_refused(tmp_path):
    store(tmp_path / "a.zarr")
    labels = tmp_path / "a.zarr" / "labels"
    labels.mkdir()
    names = ["good.1", "../up", "a/b", "c\\d", ".hidden", "", "x" * 300, 5]
    (labels / "zarr.json").write_text(json.dumps({"attributes": {"ome": {"labels": names}}}))
    assert label_names(tmp_path / "a.zarr") == ("good",)
    (labels / "zarr.json").rename(tmp_path / "outside.json")
    (labels / "zarr.json").symlink_to(tmp_path / "outside.json")
    with pytest.raises(InvalidVolume, match="leads out"):
        label_names(tmp_path / "a.zarr")


def test_a_sentence_that_quotes_a_file_is_legible():
    error = UserError("x" * 10_000, "Do this.")
    assert len(str(error)) < 700
    assert str(error).endswith("…. Do this.")
    assert str(UserError("It is '1.2\x00\n3'.", "Do this.")) == "It is '1.2� 3'. Do this."
