"""register: one labelled atlas → where in it each place of other animals lies; affine first, then a network."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_medaka_kd import processes
from napari_medaka_kd.errors import UserError
from napari_medaka_kd.job import Progress
from napari_medaka_kd.networks.warp import Registrar, affine, bending, contrast, local_correlation, warp
from napari_medaka_kd.volumes.atomic import replace_file

from ..fit import fit
from ..stage import Batch, Batches, Learner, Run, Stage
from .affine import align
from .placement import Placement
from .view import View, look

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_medaka_kd.job import Job
    from napari_medaka_kd.settings import RegistrationSettings

    from ..batches import Source

ALIGNED = "aligned.json"  # in the run's folder: the affine matrices, by case
_ROWS = 1  # pairs in a step
_RATE = 1e-3  # of learning; a student's is too much for a field


@dataclass(frozen=True)
class RegistrationLoss:
    """``1 − LNCC(φ∘atlas, y) + λ·mean|∇u|² + κ·InfoNCE``, on pairs of the aligned atlas and another animal y.

    The paper's contrastive term (τ = 0.5) compares whole images; ours compares places of one pair with each other,
    for with one atlas there are few images to tell apart.
    """

    network: Registrar
    settings: RegistrationSettings

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        moving, fixed = batch.image, batch.clean
        field, (ours, theirs) = self.network(moving, fixed)
        terms = {
            "similarity": 1 - local_correlation(warp(moving, field), fixed),
            "smoothness": self.settings.smoothness * bending(field),
        }
        if self.settings.contrast:
            terms["contrast"] = self.settings.contrast * contrast(ours, theirs, self.settings.temperature)
        return terms


@dataclass(frozen=True)
class Atlas:
    """The animal that is warped, as registration sees it."""

    source: Source
    view: View


def choose_atlas(labelled: Sequence[Source], wanted: str) -> Source:
    """The animal of ``labelled`` that is called ``wanted``; the only one where nobody says.

    Raises
    ------
    UserError
        If there is none of that name, or several to choose from.
    """
    names = ", ".join(source.case for source in labelled)
    if not wanted and len(labelled) == 1:
        return labelled[0]
    if not wanted:
        raise UserError(f"Several animals have labels: {names}.", "Name the one to warp: --set strategy.atlas=CASE.")
    found = next((source for source in labelled if source.case == wanted), None)
    if found is None:
        raise UserError(f"No animal with labels to learn from is called {wanted!r}.", f"There are: {names}.")
    return found


def register(
    source: Source, targets: Sequence[Source], settings: RegistrationSettings, run: Run
) -> Job[tuple[Atlas, tuple[Placement, ...]]]:
    """Where in the atlas ``source`` each of ``targets`` lies, in their order.

    Affine matrices are kept in the run's folder, the network's training as stage ``registration``; killed and called
    again, it goes on from there to the same bits.
    """
    atlas = Atlas(source, look(source.image, source.body, settings.grid))
    posed = yield from _posed(atlas, targets, settings, run.folder)
    network = _network(run.seed)
    if settings.registration_steps and targets:
        learner = Learner("registration", network, RegistrationLoss(network, settings))
        plain = run.settings.model_copy(update={"precision": "float32", "learning_rate": _RATE})
        stage = Stage("registration", (learner,), _pairs(posed, run.seed), settings.registration_steps)
        yield from fit(stage, replace(run, settings=plain))
    return atlas, tuple(
        Placement(pose.view.frame, atlas.view.frame, pose.matrix, _field(network, pose)) for pose in posed
    )


@dataclass(frozen=True)
class _Pose:
    """Another animal, the affine matrix that leads from it to the atlas, and the atlas seen in its pose."""

    view: View
    matrix: Tensor
    atlas: Tensor


def _posed(
    atlas: Atlas, targets: Sequence[Source], settings: RegistrationSettings, folder: Path
) -> Job[tuple[_Pose, ...]]:
    posed, aligned = [], _kept(folder)
    for done, target in enumerate(targets):
        yield Progress("align", done, len(targets))
        view = look(target.image, target.body, settings.grid)
        if target.case not in aligned:
            aligned[target.case] = align(atlas.view.image, view.image, settings.mirror)
            if processes.first():
                _keep(folder, aligned)
        matrix = aligned[target.case]
        posed.append(_Pose(view, matrix, affine(atlas.view.image, matrix[None], view.image.shape[2:])))
    yield Progress("align", len(targets), len(targets))
    return tuple(posed)


def _network(seed: int) -> Registrar:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Registrar()


def _pairs(posed: Sequence[_Pose], seed: int) -> Batches:
    """Batches of (aligned atlas, animal), as ``image`` and ``clean``."""

    def play(first: int, every: int = 1) -> Iterator[Batch]:
        for step in count(first, every):
            chosen = np.random.default_rng((seed, step, 3)).integers(len(posed), size=_ROWS)
            image = torch.cat([posed[number].atlas for number in chosen])
            clean = torch.cat([posed[number].view.image for number in chosen])
            nothing = torch.zeros(_ROWS, 1, 1, 1)
            yield Batch(
                step=step,
                number=step,
                labelled=0,
                image=image,
                target=nothing.long() - 1,
                weight=nothing,
                clean=clean,
                donor=torch.arange(_ROWS),
                pasted=nothing[:, None].bool(),
                animal=torch.from_numpy(chosen),
            )

    return play


@torch.inference_mode()
def _field(network: Registrar, pose: _Pose) -> Tensor:
    device = next(network.parameters()).device
    network.eval()
    found: Tensor = network(pose.atlas.to(device), pose.view.image.to(device))[0].cpu().clone()
    return found


def _kept(folder: Path) -> dict[str, Tensor]:
    file = folder / ALIGNED
    known = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return {case: torch.tensor(rows, dtype=torch.float32) for case, rows in known.items()}


def _keep(folder: Path, aligned: dict[str, Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = {case: matrix.tolist() for case, matrix in aligned.items()}
    replace_file(folder / ALIGNED, json.dumps(rows).encode())
