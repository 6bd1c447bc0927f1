"""What every inference back end is: something that turns an encoded tile into classes and doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from napari_medaka_kd.volumes.volume import Region

    #: (classes, doubt), and soft labels where they are asked for.
    Reply: TypeAlias = tuple[npt.NDArray[Any], ...]


class Backend(Protocol):
    """A network, made ready for one machine."""

    name: str

    def __call__(self, image: npt.NDArray[np.float32], inner: Region) -> Reply:
        """The answer about the core of one tile.

        Parameters
        ----------
        image
            (C, z, y, x) float32, as :func:`~napari_medaka_kd.networks.inputs.encode` makes it; sides are multiples
            of the network's stride. Fastest for tiles of the size that the back end was made for.
        inner
            The core, voxels of ``image``; what is answered.

        Returns
        -------
        classes
            (z, y, x) uint8, uint16 beyond 256 classes: the one with the largest mean probability.
        doubt
            (z, y, x) uint8: 255·(1 − p), rounded, p the mean over the members of the chosen class's probability.
        soft
            (classes, z, y, x) uint8, from a back end that was made to give them: the probability of each class
            against the largest, as :mod:`~napari_medaka_kd.networks.soft` packs it.
        """
        ...
