"""The optimizers of chapter 6. Each updates a dict of parameters in place, from a dict of gradients with the same keys.

All parameters go to the kernels in one call, which checks them all before it changes any. What is no C-ordered array of
float32 or float64 like its gradient and state is updated by NumPy, by the same formula.
"""

import numpy as np

from kasoku._core import optimizer as _core

_EPSILON = 1e-7


class _Optimizer:
    #: The names of its states, each a dict of arrays by parameter, or None before the first step.
    _states = ()

    def _start(self, params):
        """Makes the states that are not there yet."""
        for name in self._states:
            if getattr(self, name) is None:
                setattr(self, name, {key: np.zeros_like(value) for key, value in params.items()})

    def _rule(self, lr):
        """The rule of :mod:`kasoku._core` that does the same: its name, its numbers and its states."""
        states = [getattr(self, name) for name in self._states]
        return self._name, self._numbers(lr), states

    def _count(self):
        """After a step that :meth:`_rule` described."""

    def update(self, params, grads):
        """One step. Raises KeyError for a parameter without gradient, ValueError where shapes differ."""
        self._start(params)
        left = _core.update(params, grads, *self._rule(self.lr))
        self._count()
        for key in left:
            self._update_one(key, params, grads)

    def __repr__(self):
        numbers = (f"{name}={value}" for name, value in vars(self).items() if np.isscalar(value))
        return f"{type(self).__name__}({', '.join(numbers)})"


class SGD(_Optimizer):
    """Stochastic gradient descent: p ← p − lr·g."""

    _name = "sgd"

    def __init__(self, lr=0.01):
        self.lr = lr

    def _numbers(self, lr):
        return [lr]

    def _update_one(self, key, params, grads):
        params[key] -= self.lr * grads[key]


class Momentum(_Optimizer):
    """Momentum: v ← momentum·v − lr·g, p ← p + v."""

    _name = "momentum"
    _states = ("v",)

    def __init__(self, lr=0.01, momentum=0.9):
        self.lr = lr
        self.momentum = momentum
        self.v = None

    def _numbers(self, lr):
        return [lr, self.momentum]

    def _update_one(self, key, params, grads):
        self.v[key] = self.momentum * self.v[key] - self.lr * grads[key]
        params[key] += self.v[key]


class Nesterov(_Optimizer):
    """Nesterov's accelerated gradient in Bengio's form: p ← p + momentum²·v − (1 + momentum)·lr·g, v ← momentum·v − lr·g."""

    _name = "nesterov"
    _states = ("v",)

    def __init__(self, lr=0.01, momentum=0.9):
        self.lr = lr
        self.momentum = momentum
        self.v = None

    def _numbers(self, lr):
        return [lr, self.momentum]

    def _update_one(self, key, params, grads):
        params[key] += self.momentum * self.momentum * self.v[key]
        params[key] -= (1 + self.momentum) * self.lr * grads[key]
        self.v[key] *= self.momentum
        self.v[key] -= self.lr * grads[key]


class AdaGrad(_Optimizer):
    """AdaGrad: h ← h + g², p ← p − lr·g/(√h + 1e-7)."""

    _name = "adagrad"
    _states = ("h",)

    def __init__(self, lr=0.01):
        self.lr = lr
        self.h = None

    def _numbers(self, lr):
        return [lr]

    def _update_one(self, key, params, grads):
        self.h[key] += grads[key] * grads[key]
        params[key] -= self.lr * grads[key] / (np.sqrt(self.h[key]) + _EPSILON)


class RMSprop(_Optimizer):
    """RMSprop: h ← decay_rate·h + (1 − decay_rate)·g², p ← p − lr·g/(√h + 1e-7)."""

    _name = "rmsprop"
    _states = ("h",)

    def __init__(self, lr=0.01, decay_rate=0.99):
        self.lr = lr
        self.decay_rate = decay_rate
        self.h = None

    def _numbers(self, lr):
        return [lr, self.decay_rate]

    def _update_one(self, key, params, grads):
        self.h[key] *= self.decay_rate
        self.h[key] += (1 - self.decay_rate) * grads[key] * grads[key]
        params[key] -= self.lr * grads[key] / (np.sqrt(self.h[key]) + _EPSILON)


class Adam(_Optimizer):
    """Adam: m and v are running means of g and g², p ← p − lr_t·m/(√v + 1e-7), the bias correction folded into lr_t."""

    _name = "adam"
    _states = ("m", "v")

    def __init__(self, lr=0.001, beta1=0.9, beta2=0.999):
        self.lr = lr
        self.beta1 = beta1
        self.beta2 = beta2
        self.iter = 0
        self.m = None
        self.v = None

    def _numbers(self, lr):
        return [lr, self.beta1, self.beta2, self.iter + 1]

    def _count(self):
        self.iter += 1

    def _update_one(self, key, params, grads):
        lr_t = self.lr * np.sqrt(1.0 - self.beta2**self.iter) / (1.0 - self.beta1**self.iter)
        self.m[key] += (1 - self.beta1) * (grads[key] - self.m[key])
        self.v[key] += (1 - self.beta2) * (grads[key] ** 2 - self.v[key])
        params[key] -= lr_t * self.m[key] / (np.sqrt(self.v[key]) + _EPSILON)
