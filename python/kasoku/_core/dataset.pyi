from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["augment", "cache_folder", "download", "find", "load", "synthetic"]

_Images = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
_Path = str | PathLike[str]

def find(folders: list[Path]) -> Path: ...
def load(folder: _Path) -> list[_Images]: ...
def cache_folder() -> Path | None: ...
def download(folder: _Path, progress: Callable[[str, int, int | None], object]) -> None: ...
def synthetic(train: int, test: int, seed: int) -> list[_Images]: ...
def augment(
    images: npt.NDArray[Any],
    numbers: tuple[float, float, float],
    flip: bool,
    crop: int | tuple[int, int] | None,
    seed: int,
    step: int,
) -> npt.NDArray[Any]: ...
