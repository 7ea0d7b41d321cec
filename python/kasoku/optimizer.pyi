from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

_Params = dict[str, npt.NDArray[Any]]
_Grads = Mapping[str, npt.NDArray[Any]]

class _Optimizer:
    def update(self, params: _Params, grads: _Grads) -> None: ...

class SGD(_Optimizer):
    lr: float
    def __init__(self, lr: float = 0.01) -> None: ...

class Momentum(_Optimizer):
    lr: float
    momentum: float
    v: _Params | None
    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None: ...

class Nesterov(_Optimizer):
    lr: float
    momentum: float
    v: _Params | None
    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None: ...

class AdaGrad(_Optimizer):
    lr: float
    h: _Params | None
    def __init__(self, lr: float = 0.01) -> None: ...

class RMSprop(_Optimizer):
    lr: float
    decay_rate: float
    h: _Params | None
    def __init__(self, lr: float = 0.01, decay_rate: float = 0.99) -> None: ...

class Adam(_Optimizer):
    lr: float
    beta1: float
    beta2: float
    iter: int
    m: _Params | None
    v: _Params | None
    def __init__(self, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999) -> None: ...
