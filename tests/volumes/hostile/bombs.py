"""Packed data that says little and becomes much: 1 GiB of zeros, as each codec of ours would unpack it."""

from __future__ import annotations

import bz2
import struct
import zlib
from functools import cache

BYTES = 2**30
_BLOCK = 2**20


@cache
def gzip_bomb(start: bytes = b"") -> bytes:
    """``start``, then zeros."""
    packer = zlib.compressobj(9, wbits=31)
    first = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(_BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + zeros * (BYTES // _BLOCK) + packer.flush()


@cache
def zlib_bomb() -> bytes:
    packer = zlib.compressobj(9)
    first = packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(_BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + zeros * (BYTES // _BLOCK) + packer.flush()


@cache
def bzip2_bomb() -> bytes:
    """Streams that follow each other are one."""
    return bz2.compress(bytes(64 * _BLOCK)) * (BYTES // _BLOCK // 64)


@cache
def zstd_bomb(states_its_size: bool = True) -> bytes:
    """One frame of run-length blocks (RFC 8878, 3.1.1)."""
    block = 2**17
    head = struct.pack("<IB", 0xFD2FB528, 0xC0 if states_its_size else 0) + bytes([0x38])  # window of 128 KiB
    run = struct.pack("<I", block << 3 | 1 << 1)[:3] + b"\0"
    last = struct.pack("<I", block << 3 | 1 << 1 | 1)[:3] + b"\0"
    size = struct.pack("<Q", BYTES) if states_its_size else b""
    return head + size + run * (BYTES // block - 1) + last


@cache
def blosc_bomb() -> bytes:
    import numpy as np
    from numcodecs import Blosc

    return bytes(Blosc("zstd", 9).encode(np.zeros(BYTES, np.uint8)))


@cache
def blosc_boast() -> bytes:
    """A small chunk whose header claims 1 GiB."""
    from numcodecs import Blosc

    chunk = bytearray(Blosc("lz4").encode(bytes(2**15)))
    chunk[4:8] = struct.pack("<I", BYTES)
    return bytes(chunk)


def bomb_like(data: bytes, seed: int) -> bytes:
    """A bomb of the codec that ``data`` is packed by, as far as its first bytes tell; else one of blosc."""
    if data[:2] == b"\x1f\x8b":
        return gzip_bomb()
    if data[:4] == b"\x28\xb5\x2f\xfd":
        return zstd_bomb(bool(seed % 2))
    if data[:1] == b"\x78":
        return zlib_bomb()
    return blosc_bomb() if seed % 2 else blosc_boast()
