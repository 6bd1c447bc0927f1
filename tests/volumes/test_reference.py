"""The programs of others: what ome-zarr, zarr and ngff-zarr write is read here, and what is written here they read."""

import json
from itertools import product

import dask.array
import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

from napari_medaka_kd.errors import InvalidVolume
from napari_medaka_kd.job import drain
from napari_medaka_kd.volumes.label_store import save_labels
from napari_medaka_kd.volumes.labels import LabelMap, LabelSchema
from napari_medaka_kd.volumes.open import open_labels, open_volume
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume

SHAPE = (9, 10, 11)
SIZE = (20.0, 10.0, 5.0)
UNITS = dict.fromkeys("zyx", "micrometer")
SCHEMA = LabelSchema.from_ids({1: "eye", 9: "heart"})


def voxels(dtype="u2"):
    return np.random.default_rng(0).integers(0, 120, SHAPE).astype(dtype)


def write(path, zarr_format, array, names="zyx", **how):
    """One array as zarr writes it, with the metadata of an OME-Zarr image; every axis before z has length 1."""
    array = array.reshape((1,) * (len(names) - 3) + SHAPE)
    group = zarr.create_group(path, zarr_format=zarr_format)
    group.create_array("0", data=array, **({"chunks": (1,) * (len(names) - 3) + (4, 4, 4)} | how))
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in names[-3:]]
    other = [{"name": name, "type": {"t": "time", "c": "channel"}[name]} for name in names[:-3]]
    scale = {"type": "scale", "scale": [1.0] * len(other) + list(SIZE)}
    image = {"axes": other + axes, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}
    old = {"multiscales": [image | {"version": "0.4"}]}
    group.attrs.update(old if zarr_format == 2 else {"ome": {"version": "0.5", "multiscales": [image]}})
    return path


def same(path, array):
    volume = open_volume(path)
    assert volume.voxel_size == SIZE
    assert volume.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(volume.read(), array)


NUMBERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "?"]


@pytest.mark.parametrize("dtype", [*NUMBERS, ">u2", ">i4", ">i8", ">f2", ">f4", ">f8"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_every_kind_of_number_is_read_in_either_byte_order(tmp_path, zarr_format, dtype):
    same(write(tmp_path / "a.zarr", zarr_format, voxels(dtype)), voxels(dtype))


def bloscs():
    for name, shuffle in product(["lz4", "lz4hc", "zstd", "zlib", "blosclz"], [0, 1, 2]):
        yield 2, numcodecs.Blosc(name, shuffle=shuffle)
        yield 3, BloscCodec(cname=name, shuffle=("noshuffle", "shuffle", "bitshuffle")[shuffle])


COMPRESSORS = [
    *bloscs(),
    (2, numcodecs.Zstd(3)),
    (2, numcodecs.Zstd(3, checksum=True)),
    (2, numcodecs.GZip(3)),
    (2, numcodecs.Zlib(3)),
    (2, numcodecs.BZ2(3)),
    (2, None),
    (3, ZstdCodec(level=3)),
    (3, ZstdCodec(level=3, checksum=True)),
    (3, GzipCodec()),
    (3, Crc32cCodec()),
    (3, [ZstdCodec(), Crc32cCodec()]),
    (3, [GzipCodec(), ZstdCodec()]),
    (3, None),
]


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_every_compressor_is_read(tmp_path, dtype):
    for number, (zarr_format, compressor) in enumerate(COMPRESSORS):
        path = write(tmp_path / f"{number}.zarr", zarr_format, voxels(dtype), compressors=compressor)
        same(path, voxels(dtype))


def sharded(**how):
    return {"shards": zarr.core.array.ShardsConfigParam(shape=(8, 8, 12), **how)}


LAYOUTS = {
    "one chunk larger than the array": {"chunks": (100, 100, 100)},
    "one number a chunk": {"chunks": (1, 1, 11)},
    "Fortran's order": {"zarr_format": 2, "order": "F"},
    "Fortran's order, big end first": {"zarr_format": 2, "order": "F", "dtype": ">u2"},
    "transposed": {"filters": [TransposeCodec(order=(2, 0, 1))]},
    "shards, transposed": {"filters": [TransposeCodec(order=(2, 0, 1))], **sharded(index_location="end")},
    "shards": sharded(index_location="end"),
    "shards, index first": sharded(index_location="start"),
    "shards, plain": {"compressors": None, **sharded(index_location="end")},
    "shards of blosc": {"compressors": BloscCodec(), **sharded(index_location="end")},
    "shards of blosc, index first": {"compressors": BloscCodec(cname="lz4"), **sharded(index_location="start")},
    "shards, big end first": {"serializer": BytesCodec(endian="big"), **sharded(index_location="end")},
    "0.4, dots": {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "."}},
    "0.4, slashes": {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}},
    "0.5, dots": {"chunk_key_encoding": {"name": "default", "separator": "."}},
    "0.5, slashes": {"chunk_key_encoding": {"name": "default", "separator": "/"}},
    "0.5, dots of zarr 2": {"chunk_key_encoding": {"name": "v2", "separator": "."}},
    "0.4, tczyx": {"zarr_format": 2, "names": "tczyx"},
    "0.5, tczyx": {"names": "tczyx"},
    "0.5, czyx in shards": {"names": "czyx", "shards": (1, 8, 8, 12)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read(tmp_path, layout):
    how = {"zarr_format": 3, "dtype": "u2"} | LAYOUTS[layout]
    array = voxels(how.pop("dtype"))
    same(write(tmp_path / "a.zarr", how.pop("zarr_format"), array, **how), array)


@pytest.mark.parametrize("checksum", [False, True])
def test_zstd_as_zarr_2_18_noted_it_is_read(tmp_path, checksum):
    """It wrote down whether there are checksums, which tensorstore takes for an error."""
    path = write(tmp_path / "a.zarr", 2, voxels(), compressors=numcodecs.Zstd(3, checksum=checksum))
    file = path / "0" / ".zarray"
    metadata = json.loads(file.read_text())
    metadata["compressor"] = numcodecs.Zstd(3, checksum=checksum).get_config()
    assert metadata["compressor"]["checksum"] is checksum
    file.write_text(json.dumps(metadata))
    same(path, voxels())


@pytest.mark.parametrize(("dtype", "fill"), [("u2", 7), ("u2", None), ("i2", -3), ("f4", -np.inf), ("f2", 1.5)])
@pytest.mark.parametrize("how", [{"zarr_format": 2}, {"zarr_format": 3}, {"zarr_format": 3, "shards": (8, 8, 12)}])
def test_a_chunk_that_was_never_written_holds_the_fill_value(tmp_path, how, dtype, fill):
    how = dict(how)
    path = write(tmp_path / "a.zarr", how.pop("zarr_format"), voxels(dtype), fill_value=fill, **how)
    array = zarr.open_array(path / "0", mode="r+")
    array[...] = 0 if fill is None else fill
    array[5, 5, 5] = 1
    expected = np.full(SHAPE, 0 if fill is None else fill, dtype)
    expected[5, 5, 5] = 1
    assert len([file for file in (path / "0").rglob("*") if file.is_file() and "z" not in file.name]) == 1
    same(path, expected)


REFUSED = {
    "lz4": {"compressors": numcodecs.LZ4()},
    "lzma": {"compressors": numcodecs.LZMA()},
    "delta": {"filters": [numcodecs.Delta(dtype="u2")]},
}


@pytest.mark.parametrize("codec", REFUSED)
def test_a_codec_of_numcodecs_that_is_not_read_is_named(tmp_path, codec):
    with pytest.raises(InvalidVolume, match=f"packed by .*{codec}"):
        open_volume(write(tmp_path / "a.zarr", 2, voxels(), **REFUSED[codec]))


def ome_format(version):
    from ome_zarr.format import FormatV04, FormatV05

    return {"0.4": FormatV04, "0.5": FormatV05}[version]()


STORAGE = [
    ("0.4", {}),
    ("0.4", {"chunks": (1, 10, 11), "compressor": numcodecs.Blosc("zstd", shuffle=2)}),
    ("0.5", {}),
    ("0.5", {"chunks": (4, 4, 4), "compressors": [GzipCodec()]}),
    ("0.5", {"chunks": (4, 4, 4), "shards": (8, 8, 12)}),
]


@pytest.mark.filterwarnings("ignore:Call to deprecated class Scaler")  # ome-zarr 0.18 itself, on import
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(("version", "storage"), STORAGE)
def test_images_written_by_ome_zarr_are_read_with_their_pyramid(tmp_path, version, storage, lazy):
    from ome_zarr.writer import write_image

    image = dask.array.from_array(voxels(), chunks=(3, 10, 11)) if lazy else voxels()
    how = {"axes": "zyx", "scale": dict(zip("zyx", SIZE, strict=True)), "axes_units": UNITS}
    write_image(
        image, str(tmp_path / "a.zarr"), scale_factors=[2, 4], fmt=ome_format(version), storage_options=storage, **how
    )
    same(tmp_path / "a.zarr", voxels())
    volume = open_volume(tmp_path / "a.zarr")
    assert [level.shape for level in volume.levels] == [SHAPE, (9, 5, 5), (9, 2, 2)]
    written = zarr.open_group(tmp_path / "a.zarr", mode="r")
    for level, dataset in enumerate(sorted(written.array_keys())):
        np.testing.assert_array_equal(volume.read(level=level), written[dataset][...])


@pytest.mark.filterwarnings("ignore:Call to deprecated class Scaler")
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_labels_written_by_ome_zarr_are_read(tmp_path, version):
    from ome_zarr.writer import write_image, write_labels

    how = {"fmt": ome_format(version), "axes": "zyx", "axes_units": UNITS, "scale": dict(zip("zyx", SIZE, strict=True))}
    write_image(voxels(), str(tmp_path / "a.zarr"), scale_factors=[2], **how)
    ids = np.where(voxels() > 60, 9, 1).astype("i8")
    write_labels(ids, str(tmp_path / "a.zarr"), name="organs", scaler=None, scale_factors=[2], **how)
    labels = open_labels(tmp_path / "a.zarr" / "labels" / "organs", SCHEMA)
    assert labels.volume.voxel_size == SIZE
    assert labels.volume.dtype == np.uint8
    np.testing.assert_array_equal(labels.volume.read(), ids)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_images_written_by_ngff_zarr_are_read(tmp_path, version):
    ngff_zarr = pytest.importorskip("ngff_zarr", reason="ngff-zarr is not installed")
    image = ngff_zarr.to_ngff_image(voxels(), list("zyx"), dict(zip("zyx", SIZE, strict=True)), axes_units=UNITS)
    ngff_zarr.to_ngff_zarr(
        tmp_path / "a.zarr", ngff_zarr.to_multiscales(image, scale_factors=[2], cache=False), version=version
    )
    same(tmp_path / "a.zarr", voxels())
    assert len(open_volume(tmp_path / "a.zarr").levels) == 2


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """A scan of ours and its labels, with two levels: (path, voxels, ids)."""
    path = tmp_path_factory.mktemp("ours") / "a.ome.zarr"
    shape = (40, 70, 65)
    scan = np.random.default_rng(0).integers(0, 60_000, shape).astype("u2")
    ids = np.random.default_rng(1).choice(np.array([0, 1, 9], "u1"), shape)
    drain(save_volume(Volume((scan,), SIZE, "fish"), path))
    drain(save_labels(LabelMap(Volume((ids,), SIZE, "truth"), SCHEMA), path, "manual"))
    return path, scan, ids


def test_ngff_zarr_reads_what_we_write(ours):
    ngff_zarr = pytest.importorskip("ngff_zarr", reason="ngff-zarr is not installed")
    path, scan, ids = ours
    for folder, expected in ((path, scan), (path / "labels" / "manual.1", ids)):
        image, coarse = ngff_zarr.from_ngff_zarr(folder, validate=True).images
        np.testing.assert_array_equal(np.asarray(image.data), expected)
        assert image.axes_units == UNITS
        assert tuple(image.scale[axis] for axis in "zyx") == SIZE
        assert tuple(coarse.scale[axis] for axis in "zyx") == (20.0, 20.0, 10.0)
    assert ngff_zarr.from_ngff_zarr(path).images[1].translation == {"z": 0.0, "y": 5.0, "x": 2.5}


def test_napari_ome_zarr_shows_what_we_write_with_units_names_and_colours(ours):
    plugin = pytest.importorskip("napari_ome_zarr", reason="napari-ome-zarr is not installed")
    path, scan, ids = ours
    (data, image, kind), (labels, shown, labels_kind) = plugin.napari_get_reader(str(path))(str(path))
    assert (kind, labels_kind) == ("image", "labels")
    np.testing.assert_array_equal(np.asarray(data[0]), scan)
    np.testing.assert_array_equal(np.asarray(labels[0]), ids)
    for layer in (image, shown):
        assert tuple(layer["units"]) == ("micrometer",) * 3
        assert tuple(layer["scale"]) == SIZE
    assert shown["properties"] == {"name": ["eye", "heart"], "index": [1, 9]}
    colours = {organ.id: [*np.array([*bytes.fromhex(organ.color[1:]), 255]) / 255] for organ in SCHEMA.organs}
    assert shown["colormap"] == colours


def test_ome_zarr_and_its_models_read_what_we_write_with_scales_names_and_colours(ours):
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader
    from ome_zarr_models.v05.image import Image
    from ome_zarr_models.v05.image_label import ImageLabel

    path, scan, ids = ours
    (node, *_) = list(Reader(parse_url(path))())
    np.testing.assert_array_equal(np.asarray(node.data[0]), scan)
    assert node.metadata["coordinateTransformations"][0][0]["scale"] == list(SIZE)
    (labels,) = [one for one in Reader(parse_url(path / "labels" / "manual.1"))() if "color" in one.metadata]
    np.testing.assert_array_equal(np.asarray(labels.data[0]), ids)
    assert [axis["unit"] for axis in labels.metadata["axes"]] == ["micrometer"] * 3
    assert Image.from_zarr(zarr.open_group(path, mode="r")).ome_attributes.multiscales[0].ndim == 3
    card = ImageLabel.from_zarr(zarr.open_group(path / "labels" / "manual.1", mode="r")).ome_attributes.image_label
    assert [colour.label_value for colour in card.colors] == [1, 9]
    assert [found.label_value for found in card.properties] == [1, 9]
