"""The networks from the book's layer objects: NumPy's (``kasoku._numpy_reference``) or kasoku's (``kasoku.layers``)."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from kasoku.bench.contest import RATES, Array, Case
from kasoku.blocks import (
    Affine,
    BatchNormalization,
    Block,
    Convolution,
    Dropout,
    MaxPooling,
    Relu,
)

_RULES = {"sgd": "SGD", "adam": "Adam"}

#: The arrays that layers learn, and their gradients.
_LEARNED = {"W": "dW", "b": "db", "gamma": "dgamma", "beta": "dbeta"}


class LayerNet:
    """A row of layer objects of the module ``maker``, a loss, and a rule of ``optimizers`` that updates them."""

    def __init__(
        self,
        maker: ModuleType,
        optimizers: ModuleType,
        case: Case,
        weights: Sequence[Sequence[Array]],
        dtype: DTypeLike = np.float64,
    ) -> None:
        self.blocks = case.layers
        self.layers = [
            self._layer(maker, block, [array.astype(dtype) for array in arrays])
            for block, arrays in zip(self.blocks, weights, strict=True)
        ]
        self.last_layer = maker.SoftmaxWithLoss()
        self.optimizer = getattr(optimizers, _RULES[case.rule])(RATES[case.rule])
        self.learned = [
            (f"{name}{number}", layer, name, gradient)
            for number, layer in enumerate(self.layers)
            for name, gradient in _LEARNED.items()
            if hasattr(layer, name)
        ]
        self.params = {key: getattr(layer, name) for key, layer, name, _ in self.learned}

    @staticmethod
    def _layer(maker: ModuleType, block: Block, weights: list[Array]) -> Any:
        match block:
            case Affine():
                return maker.Affine(*weights)
            case Convolution(_, _, stride, pad):
                return maker.Convolution(*weights, stride, pad)
            case BatchNormalization():
                return maker.BatchNormalization(*weights)
            case MaxPooling(size):
                return maker.Pooling(size, size, size)
            case Dropout(ratio):
                return maker.Dropout(ratio)
            case Relu():
                return maker.Relu()
            case _:
                raise TypeError(f"the book has no {block}")

    def predict(self, x: Array) -> Array:
        for block, layer in zip(self.blocks, self.layers, strict=True):
            testing = (False,) if isinstance(block, Dropout | BatchNormalization) else ()
            x = layer.forward(x, *testing)
        return x

    def train_step(self, x: Array, t: Array) -> float:
        for layer in self.layers:
            x = layer.forward(x)
        loss = self.last_layer.forward(x, t)
        dout = self.last_layer.backward()
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        gradients = {key: getattr(layer, gradient) for key, layer, _, gradient in self.learned}
        self.optimizer.update(self.params, gradients)
        return loss
