"""Opening a pyramid of 2000×2000×4000 voxels and looking at slices of it: ours, plain dask, napari-ome-zarr.

Run: ``python benchmarks/opening.py``. Each way is a process of its own, in turns; the files lie in the system's cache.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parent))
from table import print_table, say_json

SHAPE, VOXEL = (2000, 2000, 4000), (5.0, 5.0, 5.0)
VIEW = 1024  # pixels that a canvas shows, each way
FIGURES = {
    "open": "open (ms)",
    "memory": "memory (MB)",
    "read": "read by opening (MB)",
    "first": "first z (ms)",
    "next": "next z (ms)",
    "far": "far z (ms)",
    "xz": "XZ (ms)",
    "yz": "YZ (ms)",
}


def make_pyramid(folder: Path) -> None:
    """A pyramid of full size whose shards all are the same few files: it takes a second, and no room."""
    from napari_medaka_kd.volumes.conversion import _lay_out_levels as lay_out_levels
    from napari_medaka_kd.volumes.pyramid import plan_levels, write_image_group
    from napari_medaka_kd.volumes.store_array import block_file, create_array, write_block
    from napari_medaka_kd.volumes.volume import extent

    levels = plan_levels(SHAPE, VOXEL)
    random = np.random.default_rng(0)
    for number, layout in enumerate(lay_out_levels(levels, np.dtype(np.uint16))):
        store = create_array(folder / str(number), layout)
        made: dict[tuple[int, ...], Path] = {}
        for region in layout.blocks:
            file, size = block_file(folder / str(number), layout, region), extent(region)
            if size in made:
                file.parent.mkdir(parents=True, exist_ok=True)
                os.link(made[size], file)
            else:
                write_block(store, region, random.normal(2000, 60, size).astype(np.uint16))
                made[size] = file
    write_image_group(folder, levels, {"name": "big", "type": "mean", "voxel_size": VOXEL}, {})


def open_ours(folder: Path) -> list[Any]:
    from napari_medaka_kd.volumes.open import open_volume

    return list(open_volume(folder).levels)


def open_dask(folder: Path) -> list[Any]:
    import dask.array

    count = sum(1 for place in folder.iterdir() if place.is_dir())
    return [dask.array.from_zarr(str(folder), component=str(level)) for level in range(count)]


def open_napari_ome_zarr(folder: Path) -> list[Any]:
    from napari_ome_zarr import napari_get_reader

    reader = napari_get_reader(str(folder))
    ((data, *_), *_) = reader(str(folder))
    return list(data)


WAYS = {"medaka-kd": open_ours, "dask.array.from_zarr": open_dask, "napari-ome-zarr": open_napari_ome_zarr}


def child(way: str, folder: Path) -> None:
    """Print the figures of one way as JSON; what it imports is loaded, and the disk's cache warm, before."""
    from napari.layers import Image

    warm_up(WAYS[way], folder)
    process = psutil.Process()
    before, read_before = process.memory_info().rss, read_bytes()
    begun = time.perf_counter()
    levels = WAYS[way](folder)
    layer = Image(levels, multiscale=True, contrast_limits=(0, 4000), scale=VOXEL, visible=False)
    opened = time.perf_counter() - begun
    told = {"open": 1e3 * opened, "memory": (process.memory_info().rss - before) / 2**20}
    told["read"] = (read_bytes() - read_before) / 2**20
    array = layer.data[0]
    middle = [slice((size - VIEW) // 2, (size + VIEW) // 2) for size in SHAPE]
    z, y, x = middle
    for figure, index in {
        "first": (1000, y, x),
        "next": (1001, y, x),
        "far": (310, y, x),
        "xz": (z, 1000, x),
        "yz": (z, y, 2000),
    }.items():
        begun = time.perf_counter()
        assert math.prod(np.asarray(array[index]).shape) == VIEW**2
        told[figure] = 1e3 * (time.perf_counter() - begun)
    sys.stdout.write(json.dumps(told) + "\n")


def warm_up(opener: Any, folder: Path) -> None:
    """Load the libraries, on the coarsest level and a layer of its own."""
    from napari.layers import Image

    coarsest = np.asarray(opener(folder)[-1])
    Image([coarsest, coarsest[::2, ::2, ::2]], multiscale=True, contrast_limits=(0, 4000), visible=False)


def read_bytes() -> int:
    """Bytes that this process has asked the system for."""
    return int(psutil.Process().io_counters().read_chars)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child[0], Path(asked.child[1]))
        return
    ways = [way for way in WAYS if way != "napari-ome-zarr" or importlib.util.find_spec("napari_ome_zarr")]
    taken: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "big.ome.zarr"
        make_pyramid(folder)
        for _ in range(asked.rounds):
            for way in ways:
                command = [sys.executable, __file__, "--child", way, str(folder)]
                said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                taken[way].append(json.loads(said.splitlines()[-1]))
    medians = {way: {name: median(run[name] for run in runs) for name in FIGURES} for way, runs in taken.items()}
    rows = [[way, *(f"{medians[way][name]:.3g}" for name in FIGURES)] for way in ways]
    print_table(["way", *FIGURES.values()], rows)
    say_json(medians)


if __name__ == "__main__":
    main()
