from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

__all__ = ["update"]

_Arrays = Mapping[str, npt.NDArray[Any]]

def update(
    params: dict[str, Any],
    grads: _Arrays,
    rule: str,
    numbers: list[float],
    states: list[_Arrays],
) -> list[str]: ...
