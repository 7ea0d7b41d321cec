"""The kernels by themselves, on NumPy arrays: SIMD, on all cores, the interpreter released.

float32 stays float32, float64 stays float64; other types follow NumPy's promotion, integers becoming float64. Any layout is
taken. ``out=`` receives the result where it is given: an array of the result's shape, in any layout.
"""

from kasoku._core.kernels import (
    avg_pool2d,
    avg_pool2d_backward,
    col2im,
    conv2d,
    conv2d_backward_data,
    conv2d_backward_weight,
    exp,
    im2col,
    instruction_set,
    instruction_sets,
    log,
    log_softmax,
    logsumexp,
    matmul,
    max_pool2d,
    max_pool2d_backward,
    num_threads,
    relu,
    set_num_threads,
    sigmoid,
    softmax,
    sum_squares,
    tanh,
)

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
    "relu",
    "set_num_threads",
    "sigmoid",
    "softmax",
    "sum_squares",
    "tanh",
]
