"""What napari opens of a project or a review pack: the dock with it, or layers where there is no window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from napari_medaka_kd.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medaka_kd.exchange.looks import LayerData
    from napari_medaka_kd.project import Project

_FILE, _PACK = "project.toml", ".pack.zip"
#: How a reader says that it has done its work without any layer.
_DONE: Any = [(None,)]
Reader: TypeAlias = "Callable[[str], list[LayerData]]"


def read_project(path: str | list[str]) -> Reader | None:
    """A reader of the project whose folder, or ``project.toml``, is at ``path``, or of a pack; else ``None``."""
    known = isinstance(path, str) and ((_folder(path) / _FILE).is_file() or _is_pack(path))
    return _read if known else None


def _read(path: str) -> list[LayerData]:
    """The dock makes the layers itself; without a window the first animal's scan and label maps are returned."""
    import napari

    from napari_medaka_kd.job import drain
    from napari_medaka_kd.workflow.curate import open_project
    from napari_medaka_kd.workflow.unpack import unpack

    project = drain(unpack(Path(path))) if _is_pack(path) else open_project(_folder(path))
    viewer = napari.current_viewer()
    if viewer is None:
        return _first_case(project)
    from .commands import open_dock

    dock = open_dock(viewer)
    if dock is not None:
        dock.session.open_project(project.folder)
        dock.show_panel("Cases")
    return list(_DONE)


def _first_case(project: Project) -> list[LayerData]:
    from napari_medaka_kd.exchange.stores import store_layers

    if not project.cases:
        raise UserError(f"The project {str(project.folder)!r} has no animals yet.", "Add one: medaka-kd add.")
    case = project.cases[0]
    (data, words, kind), *labels = store_layers(case.store)
    return [(data, {**words, "name": case.id, "contrast_limits": case.body.window}, kind), *labels]


def _is_pack(path: str) -> bool:
    return path.lower().endswith(_PACK) and Path(path).is_file()


def _folder(path: str) -> Path:
    return Path(path).parent if Path(path).name == _FILE else Path(path)
