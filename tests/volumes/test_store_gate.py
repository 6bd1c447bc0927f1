"""OME-Zarr of others: 0.4 and 0.5 are read in any layout; what is hostile, foreign or damaged is refused plainly."""

import copy
import json

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medaka_kd.errors import InvalidVolume
from napari_medaka_kd.volumes.open import open_volume
from napari_medaka_kd.volumes.store_gate import read_image

SHAPE = (20, 18, 22)
PLACES = {"z": 0, "y": 1, "x": 2}


def voxels():
    return np.random.default_rng(0).integers(0, 200, SHAPE).astype("u2")


def axes_of(names, unit="micrometer"):
    kinds = {"t": "time", "c": "channel"}
    return [{"name": n, "type": kinds.get(n, "space")} | ({} if n in kinds else {"unit": unit}) for n in names]


def write(path, version="0.5", names="zyx", scale=(4.0, 2.0, 3.0), unit="micrometer", **how):
    """A store with two levels as another program might write it; its second level is every second voxel."""
    zarr_format = 3 if version == "0.5" else 2
    group = zarr.create_group(path, zarr_format=zarr_format)
    spatial = [name for name in names if name in PLACES]
    datasets = []
    for level in (0, 1):
        array = voxels()[(slice(None, None, level + 1),) * 3].transpose([PLACES[name] for name in spatial])
        for place, name in enumerate(names):
            array = np.expand_dims(array, place) if name in "tc" else array
        created = group.create_array(str(level), data=array, chunks=tuple(min(8, size) for size in array.shape), **how)
        assert created.shape == array.shape
        sizes = [scale[PLACES[name]] * (level + 1) if name in PLACES else 1.0 for name in names]
        datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": sizes}]})
    image = {"axes": axes_of(names, unit), "datasets": datasets, "name": "foreign"}
    group.attrs.update(
        {"ome": {"version": "0.5", "multiscales": [image]}}
        if zarr_format == 3
        else {"multiscales": [image | {"version": version}], "omero": {"junk": 1}}
    )
    return path


LAYOUTS = [
    {},
    {"version": "0.4"},
    {"version": "0.4", "chunk_key_encoding": {"name": "v2", "separator": "/"}, "compressors": None},
    {"names": "tczyx"},
    {"version": "0.4", "names": "xyz"},
    {"names": "czxy", "shards": (1, 16, 16, 16)},
    {"unit": "millimeter", "scale": (4e-3, 2e-3, 3e-3)},
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_of_others_is_read_as_z_y_x_in_micrometres(tmp_path, layout):
    volume = open_volume(write(tmp_path / "a.zarr", **layout))
    assert volume.shape == SHAPE
    assert volume.voxel_size == pytest.approx((4.0, 2.0, 3.0))
    assert volume.name == "foreign"
    np.testing.assert_array_equal(volume.read((slice(3, 17), slice(5, 6), slice(0, 20))), voxels()[3:17, 5:6, :20])
    np.testing.assert_array_equal(volume.read(level=1), voxels()[::2, ::2, ::2])


def test_opening_reads_no_chunk(tmp_path):
    path = write(tmp_path / "a.zarr")
    for chunk in (path / "0" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"junk")
    volume = open_volume(path)
    assert volume.shape == SHAPE
    with pytest.raises(InvalidVolume, match="cannot be read"):
        volume.read()


def test_a_missing_chunk_of_a_foreign_store_is_background_as_zarr_defines_it(tmp_path):
    path = write(tmp_path / "a.zarr")
    (path / "0" / "c" / "0" / "0" / "0").unlink()
    volume = open_volume(path)
    assert (volume.read()[:8, :8, :8] == 0).all()
    np.testing.assert_array_equal(volume.read()[8:], voxels()[8:])


def test_the_first_series_of_bioformats2raw_is_opened(tmp_path):
    write(tmp_path / "a.zarr" / "0")
    document = {"zarr_format": 3, "node_type": "group"}
    document["attributes"] = {"ome": {"version": "0.5", "bioformats2raw.layout": 3}}
    (tmp_path / "a.zarr" / "zarr.json").write_text(json.dumps(document))
    assert open_volume(tmp_path / "a.zarr").shape == SHAPE


def test_a_missing_unit_is_asked_for_and_never_guessed(tmp_path):
    path = write(tmp_path / "a.zarr", unit="fathom")
    with pytest.raises(InvalidVolume, match="in which unit"):
        open_volume(path)
    assert open_volume(path, (1.0, 2.0, 3.0)).voxel_size == (1.0, 2.0, 3.0)


def test_a_given_voxel_size_stands_in_for_a_bad_one(tmp_path):
    path = write(tmp_path / "a.zarr", scale=(0.0, float("nan"), 1.0))
    with pytest.raises(InvalidVolume, match="0 x nan x 1 µm"):
        open_volume(path)
    assert open_volume(path, (1.0, 2.0, 3.0)).voxel_size == (1.0, 2.0, 3.0)


def change_group(path, change):
    file = path / "zarr.json"
    data = json.loads(file.read_text())
    change(data["attributes"]["ome"])
    file.write_text(json.dumps(data))
    return path


def change_array(path, change):
    file = path / "0" / "zarr.json"
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))
    return path


def image_of(ome):
    return ome["multiscales"][0]


GROUP_FAULTS = {
    "0.6": lambda ome: ome.update(version="0.6"),
    "of no stated version": lambda ome: ome.pop("version"),
    "without an OME-Zarr image": lambda ome: ome.pop("multiscales"),
    "leads out of the store": lambda ome: image_of(ome)["datasets"][0].update(path="../b.zarr/0"),
    "leads out of the store ": lambda ome: image_of(ome)["datasets"][0].update(path="/etc"),
    "at most 20": lambda ome: image_of(ome).update(datasets=image_of(ome)["datasets"] * 11),
    "at least 1": lambda ome: image_of(ome).update(datasets=[]),
    "nan": lambda ome: image_of(ome)["datasets"][0]["coordinateTransformations"][0].update(scale=[float("nan"), 1, 1]),
    "0 x 1 x 1": lambda ome: image_of(ome)["datasets"][0]["coordinateTransformations"][0].update(scale=[0, 1, 1]),
    "nan x nan x nan": lambda ome: image_of(ome)["datasets"][0].update(coordinateTransformations=[{"type": "x"}]),
    "axes": lambda ome: image_of(ome).update(axes=axes_of("yx")),
    "not z, y, x": lambda ome: image_of(ome).update(axes=axes_of("abc")),
    "fine to coarse": lambda ome: image_of(ome)["datasets"].reverse(),
    "cannot be read": lambda ome: image_of(ome)["datasets"][0].update(path="7"),
}


@pytest.mark.parametrize("words", GROUP_FAULTS)
def test_bad_image_metadata_is_one_plain_refusal(tmp_path, words):
    path = change_group(write(tmp_path / "a.zarr"), GROUP_FAULTS[words])
    with pytest.raises(InvalidVolume) as refusal:
        open_volume(path)
    assert words.strip() in str(refusal.value)
    assert "a.zarr" in str(refusal.value)


def grid(chunk):
    return {"name": "regular", "configuration": {"chunk_shape": chunk}}


ARRAY_FAULTS = {
    "absurd shape": {"shape": [10**9, 10**9, 1]},
    "negative shape": {"shape": [-1, 5, 5]},
    "shape of nothing": {"shape": []},
    "shape of strings": {"shape": ["a", 5, 5]},
    "chunk of nothing": {"chunk_grid": grid([0, 8, 8])},
    "huge chunk": {"chunk_grid": grid([2000, 2000, 2000])},
    "chunk with too few axes": {"chunk_grid": grid([8, 8])},
    "irregular grid": {"chunk_grid": {"name": "rectangular", "configuration": {"chunk_shape": [8, 8, 8]}}},
    "a plugin's codec": {"codecs": [{"name": "numcodecs.pickle"}]},
    "a bomb inside a shard": {
        "chunk_grid": grid([4096] * 3),
        "codecs": [
            {"name": "sharding_indexed", "configuration": {"chunk_shape": [2048] * 3, "codecs": [{"name": "bytes"}]}}
        ],
    },
    "shards of parts of chunks": {
        "codecs": [
            {"name": "sharding_indexed", "configuration": {"chunk_shape": [3, 8, 8], "codecs": [{"name": "bytes"}]}}
        ]
    },
    "strings": {"data_type": "string"},
    "complex": {"data_type": "complex64"},
    "object": {"data_type": {"name": "null_terminated_bytes", "configuration": {"length_bytes": 4}}},
    "a transformer": {"storage_transformers": [{"name": "x"}]},
    "odd names": {"chunk_key_encoding": {"name": "default", "configuration": {"separator": "/../"}}},
    "a group": {"node_type": "group"},
}


@pytest.mark.parametrize("fault", ARRAY_FAULTS)
def test_a_bad_array_is_one_plain_refusal(tmp_path, fault):
    path = change_array(write(tmp_path / "a.zarr"), lambda data: data.update(ARRAY_FAULTS[fault]))
    with pytest.raises(InvalidVolume):
        open_volume(path)


@pytest.mark.parametrize("change", [{"dtype": "|O"}, {"compressor": {"id": "pickle"}}, {"filters": [{"id": "x"}]}])
def test_a_bad_array_of_0_4_is_refused(tmp_path, change):
    path = write(tmp_path / "a.zarr", version="0.4")
    file = path / "0" / ".zarray"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InvalidVolume):
        open_volume(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a":' * 100_000, "\x00", '{"node_type": "group"}'])
def test_damaged_json_is_one_plain_refusal(tmp_path, text):
    path = write(tmp_path / "a.zarr")
    (path / "zarr.json").write_text(text)
    with pytest.raises(InvalidVolume):
        open_volume(path)


def test_a_plain_zarr_array_and_a_plane_are_refused(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(4, 4, 4), dtype="u1")
    with pytest.raises(InvalidVolume, match="without an OME-Zarr image"):
        open_volume(tmp_path / "a.zarr")
    zarr.create_array(tmp_path / "b.zarr" / "0", shape=(4, 5), dtype="u1")
    image = {"axes": axes_of("yx"), "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale"}]}]}
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5", "multiscales": [image]}}}
    (tmp_path / "b.zarr" / "zarr.json").write_text(json.dumps(group))
    with pytest.raises(InvalidVolume, match="2-D image of 4 x 5"):
        open_volume(tmp_path / "b.zarr")


def test_a_level_that_links_out_of_the_store_is_refused(tmp_path):
    secret, path = write(tmp_path / "secret.zarr"), write(tmp_path / "a.zarr")
    (path / "1").rename(tmp_path / "moved")
    (path / "1").symlink_to(secret / "1")
    with pytest.raises(InvalidVolume, match="leads out of the store"):
        open_volume(path)


@pytest.mark.parametrize("what", ["c", "c/1", "c/1/0/1"])
def test_a_chunk_that_links_out_of_the_store_is_refused_when_read(tmp_path, what):
    secret, path = write(tmp_path / "secret.zarr"), write(tmp_path / "a.zarr")
    (path / "0" / what).rename(tmp_path / "moved")
    (path / "0" / what).symlink_to(secret / "0" / what)
    volume = open_volume(path)
    with pytest.raises(InvalidVolume, match="link that leads out"):
        volume.read()


def test_a_metadata_file_that_links_out_of_the_store_is_refused(tmp_path):
    secret, path = write(tmp_path / "secret.zarr"), write(tmp_path / "a.zarr")
    (path / "0" / "zarr.json").unlink()
    (path / "0" / "zarr.json").symlink_to(secret / "0" / "zarr.json")
    with pytest.raises(InvalidVolume, match="link"):
        open_volume(path)


def test_a_link_to_the_store_itself_is_fine(tmp_path):
    write(tmp_path / "a.zarr")
    (tmp_path / "b.zarr").symlink_to(tmp_path / "a.zarr")
    np.testing.assert_array_equal(open_volume(tmp_path / "b.zarr").read(), voxels())


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def places_in(document, path=()):
    yield path
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield from places_in(value, (*path, key))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write(tmp_path_factory.mktemp("fuzz") / "a.zarr")


@settings(max_examples=250)
@given(data=st.data(), where=st.sampled_from(["zarr.json", "0/zarr.json"]))
def test_metadata_with_anything_anywhere_is_fine_or_invalid_and_nothing_else(store, data, where):
    original = json.loads((store / where).read_text())
    changed = copy.deepcopy(original)
    path = data.draw(st.sampled_from([place for place in places_in(original) if place]))
    target = changed
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = data.draw(anything)
    try:
        (store / where).write_text(json.dumps(changed))
        read_image(store)
        open_volume(store, (1.0, 1.0, 1.0))
    except InvalidVolume:
        pass
    finally:
        (store / where).write_text(json.dumps(original))
