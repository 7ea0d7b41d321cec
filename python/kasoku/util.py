"""The helpers of the book's ``common.util``."""

import numpy as np

from kasoku._core import kernels as _core


def smooth_curve(x):
    """x smoothed by a Kaiser window (length 11, beta 2), its ends reflected: as many points as x has."""
    window_len = 11
    s = np.r_[x[window_len - 1 : 0 : -1], x, x[-1:-window_len:-1]]
    w = np.kaiser(window_len, 2)
    y = np.convolve(w / w.sum(), s, mode="valid")
    return y[5 : len(y) - 5]


def shuffle_dataset(x, t):
    """x and t in one random order, drawn by ``np.random.permutation``."""
    permutation = np.random.permutation(x.shape[0])
    return x[permutation], t[permutation]


def conv_output_size(input_size, filter_size, stride=1, pad=0):
    """(input_size + 2·pad − filter_size)/stride + 1, which is a whole number where the filter fits evenly."""
    return (input_size + 2 * pad - filter_size) / stride + 1


def im2col(input_data, filter_h, filter_w, stride=1, pad=0):
    """The column matrix of images (N, C, H, W): (N·out_h·out_w, C·filter_h·filter_w), float64.

    A row for each window, in the order (n, y, x); a column for each cell, in the order (channel, y, x).
    ``kasoku.kernels.im2col`` keeps float32 as it is.

    Raises ValueError where the window does not fit.
    """
    return _core.im2col(np.asarray(input_data, dtype=np.float64), filter_h, filter_w, stride, pad)


def col2im(col, input_shape, filter_h, filter_w, stride=1, pad=0):
    """The adjoint of im2col: images of input_shape, each element the sum of the cells it was copied to, float64.

    Raises ValueError where the shapes do not fit.
    """
    return _core.col2im(
        np.asarray(col, dtype=np.float64), input_shape, filter_h, filter_w, stride, pad
    )
