"""Ways to spoil a valid volume on disk, each drawn from a seeded generator; every file of it is within reach."""

from __future__ import annotations

import json
import math
import os
import pickle
import re
import shutil
import struct
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bombs import bomb_like, bzip2_bomb, gzip_bomb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from random import Random

    #: Spoils the volume at a path; the second path is the same volume, outside, that must never be read.
    Mutate = Callable[[Random, Path, Path], None]

CANARY = "canary"  # a file of this name, where the inputs are, appears only if something of theirs was run
_HEAD = 400  # bytes, in which headers have most of their fields
_FAR = 3 * 2**30

_NUMBERS = (0, 1, -1, 2, 7, 127, 255, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, -(2**31))
_REALS = (math.nan, math.inf, -math.inf, 0.0, -1.0, 1e308, 1e-320, 3.5)
_TEXTS = (
    "-1", "0", "0.0", "-0.5", "NaN", "inf", "-inf", "1e400", "9" * 5000, "1099511627776", "65536 65536 65536", "",
    "A" * 100_000, "../", "../../secret", "/etc/passwd", "/dev/zero", "C:\\secret", "\\\\host\\share", "..\\secret",
    "%2e%2e/secret", "\x00", "\n\n", "null", "true", "[]", "{}", "[" * 5000, "{" * 5000, "\U0001d7d8", "\ud7ff",
    "|O", "O", "object", "complex64", "(1000000000,)u1", "<U1000000000", ">f8", "bit", "block",
    "__import__('os').system('touch canary')", "$(touch canary)", "file:///etc/passwd", "http://127.0.0.1:9/x",
    "&lol;", "<!ENTITY a SYSTEM 'file:///etc/passwd'>", "LIST", "data%03d.raw 0 100000000 1",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    *_NUMBERS, *_REALS, *_TEXTS, None, True, [], {}, [[]], [0, 0, 0], [-1, 4, 4], [10**9] * 3, [1, 1, 1],
    [1024, 1024, 1024], [2**20, 2**20, 1], [4, 4], [4] * 40, ["a"] * 3, [math.nan] * 3, {"name": "numcodecs.pickle"},
    [{"id": "pickle"}], {"id": "pickle"}, {"id": "blosc"}, {"id": "zstd", "level": 99}, [{"name": "bytes"}] * 9,
    {"name": "sharding_indexed"}, "numcodecs.json2", 10**400, "\U0001f41f" * 50,
)  # fmt: skip


class _Gadget:
    """What a pickle may do when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {CANARY}",)


def flip_bits(rng: Random, path: Path, secret: Path) -> None:
    file, data = _some(rng, path)
    end = min(len(data), _HEAD) if rng.random() < 0.7 else len(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        if end:
            data[rng.randrange(end)] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


def place_number(rng: Random, path: Path, secret: Path) -> None:
    file, data = _some(rng, path)
    kind = rng.choice("bBhHiIqQfd")
    value: float = rng.choice(_REALS) if kind in "fd" else rng.choice(_NUMBERS)
    order = rng.choice("<>")
    try:
        packed = struct.pack(order + kind, value)
    except (struct.error, OverflowError):
        packed = (
            struct.pack(order + "Q", int(value) % 2**64)[: struct.calcsize(kind)] if kind not in "fd" else b"\xff" * 4
        )
    at = rng.randrange(max(1, min(len(data), _HEAD) // 2)) * 2
    data[at : at + len(packed)] = packed
    file.write_bytes(data)


def place_text(rng: Random, path: Path, secret: Path) -> None:
    """Put words in the place of a number, a word or a line of a header."""
    file, data = _some(rng, path)
    pattern = rng.choice((rb"-?\d+(\.\d+)?", rb"[A-Za-z_][A-Za-z_ -]*", rb"[^\n]*\n"))
    found = [match for match in re.finditer(pattern, bytes(data[:4096])) if match.group()]
    words = rng.choice((*_TEXTS, *[_way(path, secret, rng) for _ in range(5)])).encode("utf-8", "replace")
    if found:
        match = rng.choice(found)
        data[match.start() : match.end()] = words + (b"\n" if match.group().endswith(b"\n") else b"")
    file.write_bytes(data)


def change_json(rng: Random, path: Path, secret: Path) -> None:
    """Put anything in any place of the metadata; a format without JSON gets words instead."""
    files = [file for file in _files(path) if file.name in ("zarr.json", ".zarray", ".zattrs", ".zgroup")]
    if not files:
        place_text(rng, path, secret)
        return
    file = rng.choice(files)
    document = json.loads(_head(file))
    places = [place for place in _places(document) if place]
    target, key = document, rng.choice(places)
    for part in key[:-1]:
        target = target[part]
    if isinstance(target, dict) and rng.random() < 0.15:
        del target[key[-1]]
    else:
        target[key[-1]] = rng.choice((*_VALUES, *[_way(path, secret, rng) for _ in range(5)]))
    file.write_text(json.dumps(document))


def nest(rng: Random, path: Path, secret: Path) -> None:
    file, data = _some(rng, path)
    opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"<a>", b"</a>")))
    deep = rng.choice((50, 900, 100_000))
    file.write_bytes(opening * deep + bytes(data[:100]) + closing * deep)


def cut(rng: Random, path: Path, secret: Path) -> None:
    file, data = _some(rng, path)
    os.truncate(file, rng.choice((0, 1, 3, len(data) // 2, max(0, len(data) - 1), rng.randrange(len(data) + 1))))


def grow(rng: Random, path: Path, secret: Path) -> None:
    """3 GiB that take no room on the disk."""
    file, data = _some(rng, path)
    if rng.random() < 0.5:
        file.write_bytes(b"")
    os.truncate(file, len(data) + rng.choice((1, 100_000, _FAR)))


def shift(rng: Random, path: Path, secret: Path) -> None:
    file, data = _some(rng, path)
    at, many = rng.randrange(len(data) + 1), rng.randrange(1, 40)
    if rng.random() < 0.5:
        del data[at : at + many]
    else:
        data[at:at] = rng.randbytes(many)
    file.write_bytes(data)


def replace_content(rng: Random, path: Path, secret: Path) -> None:
    file, data = _some(rng, path)
    other = _head(rng.choice(_files(path)))
    pickled = pickle.dumps(_Gadget(), rng.choice((0, 2, 4)))
    junk = rng.randbytes(500)
    numpy_pickle = (
        b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(128) + pickled
    )
    file.write_bytes(
        rng.choice((other, pickled, junk, bytes(data[:16]) + junk, bytes(data[:352]) + pickled, numpy_pickle))
    )


def remove(rng: Random, path: Path, secret: Path) -> None:
    rng.choice(_files(path)).unlink()


def lead_out(rng: Random, path: Path, secret: Path) -> None:
    """A link from a file or a folder of the volume to the same one of the secret volume, or to a device.

    A scan that is one file, or a slice, may be a link: whoever opens it has chosen it.
    """
    inside = _files(path)[1:] if path.is_file() else sorted(path.rglob("*")) if (path / "0").exists() else []
    if not inside:
        make_odd(rng, path, secret)
        return
    place = rng.choice(inside)
    target = secret.parent / place.relative_to(path.parent)
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
        target = target if rng.random() < 0.8 else type(path)("/dev/zero")
    place.symlink_to(target)


def make_odd(rng: Random, path: Path, secret: Path) -> None:
    """A folder or a pipe in the place of a file."""
    file = rng.choice(_files(path))
    file.unlink()
    if rng.random() < 0.5:
        file.mkdir()
    else:
        os.mkfifo(file)


def plant_bomb(rng: Random, path: Path, secret: Path) -> None:
    """Packed voxels become 1 GiB of zeros."""
    files = [file for file in _files(path) if file.suffix != ".json" and not file.name.startswith(".")]
    if not files:
        return
    file, seed = rng.choice(files), rng.randrange(2)
    data = _head(file)
    if path.is_dir():
        for each in files:
            each.write_bytes(bomb_like(_head(each), seed))
    elif file.name.endswith(".gz"):
        import gzip

        header = bytearray(gzip.decompress(data)[:352])
        struct.pack_into("<3h", header, 42, *rng.choice(((12, 10, 6), (1024, 1024, 1023), (32767, 32767, 1000))))
        struct.pack_into("<f", header, 108, rng.choice((352.0, 352.0, 2.0**29, 2.0**60)))
        file.write_bytes(gzip_bomb(bytes(header)))
    else:
        text, _, _ = data.partition(b"\n\n")
        sizes = rng.choice((b"12 10 6", b"1024 1024 1023", b"65536 65536 128"))
        packed = bzip2_bomb() if b"bz" in text else gzip_bomb()
        file.write_bytes(re.sub(rb"sizes: [\d ]+", b"sizes: " + sizes, text) + b"\n\n" + packed)


MUTATIONS: tuple[tuple[Mutate, int], ...] = (
    (flip_bits, 24),
    (place_number, 16),
    (place_text, 14),
    (change_json, 24),
    (nest, 3),
    (cut, 6),
    (grow, 4),
    (shift, 5),
    (replace_content, 6),
    (remove, 2),
    (lead_out, 5),
    (make_odd, 3),
    (plant_bomb, 4),
)


#: What the second way may meet after the first: JSON and gzip that are none any more.
_SPOILED_ALREADY = (ValueError, IndexError, RecursionError, OSError, EOFError, zlib.error, struct.error)


def spoil(rng: Random, path: Path, secret: Path, turn: int) -> str:
    """Spoil the volume at ``path``; how, in words. The first turns take each way once, later ones one or two."""
    mutations, weights = zip(*MUTATIONS, strict=True)
    chosen = rng.choices(mutations, weights, k=rng.choice((1, 1, 1, 2)))
    if turn < len(mutations):
        chosen = [mutations[turn]]
    for mutate in chosen:
        if _files(path):
            with suppress(*_SPOILED_ALREADY):
                mutate(rng, path, secret)
    return " and ".join(mutate.__name__ for mutate in chosen)


def _files(path: Path) -> list[Path]:
    """The plain files of a volume; metadata stands several times, as that is where decisions are made."""
    if not path.is_dir():
        return [file for file in sorted(path.parent.iterdir()) if file.is_file() and not file.is_symlink()]
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    metadata = [file for file in files if file.suffix == ".json" or file.name.startswith(".z")]
    return files + metadata * max(1, len(files) // (2 * len(metadata) + 1))


def _way(path: Path, secret: Path, rng: Random) -> str:
    """A path that leads from the volume to something of the secret one."""
    there = sorted(secret.rglob("*")) if secret.is_dir() else sorted(secret.parent.iterdir())
    return os.path.relpath(rng.choice(there), path if path.is_dir() else path.parent)


def _some(rng: Random, path: Path) -> tuple[Path, bytearray]:
    file = rng.choice(_files(path))
    return file, bytearray(_head(file))


def _head(file: Path) -> bytes:
    """Its first MiB; it may have grown."""
    with file.open("rb") as opened:
        return opened.read(2**20)


def _places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield from _places(value, (*path, key))
