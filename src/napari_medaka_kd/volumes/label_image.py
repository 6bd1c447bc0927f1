"""A label map on its own, without the scan that it was drawn on: an OME-Zarr label image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_medaka_kd.job import Progress

from .gate import check_header, check_ids
from .label_generation import describe_labels
from .pyramid import build_levels, plan_levels, stride, write_image_group
from .save import appearing
from .store_array import LABEL_SHARD, create_array, lay_out, write_block

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medaka_kd.job import Job

    from .labels import LabelMap
    from .volume import Triple


def save_label_image(labels: LabelMap, path: Path, origin: Triple) -> Job[None]:
    """Write ``labels`` as an OME-Zarr 0.5 label image at ``path``, with names, colours and a strided pyramid.

    It is there wholly or not at all; one block of 16.8 M voxels is in memory at a time.

    Parameters
    ----------
    origin
        Centre of the first voxel, (z, y, x), µm.

    Raises
    ------
    UserError
        If ``path`` exists, or the disk is too full.
    InvalidVolume
        If it cannot be a label map, or holds an id that its schema lacks.
    """
    volume, dtype = labels.volume, labels.schema.dtype
    check_header(volume.shape, volume.dtype, volume.voxel_size, volume.name or str(path))
    levels = plan_levels(volume.shape, volume.voxel_size)
    with appearing(path, sum(math.prod(level.shape) for level in levels) * dtype.itemsize) as partial:
        layout = lay_out(volume.shape, dtype, LABEL_SHARD)
        store = create_array(partial / "0", layout)
        for done, region in enumerate(layout.blocks):
            yield Progress(f"Saving {volume.name}", done, len(layout.blocks))
            block = volume.read(region)
            check_ids(block, labels.schema, volume.name)
            write_block(store, region, block.astype(dtype, copy=False))
        yield from build_levels(partial, levels, stride, f"Saving {volume.name}")
        legend = {key: told for key, told in describe_labels(labels.schema).items() if key != "source"}
        place = {"voxel_size": volume.voxel_size, "origin": origin}
        write_image_group(partial, levels, {"name": volume.name, "type": "stride", **place}, {"image-label": legend})
        yield Progress("Waiting for the disk", 0, 0)
