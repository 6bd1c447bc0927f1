"""Where the figures of a training go: metrics.csv and, where wanted, event files for TensorBoard."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_medaka_kd import processes
from napari_medaka_kd.errors import UserError

from .metrics import FILE, Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import TypeAlias

    #: Takes the figures after a step.
    Tell: TypeAlias = "Callable[[int, Mapping[str, float]], None]"

EVENTS = "events"  # beside metrics.csv: a folder for TensorBoard


@contextmanager
def recorded(folder: Path, first: int, tensorboard: bool) -> Iterator[Tell]:
    """Write figures into ``folder``, those after step ``first`` anew; nothing where this is not the first process.

    Raises
    ------
    UserError
        If event files are wanted and tensorboard is not installed.
    """
    if not processes.first():
        yield lambda _step, _values: None
    elif tensorboard:
        with Metrics(folder / FILE, first) as metrics, _events(folder / EVENTS, first) as tell:

            def both(step: int, values: Mapping[str, float]) -> None:
                metrics.write(step, values)
                tell(step, values)

            yield both
    else:
        with Metrics(folder / FILE, first) as metrics:
            yield metrics.write


@contextmanager
def _events(folder: Path, first: int) -> Iterator[Tell]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise UserError(
            f"fit.tensorboard=true needs {error.name}, which is not installed.",
            "Install it: pip install 'napari-medaka-kd[tensorboard]'; or leave it off, metrics.csv holds the same.",
        ) from error
    with SummaryWriter(str(folder), purge_step=first + 1, flush_secs=5) as writer:

        def tell(step: int, values: Mapping[str, float]) -> None:
            for name, value in values.items():
                writer.add_scalar(name.replace(" ", "_"), value, step)

        yield tell
