from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kasoku.gradient import numerical_gradient as numerical_gradient
from kasoku.layers import *
from kasoku.layers import SoftmaxWithLoss

class MultiLayerNet:
    input_size: int
    output_size: int
    hidden_size_list: Sequence[int]
    hidden_layer_num: int
    weight_decay_lambda: float
    params: dict[str, npt.NDArray[np.float64]]
    layers: OrderedDict[str, Any]
    last_layer: SoftmaxWithLoss
    def __init__(
        self,
        input_size: int,
        hidden_size_list: Sequence[int],
        output_size: int,
        activation: str = "relu",
        weight_init_std: float | str = "relu",
        weight_decay_lambda: float = 0,
    ) -> None: ...
    def predict(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]: ...
    def loss(self, x: npt.NDArray[Any], t: npt.NDArray[Any]) -> np.floating[Any]: ...
    def accuracy(self, x: npt.NDArray[Any], t: npt.NDArray[Any]) -> np.floating[Any]: ...
    def numerical_gradient(
        self, x: npt.NDArray[Any], t: npt.NDArray[Any]
    ) -> dict[str, npt.NDArray[Any]]: ...
    def gradient(self, x: npt.NDArray[Any], t: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]: ...
