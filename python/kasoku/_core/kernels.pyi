from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

__all__ = [
    "avg_pool2d",
    "avg_pool2d_backward",
    "col2im",
    "conv2d",
    "conv2d_backward_data",
    "conv2d_backward_weight",
    "exp",
    "im2col",
    "instruction_set",
    "instruction_sets",
    "log",
    "log_softmax",
    "logsumexp",
    "matmul",
    "max_pool2d",
    "max_pool2d_backward",
    "num_threads",
    "peak_flops",
    "relu",
    "set_num_threads",
    "sigmoid",
    "softmax",
    "sum_squares",
    "tanh",
]

_Array = npt.NDArray[Any]
_Pair = int | tuple[int, int]

def set_num_threads(threads: int) -> None: ...
def num_threads() -> int: ...
def instruction_set() -> str: ...
def instruction_sets() -> list[str]: ...
def peak_flops(double: bool) -> float: ...
def matmul(a: npt.ArrayLike, b: npt.ArrayLike, out: _Array | None = None) -> _Array: ...
def conv2d(
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: _Pair = 1,
    pad: _Pair = 0,
    relu: bool = False,
    out: _Array | None = None,
) -> _Array: ...
def conv2d_backward_data(
    dy: npt.ArrayLike,
    w: npt.ArrayLike,
    input_shape: Sequence[int],
    stride: _Pair = 1,
    pad: _Pair = 0,
    out: _Array | None = None,
) -> _Array: ...
def conv2d_backward_weight(
    x: npt.ArrayLike,
    dy: npt.ArrayLike,
    weight_shape: Sequence[int],
    stride: _Pair = 1,
    pad: _Pair = 0,
    out: _Array | None = None,
) -> _Array: ...
def max_pool2d(
    x: npt.ArrayLike,
    size: _Pair,
    stride: _Pair | None = None,
    pad: _Pair = 0,
    out: _Array | None = None,
) -> tuple[_Array, _Array]: ...
def max_pool2d_backward(
    dy: npt.ArrayLike,
    index: _Array,
    input_shape: Sequence[int],
    size: _Pair,
    stride: _Pair | None = None,
    pad: _Pair = 0,
    out: _Array | None = None,
) -> _Array: ...
def avg_pool2d(
    x: npt.ArrayLike,
    size: _Pair,
    stride: _Pair | None = None,
    pad: _Pair = 0,
    out: _Array | None = None,
) -> _Array: ...
def avg_pool2d_backward(
    dy: npt.ArrayLike,
    input_shape: Sequence[int],
    size: _Pair,
    stride: _Pair | None = None,
    pad: _Pair = 0,
    out: _Array | None = None,
) -> _Array: ...
def softmax(x: npt.ArrayLike, out: _Array | None = None) -> _Array: ...
def log_softmax(x: npt.ArrayLike, out: _Array | None = None) -> _Array: ...
def logsumexp(x: npt.ArrayLike, out: _Array | None = None) -> _Array: ...
def sum_squares(x: npt.ArrayLike) -> float: ...
def im2col(
    x: npt.ArrayLike,
    filter_h: int,
    filter_w: int,
    stride: _Pair = 1,
    pad: _Pair = 0,
    out: _Array | None = None,
) -> _Array: ...
def col2im(
    col: npt.ArrayLike,
    input_shape: Sequence[int],
    filter_h: int,
    filter_w: int,
    stride: _Pair = 1,
    pad: _Pair = 0,
    out: _Array | None = None,
) -> _Array: ...
def relu(x: npt.ArrayLike, out: _Array | None = None) -> _Array: ...
def sigmoid(x: npt.ArrayLike, out: _Array | None = None) -> _Array: ...
def tanh(x: npt.ArrayLike, out: _Array | None = None) -> _Array: ...
def exp(x: npt.ArrayLike, out: _Array | None = None) -> _Array: ...
def log(x: npt.ArrayLike, out: _Array | None = None) -> _Array: ...
