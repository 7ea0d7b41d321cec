from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

__all__ = [
    "adagrad",
    "adam",
    "momentum",
    "nesterov",
    "rmsprop",
    "sgd",
]

_Arrays = Mapping[str, npt.NDArray[Any]]

def sgd(params: dict[str, Any], grads: _Arrays, lr: float) -> list[str]: ...
def momentum(
    params: dict[str, Any], grads: _Arrays, v: _Arrays, lr: float, momentum: float
) -> list[str]: ...
def nesterov(
    params: dict[str, Any], grads: _Arrays, v: _Arrays, lr: float, momentum: float
) -> list[str]: ...
def adagrad(params: dict[str, Any], grads: _Arrays, h: _Arrays, lr: float) -> list[str]: ...
def rmsprop(
    params: dict[str, Any], grads: _Arrays, h: _Arrays, lr: float, decay_rate: float
) -> list[str]: ...
def adam(
    params: dict[str, Any],
    grads: _Arrays,
    m: _Arrays,
    v: _Arrays,
    lr: float,
    beta1: float,
    beta2: float,
    step: int,
) -> list[str]: ...
