"""Cluster: workers of a Dask scheduler, here or anywhere, that are given errands; who dies is replaced by another."""

from __future__ import annotations

import logging
import os
import re
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from napari_medaka_kd.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from distributed import Client, Future, Security, SpecCluster

_LOCAL = re.compile(r"local:([1-9][0-9]{0,3})")
_ADDRESS = re.compile(r"(tcp|tls|ucx|ws|wss)://\S+")
_RETRIES = 2  # of an errand that failed; one whose worker died is given to another anyway
_PATIENCE = 0.5  # seconds after which one who waits looks around


class Cluster:
    """Workers that are given errands; made by :func:`connect`.

    Attributes
    ----------
    has_gpus
        Whether errands are given to workers with a GPU, as of the last :meth:`look`.
    """

    def __init__(self, client: Client, device: str) -> None:
        self._client, self._device = client, device
        self.has_gpus = False

    def look(self) -> int:
        """How many workers there are now that can be given an errand.

        Raises
        ------
        UserError
            If a GPU is wanted and there are workers, but none has one.
        """
        with _said():
            known = self._client.scheduler_info(n_workers=-1)["workers"].values()
        with_gpu = [each for each in known if each["resources"].get("GPU", 0) >= 1]
        if known and not with_gpu and self._device.startswith("cuda"):
            raise UserError("None of the workers announces a GPU.", 'Start them with --resources "GPU=1".')
        self.has_gpus = bool(with_gpu) and not self._device.startswith("cpu")
        return len(with_gpu) if self.has_gpus else len(known)

    def submit(self, function: Callable[..., Any], *given: Any) -> Future[Any]:
        """Have a worker call ``function``, which it imports by its name; one with a GPU, where any has."""
        resources = {"GPU": 1} if self.has_gpus else None
        key = f"medaka-kd-{function.__name__}-{uuid.uuid4().hex}"
        with _said():
            return self._client.submit(function, *given, key=key, resources=resources, retries=_RETRIES, pure=False)

    def wait(self, futures: Collection[Future[Any]]) -> list[Future[Any]]:
        """Those that ended; none if none did within half a second."""
        from distributed import wait

        with _said(), suppress(TimeoutError), self._client.as_current():
            wait(list(futures), timeout=_PATIENCE, return_when="FIRST_COMPLETED")
        return [future for future in futures if future.done()]

    def result(self, future: Future[Any]) -> Any:
        """What the worker returned.

        Raises
        ------
        UserError
            What the worker raised; or if one worker after the other died of it, or the scheduler is gone.
        """
        with _said():
            return future.result()

    def cancel(self, futures: Collection[Future[Any]]) -> None:
        """Give up errands; what a worker has begun it ends, and nobody listens."""
        with suppress(Exception):  # the scheduler may be what failed
            self._client.cancel(list(futures), force=True)


@contextmanager
def connect(address: str, device: str = "auto", patience: float = 10.0) -> Iterator[Cluster]:
    """Workers to give errands to.

    Parameters
    ----------
    address
        ``local:4``: four processes on this machine, which end with the block. Or the address of a scheduler that is
        running, ``tcp://host:8786``, whose workers stay.
    device
        As in the settings; ``cuda`` asks for workers that announce a GPU.
    patience
        Seconds within which a scheduler has to answer.

    Raises
    ------
    UserError
        If the address is neither, or nobody answers there.
    """
    local = _LOCAL.fullmatch(address)
    if local is None and not _ADDRESS.fullmatch(address):
        raise UserError(
            f"{address!r} is no cluster.", "Say local:4 for four processes here, or tcp://host:8786 for a scheduler."
        )
    if local is None:
        with _client(address, None, patience) as client:
            yield Cluster(client, device)
        return
    with _begin(int(local[1]), device) as begun, _client(begun.scheduler_address, begun.security, patience) as client:
        yield Cluster(client, device)


@contextmanager
def _client(address: str, security: Security | None, patience: float) -> Iterator[Client]:
    from distributed import Client

    try:
        client = Client(address, timeout=patience, set_as_default=False, security=security)
    except (OSError, TimeoutError, ValueError) as error:
        raise UserError(
            f"No scheduler answers at {address!r}.", "Start one with: dask scheduler; it prints its address."
        ) from error
    try:
        yield client
    finally:
        client.close()


@contextmanager
def _begin(count: int, device: str) -> Iterator[SpecCluster]:
    """A scheduler here and ``count`` worker processes, which nobody else can talk to: whoever could, could run code."""
    import dask
    from distributed import Nanny, Scheduler, Security, SpecCluster

    common = {"host": "127.0.0.1", "protocol": "tls", "security": Security.temporary()}
    common |= {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    ours = {"nthreads": 1, "memory_limit": 0, "silence_logs": logging.CRITICAL}
    workers = {
        number: {"cls": Nanny, "options": common | ours | _share(number, count, device)} for number in range(count)
    }
    scheduler = {"cls": Scheduler, "options": common | {"port": 0}}
    ways = {
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "distributed.deploy.lost-worker-timeout": "1 day",  # else one that takes 15 s to begin anew is given up
    }
    with (
        dask.config.set(ways),
        SpecCluster(
            workers=workers, scheduler=scheduler, security=common["security"], silence_logs=logging.CRITICAL
        ) as begun,
    ):
        yield begun


def _share(number: int, count: int, device: str) -> dict[str, Any]:
    """What is one worker's own: its part of the cores, and its GPU, by turns, where this machine has any."""
    import torch

    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // count))
    gpus = 0 if device.startswith("cpu") else torch.cuda.device_count()
    if not gpus:
        return {"env": {"OMP_NUM_THREADS": threads}}
    own = {"OMP_NUM_THREADS": threads, "CUDA_VISIBLE_DEVICES": str(number % gpus)}
    return {"env": own, "resources": {"GPU": 1}}


@contextmanager
def _said() -> Iterator[None]:
    """Say in sentences what happens to clusters."""
    from concurrent.futures import CancelledError

    from distributed import KilledWorker
    from distributed.comm.core import CommClosedError

    try:
        yield
    except KilledWorker as error:
        raise UserError(
            f"One worker after the other died of the same blocks, the last at {error.last_worker.address!r}.",
            "Give each worker more memory, or start fewer on a machine. The same command goes on where it was.",
        ) from error
    except (ModuleNotFoundError, RuntimeError) as error:
        if not _lacks_us(error):
            raise
        raise UserError(
            "The scheduler or a worker of the cluster does not have this program.",
            "Install the same version of napari-medaka-kd[train,cluster] for all of them.",
        ) from error
    except (CancelledError, CommClosedError) as error:
        raise UserError(
            "The scheduler of the cluster is gone.", "Start it again. The same command goes on where it was."
        ) from error


def _lacks_us(error: Exception) -> bool:
    """A worker says so by a missing module, a scheduler by failing to read what it is given."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else ""
    return (missing or "").startswith("napari_medaka_kd") or "deserialization of the task graph" in str(error)
