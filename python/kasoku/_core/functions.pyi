from typing import Any

import numpy.typing as npt

__all__ = [
    "cross_entropy_error",
    "relu",
    "sigmoid",
    "softmax",
]

def relu(x: object) -> npt.NDArray[Any] | None: ...
def sigmoid(x: object) -> npt.NDArray[Any] | None: ...
def softmax(x: object) -> npt.NDArray[Any] | None: ...
def cross_entropy_error(y: object, t: object) -> float | None: ...
