"""Numerical gradients (chapter 4), to check those by backpropagation against."""

import numpy as np

_H = 1e-4


def numerical_diff(f, x):
    """(f(x + h) − f(x − h))/2h."""
    return (f(x + _H) - f(x - _H)) / (2 * _H)


def numerical_gradient(f, x):
    """The gradient of f at x by central differences, in x's shape.

    Each element of x is changed in place, one after another, and put back, also where f raises: f may read x from
    wherever it lies, as the book's do.
    """
    grad = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        value = x[index]
        try:
            x[index] = float(value) + _H
            above = f(x)
            x[index] = float(value) - _H
            below = f(x)
        finally:
            x[index] = value
        grad[index] = (above - below) / (2 * _H)
    return grad


def _numerical_gradient_1d(f, x):
    return numerical_gradient(f, x)


def numerical_gradient_2d(f, X):
    """numerical_gradient for one point, or row by row for several."""
    if X.ndim == 1:
        return _numerical_gradient_1d(f, X)
    grad = np.zeros_like(X)
    for row, x in enumerate(X):
        grad[row] = _numerical_gradient_1d(f, x)
    return grad


def gradient_descent(f, init_x, lr=0.01, step_num=100):
    """(x, history): step_num steps of x ← x − lr·∇f(x) from init_x, which is changed in place; each x before its step."""
    x = init_x
    history = []
    for _ in range(step_num):
        history.append(x.copy())
        x -= lr * numerical_gradient(f, x)
    return x, np.array(history)
