"""InstanceSettings: what a network of things that may overlap has beside its U-Net."""

from __future__ import annotations

from pydantic import Field

from napari_medaka_kd.settings import Settings


class InstanceSettings(Settings):
    """Beside what its U-Net looks like.

    Attributes
    ----------
    reach
        How far in voxels a mask may go from its centre along each axis that the network looks along.
    channels
        Of the features that masks are made of.
    """

    reach: int = Field(ge=1, le=512)
    channels: int = Field(8, ge=1, le=256)
