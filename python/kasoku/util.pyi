from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

_X = TypeVar("_X", bound=np.generic)
_T = TypeVar("_T", bound=np.generic)

def smooth_curve(x: npt.ArrayLike) -> npt.NDArray[np.float64]: ...
def shuffle_dataset(
    x: npt.NDArray[_X], t: npt.NDArray[_T]
) -> tuple[npt.NDArray[_X], npt.NDArray[_T]]: ...
def conv_output_size(
    input_size: float, filter_size: float, stride: float = 1, pad: float = 0
) -> float: ...
def im2col(
    input_data: npt.NDArray[Any],
    filter_h: int,
    filter_w: int,
    stride: int | tuple[int, int] = 1,
    pad: int | tuple[int, int] = 0,
) -> npt.NDArray[np.float64]: ...
def col2im(
    col: npt.NDArray[Any],
    input_shape: Sequence[int],
    filter_h: int,
    filter_w: int,
    stride: int | tuple[int, int] = 1,
    pad: int | tuple[int, int] = 0,
) -> npt.NDArray[np.float64]: ...
