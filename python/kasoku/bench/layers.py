"""The book's layers one by one, forward and backward, beside NumPy's: float64 on both sides."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from kasoku import _numpy_reference as reference
from kasoku import layers
from kasoku.bench.turns import Budget, Row, Work, compare


def _both_ways(layer: Any, x: Any, dout: Any) -> Work:
    """A pass forward and one backward."""

    def work() -> None:
        layer.forward(x)
        # Relu's backward pass writes into what it is given.
        layer.backward(dout.copy())

    return work


def _cases(batch: int) -> Iterator[tuple[str, Work, Work]]:
    random = np.random.default_rng(0)
    weights = {
        "Affine 784→100": ("Affine", (784, 100), 100, (784,), {}),
        "Affine 100→10": ("Affine", (100, 10), 10, (100,), {}),
        "Convolution 1→30, 5×5, 28×28": ("Convolution", (30, 1, 5, 5), 30, (1, 28, 28), {}),
        "Convolution 16→16, 3×3, 28×28": (
            "Convolution",
            (16, 16, 3, 3),
            16,
            (16, 28, 28),
            {"pad": 1},
        ),
        "Convolution 64→64, 3×3, 8×8": ("Convolution", (64, 64, 3, 3), 64, (64, 8, 8), {"pad": 1}),
    }
    for title, (kind, shape, outputs, sample, options) in weights.items():
        w, b, x = random.random(shape), random.random(outputs), random.random((batch, *sample))
        pair = [getattr(maker, kind)(w, b, **options) for maker in (reference, layers)]
        dout = random.random(pair[0].forward(x).shape)
        yield title, _both_ways(pair[0], x, dout), _both_ways(pair[1], x, dout)
    image = random.random((batch, 30, 24, 24)) - 0.5
    rows = random.random((batch, 1000)) - 0.5
    ones = np.ones(1000)
    plain: dict[str, tuple[str, tuple[Any, ...], Any]] = {
        "Pooling 2×2, 30×24×24": ("Pooling", (2, 2, 2), image),
        "Relu 30×24×24": ("Relu", (), image),
        "Sigmoid 1000": ("Sigmoid", (), rows),
        "Dropout 1000": ("Dropout", (0.5,), rows),
        "BatchNormalization 1000": ("BatchNormalization", (ones, ones), rows),
    }
    for title, (kind, arguments, x) in plain.items():
        pair = [getattr(maker, kind)(*arguments) for maker in (reference, layers)]
        dout = random.random(pair[0].forward(x).shape)
        yield title, _both_ways(pair[0], x, dout), _both_ways(pair[1], x, dout)
    t = random.integers(0, 10, batch)
    scores = random.random((batch, 10))
    losses = [maker.SoftmaxWithLoss() for maker in (reference, layers)]
    works = [lambda loss=loss: (loss.forward(scores, t), loss.backward()) for loss in losses]
    yield "SoftmaxWithLoss 10", works[0], works[1]


def rows(batch: int, budget: Budget, only: str = "") -> Iterator[Row]:
    """A row for each layer whose name has ``only``."""
    for title, theirs, ours in _cases(batch):
        if only in title:
            yield compare(title, {"kasoku": ours, "NumPy": theirs}, budget)
