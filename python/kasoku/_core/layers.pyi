from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "affine_backward",
    "affine_forward",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_inference",
    "convolution_backward",
    "convolution_forward",
    "dropout_forward",
    "dropout_mask",
    "pooling_backward",
    "pooling_forward",
    "relu_backward",
    "relu_forward",
    "sigmoid_backward",
    "sigmoid_forward",
    "softmax_with_loss_backward",
    "softmax_with_loss_forward",
]

_Array = npt.NDArray[Any]
_Pair = int | tuple[int, int]

def affine_forward(x: object, w: object, b: object) -> _Array | None: ...
def affine_backward(x: object, w: object, dout: object) -> tuple[_Array, _Array, _Array] | None: ...
def convolution_forward(x: object, w: object, b: object, stride: _Pair, pad: _Pair) -> _Array: ...
def convolution_backward(
    x: object, w: object, dout: object, stride: _Pair, pad: _Pair
) -> tuple[_Array, _Array, _Array]: ...
def pooling_forward(x: object, size: _Pair, stride: _Pair) -> tuple[_Array, _Array]: ...
def pooling_backward(
    shape: Sequence[int], dout: object, index: _Array, size: _Pair, stride: _Pair
) -> _Array: ...
def relu_forward(x: object) -> tuple[_Array, npt.NDArray[np.bool_]] | None: ...
def relu_backward(mask: object, dout: object) -> bool: ...
def sigmoid_forward(x: object) -> _Array | None: ...
def sigmoid_backward(y: object, dout: object) -> _Array | None: ...
def softmax_with_loss_forward(x: object, t: object) -> tuple[_Array, float] | None: ...
def softmax_with_loss_backward(y: object, t: object) -> _Array | None: ...
def dropout_forward(x: object, mask: object) -> _Array | None: ...
def dropout_mask(
    shape: Sequence[int], ratio: float, seed: int, step: int
) -> npt.NDArray[np.bool_]: ...
def batch_norm_forward(
    x: object, gamma: object, beta: object
) -> tuple[_Array, _Array, _Array, _Array] | None: ...
def batch_norm_inference(
    x: object, gamma: object, beta: object, mean: object, var: object
) -> _Array | None: ...
def batch_norm_backward(
    x: object, gamma: object, mean: object, inv_std: object, dout: object
) -> tuple[_Array, _Array, _Array] | None: ...
