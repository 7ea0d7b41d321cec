"""Gradients by central differences, in plain NumPy."""

import numpy as np


def _numerical_gradient_1d(f, x):
    return numerical_gradient(f, x)


def numerical_gradient_2d(f, X):
    if X.ndim == 1:
        return _numerical_gradient_1d(f, X)
    return np.array([_numerical_gradient_1d(f, x) for x in X])


def numerical_gradient(f, x):
    h = 1e-4
    grad = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        saved = x[index]
        x[index] = saved + h
        right = f(x)
        x[index] = saved - h
        left = f(x)
        x[index] = saved
        grad[index] = (right - left) / (2 * h)
    return grad
