"""The layers of chapters 5 to 7, as the book's ``common.layers``, on kasoku's kernels; and those of chapter 8's architectures.

A layer keeps references to the arrays it is given, so a change of them in place is seen by its next call; nothing derived
from W outlives a call. Types follow NumPy's promotion, and any layout is taken. Where a layer was called by several threads,
``backward`` belongs to the latest ``forward``.
"""

from math import prod as _prod

import numpy as np

from kasoku._core import layers as _core
from kasoku.deep_layers import (  # noqa: F401
    Chain,
    Concat,
    GlobalAveragePooling,
    LocalResponseNormalization,
    Residual,
)
from kasoku.functions import *
from kasoku.functions import cross_entropy_error, sigmoid, softmax
from kasoku.util import col2im, im2col  # noqa: F401


def _forward_first(layer):
    return RuntimeError(f"{type(layer).__name__}.backward needs a forward pass before it")


def _rows(x):
    """x as (N, D), and its shape."""
    shape = x.shape
    if len(shape) == 2:
        return x, shape
    return x.reshape(shape[0], _prod(shape[1:])), shape


def _shape_of(array):
    return "×".join(map(str, np.shape(array)))


class MulLayer:
    """out = x·y."""

    def __init__(self):
        self.x = None
        self.y = None

    def forward(self, x, y):
        """x·y."""
        out = x * y
        self.x = x
        self.y = y
        return out

    def backward(self, dout):
        """(dout·y, dout·x)."""
        if self.x is None:
            raise _forward_first(self)
        return dout * self.y, dout * self.x

    def __repr__(self):
        return "MulLayer()"


class AddLayer:
    """out = x + y."""

    def __init__(self):
        pass

    def forward(self, x, y):
        """x + y."""
        return x + y

    def backward(self, dout):
        """(dout, dout)."""
        return dout * 1, dout * 1

    def __repr__(self):
        return "AddLayer()"


class Relu:
    """out = max(x, 0), NaN passing. ``mask`` is where x ≤ 0."""

    def __init__(self):
        self.mask = None

    def forward(self, x):
        """max(x, 0), in a new array of x's shape and type."""
        result = _core.relu_forward(x)
        if result is None:
            mask = x <= 0
            out = x.copy()
            out[mask] = 0
        else:
            out, mask = result
        self.mask = mask
        return out

    def backward(self, dout):
        """dout itself, set to 0 where the mask is true."""
        mask = self.mask
        if mask is None:
            raise _forward_first(self)
        if not _core.relu_backward(mask, dout):
            dout[mask] = 0
        return dout

    def __repr__(self):
        return "Relu()"


ReLU = Relu


class Sigmoid:
    """out = 1/(1 + e⁻ˣ)."""

    def __init__(self):
        self.out = None

    def forward(self, x):
        """1/(1 + e⁻ˣ), of x's shape."""
        out = sigmoid(x)
        self.out = out
        return out

    def backward(self, dout):
        """dout·(1 − out)·out."""
        out = self.out
        if out is None:
            raise _forward_first(self)
        dx = _core.sigmoid_backward(out, dout)
        return dout * (1.0 - out) * out if dx is None else dx

    def __repr__(self):
        return "Sigmoid()"


class Affine:
    """out = x·W + b for W (D, M) and b (M,); x of any rank is taken as (N, D).

    ``dW`` and ``db`` are the gradients of the latest backward pass.
    """

    def __init__(self, W, b):
        self.W = W
        self.b = b
        self.x = None
        self.original_x_shape = None
        self.dW = None
        self.db = None

    def forward(self, x):
        """x·W + b, (N, M). Raises ValueError where the shapes do not fit."""
        x, shape = _rows(x)
        out = _core.affine_forward(x, self.W, self.b)
        if out is None:
            out = np.dot(x, self.W) + self.b
        self.x = x
        self.original_x_shape = shape
        return out

    def backward(self, dout):
        """dx in x's own shape. Raises ValueError where dout is not of the output's shape."""
        x, shape, W = self.x, self.original_x_shape, self.W
        if x is None:
            raise _forward_first(self)
        gradients = _core.affine_backward(x, W, dout)
        if gradients is None:
            gradients = np.dot(dout, W.T), np.dot(x.T, dout), np.sum(dout, axis=0)
        dx, self.dW, self.db = gradients
        return dx if len(shape) == 2 else dx.reshape(shape)

    def __repr__(self):
        return f"Affine(W: {_shape_of(self.W)})"


class SoftmaxWithLoss:
    """The cross-entropy of softmax(x) with t, which holds labels or is one-hot. ``y`` is softmax(x), ``loss`` the loss."""

    def __init__(self):
        self.loss = None
        self._last = None, None  # y and t, of one forward pass

    @property
    def y(self):
        """softmax(x) of the latest forward pass."""
        return self._last[0]

    @y.setter
    def y(self, y):
        self._last = y, self._last[1]

    @property
    def t(self):
        """The t of the latest forward pass."""
        return self._last[1]

    @t.setter
    def t(self, t):
        self._last = self._last[0], t

    def forward(self, x, t):
        """The loss, a float scalar. Raises IndexError where a label is no class."""
        result = _core.softmax_with_loss_forward(x, t)
        if result is None:
            y = softmax(x)
            loss = cross_entropy_error(y, t)
        else:
            y, loss = result
            loss = y.dtype.type(loss)
        self._last = y, t
        self.loss = loss
        return loss

    def backward(self, dout=1):
        """(y − t)/N; dout is not used."""
        y, t = self._last
        if y is None:
            raise _forward_first(self)
        dx = _core.softmax_with_loss_backward(y, t)
        if dx is not None:
            return dx
        batch_size = t.shape[0]
        if t.size == y.size:
            return (y - t) / batch_size
        dx = y.copy()
        dx[np.arange(batch_size), t] -= 1
        return dx / batch_size

    def __repr__(self):
        return "SoftmaxWithLoss()"


class Dropout:
    """Training drops each element with probability dropout_ratio; testing multiplies by 1 − dropout_ratio.

    ``mask`` is ``np.random.rand(*x.shape) > dropout_ratio``, as in the book, so ``np.random.seed`` repeats a run. With a
    ``seed`` it comes from kasoku's own generator, which is much faster and leaves NumPy's alone.
    """

    def __init__(self, dropout_ratio=0.5, seed=None):
        self.dropout_ratio = dropout_ratio
        self.mask = None
        self.seed = seed
        self._step = 0

    def forward(self, x, train_flg=True):
        """x·mask, or x·(1 − dropout_ratio) where train_flg is false."""
        if not train_flg:
            return x * (1.0 - self.dropout_ratio)
        if self.seed is None:
            mask = np.random.rand(*x.shape) > self.dropout_ratio
        else:
            mask = _core.dropout_mask(x.shape, self.dropout_ratio, self.seed, self._step)
            self._step += 1
        out = _core.dropout_forward(x, mask)
        self.mask = mask
        return x * mask if out is None else out

    def backward(self, dout):
        """dout·mask."""
        mask = self.mask
        if mask is None:
            raise _forward_first(self)
        dx = _core.dropout_forward(dout, mask)
        return dout * mask if dx is None else dx

    def __repr__(self):
        return f"Dropout({self.dropout_ratio})"


class BatchNormalization:
    """Each feature shifted and scaled to mean 0 and variance 1 over the batch, then by gamma and beta.

    x is (N, D), or of any higher rank and taken as (N, D): images are normalised per pixel, as in the book. With
    ``per_channel``, x (N, C, H, W) has one mean and one variance a channel, as convolutional networks want it: gamma and beta
    are (C,). The variance is the biased one, 1e-6 is added to it. ``running_mean`` and ``running_var`` start at 0 and follow
    the batches with ``momentum``; with train_flg false they are used instead of the batch's own.
    Source: Ioffe and Szegedy, http://arxiv.org/abs/1502.03167.
    """

    def __init__(
        self, gamma, beta, momentum=0.9, running_mean=None, running_var=None, *, per_channel=False
    ):
        self.gamma = gamma
        self.beta = beta
        self.momentum = momentum
        self.per_channel = per_channel
        self.input_shape = None
        self.running_mean = running_mean
        self.running_var = running_var
        self.batch_size = None
        self.dgamma = None
        self.dbeta = None
        self._last = None  # x, its mean and 1/std, of one forward pass

    @property
    def xc(self):
        """x − mean of the latest training pass."""
        return None if self._last is None else self._last[0] - self._along(self._last[1])

    @property
    def std(self):
        """√(var + 1e-6) of the latest training pass."""
        return None if self._last is None else 1 / self._last[2]

    @property
    def xn(self):
        """The normalised x of the latest training pass."""
        return None if self._last is None else self.xc * self._along(self._last[2])

    def forward(self, x, train_flg=True):
        """gamma·x̂ + beta, in x's shape. Raises ValueError where gamma and beta do not fit."""
        x, shape = (x, x.shape) if self.per_channel else _rows(x)
        if x.dtype.kind in "biu":
            x = x.astype(np.float64)
        gamma, beta = self._row(self.gamma, x), self._row(self.beta, x)
        mean, var = self.running_mean, self.running_var
        if mean is None:
            mean, var = np.zeros(x.shape[1], x.dtype), np.zeros(x.shape[1], x.dtype)
        if train_flg and x.shape[0] > 0:  # no rows have no mean
            out, mu, variance, inv_std = _core.batch_norm_forward(x, gamma, beta)
            keep = self.momentum
            mean = keep * mean + (1 - keep) * mu
            var = keep * var + (1 - keep) * variance
            last = x, mu, inv_std
        else:
            out = _core.batch_norm_inference(x, gamma, beta, mean, var)
            last = x, mean, np.ones_like(mean)
        if train_flg:
            self._last = last
            self.batch_size = x.shape[0]
        self.running_mean, self.running_var = mean, var
        self.input_shape = shape
        return out if out.shape == shape else out.reshape(shape)

    def backward(self, dout):
        """dx in dout's shape; ``dgamma`` and ``dbeta`` are set."""
        if self._last is None:
            raise _forward_first(self)
        x, mean, inv_std = self._last
        dout, shape = (dout, dout.shape) if self.per_channel else _rows(dout)
        gamma = self._row(self.gamma, x)
        if dout.shape[0] == 0:
            dx = dout * self._along(gamma)
            self.dgamma, self.dbeta = np.zeros_like(gamma), np.zeros_like(gamma)
        else:
            gradients = _core.batch_norm_backward(x, gamma, mean, inv_std, dout)
            dx, self.dgamma, self.dbeta = gradients
        return dx if dx.shape == shape else dx.reshape(shape)

    def _along(self, row):
        """row, for arithmetic with x."""
        return row.reshape(-1, *[1] * (self._last[0].ndim - 2))

    @staticmethod
    def _row(value, x):
        """value with one number for each feature of x."""
        features = x.shape[1:2]
        if isinstance(value, np.ndarray) and value.shape == features:
            return value
        return np.broadcast_to(np.asarray(value, dtype=getattr(value, "dtype", x.dtype)), features)

    def __repr__(self):
        kind = ", per_channel=True" if self.per_channel else ""
        return f"BatchNormalization({_shape_of(self.gamma)}, momentum={self.momentum}{kind})"


class Convolution:
    """The convolution of images x (N, C, H, W) with filters W (FN, C, FH, FW), plus b (FN,): (N, FN, OH, OW).

    OH = (H + 2·pad − FH)//stride + 1. ``dW`` and ``db`` are the gradients of the latest backward pass. No column matrix is
    made; ``col`` makes it where it is asked for.
    """

    def __init__(self, W, b, stride=1, pad=0):
        self.W = W
        self.b = b
        self.stride = stride
        self.pad = pad
        self.x = None
        self.dW = None
        self.db = None

    @property
    def col(self):
        """The column matrix of the latest x, made anew each time."""
        if self.x is None:
            return None
        return im2col(self.x, *self.W.shape[2:], self.stride, self.pad)

    @property
    def col_W(self):
        """W as the matrix (C·FH·FW, FN): a view."""
        return None if self.x is None else self.W.reshape(self.W.shape[0], -1).T

    def forward(self, x):
        """x ∗ W + b. Raises ValueError where the shapes do not fit."""
        out = _core.convolution_forward(x, self.W, self.b, self.stride, self.pad)
        self.x = x
        return out

    def backward(self, dout):
        """dx in x's shape. Raises ValueError where dout is not of the output's shape."""
        x = self.x
        if x is None:
            raise _forward_first(self)
        dx, self.dW, self.db = _core.convolution_backward(x, self.W, dout, self.stride, self.pad)
        return dx

    def __repr__(self):
        return f"Convolution(W: {_shape_of(self.W)}, stride={self.stride}, pad={self.pad})"


class Pooling:
    """The largest element under each window of x (N, C, H, W): (N, C, OH, OW), OH = 1 + (H − pool_h)//stride.

    The first of equals wins. As in the book, pad surrounds x with zeros, which may win, but OH does not count it.
    """

    def __init__(self, pool_h, pool_w, stride=2, pad=0):
        self.pool_h = pool_h
        self.pool_w = pool_w
        self.stride = stride
        self.pad = pad
        self._last = None, None  # x and where its maxima stood, of one forward pass

    @property
    def x(self):
        """The x of the latest forward pass."""
        return self._last[0]

    @property
    def arg_max(self):
        """The number, in its window, of each maximum of the latest forward pass: one row (n, y, x, channel)."""
        index = self._last[1]
        return None if index is None else index.transpose(0, 2, 3, 1).reshape(-1).astype(np.intp)

    def forward(self, x):
        """The maxima. Raises ValueError where the window does not fit."""
        size = self.pool_h, self.pool_w
        padded = self._padded(x) if self.pad else x
        out, index = _core.pooling_forward(padded, size, self.stride)
        self._last = x, index
        return out

    def backward(self, dout):
        """dx in x's shape: each window's dout where its maximum stood."""
        x, index = self._last
        if x is None:
            raise _forward_first(self)
        n, c, h, w = x.shape
        pad = self.pad
        shape = n, c, h + 2 * pad, w + 2 * pad
        dx = _core.pooling_backward(shape, dout, index, (self.pool_h, self.pool_w), self.stride)
        return np.ascontiguousarray(dx[:, :, pad : pad + h, pad : pad + w]) if pad else dx

    def _padded(self, x):
        """x with zeros around it, where that gives as many windows as without."""
        sides = [(0, 0), (0, 0), (self.pad, self.pad), (self.pad, self.pad)]
        padded = np.pad(x, sides)
        for axis, size in ((2, self.pool_h), (3, self.pool_w)):
            windows = (padded.shape[axis] - size) // self.stride + 1
            expected = 1 + (x.shape[axis] - size) // self.stride
            if windows != expected:
                raise ValueError(
                    f"cannot reshape {windows} windows of size {size} into {expected}: "
                    f"x has shape {x.shape}, pad={self.pad} is not counted"
                )
        return padded

    def __repr__(self):
        size = f"{self.pool_h}×{self.pool_w}"
        return f"Pooling({size}, stride={self.stride}, pad={self.pad})"
