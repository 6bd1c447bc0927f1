"""Converting a stack of slices to a pyramid, against three usual ways; each in a process, until all is on the disk.

Run: ``python benchmarks/converting.py --gb 4``; ``--curve`` for the cost over sizes, ``--codecs`` for ways of packing.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from table import print_table, say_json

PLANE = (1024, 1024)  # pixels of a slice; a 4 GB stack has 2048 of them
VOXEL = 5.0  # µm
CHUNK = (64, 64, 64)  # what people give to the usual ways


def make_stack(file: Path, gigabytes: float) -> None:
    """A BigTIFF of noisy slices, uint16: a bright body in dark air, 12 of 16 bits used, as a scanner gives them."""
    import tifffile

    rng, (height, width) = np.random.default_rng(0), PLANE
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    body = np.where(y * y + x * x < 0.4, 1800, 500).astype(np.float32)
    noise = rng.normal(0, 60, (height * 2, width)).astype(np.float32)
    with tifffile.TiffWriter(file, bigtiff=True) as stack:
        for z in range(round(gigabytes * 1e9 / (height * width * 2))):
            start = int(rng.integers(height))
            plane = body + 150 * np.sin(z / 9 + 8 * x) + noise[start : start + height]
            stack.write(
                plane.astype(np.uint16), contiguous=True, resolution=(1e4 / VOXEL, 1e4 / VOXEL), resolutionunit=3
            )
    os.sync()  # or the disk is still busy with it when the clock starts


def ours(stack: Path, target: Path) -> None:
    from napari_medaka_kd.job import drain
    from napari_medaka_kd.workflow.convert import convert

    drain(convert(stack, target, (VOXEL,) * 3))


def ome_zarr_writer(stack: Path, target: Path) -> None:
    import dask.array
    import tifffile
    import zarr
    from ome_zarr.scale import Scaler
    from ome_zarr.writer import write_image

    data = dask.array.from_zarr(tifffile.imread(stack, aszarr=True)).rechunk(CHUNK)
    scale = [{"type": "scale", "scale": [VOXEL] * 3}]
    write_image(
        data,
        zarr.open_group(target, mode="w"),
        axes="zyx",
        scaler=Scaler(max_layer=4),
        coordinate_transformations=[scale] * 5,
        storage_options={"chunks": CHUNK},
    )


def dask_rechunk(stack: Path, target: Path) -> None:
    import dask.array
    import tifffile

    data = dask.array.from_zarr(tifffile.imread(stack, aszarr=True)).rechunk(CHUNK)
    data.to_zarr(str(target), component="0")
    _coarsen(target)


def plain_loop(stack: Path, target: Path) -> None:
    """Slabs of 64 slices into zarr, and its levels by dask.coarsen."""
    import tifffile
    import zarr

    with tifffile.TiffFile(stack) as file:
        series = file.series[0]
        array = zarr.create_array(target / "0", shape=series.shape, chunks=CHUNK, dtype=series.dtype)
        for z in range(0, series.shape[0], CHUNK[0]):
            array[z : z + CHUNK[0]] = file.asarray(key=range(z, min(z + CHUNK[0], series.shape[0])))
    _coarsen(target)


def plain_loop_without_levels(stack: Path, target: Path) -> None:
    import tifffile
    import zarr

    with tifffile.TiffFile(stack) as file:
        series = file.series[0]
        array = zarr.create_array(target / "0", shape=series.shape, chunks=CHUNK, dtype=series.dtype)
        for z in range(0, series.shape[0], CHUNK[0]):
            array[z : z + CHUNK[0]] = file.asarray(key=range(z, min(z + CHUNK[0], series.shape[0])))


def _coarsen(target: Path) -> None:
    import dask.array

    for level in range(1, 5):
        fine = dask.array.from_zarr(str(target), component=str(level - 1))
        coarse = dask.array.coarsen(np.mean, fine, {0: 2, 1: 2, 2: 2}, trim_excess=True).astype(fine.dtype)
        coarse.rechunk(CHUNK).to_zarr(str(target), component=str(level))


def our_levels(source: Path, target: Path) -> None:
    """Levels 1 and on, from the level 0 that lies at ``source``."""
    from napari_medaka_kd.job import drain
    from napari_medaka_kd.volumes.open import open_volume
    from napari_medaka_kd.volumes.pyramid import average, build_levels, plan_levels

    volume = open_volume(source)
    target.mkdir()
    (target / "0").symlink_to(source.resolve() / "0")
    drain(build_levels(target, plan_levels(volume.shape, volume.voxel_size)[:5], average, ""))


def dask_levels(source: Path, target: Path) -> None:
    target.mkdir()
    (target / "0").symlink_to(source.resolve() / "0")
    _coarsen(target)


WAYS = {
    "medaka-kd convert": ours,
    "tifffile → zarr loop, level 0 alone": plain_loop_without_levels,
    "tifffile → zarr loop, dask.coarsen": plain_loop,
    "dask rechunk → zarr, dask.coarsen": dask_rechunk,
    "ome-zarr-py write_image": ome_zarr_writer,
}
LEVELS = {"our levels": our_levels, "dask.coarsen": dask_levels}


def measure(way: str, source: Path, target: Path) -> dict[str, float]:
    """Seconds, and the largest memory, of a process that does it and waits for the disk."""
    command = [sys.executable, __file__, "--child", way, str(source), str(target)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    return {"seconds": float(said[-3]), "cpu": float(said[-2]), "peak_mb": float(said[-1]), "written": float(size)}


def child(way: str, source: Path, target: Path) -> None:
    begun = time.perf_counter()
    (WAYS | LEVELS)[way](source, target)
    subprocess.run(["sync"], check=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(f"{time.perf_counter() - begun} {time.process_time()} {peak}\n")


def compare(ways: dict[str, object], source: Path, rounds: int, size: float) -> None:
    """A table of ``ways``, taken in turns."""
    taken: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            target = source.parent / "out.zarr"
            taken[way].append(measure(way, source, target))
            shutil.rmtree(target)
    first = next(iter(ways))
    seconds = {way: median(run["seconds"] for run in runs) for way, runs in taken.items()}
    rows = [
        [
            way,
            f"{seconds[way]:.1f}",
            f"{size / seconds[way] / 1e6:.0f}",
            f"{max(run['peak_mb'] for run in taken[way]):.0f}",
            f"{taken[way][0]['written'] / 1e9:.2f}",
            f"{seconds[way] / seconds[first]:.1f}",
        ]
        for way in ways
    ]
    print_table(["way", "s", "MB/s", "peak (MB)", "written (GB)", "× the first"], rows)
    say_json(taken)


def curve(folder: Path) -> None:
    rows = []
    for size in (0.5, 1, 2, 4, 8):
        stack = folder / "stack.tif"
        make_stack(stack, size)
        run = measure("medaka-kd convert", stack, folder / "out.zarr")
        shutil.rmtree(folder / "out.zarr")
        plain = disk_alone(folder / "plain", round(run["written"]))
        figures = (run["seconds"], run["seconds"] / size, run["cpu"] / size, plain / size)
        rows.append([f"{size}", *(f"{figure:.2f}" for figure in figures), f"{run['peak_mb']:.0f}"])
    print_table(["GB", "s", "s/GB", "CPU s/GB", "the disk alone, s/GB", "peak (MB)"], rows)


def disk_alone(file: Path, size: int) -> float:
    """Seconds that the disk takes for ``size`` bytes of noise, which are made beforehand."""
    noise, left = os.urandom(2**25), size
    begun = time.perf_counter()
    with file.open("wb") as stream:
        while left > 0:
            left -= stream.write(noise[: min(left, len(noise))])
            stream.flush()
            os.fsync(stream.fileno())
    file.unlink()
    return time.perf_counter() - begun


def codecs(folder: Path) -> None:
    """Level 0 of 0.5 GB, written and read by tensorstore in chunks of 32³, packed in several ways."""
    import tensorstore

    from napari_medaka_kd.volumes.open import open_volume

    make_stack(folder / "stack.tif", 0.5)
    values = open_volume(folder / "stack.tif", (VOXEL,) * 3).read((slice(0, 192), slice(0, 1024), slice(0, 1024)))
    ways = {f"zstd {level}": {"name": "zstd", "configuration": {"level": level}} for level in (1, 3)}
    for name, level, shuffle in (("lz4", 5, "shuffle"), ("lz4", 5, "bitshuffle"), ("zstd", 1, "bitshuffle")):
        blosc = {"cname": name, "clevel": level, "shuffle": shuffle, "typesize": 2, "blocksize": 0}
        ways[f"blosc {name} {level}, {shuffle}"] = {"name": "blosc", "configuration": blosc}
    rows = []
    for way, packing in ways.items():
        little = {"name": "bytes", "configuration": {"endian": "little"}}
        inner = {"chunk_shape": [32] * 3, "codecs": [little, packing, {"name": "crc32c"}]}
        spec = {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": str(folder / "codec.zarr")},
            "metadata": {
                "shape": values.shape,
                "data_type": "uint16",
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [64, 512, 512]}},
                "codecs": [{"name": "sharding_indexed", "configuration": inner}],
            },
        }
        context = tensorstore.Context({"cache_pool": {"total_bytes_limit": 0}})
        times = []
        for _ in range(3):
            store = tensorstore.open(spec, create=True, delete_existing=True, context=context).result()
            begun = time.process_time()
            store.write(values).result()
            written = time.process_time()
            store.read().result()
            times.append((written - begun, time.process_time() - written))
        size = sum(path.stat().st_size for path in (folder / "codec.zarr").rglob("*") if path.is_file())
        write, read = (median(column) for column in zip(*times, strict=True))
        megabytes = values.nbytes / 1e6
        rows.append([way, f"{values.nbytes / size:.2f}", f"{megabytes / write:.0f}", f"{megabytes / read:.0f}"])
    print_table(["packing", "times smaller", "written, MB per CPU second", "read, MB per CPU second"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="these ways alone")
    parser.add_argument("--levels", action="store_true", help="the pyramid alone")
    parser.add_argument("--curve", action="store_true")
    parser.add_argument("--codecs", action="store_true")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child[0], Path(asked.child[1]), Path(asked.child[2]))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if asked.curve or asked.codecs:
            (curve if asked.curve else codecs)(folder)
            return
        stack = folder / "stack.tif"
        make_stack(stack, asked.gb)
        if asked.levels:
            measure("medaka-kd convert", stack, folder / "scan.ome.zarr")
            compare(LEVELS, folder / "scan.ome.zarr", asked.rounds, asked.gb * 1e9)
            return
        ways = {way: made for way, made in WAYS.items() if not asked.only or way in asked.only}
        compare(ways, stack, asked.rounds, asked.gb * 1e9)


if __name__ == "__main__":
    main()
