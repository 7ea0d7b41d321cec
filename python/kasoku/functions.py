"""The functions of chapters 3 and 4, as the book's ``common.functions``.

Arrays of float32 and float64 go to the kernels; anything else (numbers, integers, float16, …) is NumPy's, by the book's own
formula, so that types and errors are NumPy's too.
"""

import numpy as np

from kasoku._core import functions as _core

_EPSILON = 1e-7


def identity_function(x):
    """x itself."""
    return x


def step_function(x):
    """1 where x > 0, else 0, as integers."""
    return np.array(x > 0, dtype=int)


def sigmoid(x):
    """1/(1 + e⁻ˣ)."""
    y = _core.sigmoid(x)
    return 1 / (1 + np.exp(-x)) if y is None else y


def sigmoid_grad(x):
    """(1 − sigmoid(x))·sigmoid(x)."""
    y = sigmoid(x)
    return (1.0 - y) * y


def relu(x):
    """max(0, x); NaN passes."""
    y = _core.relu(x)
    return np.maximum(0, x) if y is None else y


def relu_grad(x):
    """1 where x ≥ 0, else 0, in the type of x."""
    grad = np.zeros_like(x)
    grad[x >= 0] = 1
    return grad


def softmax(x):
    """eˣ over its sum, along the last axis; the maximum is subtracted first."""
    y = _core.softmax(x)
    if y is None:
        x = x - np.max(x, axis=-1, keepdims=True)
        y = np.exp(x) / np.sum(np.exp(x), axis=-1, keepdims=True)
    return y


def mean_squared_error(y, t):
    """½·Σ(y − t)² over all elements."""
    return 0.5 * np.sum((y - t) ** 2)


sum_squared_error = mean_squared_error


def cross_entropy_error(y, t):
    """The mean over the rows of y of −ln(y[row, label] + 1e-7).

    y is (N, M), or (M,) for one row; t is N labels, or one-hot in y's shape.

    Raises IndexError where a label is no class.
    """
    if y.ndim == 1:
        t = t.reshape(1, t.size) if isinstance(t, np.ndarray) else np.reshape(t, (1, -1))
        y = y.reshape(1, y.size)
        if t.size != y.size:  # one label
            t = t.reshape(t.size)
    loss = _core.cross_entropy_error(y, t)
    if loss is not None:
        return y.dtype.type(loss)
    if t.size == y.size:
        t = t.argmax(axis=1)
    batch_size = y.shape[0]
    return -np.sum(np.log(y[np.arange(batch_size), t] + _EPSILON)) / batch_size


def softmax_loss(X, t):
    """cross_entropy_error(softmax(X), t)."""
    return cross_entropy_error(softmax(X), t)
