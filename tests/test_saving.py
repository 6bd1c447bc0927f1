"""What napari's own menus save labels as: in the store of their scan, on their own, as NIfTI; never over anything."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from napari.utils.notifications import notification_manager
from npe2 import PluginManager

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import drain
from napari_medaka_kd.project import Project
from napari_medaka_kd.volumes.label_store import label_names, open_saved_labels
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.open import open_store, open_volume
from napari_medaka_kd.volumes.phantom import MEDAKA
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume

PLUGIN = "napari-medaka-kd"
SHAPE, SIZE = (20, 150, 30), (4.0, 2.0, 2.5)


@pytest.fixture(scope="module", autouse=True)
def _plugins() -> None:
    PluginManager.instance().discover()


def painted(**words: Any) -> Labels:
    """A layer of three organs, of which two have names and colours, in mm."""
    ids = np.zeros(SHAPE, np.int32)
    ids[3, 5:9], ids[4:], ids[5, :, 3:6] = 1, 300, 7
    looks: dict[str, Any] = {
        "name": "my organs",
        "features": {"index": [0, 1, 300], "organ": ["background", "heart", "gut"]},
        "colormap": {None: "white", 0: "transparent", 1: "#ff8000", 300: "#0000ff"},
        "scale": [size / 1000 for size in SIZE],
        "units": ("mm",) * 3,
        "axis_labels": ("z", "y", "x"),
    }
    return Labels(ids, **(looks | words))


def save(layer: Labels, path: Path) -> list[Path]:
    return [Path(written) for written in layer.save(str(path), plugin=PLUGIN)]


def reopened(path: Path) -> Labels:
    (layer,) = ViewerModel().open(path, plugin=PLUGIN)
    assert isinstance(layer, Labels)
    return layer


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_scan(tmp_path / "scans" / "fish.ome.zarr")


def write_scan(store: Path, shape: tuple[int, int, int] = SHAPE) -> Path:
    voxels = np.random.default_rng(0).integers(0, 200, shape, dtype=np.uint16)
    drain(save_volume(Volume((voxels,), SIZE, "fish"), store))
    return store


# ---- on their own --------------------------------------------------------------------------------------------------


def test_labels_come_back_with_place_names_and_colours(tmp_path: Path) -> None:
    layer = painted(translate=(0.1, 0.2, 0.3))
    assert save(layer, tmp_path / "organs.ome.zarr") == [tmp_path / "organs.ome.zarr"]
    again = reopened(tmp_path / "organs.ome.zarr")
    np.testing.assert_array_equal(again.data[0], layer.data)
    assert tuple(again.scale) == pytest.approx(SIZE)
    assert tuple(again.translate) == pytest.approx((100, 200, 300))
    assert {str(unit) for unit in again.units} == {"micrometer"}
    assert dict(zip(again.features["index"], again.features["organ"], strict=True)) == {
        0: "background", 1: "heart", 7: "label 7", 300: "gut",
    }  # fmt: skip
    for number in (1, 7, 300):
        np.testing.assert_allclose(again.get_color(number), layer.get_color(number), atol=0.003)


def test_coarser_levels_hold_no_ids_that_the_finest_lacks(tmp_path: Path) -> None:
    save(painted(), tmp_path / "organs.ome.zarr")
    levels = open_store(tmp_path / "organs.ome.zarr").levels
    assert len(levels) > 1
    for level in levels:
        assert set(np.unique(level[:])) <= {0, 1, 7, 300}


def test_three_readers_of_others_take_it(tmp_path: Path) -> None:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader
    from ome_zarr_models.v05.image_label import ImageLabel
    from yaozarrs import validate_zarr_store
    from zarr import open_group

    (path,) = save(painted(), tmp_path / "organs.ome.zarr")
    validate_zarr_store(str(path))
    label = ImageLabel.from_zarr(open_group(path, mode="r")).ome_attributes.image_label
    assert label is not None
    assert [prop.label_value for prop in label.properties] == [1, 7, 300]
    (node, *_) = Reader(parse_url(path))()
    assert node.data[0].shape == SHAPE


def test_what_was_opened_as_labels_can_be_saved(tmp_path: Path) -> None:
    save(painted(), tmp_path / "organs.ome.zarr")
    again = reopened(tmp_path / "organs.ome.zarr")
    (path,) = save(again, tmp_path / "elsewhere" / "again.ome.zarr")
    np.testing.assert_array_equal(open_store(path).read(), painted().data)


def test_colours_that_nobody_chose_are_kept_as_they_were_shown(tmp_path: Path) -> None:
    layer = Labels(painted().data, scale=SIZE, units=("um",) * 3)
    save(layer, tmp_path / "organs.ome.zarr")
    for number in (1, 7, 300):
        shown = layer.get_color(number)
        np.testing.assert_allclose(reopened(tmp_path / "organs.ome.zarr").get_color(number), shown, atol=0.003)


def test_two_organs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    layer = painted(features={"index": [1, 7, 300], "organ": ["eye", "eye", None]})
    save(layer, tmp_path / "organs.ome.zarr")
    assert list(reopened(tmp_path / "organs.ome.zarr").features["organ"])[1:] == ["eye", "eye 7", "label 300"]


# ---- in the store of their scan ------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", ["labels/mine.ome.zarr", "mine", "../mine.ome.zarr", "labels/mine"])
def test_a_label_map_goes_into_the_store_that_it_is_saved_in_or_beside(scan: Path, inside: str) -> None:
    target = (scan / inside).resolve()
    assert save(painted(), target.with_name(f"{target.name.removesuffix('.ome.zarr')}.ome.zarr")) == [
        scan / "labels" / "mine.1"
    ]
    organs = LabelSchema.from_ids({1: "heart", 7: "label 7", 300: "gut"})
    np.testing.assert_array_equal(open_saved_labels(scan, "mine", organs).volume.read(), painted().data)
    assert "Saved in the store of the scan" in notification_manager.records[-1].message


def test_saved_on_the_store_itself_it_is_called_as_the_layer(scan: Path) -> None:
    assert save(painted(), scan) == [scan / "labels" / "my_organs.1"]


def test_several_layers_go_into_one_store(scan: Path) -> None:
    viewer = ViewerModel()
    layers = [viewer.add_layer(painted(name=name)) for name in ("one", "two")]
    viewer.layers.selection = set(layers)
    written = viewer.layers.save(str(scan), selected=True, plugin=PLUGIN)
    assert sorted(written) == [str(scan / "labels" / "one.1"), str(scan / "labels" / "two.1")]
    assert label_names(scan) == ("one", "two")


def test_it_lies_on_its_own_where_the_scan_is_not_to_be_told(tmp_path: Path, scan: Path) -> None:
    write_scan(scan.with_name("twin.ome.zarr"))
    assert save(painted(), scan.with_name("organs.ome.zarr")) == [scan.with_name("organs.ome.zarr")]
    other = write_scan(tmp_path / "others" / "fish.ome.zarr", (9, 9, 9))
    assert save(painted(), other.with_name("organs.ome.zarr")) == [other.with_name("organs.ome.zarr")]


def test_labels_measured_in_pixels_get_the_voxels_of_their_scan(scan: Path) -> None:
    save(painted(scale=(1, 1, 1), units=None), scan / "labels" / "mine.ome.zarr")
    assert open_store(scan / "labels" / "mine.1").voxel_size == SIZE


# ---- what is refused -----------------------------------------------------------------------------------------------


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != ".lock"}


def refused(layer: Labels, path: Path, sentence: str) -> None:
    folder = path.parents[1] if path.parent.name == "labels" else path.parent
    before = tree(folder)
    with pytest.raises(UserError, match=sentence):
        save(layer, path)
    assert tree(folder) == before


@pytest.mark.parametrize("name", ["organs.ome.zarr", "organs.nii.gz", "organs.nii"])
def test_nothing_is_written_over(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    save(painted(), tmp_path / "sub" / name)
    refused(painted(), tmp_path / "sub" / name, "is there already")


def test_a_label_map_of_the_same_name_stays(scan: Path) -> None:
    save(painted(), scan / "labels" / "mine.ome.zarr")
    refused(painted(), scan / "labels" / "mine.ome.zarr", "has a label map 'mine' already")


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize("name", ["organs.ome.zarr", "organs.nii.gz"])
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"units": None}, "measured in pixels"),
        ({"rotate": (10, 0, 0)}, "turned, sheared or mirrored"),
        ({"shear": (0.1, 0, 0)}, "turned, sheared or mirrored"),
        ({"affine": np.diag([2, 1, 1, 1])}, "turned, sheared or mirrored"),
        ({"scale": (-1, 1, 1)}, "turned, sheared or mirrored"),
    ],
)
def test_a_layer_that_is_no_label_map_is_refused(
    tmp_path: Path, name: str, words: dict[str, Any], sentence: str
) -> None:
    refused(painted(**words), tmp_path / name, sentence)


def test_labels_of_two_or_four_axes_are_refused(tmp_path: Path) -> None:
    for axes in (2, 4):
        refused(Labels(np.ones((3,) * axes, np.uint8)), tmp_path / "organs.ome.zarr", f"has {axes} axes")


@pytest.mark.parametrize(("number", "sentence"), [(70_000, "the id 70000"), (-1, "the id -1"), (0, "no label at all")])
def test_ids_that_a_label_map_cannot_hold_are_refused(tmp_path: Path, number: int, sentence: str) -> None:
    layer = Labels(np.full(SHAPE, number, np.int32), scale=SIZE, units=("um",) * 3)
    refused(layer, tmp_path / "organs.ome.zarr", sentence)


def test_labels_that_do_not_fit_their_scan_are_refused(scan: Path) -> None:
    refused(painted(scale=(1, 1, 1)), scan / "labels" / "mine.ome.zarr", "A voxel of the layer 'my organs' measures")
    small = Labels(np.ones((3, 3, 3), np.uint8), name="small")
    refused(small, scan / "labels" / "mine.ome.zarr", "has \\(3, 3, 3\\) voxels")


def test_a_store_of_the_older_format_is_not_written_into(tmp_path: Path) -> None:
    import zarr

    group = zarr.create_group(tmp_path / "old.ome.zarr", zarr_format=2)
    group.create_array("0", shape=SHAPE, dtype="u1")
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    levels = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": SIZE}]}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": levels}]
    refused(painted(), tmp_path / "old.ome.zarr" / "labels" / "mine.ome.zarr", "is OME-Zarr 0.4")


def test_several_layers_need_a_scan(tmp_path: Path) -> None:
    viewer = ViewerModel()
    for name in ("one", "two"):
        viewer.add_layer(painted(name=name))
    with pytest.raises(UserError, match="can hold one label map, and there are 2"):
        viewer.layers.save(str(tmp_path / "organs.ome.zarr"), plugin=PLUGIN)
    assert tree(tmp_path) == set()


def test_without_an_ending_labels_are_saved_by_napari(tmp_path: Path) -> None:
    (written,) = painted().save(str(tmp_path / "organs"))
    assert written.endswith("organs.tif")


# ---- in a project --------------------------------------------------------------------------------------------------


def test_labels_become_those_of_a_projects_animal(make_project: Callable[..., Project]) -> None:
    case = make_project(unlabelled=1, labelled=0, held_out=0).cases[0]
    ids = np.ones(case.volume.shape, np.uint8)
    size = case.volume.voxel_size
    layer = Labels(ids, name="manual", scale=size, units="um", features={"index": [1], "organ": [MEDAKA.names[0]]})
    assert not case.labelled
    save(layer, case.store)
    assert case.labelled
    np.testing.assert_array_equal(case.labels("manual").volume.read(), ids)


@pytest.mark.parametrize(
    ("name", "number", "organ", "sentence"),
    [
        ("reviewed", 1, MEDAKA.names[0], "keeps proposals or corrections"),
        ("manual", 99, "spleen", "has 'spleen' as 99, the project 'fish' has 'nothing'"),
        ("manual", 1, "spleen", "has 'spleen' as 1, the project 'fish' has 'eyes'"),
    ],
)
def test_labels_that_a_project_does_not_know_are_refused(
    make_project: Callable[..., Project], name: str, number: int, organ: str, sentence: str
) -> None:
    case = make_project(unlabelled=1, labelled=0, held_out=0).cases[0]
    ids = np.full(case.volume.shape, number, np.uint8)
    features = {"index": [number], "organ": [organ]}
    layer = Labels(ids, name=name, scale=case.volume.voxel_size, units="um", features=features)
    refused(layer, case.store, sentence)


# ---- NIfTI ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["organs.nii.gz", "organs.nii"])
def test_labels_are_saved_as_nifti(tmp_path: Path, name: str) -> None:
    assert save(painted(), tmp_path / name) == [tmp_path / name]
    image: Any = nibabel.load(tmp_path / name)
    assert image.get_data_dtype() == np.uint16
    again = open_volume(tmp_path / name)
    assert again.voxel_size == pytest.approx(SIZE)
    np.testing.assert_array_equal(again.read(), painted().data)


def test_a_place_that_nifti_cannot_keep_is_told_of(tmp_path: Path) -> None:
    save(painted(translate=(1, 0, 0)), tmp_path / "organs.nii")
    assert "begins at 0, 0, 0" in notification_manager.records[-1].message
