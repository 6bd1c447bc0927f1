"""Units of length, as file formats spell them, in µm."""

from __future__ import annotations

_UM = {
    "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3,
    "um": 1.0, "µm": 1.0, "μm": 1.0, "micron": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3,
    "cm": 1e4, "centimeter": 1e4, "centimetre": 1e4,
    "m": 1e6, "meter": 1e6, "metre": 1e6,
    "inch": 25_400.0, "in": 25_400.0,
    "angstrom": 1e-4, "å": 1e-4, "pm": 1e-6, "picometer": 1e-6, "dm": 1e5, "decimeter": 1e5,
}  # fmt: skip


def micrometres(unit: str) -> float | None:
    """How many µm one ``unit`` is; ``None`` where that is not a length that anyone knows."""
    name = unit.strip().lower().replace("\\u00b5", "µ")
    return _UM.get(name, _UM.get(name.removesuffix("s")))
