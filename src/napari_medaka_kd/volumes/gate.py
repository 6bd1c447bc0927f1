"""The gate: what a scan or a label map must be like before anything else touches it."""

from __future__ import annotations

import math
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from napari_medaka_kd.errors import InvalidVolume, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from .labels import LabelSchema

#: More voxels than any scanner makes (1 TiVoxel); a header that asks for more is damaged.
LARGEST = 2**40
_MOST_CHUNKS, _CHUNK_BYTES = 10**7, 2**30
#: What tensorstore says of itself before and after its reasons.
_INSIDES = re.compile(r"^[A-Z_]+: | \[(source locations|tensorstore_spec)=.*")
_WORDS: dict[type[Exception], str] = {
    KeyError: "{} is missing",
    RecursionError: "it is nested too deeply",
    MemoryError: "it asks for more memory than there is",
    UnicodeError: "it holds letters that are none",
}
_CHECK_FILE = "Check that the file is complete, or export it again."


def check_header(shape: Sequence[int], dtype: Any, voxel_size: Sequence[float], name: str) -> None:
    """Refuse what cannot be a scan, from its header alone.

    Parameters
    ----------
    shape, voxel_size
        (z, y, x), voxels and µm.
    name
        What the sentence calls it: a path, for the most part.

    Raises
    ------
    InvalidVolume
        If it is not 3-D, empty, larger than 2⁴⁰ voxels, not of real numbers, or its voxel size is not positive.
    """
    _check_shape(tuple(shape), name)
    _check_dtype(dtype, name)
    if len(voxel_size) != 3 or not all(math.isfinite(size) and size > 0 for size in voxel_size):
        raise InvalidVolume(
            f"{name!r} says that a voxel measures {_numbers(voxel_size)} µm.",
            "Every side must be a number above 0: mend the file, or give the voxel size.",
        )


def check_intensities(block: npt.NDArray[Any], name: str = "") -> None:
    """Refuse a block that holds NaN or infinity.

    Raises
    ------
    InvalidVolume
        With the number of such voxels.
    """
    with np.errstate(all="ignore"):
        if block.dtype.kind != "f" or math.isfinite(float(np.sum(block, dtype=np.float64))):
            return
    bad = int(block.size - np.count_nonzero(np.isfinite(block)))
    if bad:
        raise InvalidVolume(
            f"{name or 'The scan'!r} holds intensities that are not numbers (NaN or infinite): {bad} in one block.",
            "Replace them, for instance by the intensity of air, and try again.",
        )


def check_ids(block: npt.NDArray[Any], schema: LabelSchema, name: str = "") -> None:
    """Refuse a block of labels with an id that ``schema`` lacks (0, background, is always known).

    Raises
    ------
    InvalidVolume
        Quoting up to ten of the unknown ids.
    """
    known = {0, *schema.ids}
    unknown = [value for value in _distinct(block) if value not in known]
    if unknown:
        quoted = ", ".join(f"{value:g}" for value in unknown[:10]) + (", …" if len(unknown) > 10 else "")
        raise InvalidVolume(
            f"{name or 'The label map'!r} holds ids that name no organ: {quoted}.",
            f"The organs of this project have the ids {', '.join(map(str, schema.ids))}: add the organ, or relabel.",
        )


def check_chunk(chunk: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse chunks that nobody could unpack, with a ValueError: more than 1 GiB each."""
    if math.prod(chunk) * dtype.itemsize > _CHUNK_BYTES:
        raise ValueError(f"its chunks of {chunk} take more than 1 GiB each")


def check_grid(shape: tuple[int, ...], chunk: tuple[int, ...], what: str) -> None:
    """Refuse ``what`` if it is cut into more than 10⁷ chunks, or does not fit them, with a ValueError."""
    if len(shape) != len(chunk):
        raise ValueError(f"{what} has {len(shape)} axes but chunks of {len(chunk)}")
    if math.prod(-(-size // step) for size, step in zip(shape, chunk, strict=True)) > _MOST_CHUNKS:
        raise ValueError(f"{what} claims to be {shape} voxels in chunks of {chunk}")


@contextmanager
def refusing(name: str, remedy: str = _CHECK_FILE) -> Iterator[None]:
    """Turn whatever a parser of foreign bytes throws into one :class:`InvalidVolume` that names the file.

    Parsers fail in any way (struct.error, KeyError, RecursionError, zlib.error, MemoryError …), so all are caught.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise InvalidVolume(f"{name!r} cannot be read: {_reason(error)}.", remedy) from error


def _reason(error: Exception) -> str:
    """One line without a full stop."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"at {'/'.join(map(str, first['loc'])) or 'its top'}: {first['msg']}"[:300]
    for kind, words in _WORDS.items():
        if isinstance(error, kind):
            return words.format(error)
    return (_INSIDES.sub("", " ".join(str(error).split()))[:300] or type(error).__name__).rstrip(".")


def _check_shape(shape: tuple[int, ...], name: str) -> None:
    if len(shape) == 2 or (len(shape) == 3 and sorted(shape)[0] == 1 < sorted(shape)[1]):
        raise InvalidVolume(
            f"{name!r} is a 2-D image of {_numbers(shape)} pixels, not a volume.",
            "Give a stack, or the folder that holds all slices.",
        )
    if len(shape) != 3:
        raise InvalidVolume(
            f"{name!r} has {len(shape)} axes ({_numbers(shape)}).", "Export one channel and one time point: z, y, x."
        )
    if min(shape) < 1 or math.prod(shape) > LARGEST:
        raise InvalidVolume(f"{name!r} claims to hold {_numbers(shape)} voxels.", _CHECK_FILE)


def _check_dtype(dtype: Any, name: str) -> None:
    with refusing(name):
        kind = np.dtype(dtype)
    if kind.kind not in "biuf" or kind.itemsize > 8:
        raise InvalidVolume(
            f"{name!r} holds values of type {str(kind)!r}.", "Export it as integers or as 32-bit floating point."
        )


def _distinct(block: npt.NDArray[Any]) -> list[float]:
    """The values in ``block``, rising; small integers are counted, which is far faster than sorting."""
    if block.size and block.dtype.kind in "biu" and block.min() >= 0 and block.max() < 2**16:
        there = np.zeros(2**16, bool)
        for part in block:  # or an index of eight bytes is made for each voxel
            there[part] = True
        return [float(value) for value in np.flatnonzero(there)]
    return [float(value) for value in np.unique(block)]


def _numbers(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
