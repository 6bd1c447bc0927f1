"""What napari's own menus open: stores with their label maps, single files, projects; and how little is read."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tensorstore
import zarr
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.notifications import notification_manager
from npe2 import PluginManager

from napari_medaka_kd.demo_settings import PhantomSettings
from napari_medaka_kd.errors import InvalidVolume, UserError
from napari_medaka_kd.exchange.reading import read_scan, read_store
from napari_medaka_kd.gui.projects import read_project
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import Project
from napari_medaka_kd.volumes.label_extras import Extra
from napari_medaka_kd.volumes.label_store import begin_labels, save_labels
from napari_medaka_kd.volumes.phantom import MEDAKA, phantom_animal
from napari_medaka_kd.volumes.save import save_volume

PLUGIN = "napari-medaka-kd"
SHAPE, SIZE = (40, 48, 56), (4.0, 2.0, 2.0)
LARGE, CHUNK = (128, 192, 192), (8, 64, 64)


@pytest.fixture(scope="module", autouse=True)
def _plugins() -> None:
    PluginManager.instance().discover()


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def told() -> Callable[[], str]:
    """All that the person was told since the test began."""
    begun = len(notification_manager.records)
    return lambda: " ".join(record.message for record in notification_manager.records[begun:])


@pytest.fixture(scope="module")
def fish(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of ours with the label maps ``manual`` and ``teacher``, the latter with its doubt."""
    store = tmp_path_factory.mktemp("ours") / "fish.ome.zarr"
    animal = phantom_animal(PhantomSettings(shape=SHAPE, voxel_size=500))
    drain(save_volume(animal.volume, store))
    drain(save_labels(animal.labels, store, "manual"))
    begun = begin_labels(store, "teacher", MEDAKA, "toy", extras=(Extra("uncertainty"),))
    begun.write(0, animal.labels.volume.read(), {"uncertainty": np.full(SHAPE, 100, np.uint8)})
    drain(begun.commit())
    return store


def opened(viewer: ViewerModel, path: Path, **how: Any) -> dict[str, Any]:
    return {layer.name: layer for layer in viewer.open(path, plugin=PLUGIN, **how)}


def place(layer: Any) -> tuple[Any, ...]:
    return tuple(layer.scale), tuple(layer.translate), {str(unit) for unit in layer.units}, tuple(layer.axis_labels)


# ---- stores of ours ------------------------------------------------------------------------------------------------


def test_a_store_opens_with_its_label_maps_and_their_doubt(viewer: ViewerModel, fish: Path) -> None:
    layers = opened(viewer, fish)
    assert list(layers) == ["phantom 0", "phantom 0 manual", "phantom 0 teacher", "phantom 0 teacher uncertainty"]
    assert [type(layer) for layer in layers.values()] == [Image, Labels, Labels, Image]
    assert [layer.visible for layer in layers.values()] == [True, False, True, False]
    for layer in layers.values():
        assert place(layer) == ((500.0,) * 3, (0.0,) * 3, {"micrometer"}, ("z", "y", "x"))
        assert layer.multiscale
        assert str(fish) in layer.metadata["source"]


def test_organs_have_their_names_and_colours(viewer: ViewerModel, fish: Path) -> None:
    organs = opened(viewer, fish)["phantom 0 manual"]
    assert list(organs.features["index"]) == [0, *MEDAKA.ids]
    assert list(organs.features["organ"]) == ["background", *MEDAKA.names]
    for organ in MEDAKA.organs:
        shown = (np.asarray(organs.get_color(organ.id))[:3] * 255).round().astype(np.uint8)
        assert "#" + bytes(shown).hex() == organ.color


def test_a_label_map_opens_on_its_own(viewer: ViewerModel, fish: Path) -> None:
    (organs,) = opened(viewer, fish / "labels" / "manual.1").values()
    assert isinstance(organs, Labels)
    assert list(organs.features["organ"])[1:] == list(MEDAKA.names)


def test_what_napari_gets_is_what_is_stored(viewer: ViewerModel, fish: Path) -> None:
    layers = opened(viewer, fish)
    animal = phantom_animal(PhantomSettings(shape=SHAPE, voxel_size=500))
    np.testing.assert_array_equal(layers["phantom 0"].data[0][:], animal.volume.read())
    np.testing.assert_array_equal(layers["phantom 0 teacher"].data[0][:], animal.labels.volume.read())


def test_contrast_is_that_of_the_coarsest_level(viewer: ViewerModel, tmp_path: Path) -> None:
    store = foreign(tmp_path / "a.ome.zarr")
    for chunk in (store / "0" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"junk")
    (image,) = opened(viewer, store).values()
    coarse = voxels()[::2, ::2, ::2]
    assert tuple(image.contrast_limits) == pytest.approx(tuple(np.percentile(coarse, (0.5, 99.8))))


# ---- stores of others ----------------------------------------------------------------------------------------------


def voxels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, SHAPE).astype(np.uint16)


def foreign(
    path: Path, arrays: tuple[np.ndarray, ...] = (), version: str = "0.5", unit: str | None = "micrometer", **told: Any
) -> Path:
    """An image as another program might write it, its chunks not packed, 100, 10 and 1 µm from the origin."""
    arrays = arrays or (voxels(), voxels()[::2, ::2, ::2])
    group = zarr.create_group(path, zarr_format=3 if version == "0.5" else 2)
    datasets = []
    for level, array in enumerate(arrays):
        chunks = tuple(min(many, size) for many, size in zip(CHUNK, array.shape, strict=True))
        group.create_array(str(level), data=array, chunks=chunks, compressors=None)
        scale = [size * step / few for size, step, few in zip(SIZE, SHAPE, array.shape, strict=True)]
        moves = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": [100.0, 10.0, 1.0]}]
        datasets.append({"path": str(level), "coordinateTransformations": moves})
    axes = [{"name": name, "type": "space", **({"unit": unit} if unit else {})} for name in "zyx"]
    image = {"axes": axes, "datasets": datasets, "name": "foreign"}
    ome = {"multiscales": [image], **told}
    group.attrs.update({"ome": {"version": "0.5", **ome}} if version == "0.5" else ome)
    return path


def with_labels(store: Path, version: str = "0.5", listed: Any = ("nuclei",), number: int = 700, **how: Any) -> Path:
    """``store`` with a label map of three ids, one of them without colour and name."""
    ids = np.zeros(SHAPE, np.int32)
    ids[:20], ids[20:30], ids[30:] = 3, number, 5
    entries = {
        "colors": [{"label-value": 3, "rgba": [255, 0, 0, 255]}, {"label-value": 5.0, "rgba": [0, 0, 255, 255]}, 7],
        "properties": [{"label-value": 3, "kind": "round", "area": 12.5}, {"label-value": 5, "kind": "flat"}, "x"],
    }
    group = zarr.create_group(store / "labels", zarr_format=3 if version == "0.5" else 2)
    group.attrs.update({"ome": {"labels": listed}} if version == "0.5" else {"labels": listed})
    foreign(store / "labels" / "nuclei", (ids,), version, **{"image-label": entries, **how})
    return store


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_label_maps_of_others_keep_names_colours_and_place(viewer: ViewerModel, tmp_path: Path, version: str) -> None:
    layers = opened(viewer, with_labels(foreign(tmp_path / "a.ome.zarr", version=version), version))
    assert list(layers) == ["foreign", "foreign nuclei"]
    for layer in layers.values():
        assert place(layer) == (SIZE, (100.0, 10.0, 1.0), {"micrometer"}, ("z", "y", "x"))
    nuclei = layers["foreign nuclei"]
    assert list(nuclei.features["kind"]) == ["round", "flat"]
    assert nuclei.features["area"][0] == 12.5
    red, blue, stranger = (tuple(nuclei.get_color(number)) for number in (3, 5, 700))
    assert (red, blue) == ((1, 0, 0, 1), (0, 0, 1, 1))
    assert stranger not in (red, blue, (1, 1, 1, 1))
    viewer.dims.set_point(0, 100.0)
    assert nuclei.get_status((100.0, 30.0, 30.0), world=True)["value"].endswith("3; kind: round, area: 12.5")


@pytest.mark.parametrize("how", [{"image-label": {}}, {"number": 70_000}, {"number": -1}])
def test_labels_without_colours_or_with_very_large_ids_get_those_of_napari(
    viewer: ViewerModel, tmp_path: Path, how: dict[str, Any]
) -> None:
    store = with_labels(foreign(tmp_path / "a.ome.zarr"), **how)
    nuclei = opened(viewer, store)["foreign nuclei"]
    assert type(nuclei.colormap) is type(Labels(np.zeros((2, 2), np.uint8)).colormap)


def test_labels_that_say_no_unit_lie_on_their_scan(viewer: ViewerModel, tmp_path: Path) -> None:
    layers = opened(viewer, with_labels(foreign(tmp_path / "a.ome.zarr"), unit=None))
    assert place(layers["foreign nuclei"]) == place(layers["foreign"])


def test_a_scan_that_says_no_unit_is_shown_in_pixels(
    viewer: ViewerModel, tmp_path: Path, told: Callable[[], str]
) -> None:
    layers = opened(viewer, with_labels(foreign(tmp_path / "a.ome.zarr", unit=None)))
    assert len(layers) == 2
    for layer in layers.values():
        assert place(layer) == (SIZE, (100.0, 10.0, 1.0), {"pixel"}, ("z", "y", "x"))
    assert "shown in pixels" in told()


def test_a_scan_of_one_level_can_be_looked_at_and_is_not_painted(viewer: ViewerModel, tmp_path: Path) -> None:
    layers = opened(viewer, with_labels(foreign(tmp_path / "a.ome.zarr", (voxels(),))))
    viewer.dims.set_point(0, 130.0)
    image, nuclei = layers.values()
    np.testing.assert_array_equal(image.data[0][7], voxels()[7])
    np.testing.assert_array_equal(image.data[1][3], voxels()[6, ::2, ::2])
    assert not nuclei.editable


def test_a_store_as_bioformats_writes_it_opens_with_its_labels(viewer: ViewerModel, tmp_path: Path) -> None:
    root = tmp_path / "a.zarr"
    group = zarr.create_group(root, zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    with_labels(foreign(root / "0", version="0.4"), "0.4")
    assert list(opened(viewer, root)) == ["foreign", "foreign nuclei"]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        ({"listed": ["../../elsewhere"]}, "elsewhere"),
        ({"listed": "nuclei"}, "cannot be read"),
        ({"listed": ["nuclei", "gone"]}, "gone"),
        ({"image-label": 7, "multiscales": []}, "without an OME-Zarr image"),
    ],
)
def test_a_bad_label_map_is_left_out_and_told_of(
    viewer: ViewerModel, tmp_path: Path, told: Callable[[], str], spoil: dict[str, Any], sentence: str
) -> None:
    assert "foreign" in opened(viewer, with_labels(foreign(tmp_path / "a.ome.zarr"), **spoil))
    assert sentence in told()


def test_a_label_map_that_is_a_link_out_of_the_store_is_left_out(
    viewer: ViewerModel, tmp_path: Path, told: Callable[[], str]
) -> None:
    store, other = with_labels(foreign(tmp_path / "a.ome.zarr")), tmp_path / "elsewhere"
    (store / "labels" / "nuclei").rename(other)
    (store / "labels" / "nuclei").symlink_to(other, target_is_directory=True)
    assert list(opened(viewer, store)) == ["foreign"]
    assert "is a link" in told()


def test_ids_that_are_no_whole_numbers_are_left_out(
    viewer: ViewerModel, tmp_path: Path, told: Callable[[], str]
) -> None:
    store = with_labels(foreign(tmp_path / "a.ome.zarr"))
    foreign(store / "labels" / "real", (np.zeros(SHAPE, np.float32),), **{"image-label": {}})
    (store / "labels" / "zarr.json").write_text(
        json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"labels": ["real", "nuclei"]}}})
    )
    assert list(opened(viewer, store)) == ["foreign", "foreign nuclei"]
    assert "float32" in told()


# ---- what is not ours ----------------------------------------------------------------------------------------------


def test_a_plain_array_and_a_plate_are_left_to_others(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "plain.zarr", data=voxels())
    zarr.create_array(tmp_path / "old.zarr", data=voxels(), zarr_format=2)
    zarr.create_group(tmp_path / "group.ome.zarr")
    plate = zarr.create_group(tmp_path / "plate.ome.zarr")
    plate.attrs["ome"] = {"version": "0.5", "plate": {}}
    (tmp_path / "slices").mkdir()
    for folder in tmp_path.iterdir():
        assert read_store(str(folder)) is None
        assert read_project(str(folder)) is None
    assert read_store([str(tmp_path / "plain.zarr")]) is None


def test_metadata_that_is_no_json_is_left_to_others_unless_its_name_is_ours(tmp_path: Path) -> None:
    for name in ("a.zarr", "b.ome.zarr"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "zarr.json").write_text("[" * 100_000)
    assert read_store(str(tmp_path / "a.zarr")) is None
    assert read_store(str(tmp_path / "b.ome.zarr")) is not None


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda ome: ome.update(version="0.6"), "is OME-Zarr 0.6"),
        (lambda ome: ome["multiscales"][0]["datasets"][0].update(path="../../x"), "leads out of the store"),
        (lambda ome: ome["multiscales"][0].update(axes=[]), "its axes are"),
        (lambda ome: transforms(ome)[0].update(scale=[0.0, 1.0, 1.0]), "must be a number above 0"),
        (lambda ome: transforms(ome)[0].update(scale=[1.0]), "must be a number above 0"),
        (lambda ome: transforms(ome)[1].update(translation=[float("nan"), 0.0, 0.0]), "begins at"),
        (lambda ome: transforms(ome)[1].update(translation="here"), "cannot be read"),
    ],
)
def test_what_the_gate_refuses_is_a_sentence(
    viewer: ViewerModel, tmp_path: Path, spoil: Callable[[Any], None], sentence: str
) -> None:
    file = foreign(tmp_path / "a.ome.zarr") / "zarr.json"
    data = json.loads(file.read_bytes())
    spoil(data["attributes"]["ome"])
    file.write_text(json.dumps(data))
    with pytest.raises(InvalidVolume, match=sentence):
        viewer.open(file.parent, plugin=PLUGIN)
    assert len(viewer.layers) == 0


def transforms(ome: Any) -> Any:
    return ome["multiscales"][0]["datasets"][0]["coordinateTransformations"]


# ---- single files --------------------------------------------------------------------------------------------------


def nifti(file: Path, array: np.ndarray, size: float = 0.01) -> Path:
    image = nibabel.Nifti1Image(array.transpose(2, 1, 0), np.diag([size, size, size, 1]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, file)
    return file


def test_a_nifti_opens_in_micrometres(viewer: ViewerModel, tmp_path: Path) -> None:
    (scan,) = opened(viewer, nifti(tmp_path / "fish.nii.gz", voxels().astype(np.float32))).values()
    assert isinstance(scan, Image)
    assert scan.name == "fish"
    assert place(scan) == ((10.0,) * 3, (0.0,) * 3, {"micrometer"}, ("z", "y", "x"))
    np.testing.assert_array_equal(scan.data[0][9], voxels()[9])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("fish-labels.nii", Labels),
        ("fish_seg.nii", Labels),
        ("labels/fish.nii", Labels),
        ("labelled.nii", Image),
        ("my organs/fish.nii", Image),
    ],
)
def test_a_file_of_whole_numbers_is_what_its_name_says(
    viewer: ViewerModel, tmp_path: Path, name: str, kind: type
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (layer,) = opened(viewer, nifti(tmp_path / name, voxels())).values()
    assert type(layer) is kind
    if kind is Labels:
        layer.paint((3, 4, 5), 7)
        assert layer.data[3, 4, 5] == 7


def test_any_file_of_whole_numbers_can_be_opened_as_labels(viewer: ViewerModel, tmp_path: Path) -> None:
    (layer,) = opened(viewer, nifti(tmp_path / "fish.nii", voxels()), layer_type="labels").values()
    assert isinstance(layer, Labels)


def test_a_file_without_a_voxel_size_is_shown_in_pixels(
    viewer: ViewerModel, tmp_path: Path, told: Callable[[], str]
) -> None:
    header = f"NRRD0004\ntype: uint16\ndimension: 3\nsizes: {' '.join(map(str, SHAPE[::-1]))}\nencoding: raw\n"
    file = tmp_path / "fish.nrrd"
    file.write_bytes(header.encode() + b"endian: little\n\n" + voxels().tobytes())
    (scan,) = opened(viewer, file).values()
    assert place(scan) == ((1.0,) * 3, (0.0,) * 3, {"pixel"}, ("z", "y", "x"))
    assert "does not say how large its voxels are. It is shown in pixels." in told()


def test_a_file_that_is_cut_off_is_a_sentence(viewer: ViewerModel, tmp_path: Path) -> None:
    file = nifti(tmp_path / "fish.nii", voxels())
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InvalidVolume, match="bytes are missing at its end"):
        viewer.open(file, plugin=PLUGIN)
    file.write_bytes(b"junk")
    with pytest.raises(InvalidVolume, match="cannot be read"):
        viewer.open(file, plugin=PLUGIN)


def test_several_files_at_once_are_left_to_others(tmp_path: Path) -> None:
    file = str(nifti(tmp_path / "a.nii", voxels()))
    assert read_scan([file, file]) is None
    assert read_scan(file) is not None


# ---- projects ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "project.toml"])
def test_a_project_without_a_window_opens_its_first_animal(
    viewer: ViewerModel, make_project: Callable[..., Project], name: str
) -> None:
    project = make_project(unlabelled=1, labelled=0, held_out=0)
    layers = opened(viewer, project.folder / name)
    assert next(iter(layers)) == "fish-00"
    assert [type(layer) for layer in layers.values()] == [Image, Labels, Image]
    assert tuple(layers["fish-00"].contrast_limits) == pytest.approx(project.cases[0].body.window)


def test_a_project_without_animals_or_damaged_is_a_sentence(
    viewer: ViewerModel, make_project: Callable[..., Project]
) -> None:
    folder = make_project(unlabelled=0, labelled=0, held_out=0).folder
    with pytest.raises(UserError, match="has no animals yet"):
        viewer.open(folder, plugin=PLUGIN)
    (folder / "project.toml").write_text("format = ", "utf-8")
    with pytest.raises(UserError, match="is damaged"):
        viewer.open(folder, plugin=PLUGIN)


# ---- how little is read --------------------------------------------------------------------------------------------


def bytes_read() -> int:
    (metric,) = tensorstore.experimental_collect_matching_metrics("/tensorstore/kvstore/file/bytes_read", True)
    return int(metric["values"][0]["value"])


@pytest.fixture(scope="module", params=[1, 3], ids=["one level", "a pyramid"])
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose chunks are not packed: as many bytes are decoded as are read."""
    fine = np.random.default_rng(0).integers(0, 256, LARGE, dtype=np.uint8)
    levels = tuple(fine[(slice(None, None, 2**level),) * 3] for level in range(request.param))
    return foreign(tmp_path_factory.mktemp("large") / "large.ome.zarr", levels)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_step_to_the_next_slice_reads_only_the_chunks_that_it_crosses(
    viewer: ViewerModel, large: Path, tmp_path: Path, axis: int
) -> None:
    copy = shutil.copytree(large, tmp_path / "copy.ome.zarr")  # nothing of it is in the cache
    (image,) = opened(viewer, copy).values()
    viewer.dims.order = (axis, *(other for other in range(3) if other != axis))
    image.locked_data_level = 0
    levels = [zarr.open_array(copy / str(level), mode="r") for level in range(2) if (copy / str(level)).exists()]
    slice_bytes = sum(
        math.prod(level.chunks) * math.prod(np.delete(level.cdata_shape, axis)) for level in levels
    )  # the one that is drawn, and the one that the thumbnail is made of
    start, spent = image.translate[axis], []
    for number in range(0, LARGE[axis], CHUNK[axis] // 2):
        before = bytes_read()
        viewer.dims.set_point(axis, start + number * image.scale[axis])
        assert image.data_level == 0
        spent.append(bytes_read() - before)
    assert max(spent) <= 1.1 * slice_bytes
    assert math.prod(LARGE) / 2 <= sum(spent) <= 1.1 * slice_bytes * LARGE[axis] / CHUNK[axis]
    assert not any(spent[1::2])
