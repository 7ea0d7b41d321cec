"""The optimizers of chapter 6. Each updates a dict of parameters in place, from a dict of gradients with the same keys.

All parameters go to the kernels in one call, which checks them all before it changes any. What is no C-ordered array of
float32 or float64 like its gradient and state is updated by NumPy, by the same formula.
"""

import numpy as np

from kasoku._core import optimizer as _core

_EPSILON = 1e-7


def _zeros(params):
    return {key: np.zeros_like(value) for key, value in params.items()}


class _Optimizer:
    def _start(self, params):
        """Makes the state where there is none yet."""

    def _rule(self, lr):
        """The rule of :mod:`kasoku._core` that does the same: its name, its numbers and its state, dicts of arrays."""
        raise NotImplementedError

    def _count(self):
        """After a step that :meth:`_rule` described."""

    def __repr__(self):
        numbers = (f"{name}={value}" for name, value in vars(self).items() if np.isscalar(value))
        return f"{type(self).__name__}({', '.join(numbers)})"


class SGD(_Optimizer):
    """Stochastic gradient descent: p ← p − lr·g."""

    def __init__(self, lr=0.01):
        self.lr = lr

    def _rule(self, lr):
        return "sgd", [lr], []

    def update(self, params, grads):
        """One step. Raises KeyError for a parameter without gradient, ValueError where shapes differ."""
        for key in _core.sgd(params, grads, self.lr):
            params[key] -= self.lr * grads[key]


class Momentum(_Optimizer):
    """Momentum: v ← momentum·v − lr·g, p ← p + v."""

    def __init__(self, lr=0.01, momentum=0.9):
        self.lr = lr
        self.momentum = momentum
        self.v = None

    def _start(self, params):
        if self.v is None:
            self.v = _zeros(params)

    def _rule(self, lr):
        return "momentum", [lr, self.momentum], [self.v]

    def update(self, params, grads):
        """One step. Raises KeyError for a parameter without gradient, ValueError where shapes differ."""
        self._start(params)
        for key in _core.momentum(params, grads, self.v, self.lr, self.momentum):
            self.v[key] = self.momentum * self.v[key] - self.lr * grads[key]
            params[key] += self.v[key]


class Nesterov(_Optimizer):
    """Nesterov's accelerated gradient in Bengio's form: p ← p + momentum²·v − (1 + momentum)·lr·g, v ← momentum·v − lr·g."""

    def __init__(self, lr=0.01, momentum=0.9):
        self.lr = lr
        self.momentum = momentum
        self.v = None

    def _start(self, params):
        if self.v is None:
            self.v = _zeros(params)

    def _rule(self, lr):
        return "nesterov", [lr, self.momentum], [self.v]

    def update(self, params, grads):
        """One step. Raises KeyError for a parameter without gradient, ValueError where shapes differ."""
        self._start(params)
        for key in _core.nesterov(params, grads, self.v, self.lr, self.momentum):
            params[key] += self.momentum * self.momentum * self.v[key]
            params[key] -= (1 + self.momentum) * self.lr * grads[key]
            self.v[key] *= self.momentum
            self.v[key] -= self.lr * grads[key]


class AdaGrad(_Optimizer):
    """AdaGrad: h ← h + g², p ← p − lr·g/(√h + 1e-7)."""

    def __init__(self, lr=0.01):
        self.lr = lr
        self.h = None

    def _start(self, params):
        if self.h is None:
            self.h = _zeros(params)

    def _rule(self, lr):
        return "adagrad", [lr], [self.h]

    def update(self, params, grads):
        """One step. Raises KeyError for a parameter without gradient, ValueError where shapes differ."""
        self._start(params)
        for key in _core.adagrad(params, grads, self.h, self.lr):
            self.h[key] += grads[key] * grads[key]
            params[key] -= self.lr * grads[key] / (np.sqrt(self.h[key]) + _EPSILON)


class RMSprop(_Optimizer):
    """RMSprop: h ← decay_rate·h + (1 − decay_rate)·g², p ← p − lr·g/(√h + 1e-7)."""

    def __init__(self, lr=0.01, decay_rate=0.99):
        self.lr = lr
        self.decay_rate = decay_rate
        self.h = None

    def _start(self, params):
        if self.h is None:
            self.h = _zeros(params)

    def _rule(self, lr):
        return "rmsprop", [lr, self.decay_rate], [self.h]

    def update(self, params, grads):
        """One step. Raises KeyError for a parameter without gradient, ValueError where shapes differ."""
        self._start(params)
        for key in _core.rmsprop(params, grads, self.h, self.lr, self.decay_rate):
            self.h[key] *= self.decay_rate
            self.h[key] += (1 - self.decay_rate) * grads[key] * grads[key]
            params[key] -= self.lr * grads[key] / (np.sqrt(self.h[key]) + _EPSILON)


class Adam(_Optimizer):
    """Adam: m and v are running means of g and g², p ← p − lr_t·m/(√v + 1e-7), the bias correction folded into lr_t."""

    def __init__(self, lr=0.001, beta1=0.9, beta2=0.999):
        self.lr = lr
        self.beta1 = beta1
        self.beta2 = beta2
        self.iter = 0
        self.m = None
        self.v = None

    def _start(self, params):
        if self.m is None:
            self.m, self.v = _zeros(params), _zeros(params)

    def _rule(self, lr):
        return "adam", [lr, self.beta1, self.beta2, self.iter + 1], [self.m, self.v]

    def _count(self):
        self.iter += 1

    def update(self, params, grads):
        """One step. Raises KeyError for a parameter without gradient, ValueError where shapes differ."""
        self._start(params)
        step = self.iter + 1
        left = _core.adam(params, grads, self.m, self.v, self.lr, self.beta1, self.beta2, step)
        self.iter = step
        lr_t = self.lr * np.sqrt(1.0 - self.beta2**step) / (1.0 - self.beta1**step)
        for key in left:
            self.m[key] += (1 - self.beta1) * (grads[key] - self.m[key])
            self.v[key] += (1 - self.beta2) * (grads[key] ** 2 - self.v[key])
            params[key] -= lr_t * self.m[key] / (np.sqrt(self.v[key]) + _EPSILON)
