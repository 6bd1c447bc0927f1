"""What a step of distillation costs beside a bare PyTorch loop, and how much of it is waiting for batches.

python benchmarks/training_cost.py --rounds 6

Self-training on made-up fish, 2-D and 3-D, in the processor's or the GPU's best precision. The bare loop has the same
network, teacher, losses, clipping and optimiser, and its batches lie in memory already. All are played by turns, some
steps each, so that what else runs slows them alike; told are medians, and the median of the rounds' ratios.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from table import print_table, say_json
from torch import nn

from napari_medaka_kd.demo_settings import PhantomSettings
from napari_medaka_kd.distil import fit as loop
from napari_medaka_kd.distil.ahead import made_ahead
from napari_medaka_kd.distil.batches import Diet, Source, class_balance
from napari_medaka_kd.distil.stage import Batch, Learner, Run, Stage
from napari_medaka_kd.distil.step import one_cycle
from napari_medaka_kd.distil.strategies.self_training import SelfTrainingLoss
from napari_medaka_kd.networks.build import build
from napari_medaka_kd.networks.device import choose_device, choose_precision
from napari_medaka_kd.settings import AugmentSettings, FitSettings, NetworkSettings, PatchSettings, SelfTrainingSettings
from napari_medaka_kd.volumes.body import find_body
from napari_medaka_kd.volumes.phantom import phantom_animal

_SETTLE = 0.5  # s in which the thread that makes batches comes to rest: it must not slow the next arm
STEPS = 1_000_000  # never reached
KEPT = 12  # batches that the bare loop has in memory
STRATEGY = SelfTrainingSettings(ramp=0)
CASES = {
    "2-D (16, 32, 64), 16 × 1×64×64": (NetworkSettings(dimensions=2, widths=(16, 32, 64)), (1, 64, 64), 8),
    "3-D (16, 32, 64, 128), 8 × 32³": (NetworkSettings(dimensions=3), (32, 32, 32), 4),
}


@dataclass(frozen=True)
class Cost:
    """Seconds a step of one arm, and of these in waiting for a batch; one number a round."""

    taken: list[float]
    waiting: list[float]

    @property
    def speed(self) -> float:
        return 1 / statistics.median(self.taken)

    @property
    def share(self) -> float:
        return statistics.median(wait / taken for wait, taken in zip(self.waiting, self.taken, strict=True))

    def against(self, bare: "Cost") -> float:
        return statistics.median(other / own for own, other in zip(self.taken, bare.taken, strict=True))


class Arm:
    """A training that is played some steps at a time."""

    def __init__(self, job: Iterator[object], waited: Callable[[], float] = float) -> None:
        self.cost, self._job, self._waited = Cost([], []), job, waited

    def play(self, steps: int) -> None:
        before, begin = self._waited(), time.perf_counter()
        for _ in islice(self._job, steps):
            pass
        self.cost.taken.append((time.perf_counter() - begin) / steps)
        self.cost.waiting.append((self._waited() - before) / steps)


class Waiting:
    """Batches, made by ``make``, and the seconds that the loop waited for them."""

    def __init__(self, make: Callable[[Iterator[Batch]], Iterator[Batch]]) -> None:
        self._make, self.seconds = make, 0.0

    def __call__(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        made = self._make(batches)
        while True:
            begin = time.perf_counter()
            batch = next(made)
            self.seconds += time.perf_counter() - begin
            yield batch


def fish(edge: int, number: int) -> Source:
    made = phantom_animal(PhantomSettings(shape=(edge,) * 3, voxel_size=24_000 / edge, animal=number, scan=number))
    return Source(f"fish {number}", made.volume, find_body(made.volume), made.labels)


def trusted(source: Source) -> Source:
    return replace(source, trust=np.ones((1, source.labels.schema.classes), np.float32))


def pair(looks: NetworkSettings, diet: Diet) -> tuple[nn.Module, SelfTrainingLoss]:
    classes = diet.labelled[0].labels.schema.classes
    student, teacher = build(looks, classes, 1), build(looks, classes, 2).requires_grad_(requires_grad=False)
    balance = class_balance(diet.labelled, classes, diet.patches.class_balance)
    return student, SelfTrainingLoss(student, teacher, balance, STRATEGY, STEPS)


def ours(looks: NetworkSettings, diet: Diet, folder: Path, make: Callable[[Iterator[Batch]], Iterator[Batch]]) -> Arm:
    student, losses = pair(looks, diet)
    settings = FitSettings(steps=STEPS, save_every=STEPS, validate_every=STEPS)
    followers = {"teacher": losses.teacher} if losses.teacher is not None else {}
    stage = Stage("student", (Learner("student", student, losses),), diet.batches(), STEPS, followers)
    loop.made_ahead = waiting = Waiting(make)  # type: ignore[assignment]
    job = loop.fit(stage, Run(folder, settings, 0))
    for _ in islice(job, 3):  # it has looked up who makes its batches
        pass
    return Arm(job, lambda: waiting.seconds)


def bare(looks: NetworkSettings, diet: Diet) -> Iterator[None]:
    settings = FitSettings()
    device = choose_device("auto")
    precision = choose_precision("auto", device)
    student, losses = pair(looks, diet)
    for network in (student, losses.teacher):
        assert network is not None
        network.to(device)
    optimizer = torch.optim.AdamW(student.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    batches = [batch.to(device) for batch in islice(diet.batches()(0), KEPT)]
    for step, batch in enumerate(cycle(batches)):
        student.train()
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            terms = losses(batch)
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), settings.clip)
        for group in optimizer.param_groups:
            group["lr"] = one_cycle(step, STEPS, settings.learning_rate)
        optimizer.step()
        loss.item()
        yield


def measure(looks: NetworkSettings, diet: Diet, rounds: int, steps: int) -> dict[str, Cost]:
    with tempfile.TemporaryDirectory() as folder:
        arms = {
            "ahead": ours(looks, diet, Path(folder, "ahead"), made_ahead),
            "in turn": ours(looks, diet, Path(folder, "in turn"), iter),
            "bare": Arm(bare(looks, diet)),
        }
        for number in range(rounds + 1):
            for arm in list(arms.values())[:: 1 if number % 2 else -1]:
                arm.play(steps)
                time.sleep(_SETTLE)
        for arm in arms.values():  # the first round warms up
            del arm.cost.taken[0], arm.cost.waiting[0]
        return {name: arm.cost for name, arm in arms.items()}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--rounds", type=int, default=6)
    words.add_argument("--steps", type=int, default=10, help="of each arm in a round")
    words.add_argument("--edge", type=int, default=96, help="voxels a side of a fish")
    words.add_argument("--json", action="store_true")
    asked = words.parse_args()
    animals = [fish(asked.edge, number) for number in range(4)]
    rows, found = [], {}
    for name, (looks, patch, batch) in CASES.items():
        patches = PatchSettings(patch=patch, batch=batch)
        guessed = tuple(map(trusted, animals[2:]))
        diet = Diet(tuple(animals[:2]), guessed, batch, patches, AugmentSettings(), looks, 0)
        cost = found[name] = measure(looks, diet, asked.rounds, asked.steps)
        made = cost["ahead"]
        row = [f"{made.speed:.2f}", f"{cost['bare'].speed:.2f}", f"{made.against(cost['bare']):.2f}"]
        rows.append([name, *row, f"{made.share:.1%}", f"{cost['in turn'].share:.1%}"])
    head = ["student", "steps a second", "bare loop", "ratio", "waiting for a batch", "if made in turn"]
    if asked.json:
        say_json({name: {arm: vars(each) for arm, each in cost.items()} for name, cost in found.items()})
        return
    print_table(head, rows)


if __name__ == "__main__":
    main()
