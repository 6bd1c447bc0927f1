"""The one failure that is the user's to mend; anything else is a bug and keeps its traceback."""


class UserError(Exception):
    """What is wrong, and what to do about it: two sentences that both skins show as they are.

    Parameters
    ----------
    message
        What is wrong, quoting the offending value.
    remedy
        What the user can do now.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message} {remedy}")
        self.message = message
        self.remedy = remedy


class InvalidVolume(UserError):
    """A scan or a label map that the gate refused (see :mod:`napari_medaka_kd.volumes.gate`)."""
