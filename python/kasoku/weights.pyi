import os
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

__all__ = ["load_pickle", "save_pickle"]

def load_pickle(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[Any]]: ...
def save_pickle(path: str | os.PathLike[str], arrays: Mapping[str, npt.ArrayLike]) -> None: ...
