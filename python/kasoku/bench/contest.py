"""The book's five networks, described once for every library that runs them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kasoku import networks
from kasoku.blocks import (
    Affine,
    BatchNormalization,
    Block,
    Convolution,
    Dropout,
    MaxPooling,
    Relu,
)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Case:
    """A network: its layers, the shape of a sample, the rule that updates it, and kasoku's own, whole in Rust.

    The other libraries start from the weights of that one.
    """

    name: str
    sample: tuple[int, ...]
    layers: Sequence[Block]
    rule: str  #: 'sgd' or 'adam'
    build: Callable[[], networks.Network]

    def batch(self, size: int) -> tuple[Array, Array]:
        """Images, float32, and labels."""
        random = np.random.default_rng(1)
        return random.random((size, *self.sample), np.float32), random.integers(0, 10, size)

    def flops(self) -> tuple[int, int]:
        """The floating-point operations of a step and of a prediction, a sample: those of matrix products and convolutions by
        their definitions. A step takes each three times, but for the first layer, whose input needs no gradient."""
        shape, found = self.sample, []
        for layer in self.layers:
            match layer:
                case Convolution(filters, size, _, pad):
                    channels, height, width = shape
                    height, width = (edge + 2 * pad - size + 1 for edge in (height, width))
                    shape = (filters, height, width)
                    found.append(2 * filters * channels * size * size * height * width)
                case MaxPooling(size):
                    shape = (shape[0], shape[1] // size, shape[2] // size)
                case Affine(outputs):
                    found.append(2 * int(np.prod(shape)) * outputs)
                    shape = (outputs,)
        return 3 * sum(found) - found[0], sum(found)


def _hidden(sizes: Sequence[int], *after: Block, normalised: bool = False) -> list[Block]:
    """Affine layers with ReLU, what comes ``after`` each, and the ten scores."""
    layers: list[Block] = []
    for size in sizes:
        layers += [Affine(size), *[BatchNormalization()] * normalised, Relu(), *after]
    return [*layers, Affine(10)]


def _deep() -> list[Block]:
    layers: list[Block] = []
    for filters, pads in ((16, (1, 1)), (32, (1, 2)), (64, (1, 1))):
        for pad in pads:
            layers += [Convolution(filters, 3, pad=pad), Relu()]
        layers.append(MaxPooling(2))
    return [*layers, *_hidden([50], Dropout(0.5)), Dropout(0.5)]


_IMAGE = (1, 28, 28)

CASES = (
    Case("DeepConvNet, Adam", _IMAGE, _deep(), "adam", lambda: networks.DeepConvNet(seed=1)),
    Case(
        "SimpleConvNet, Adam",
        _IMAGE,
        [Convolution(30, 5), Relu(), MaxPooling(2), *_hidden([100])],
        "adam",
        lambda: networks.SimpleConvNet(seed=1),
    ),
    Case(
        "MLP 784-100×4-10, SGD",
        (784,),
        _hidden([100] * 4),
        "sgd",
        lambda: networks.MultiLayerNet(784, [100] * 4, 10, seed=1),
    ),
    Case(
        "MLP 784-100×5-10, norm, dropout, SGD",
        (784,),
        _hidden([100] * 5, Dropout(0.5), normalised=True),
        "sgd",
        lambda: networks.MultiLayerNetExtend(
            784, [100] * 5, 10, use_dropout=True, use_batchnorm=True, seed=1
        ),
    ),
    Case(
        "TwoLayerNet 784-50-10, SGD",
        (784,),
        _hidden([50]),
        "sgd",
        lambda: networks.TwoLayerNet(784, 50, 10, seed=1),
    ),
)

#: The learning rates of all libraries: the book's.
RATES = {"sgd": 0.01, "adam": 0.001}


def initial_weights(case: Case, network: networks.Network) -> list[list[Array]]:
    """Copies of what a network of ``case`` begins with, a list for each layer: W and b, gamma and beta, or nothing."""
    names = {Convolution: ("W", "b"), Affine: ("W", "b"), BatchNormalization: ("gamma", "beta")}
    taken: Counter[str] = Counter()
    weights = []
    for layer in case.layers:
        own = names.get(type(layer), ())
        taken.update(own)
        weights.append([network.params[f"{name}{taken[name]}"].copy() for name in own])
    return weights
