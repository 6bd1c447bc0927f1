"""The one failure that is the user's to mend; anything else is a bug and keeps its traceback."""

from __future__ import annotations

_LONGEST = 600


class UserError(Exception):
    """What is wrong, and what to do about it: two sentences that both skins show as they are.

    Parameters
    ----------
    message
        What is wrong, quoting the offending value. A file may hold anything: letters that cannot be shown become �, and
        what is longer than 600 letters is cut.
    remedy
        What the user can do now.
    """

    def __init__(self, message: str, remedy: str) -> None:
        message = _legible(message)
        super().__init__(f"{message} {remedy}")
        self.message = message
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str]]:
        """Cross from one process to another."""
        return type(self), (self.message, self.remedy)


class InvalidVolume(UserError):
    """A scan or a label map that the gate refused (see :mod:`napari_medaka_kd.volumes.gate`)."""


def _legible(message: str) -> str:
    cut = message if len(message) <= _LONGEST else f"{message[:_LONGEST]}…."
    return "".join(letter if letter.isprintable() else " " if letter.isspace() else "�" for letter in cut)
