from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kasoku.gradient import numerical_gradient as numerical_gradient
from kasoku.layers import *
from kasoku.multi_layer_net import MultiLayerNet

class MultiLayerNetExtend(MultiLayerNet):
    use_dropout: bool
    use_batchnorm: bool
    def __init__(
        self,
        input_size: int,
        hidden_size_list: Sequence[int],
        output_size: int,
        activation: str = "relu",
        weight_init_std: float | str = "relu",
        weight_decay_lambda: float = 0,
        use_dropout: bool = False,
        dropout_ration: float = 0.5,
        use_batchnorm: bool = False,
        *,
        dropout_ratio: float | None = None,
    ) -> None: ...
    def predict(self, x: npt.NDArray[Any], train_flg: bool = False) -> npt.NDArray[Any]: ...
    def loss(
        self, x: npt.NDArray[Any], t: npt.NDArray[Any], train_flg: bool = False
    ) -> np.floating[Any]: ...
    def accuracy(self, X: npt.NDArray[Any], T: npt.NDArray[Any]) -> np.floating[Any]: ...
    def numerical_gradient(
        self, X: npt.NDArray[Any], T: npt.NDArray[Any]
    ) -> dict[str, npt.NDArray[Any]]: ...
    def gradient(self, x: npt.NDArray[Any], t: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]: ...
