from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

_Scalar = TypeVar("_Scalar", bound=np.generic)
_Number = TypeVar("_Number")

def numerical_diff(f: Callable[[Any], _Number], x: Any) -> _Number: ...
def numerical_gradient(
    f: Callable[[npt.NDArray[_Scalar]], Any], x: npt.NDArray[_Scalar]
) -> npt.NDArray[_Scalar]: ...
def numerical_gradient_2d(
    f: Callable[[npt.NDArray[_Scalar]], Any], X: npt.NDArray[_Scalar]
) -> npt.NDArray[_Scalar]: ...
def gradient_descent(
    f: Callable[[npt.NDArray[_Scalar]], Any],
    init_x: npt.NDArray[_Scalar],
    lr: float = 0.01,
    step_num: int = 100,
) -> tuple[npt.NDArray[_Scalar], npt.NDArray[_Scalar]]: ...
