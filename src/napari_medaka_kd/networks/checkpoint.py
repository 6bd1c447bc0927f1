"""Checkpoint: a network on disk, with all that is needed to use it again. Weights as safetensors, the rest as JSON."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_medaka_kd.errors import UserError
from napari_medaka_kd.settings import NetworkSettings
from napari_medaka_kd.volumes.atomic import replace_file
from napari_medaka_kd.volumes.labels import LabelSchema

from .foreign import FILES, ForeignSettings
from .instance_settings import InstanceSettings

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

FORMAT = 2
_FORMAT_OF_ORGANS = 1  # what these cards say did not change since
EARLY = "early"  # in a teacher's folder: what it was early in its training; a checkpoint, too
WEIGHTS, CARD = "weights.safetensors", "checkpoint.json"
_CARD_BYTES = 10_000_000


class Checkpoint(BaseModel):
    """What ``checkpoint.json`` says of the weights beside it.

    Attributes
    ----------
    name
        Of the checkpoint, and of the label maps that it makes.
    network, organs
        What the weights fit, and what its classes mean.
    things
        What the weights fit beside ``network``, where it finds things that may overlap; ``None``: it finds organs.
    trained_on
        Ids of the animals whose labels or pseudo-labels it learned from; it is never evaluated on these.
    left_out
        For each member of an ensemble the labelled animals that it never saw.
    weights_sha256
        Of ``weights.safetensors``, or the file that was adopted; checked on loading.
    history
        How it came to be: the verb, the strategy and its settings, in plain JSON.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = _FORMAT_OF_ORGANS
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    network: Annotated[NetworkSettings | ForeignSettings, Field(discriminator="architecture")]
    organs: LabelSchema
    things: InstanceSettings | None = None
    trained_on: tuple[str, ...] = ()
    left_out: tuple[tuple[str, ...], ...] = ()
    weights_sha256: str = ""
    history: dict[str, Any] = {}

    @model_validator(mode="after")
    def _possible(self) -> Self:
        one_of_ours = isinstance(self.network, NetworkSettings) and self.network.members == 1
        if self.things is not None and not one_of_ours:
            raise ValueError("things that overlap are found by one U-Net of ours")
        return self

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read the card of the checkpoint in ``folder``; the weights stay on disk.

        Raises
        ------
        UserError
            If there is none, or it was made by a newer version, or its card is damaged.
        """
        card = folder / CARD
        if not card.is_file() or card.stat().st_size > _CARD_BYTES:
            raise UserError(f"There is no checkpoint in {str(folder)!r}.", "Train one, or name another.")
        try:
            data = json.loads(card.read_text("utf-8"))
            _refuse_newer(data, folder)
            return cls.model_validate(data)
        except (ValueError, RecursionError, ValidationError) as error:
            raise UserError(
                f"The checkpoint in {str(folder)!r} is damaged: {_in_short(error)}.",
                "Train it again, or restore the folder.",
            ) from error

    def save(self, network: nn.Module, folder: Path) -> Self:
        """Write ``network`` and this card; nobody ever sees the one without the other.

        The card names the hash of its weights and is replaced last.
        """
        from safetensors.torch import save

        state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
        return self.keep(save(state), folder)

    def keep(self, weights: bytes, folder: Path) -> Self:
        """Write this card with ``weights``, the bytes of its file."""
        folder.mkdir(parents=True, exist_ok=True)
        made_by = _FORMAT_OF_ORGANS if self.things is None else FORMAT
        facts = {"format": made_by, "weights_sha256": hashlib.sha256(weights).hexdigest()}
        card = self.model_copy(update=facts)
        replace_file(folder / FILES.get(self.network.architecture, WEIGHTS), weights)
        unsaid = {"things"} if self.things is None else None
        replace_file(folder / CARD, card.model_dump_json(indent=2, exclude=unsaid).encode())
        return card

    def load(self, folder: Path) -> nn.Module:
        """The network in evaluation mode, on the CPU.

        Raises
        ------
        UserError
            If the weights are not those that the card was written for, or do not fit its network.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        from .build import build, build_instances

        if isinstance(self.network, ForeignSettings):
            from .foreign_network import load_foreign

            return load_foreign(self.network, folder, self.weights_sha256, self.organs.classes)
        try:
            network = (
                build(self.network, self.organs.classes)
                if self.things is None
                else build_instances(self.network, self.things)
            )
            weights = (folder / WEIGHTS).read_bytes()
            if hashlib.sha256(weights).hexdigest() != self.weights_sha256:
                raise ValueError("its weights are not those that it was saved with")
            network.load_state_dict(load(weights))
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise UserError(
                f"The weights of checkpoint {self.name!r} cannot be used: {_in_short(error)}.",
                "Restore the folder or train again.",
            ) from error
        return network.eval()

    def require_unseen(self, case: str) -> None:
        """Refuse to be evaluated on an animal that it learned from.

        Raises
        ------
        UserError
            With both names.
        """
        if case in self.trained_on:
            raise UserError(
                f"Checkpoint {self.name!r} was trained on case {case!r}.", "Evaluate on animals that were held out."
            )

    def require_organs(self, deed: str) -> None:
        """Refuse ``deed``, which is about organs, where this finds things that may overlap.

        Raises
        ------
        UserError
            With both.
        """
        if self.things is not None:
            raise UserError(
                f"Checkpoint {self.name!r} finds things that overlap, and {deed} is for organs only.",
                "Use a checkpoint for organs; this one can segment, be evaluated and be looked at.",
            )

    def require_schema(self, schema: LabelSchema) -> None:
        """Refuse organs that differ from ``schema``'s in id, name or number.

        Raises
        ------
        UserError
            With both lists.
        """
        mine, theirs = (dict(zip(s.ids, s.names, strict=True)) for s in (self.organs, schema))
        if mine != theirs:
            raise UserError(
                f"Checkpoint {self.name!r} knows the organs {mine}, the project has {theirs}.",
                "Use a checkpoint that was trained for these organs, or make a project with the checkpoint's organs.",
            )


def _refuse_newer(data: Any, folder: Path) -> None:
    made_by = data.get("format", 0) if isinstance(data, dict) else 0
    if isinstance(made_by, int) and made_by > FORMAT:
        raise UserError(
            f"The checkpoint in {str(folder)!r} has format {made_by}, this version reads up to {FORMAT}.",
            "Update napari-medaka-kd.",
        )


def _in_short(error: Exception) -> str:
    """The first thing that ``error`` says, on one line: pydantic and torch make lists."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]).removesuffix(".")
