"""The one failure that is the user's to mend; anything else is a bug and keeps its traceback."""

_LONGEST = 600


class UserError(Exception):
    """What is wrong, and what to do about it: two sentences that both skins show as they are.

    Parameters
    ----------
    message
        What is wrong, quoting the offending value; cut after 600 letters, as a file may hold values of any length.
    remedy
        What the user can do now.
    """

    def __init__(self, message: str, remedy: str) -> None:
        message = message if len(message) <= _LONGEST else f"{message[:_LONGEST]}…."
        super().__init__(f"{message} {remedy}")
        self.message = message
        self.remedy = remedy


class InvalidVolume(UserError):
    """A scan or a label map that the gate refused (see :mod:`napari_medaka_kd.volumes.gate`)."""
