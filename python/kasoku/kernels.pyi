from kasoku._core.kernels import avg_pool2d as avg_pool2d
from kasoku._core.kernels import avg_pool2d_backward as avg_pool2d_backward
from kasoku._core.kernels import col2im as col2im
from kasoku._core.kernels import conv2d as conv2d
from kasoku._core.kernels import conv2d_backward_data as conv2d_backward_data
from kasoku._core.kernels import conv2d_backward_weight as conv2d_backward_weight
from kasoku._core.kernels import exp as exp
from kasoku._core.kernels import im2col as im2col
from kasoku._core.kernels import instruction_set as instruction_set
from kasoku._core.kernels import instruction_sets as instruction_sets
from kasoku._core.kernels import log as log
from kasoku._core.kernels import log_softmax as log_softmax
from kasoku._core.kernels import logsumexp as logsumexp
from kasoku._core.kernels import matmul as matmul
from kasoku._core.kernels import max_pool2d as max_pool2d
from kasoku._core.kernels import max_pool2d_backward as max_pool2d_backward
from kasoku._core.kernels import num_threads as num_threads
from kasoku._core.kernels import relu as relu
from kasoku._core.kernels import set_num_threads as set_num_threads
from kasoku._core.kernels import sigmoid as sigmoid
from kasoku._core.kernels import softmax as softmax
from kasoku._core.kernels import sum_squares as sum_squares
from kasoku._core.kernels import tanh as tanh

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
