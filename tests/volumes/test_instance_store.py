"""Things that overlap, in the store of their scan: nothing is lost, and napari gets a layer for each label map."""

import numpy as np
import pytest

from napari_medaka_kd.exchange.stores import store_layers
from napari_medaka_kd.job import drain
from napari_medaka_kd.volumes.instance_store import layer_names, open_instances, save_instances
from napari_medaka_kd.volumes.instances import from_stack
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Volume


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "scan.ome.zarr"
    drain(save_volume(Volume((np.zeros((5, 20, 24), np.uint16),), (10.0, 10.0, 10.0), "scan"), path))
    return path


def boxes(*corners):
    masks = np.zeros((len(corners), 5, 20, 24), bool)
    for mask, (y, x) in zip(masks, corners, strict=True):
        mask[1:4, y : y + 8, x : x + 8] = True
    return masks


def test_what_overlaps_is_kept_and_napari_shows_every_layer(store):
    masks = boxes((0, 0), (4, 4), (8, 8), (0, 14))
    assert drain(save_instances(from_stack(masks), store, "cells")) == ("cells-overlap-1", "cells-overlap-2")
    for mask, thing in zip(masks, open_instances(store, "cells"), strict=True):
        wanted = np.zeros_like(mask)
        wanted[thing.box] = thing.mask
        np.testing.assert_array_equal(wanted, mask)
    shown = [layer for layer in store_layers(store) if layer[2] == "labels"]
    assert sorted(words["name"] for _, words, _ in shown) == ["scan cells-overlap-1", "scan cells-overlap-2"]


def test_a_later_result_with_fewer_layers_leaves_none_of_the_former(store):
    drain(save_instances(from_stack(boxes((0, 0), (4, 4))), store, "cells"))
    drain(save_instances(from_stack(boxes((2, 2))), store, "cells"))
    assert len(layer_names(store, "cells")) == 2
    assert len(open_instances(store, "cells")) == 1
    drain(save_instances((), store, "none"))
    assert open_instances(store, "none") == ()
    assert open_instances(store, "never") == ()
