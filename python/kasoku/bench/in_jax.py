"""The networks in JAX: the whole step compiled by XLA, its buffers donated."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kasoku.bench.contest import RATES, Array, Case
from kasoku.blocks import (
    Affine,
    BatchNormalization,
    Convolution,
    Dropout,
    MaxPooling,
    Relu,
)


def step(case: Case, weights: Sequence[Sequence[Array]]) -> Callable[[Array, Array], float]:
    """A function of images and labels that takes a step and returns the loss before it. Raises ImportError without JAX."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    jax.config.update("jax_platforms", "cpu")

    def forward(weights: Any, running: Any, x: Any, key: Any) -> tuple[Any, Any]:
        """The scores, and the running statistics of batch normalisation."""
        followed = []
        for block, arrays, statistics in zip(case.layers, weights, running, strict=True):
            match block:
                case Affine():
                    x = x.reshape(len(x), -1) @ arrays[0] + arrays[1]
                case Convolution(_, _, stride, pad):
                    x = lax.conv_general_dilated(x, arrays[0], [stride] * 2, [(pad, pad)] * 2)
                    x += arrays[1][:, None, None]
                case MaxPooling(size):
                    window = (1, 1, size, size)
                    x = lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")
                case BatchNormalization():
                    seen = x.mean(axis=0), x.var(axis=0)
                    statistics = [
                        0.9 * old + 0.1 * new for old, new in zip(statistics, seen, strict=True)
                    ]
                    x = (x - seen[0]) * lax.rsqrt(seen[1] + 1e-6) * arrays[0] + arrays[1]
                case Dropout(ratio):
                    key, own = jax.random.split(key)
                    x = jnp.where(jax.random.bernoulli(own, 1 - ratio, x.shape), x, 0)
                    x /= 1 - ratio
                case Relu():
                    x = jnp.maximum(x, 0)
            followed.append(statistics)
        return x, followed

    def loss_of(weights: Any, running: Any, x: Any, t: Any, key: Any) -> tuple[Any, Any]:
        scores, running = forward(weights, running, x, key)
        likelihoods = jnp.take_along_axis(jax.nn.log_softmax(scores), t[:, None], axis=1)
        return -likelihoods.mean(), running

    rate, map_arrays = RATES[case.rule], jax.tree.map

    def update(weights: Any, gradients: Any, moments: Any, number: Any) -> tuple[Any, Any]:
        if case.rule == "sgd":
            return map_arrays(lambda w, g: w - rate * g, weights, gradients), moments
        m = map_arrays(lambda m, g: m + 0.1 * (g - m), moments[0], gradients)
        v = map_arrays(lambda v, g: v + 0.001 * (g * g - v), moments[1], gradients)
        now = rate * jnp.sqrt(1 - 0.999**number) / (1 - 0.9**number)
        weights = map_arrays(lambda w, m, v: w - now * m / (jnp.sqrt(v) + 1e-7), weights, m, v)
        return weights, [m, v]

    def compiled(state: Any, x: Any, t: Any) -> tuple[Any, Any]:
        weights, moments, running, number = state
        key = jax.random.key(number.astype(int))
        gradient = jax.value_and_grad(loss_of, has_aux=True)
        (loss, running), gradients = gradient(weights, running, x, t, key)
        weights, moments = update(weights, gradients, moments, number + 1)
        return (weights, moments, running, number + 1), loss

    take = jax.jit(compiled, donate_argnums=0)
    own = [[jnp.array(array) for array in arrays] for arrays in weights]
    moments = [] if case.rule == "sgd" else [map_arrays(jnp.zeros_like, own) for _ in range(2)]
    running = [
        [jnp.zeros_like(array) for array in arrays] if isinstance(block, BatchNormalization) else []
        for block, arrays in zip(case.layers, own, strict=True)
    ]
    state = (own, moments, running, jnp.float32(0))

    def run(x: Array, t: Array) -> float:
        nonlocal state
        state, loss = take(state, x, t.astype(np.int32))
        jax.block_until_ready(state)
        return float(loss)

    return run
