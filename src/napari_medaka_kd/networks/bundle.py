"""A MONAI bundle's weights and metadata. Its configs are programs (they name what is to be called) and stay unread."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_medaka_kd.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medaka_kd.volumes.volume import Shape

METADATA = "configs/metadata.json"
SCRIPT, STATE = "models/model.ts", "models/model.pt"
_BYTES = 1_000_000


@dataclass(frozen=True)
class Bundle:
    """What ``metadata.json`` says.

    Attributes
    ----------
    names
        Class → what it is called; empty where it says nothing.
    patch
        (z, y, x) in voxels that it is shown at a time, where that is given in numbers.
    """

    folder: Path
    names: dict[int, str]
    patch: Shape | None

    def weights(self, by_script: bool) -> Path:
        """The file of its network: as TorchScript where ``by_script`` and there is one, else its weights.

        Raises
        ------
        UserError
            If there is neither.
        """
        files = [self.folder / place for place in ((SCRIPT, STATE) if by_script else (STATE, SCRIPT))]
        for file in files:
            if file.is_file():
                return file
        raise UserError(
            f"The bundle {str(self.folder)!r} has neither {STATE} nor {SCRIPT}.", "Download its weights into models/."
        )


def is_bundle(folder: Path) -> bool:
    """Whether ``folder`` is a MONAI bundle."""
    return (folder / METADATA).is_file()


def open_bundle(folder: Path) -> Bundle:
    """Read the metadata of the bundle in ``folder``, as plain JSON.

    Raises
    ------
    UserError
        If it is too large, damaged, or takes more than one channel.
    """
    file = folder / METADATA
    try:
        with file.open("rb") as stream:
            text = stream.read(_BYTES + 1)
        if len(text) > _BYTES:
            raise ValueError("it is larger than 1 MB")
        formats = _table(json.loads(text), "network_data_format")
        image, answer = (_first(_table(formats, side)) for side in ("inputs", "outputs"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{str(file)!r} cannot be read: {error}.", "Get the bundle anew.") from error
    if image.get("num_channels", 1) != 1:
        raise UserError(
            f"The bundle {folder.name!r} takes {image['num_channels']} channels.", "A scan has one: choose another."
        )
    return Bundle(folder, _names(answer), _patch(image))


def _names(answer: dict[str, Any]) -> dict[int, str]:
    named = _table(answer, "channel_def")
    return {int(number): name for number, name in named.items() if str(number).isdecimal() and isinstance(name, str)}


def _patch(image: dict[str, Any]) -> Shape | None:
    sides = image.get("spatial_shape")
    if not isinstance(sides, list) or not all(type(side) is int and 0 < side <= 1024 for side in sides):
        return None
    if len(sides) == 2:
        return 1, sides[0], sides[1]
    return (sides[0], sides[1], sides[2]) if len(sides) == 3 else None


def _table(data: Any, key: str) -> dict[str, Any]:
    found = data.get(key) if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}


def _first(data: dict[str, Any]) -> dict[str, Any]:
    found: Any = next(iter(data.values()), {})
    return found if isinstance(found, dict) else {}
