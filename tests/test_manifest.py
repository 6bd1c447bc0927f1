"""The manifest's contract with napari, which ``npe2 validate`` checks only in part."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from npe2 import PluginManager, PluginManifest
from npe2.manifest.contributions import ContributionPoints

ROOT = Path(__file__).parents[1]
FILE = ROOT / "src" / "napari_medaka_kd" / "napari.yaml"
MANIFEST = yaml.safe_load(FILE.read_text("utf-8"))
CONTRIBUTIONS: dict[str, Any] = MANIFEST["contributions"]
COMMANDS = {command["id"]: command for command in CONTRIBUTIONS["commands"]}


def values_of(key: str, inside: Any) -> Iterator[Any]:
    """Each value that stands under ``key``, however deep."""
    if isinstance(inside, dict):
        yield from (value for name, value in inside.items() if name == key)
        inside = list(inside.values())
    if isinstance(inside, list):
        for part in inside:
            yield from values_of(key, part)


def test_napari_finds_it_by_the_name_of_the_distribution() -> None:
    (entry,) = distribution("napari-medaka-kd").entry_points.select(group="napari.manifest")
    assert (entry.name, entry.value) == (MANIFEST["name"], "napari_medaka_kd:napari.yaml")
    assert PluginManifest.from_distribution("napari-medaka-kd").name == "napari-medaka-kd"


def test_the_link_at_the_root_shows_the_same_file() -> None:
    assert (ROOT / "napari.yaml").read_text("utf-8") == FILE.read_text("utf-8")


def test_every_kind_of_contribution_is_known_to_npe2() -> None:
    assert set(CONTRIBUTIONS) <= set(ContributionPoints.model_fields)


def test_every_command_that_is_referred_to_exists() -> None:
    others = {kind: entries for kind, entries in CONTRIBUTIONS.items() if kind != "commands"}
    assert set(values_of("command", others)) <= set(COMMANDS)


def test_no_command_is_there_for_nothing() -> None:
    others = {kind: entries for kind, entries in CONTRIBUTIONS.items() if kind != "commands"}
    assert set(COMMANDS) <= set(values_of("command", others))


def test_every_command_begins_with_the_name_of_the_plugin() -> None:
    assert [name for name in COMMANDS if not name.startswith("napari-medaka-kd.")] == []


def test_every_menu_can_be_contributed_to() -> None:
    from napari._app_model.constants import MenuId

    own = {submenu["id"] for submenu in CONTRIBUTIONS.get("submenus", [])}
    assert set(CONTRIBUTIONS.get("menus", {})) <= MenuId.contributables() | own
    assert set(values_of("submenu", CONTRIBUTIONS.get("menus", {}))) <= own
    assert [name for name in own if name.startswith("napari/")] == []


def test_every_condition_can_be_evaluated_by_napari() -> None:
    from app_model.expressions import parse_expression
    from napari._app_model.context import LayerListContextKeys

    known = dict.fromkeys(LayerListContextKeys.__members__, 0)
    for key in ("when", "enablement"):
        for condition in values_of(key, CONTRIBUTIONS):
            parse_expression(condition).eval(known)


def test_every_setting_has_a_default_that_it_allows() -> None:
    import jsonschema

    for page in CONTRIBUTIONS.get("configurations", {}).values():
        for knob in page["properties"].values():
            jsonschema.validate(knob["default"], knob)


def test_the_validator_of_npe2_imports_everything() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "npe2", "validate", "--imports", str(FILE)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["readers", "writers", "sample_data"])
def test_reading_and_writing_work_without_qt(kind: str) -> None:
    names = [COMMANDS[name]["python_name"] for name in values_of("command", CONTRIBUTIONS.get(kind, []))]
    code = f"""
import sys
sys.modules.update(dict.fromkeys(("qtpy", "PyQt6", "PySide6", "PyQt5")))
from importlib import import_module
for name in {names!r}:
    module, function = name.split(":")
    assert callable(getattr(import_module(module), function))
assert "napari" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_readers_claim_no_format_that_napari_reads_well() -> None:
    claimed = {pattern for patterns in values_of("filename_patterns", CONTRIBUTIONS) for pattern in patterns}
    assert "*.ome.zarr" in claimed
    assert claimed.isdisjoint({"*", "*.*", "*.tif", "*.tiff", "*.png", "*.npy", "*.toml"})


def test_the_command_palette_offers_nothing_that_wants_a_path() -> None:
    from app_model.expressions import parse_expression

    for kind in ("readers", "writers"):
        for name in values_of("command", CONTRIBUTIONS[kind]):
            assert not parse_expression(COMMANDS[name]["enablement"]).eval({})


def test_napari_saves_labels_itself_where_no_ending_asks_for_ours() -> None:
    plugins = PluginManager.instance()
    plugins.discover()
    for ending, plugin in ((".ome.zarr", "napari-medaka-kd"), (".nii.gz", "napari-medaka-kd"), ("", "napari")):
        writer, _ = plugins.get_writer(f"labels{ending}", ["labels"])
        assert writer is not None
        assert writer.plugin_name == plugin
    assert plugins.get_writer("all.ome.zarr", ["image", "labels"])[0] is None


def test_the_phantom_opens_from_the_menu_of_samples_in_micrometres() -> None:
    from napari.components import ViewerModel

    PluginManager.instance().discover()
    viewer = ViewerModel()
    image, organs = viewer.open_sample("napari-medaka-kd", "phantom")
    assert image.data.shape == organs.data.shape
    assert [str(unit) for unit in viewer.layers.extent.units] == ["micrometer"] * 3
    assert image.axis_labels == organs.axis_labels == ("z", "y", "x")
    present = np.unique(organs.data)
    assert len(present) >= 9
    assert set(present) <= set(organs.features["index"])
    assert len({tuple(organs.get_color(number)) for number in present[1:]}) == len(present) - 1
