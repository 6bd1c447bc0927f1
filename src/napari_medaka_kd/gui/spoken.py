"""spoken: what a person can mend is told, not raised."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from napari_medaka_kd.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
P = ParamSpec("P")


def spoken(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T | None]:
    """Tell people, by the signal ``went_wrong``, what they can mend, instead of raising it."""

    @wraps(method)
    def run(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return method(self, *args, **kwargs)
        except UserError as error:
            self.went_wrong.emit(str(error))
            return None

    return run
