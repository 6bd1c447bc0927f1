"""Soft labels on the disk: how large they are, how near to what the teacher says, and how fast against asking it again.

python benchmarks/soft_labels.py --edge 160 --steps 300

A small 3-D teacher is trained on one made-up fish and segments another one. ``--weights FILE`` takes a trained network
of the default looks instead of training one.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from table import print_table, say_json
from torch import Tensor, nn

from napari_medaka_kd.demo_settings import PhantomSettings
from napari_medaka_kd.distil import augment
from napari_medaka_kd.distil.batches import Diet, Source
from napari_medaka_kd.distil.losses import soften
from napari_medaka_kd.distil.stage import Run
from napari_medaka_kd.distil.teacher import supervise
from napari_medaka_kd.job import drain
from napari_medaka_kd.networks import soft
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.checkpoint import Checkpoint
from napari_medaka_kd.networks.inputs import encode
from napari_medaka_kd.segment.run import segment
from napari_medaka_kd.segment.segmenter import Segmenter
from napari_medaka_kd.settings import AugmentSettings, FitSettings, NetworkSettings, PatchSettings, SegmentSettings
from napari_medaka_kd.volumes.body import find_body
from napari_medaka_kd.volumes.channels import open_channels
from napari_medaka_kd.volumes.phantom import MEDAKA, phantom_animal
from napari_medaka_kd.volumes.save import save_volume
from napari_medaka_kd.volumes.volume import Region

LOOKS = NetworkSettings()
PATCHES = PatchSettings(patch=(64, 64, 64), batch=8)


def fish(folder: Path, edge: int, number: int) -> Source:
    made = phantom_animal(PhantomSettings(shape=(edge,) * 3, voxel_size=24_000 / edge, animal=number, scan=number))
    volume = drain(save_volume(made.volume, folder / f"{number}.ome.zarr"))
    return Source(f"fish {number}", volume, find_body(volume), made.labels)


def teacher(folder: Path, known: Source, asked: argparse.Namespace) -> nn.Module:
    network = build(LOOKS, MEDAKA.classes, 0)
    if asked.weights:
        network.load_state_dict(load_file(asked.weights))
        return network.eval()
    patches = PatchSettings(patch=(48, 48, 48), batch=2)
    diet = Diet((known,), (), 0, patches, AugmentSettings(rotation=5), LOOKS, 0)
    settings = FitSettings(steps=asked.steps, save_every=asked.steps, precision=asked.precision, device="cpu")
    drain(supervise(network, "teacher", diet, Run(folder / "run", settings, 0)))
    return network.eval()


def median(act: Callable[[int], object], rounds: int) -> float:
    """Seconds."""
    taken = []
    for number in range(rounds):
        begun = time.perf_counter()
        act(number)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def inside_of(source: Source) -> np.ndarray:
    """Where labels may be: the body's box, without the air in it."""
    inside = np.zeros(source.image.shape, bool)
    found = source.body.inside(source.body.box)
    inside[source.body.box] = True if found is None else found
    return inside


@torch.inference_mode()
def divergence(network: nn.Module, source: Source, temperature: float) -> float:
    """Mean KL(what the teacher says now ‖ what was kept), nat, over the body in the middle half of the scan."""
    box: Region = tuple(slice(size // 4 // 8 * 8, size * 3 // 4 // 8 * 8) for size in source.image.shape)
    context: Region = tuple(slice(max(0, side.start - 32), side.stop + 32) for side in box)
    image = encode(source.image.read(context), context, source.body, LOOKS)
    logits = network(torch.from_numpy(image)[None])[0]
    inner = tuple(slice(b.start - c.start, b.stop - c.start) for b, c in zip(box, context, strict=True))
    now = soften(logits[(..., *inner)][None], temperature)[0]
    kept = soften(soft.logits(soft.unpack(torch.from_numpy(source.soft.read_box(box))))[None], temperature)[0]
    each = (now * (now.clamp_min(1e-12) / kept).log()).sum(0).numpy()
    return float(each[inside_of(source)[box]].mean())


def measure(asked: argparse.Namespace, folder: Path) -> dict[str, float]:
    known, other = (fish(folder, asked.edge, number) for number in (0, 1))
    network = teacher(folder, known, asked)
    card = Checkpoint(name="teacher", network=LOOKS, organs=MEDAKA).save(network, folder / "teacher")
    seconds = {}
    for kept in (False, True):
        segmenter = Segmenter(network, LOOKS, SegmentSettings(precision=asked.precision, device="cpu", soft=kept))
        begun = time.perf_counter()
        drain(segment(other.image, other.body, card, segmenter))
        seconds[kept] = time.perf_counter() - begun
    (made,) = (other.image.source / "labels").glob("teacher.*")
    told = replace(other, soft=open_channels(made / "soft"))
    found = sizes_of(made, told) | times_of(network, told, asked, made / "soft")
    found |= {f"KL, T = {temperature} (nat)": divergence(network, told, temperature) for temperature in (1, 2, 4)}
    return found | {"segmenting (s)": seconds[False], "segmenting with soft labels (s)": seconds[True]}


def sizes_of(made: Path, source: Source) -> dict[str, float]:
    body, voxels = int(inside_of(source).sum()), int(np.prod(source.image.shape))
    labels, packed = (
        sum(file.stat().st_size for file in (made / part).rglob("*") if file.is_file()) for part in ("0", "soft")
    )
    return {
        "body, share of the scan": body / voxels,
        "labels (bytes a voxel)": labels / voxels,
        "soft labels (bytes a voxel)": packed / voxels,
        "soft labels (bytes a voxel of the body)": packed / body,
        "per 8 classes (bytes a voxel of the body)": packed / body * 8 / MEDAKA.classes,
    }


def times_of(network: nn.Module, source: Source, asked: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Seconds for the soft answers to the eight unlabelled patches of one step."""
    regions, bend = places(source), augment.draw(AugmentSettings(), 8, PATCHES.patch, np.random.default_rng(0))
    clean = [encode(source.image.read(region), region, source.body, LOOKS) for region in regions]
    copies = [folder.with_name(f"copy{number}") for number in range(7)]
    for copy in copies:
        shutil.copytree(folder, copy)  # what was unpacked once is kept, by its path

    def ask(_: int) -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=asked.precision != "float32"):
            return soften(network(torch.from_numpy(np.stack(clean))), 2)

    def read(number: int) -> list[np.ndarray]:
        kept = open_channels(copies[number])
        return [wait() for wait in [kept.begin_box(region) for region in regions]]

    packed = read(0)

    def turn(_: int) -> list[Tensor]:
        roots = [soft.unpack(torch.from_numpy(each)) for each in packed]
        return [soft.logits(augment.bend_roots(each, bend, row)) for row, each in enumerate(roots)]

    return {
        "asking the teacher about 8 patches (s)": median(ask, 3),
        "reading what was kept (s)": median(lambda number: read(number + 1), 6),
        "unpacking and turning it (s)": median(turn, 5),
    }


def places(source: Source) -> list[Region]:
    rng, found = np.random.default_rng(1), []
    for _ in range(PATCHES.batch):
        middles = source.body.draw(rng)
        starts = [
            min(max(at - side // 2, 0), size - side)
            for at, side, size in zip(middles, PATCHES.patch, source.image.shape, strict=True)
        ]
        z, y, x = (slice(start, start + side) for start, side in zip(starts, PATCHES.patch, strict=True))
        found.append((z, y, x))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edge", type=int, default=160, help="of a volume, voxels")
    parser.add_argument("--steps", type=int, default=300, help="of the teacher's training")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(asked, Path(folder))
    if asked.json:
        say_json(found)
        return
    print_table(("soft labels", ""), [(name, f"{value:.3g}") for name, value in found.items()])


if __name__ == "__main__":
    main()
