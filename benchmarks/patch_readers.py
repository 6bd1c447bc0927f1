"""The readers that benchmarks/patches.py compares: each gives patches for ever, as (float32 image, uint8 labels)."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import zarr

from napari_medaka_kd.volumes import store_array
from napari_medaka_kd.volumes.body import Body
from napari_medaka_kd.volumes.label_store import open_saved_labels
from napari_medaka_kd.volumes.labels import LabelSchema
from napari_medaka_kd.volumes.open import open_store
from napari_medaka_kd.volumes.organ_index import index_of
from napari_medaka_kd.volumes.patches import Pair, PatchReader, Recipe, draw_regions
from napari_medaka_kd.volumes.volume import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

SCHEMA = LabelSchema.from_names([f"organ {number}" for number in range(1, 9)])
FOREGROUND = 0.7
ROWS = 4  # patches a step
VISIT = 8  # patches that the libraries that load whole volumes take of each
WORKERS = 2  # processes; one a core


def ours(folder: Path, size: int, budget: int, patches_per_block: int = 1) -> Iterator[Any]:
    """Half of the budget holds decoded chunks, a quarter what is read ahead; the rest is for what is on the way."""
    store_array.CACHE_BYTES = budget // 2
    recipe = Recipe((size,) * 3, ROWS, FOREGROUND, patches_per_block)
    for batch in PatchReader(_pairs(folder), recipe, (0,), budget // 4).play(0):
        for patch in batch:
            yield np.array(patch.image, np.float32), np.array(patch.labels)


def zarr_python(folder: Path, size: int, budget: int, seed: int = 0) -> Iterator[Any]:
    """The same places, each read by itself; drawing them costs this arm next to nothing."""
    pairs, rng, recipe = _pairs(folder), np.random.default_rng(seed), Recipe((size,) * 3, 1, FOREGROUND)
    arrays = [(zarr.open_array(image, mode="r"), zarr.open_array(labels, mode="r")) for image, labels in _paths(folder)]
    while True:
        number = int(rng.integers(len(pairs)))
        (region,) = draw_regions(pairs[number], recipe, rng)
        image, labels = arrays[number]
        yield np.asarray(image[region]).astype(np.float32), np.asarray(labels[region])


class _Endless(torch.utils.data.IterableDataset[Any]):
    def __init__(self, *asked: Any) -> None:
        self.asked = asked

    def __iter__(self) -> Iterator[Any]:
        return zarr_python(*self.asked, seed=os.getpid())


def zarr_python_workers(folder: Path, size: int, budget: int) -> Iterator[Any]:
    """The same, in two processes of a DataLoader."""
    return iter(torch.utils.data.DataLoader(_Endless(folder, size, budget), batch_size=None, num_workers=WORKERS))


def monai_persistent(folder: Path, size: int, budget: int) -> Iterator[Any]:
    from monai.data import PersistentDataset

    dataset = PersistentDataset(_items(folder), _monai_steps(size), cache_dir=folder / "monai")
    for number in range(len(dataset)):
        dataset[number]  # fills the cache on the disk
    return _monai_patches(dataset)


def monai_cache(folder: Path, size: int, budget: int) -> Iterator[Any]:
    """As many volumes in memory as the budget holds; the others are read again for each visit."""
    from monai.data import CacheDataset

    room = budget // (5 * zarr.open_array(_paths(folder)[0][0], mode="r").size)  # float32 and uint8
    dataset = CacheDataset(_items(folder), _monai_steps(size), cache_num=room, copy_cache=False, progress=False)
    return _monai_patches(dataset)


def torchio_label(folder: Path, size: int, budget: int) -> Iterator[Any]:
    import torchio

    shares = {0: 1 - FOREGROUND} | dict.fromkeys(SCHEMA.ids, FOREGROUND / len(SCHEMA.ids))
    return _torchio_patches(folder, torchio.LabelSampler(size, "labels", shares))


def torchio_uniform(folder: Path, size: int, budget: int) -> Iterator[Any]:
    import torchio

    return _torchio_patches(folder, torchio.UniformSampler(size))


READERS: dict[str, Callable[[Path, int, int], Iterator[Any]]] = {
    "ours": ours,
    "ours, 4 patches a block": lambda *asked: ours(*asked, patches_per_block=4),
    "ours, 8 patches a block": lambda *asked: ours(*asked, patches_per_block=8),
    "zarr-python": zarr_python,
    "zarr-python, 2 processes": zarr_python_workers,
    "MONAI PersistentDataset": monai_persistent,
    "MONAI CacheDataset": monai_cache,
    "TorchIO Queue, LabelSampler": torchio_label,
    "TorchIO Queue, UniformSampler": torchio_uniform,
}


def _paths(folder: Path) -> list[tuple[Path, Path]]:
    """Level 0 of each (scan, label map)."""
    stores = sorted(folder.glob("*.ome.zarr"))
    return [(store / "0", store / "labels" / "manual.1" / "0") for store in stores]


def _pairs(folder: Path) -> Sequence[Pair]:
    pairs = []
    for store in sorted(folder.glob("*.ome.zarr")):
        image, labels = open_store(store), open_saved_labels(store, "manual", SCHEMA)
        box = whole(image.shape)
        pairs.append(
            Pair(image.levels[0], labels.volume.levels[0], index_of(labels), SCHEMA.ids, Body(box, (0.0, 1.0)))
        )
    return pairs


def _items(folder: Path) -> list[dict[str, str]]:
    return [{"image": str(image), "labels": str(labels)} for image, labels in _paths(folder)]


def _load(path: str) -> torch.Tensor:
    """A whole array, (1, z, y, x): float32, or uint8 where it holds labels."""
    values = np.asarray(zarr.open_array(path, mode="r")[:])
    return torch.from_numpy(values if values.dtype == np.uint8 else values.astype(np.float32))[None]


def _load_placed(path: Any) -> tuple[torch.Tensor, Any]:
    return _load(str(path)), np.eye(4)


def _monai_steps(size: int) -> Any:
    from monai.data import set_track_meta
    from monai.transforms import Compose, Lambdad, RandCropByPosNegLabeld

    set_track_meta(False)
    crop = RandCropByPosNegLabeld(
        ["image", "labels"], "labels", size, pos=FOREGROUND, neg=1 - FOREGROUND, num_samples=VISIT
    )
    return Compose([Lambdad(["image", "labels"], _load), crop])


def _monai_patches(dataset: Any) -> Iterator[Any]:
    from monai.data import DataLoader

    visits = torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=10**6)
    for batch in DataLoader(dataset, batch_size=1, sampler=visits, num_workers=WORKERS):
        yield from zip(batch["image"], batch["labels"], strict=True)


def _torchio_patches(folder: Path, sampler: Any) -> Iterator[Any]:
    import torchio

    subjects = [
        torchio.Subject(
            image=torchio.ScalarImage(image, reader=_load_placed), labels=torchio.LabelMap(labels, reader=_load_placed)
        )
        for image, labels in _paths(folder)
    ]
    queue = torchio.Queue(torchio.SubjectsDataset(subjects), VISIT * len(subjects), VISIT, sampler, num_workers=WORKERS)
    for _ in itertools.count():
        for batch in torchio.SubjectsLoader(queue, batch_size=ROWS):
            yield from zip(batch["image"]["data"], batch["labels"]["data"], strict=True)
