"""What :class:`kasoku.networks.Sequential` is made of: descriptions of layers, which the Rust crate then builds.

>>> from kasoku.blocks import *
>>> from kasoku.networks import Sequential
>>> block = [Convolution(12, 3, pad=1), BatchNormalization(), Relu(), Convolution(12, 3, pad=1), BatchNormalization()]
>>> network = Sequential(
...     (1, 28, 28),
...     [Convolution(12, 3, pad=1), Relu(), MaxPooling(2), Residual(block), Relu(), GlobalAveragePooling(), Affine(10)],
...     seed=1,
... )
>>> network
<Sequential: 2962 parameters, float32, seed 1>

A description holds numbers, no weights; each layer is sized by what comes before it. ``weight_init_std`` is a standard
deviation, 'he' or 'relu', or 'xavier' or 'sigmoid'. Sizes are one number for height and width, or a pair.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

__all__ = [
    "Affine",
    "AveragePooling",
    "BatchNormalization",
    "Block",
    "Concat",
    "Convolution",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling",
    "LocalResponseNormalization",
    "MaxPooling",
    "Relu",
    "Residual",
    "Sigmoid",
    "Tanh",
]

_Size = int | tuple[int, int]


class Block:
    """The description of a layer."""

    #: Its name in the core.
    _kind: ClassVar[str]

    def _arguments(self) -> tuple[Any, ...]:
        """What the core wants to know of it."""
        return tuple(vars(self).values())


def described(layers: Iterable[Block]) -> list[tuple[str, tuple[Any, ...]]]:
    """The layers as the core takes them. Raises TypeError for what is no description."""
    layers = list(layers)
    for layer in layers:
        if not isinstance(layer, Block):
            raise TypeError(f"expected a layer of kasoku.blocks, got {layer!r}")
    return [(layer._kind, layer._arguments()) for layer in layers]


@dataclass(frozen=True)
class Affine(Block):
    """Fully connected to ``outputs`` outputs; images are taken as vectors."""

    _kind = "affine"
    outputs: int
    weight_init_std: float | str = "he"

    def _arguments(self) -> tuple[Any, ...]:
        return self.outputs, str(self.weight_init_std)


@dataclass(frozen=True)
class Convolution(Block):
    """``filters`` filters of ``size`` on images: height (H + 2·pad − size)//stride + 1."""

    _kind = "convolution"
    filters: int
    size: _Size
    stride: _Size = 1
    pad: _Size = 0
    weight_init_std: float | str = "he"

    def _arguments(self) -> tuple[Any, ...]:
        return self.filters, (self.size, self.stride, self.pad), str(self.weight_init_std)


@dataclass(frozen=True)
class _Pooling(Block):
    size: _Size = 2
    stride: _Size | None = None  #: that of the size where it is None
    pad: _Size = 0

    def _arguments(self) -> tuple[Any, ...]:
        return ((self.size, self.size if self.stride is None else self.stride, self.pad),)


@dataclass(frozen=True)
class MaxPooling(_Pooling):
    """The largest element of each window; those on the padding never win."""

    _kind = "max_pooling"


@dataclass(frozen=True)
class AveragePooling(_Pooling):
    """The mean of each window; cells on the padding count as 0."""

    _kind = "average_pooling"


@dataclass(frozen=True)
class GlobalAveragePooling(Block):
    """The mean of each channel: images become vectors."""

    _kind = "global_average_pooling"


@dataclass(frozen=True)
class BatchNormalization(Block):
    """Batch normalisation of each channel (of each feature, where there are no pixels); with ``per_pixel`` of each pixel of
    each channel, as the book has it."""

    _kind = "batch_normalization"
    per_pixel: bool = False


@dataclass(frozen=True)
class LocalResponseNormalization(Block):
    """x·(k + alpha·Σx²)^−beta, summed over the n channels around each; AlexNet's numbers."""

    _kind = "local_response_normalization"
    n: int = 5
    k: float = 2.0
    alpha: float = 1e-4
    beta: float = 0.75


@dataclass(frozen=True)
class Dropout(Block):
    """Drops each element with probability ``ratio`` in training; testing multiplies by 1 − ``ratio``."""

    _kind = "dropout"
    ratio: float = 0.5


@dataclass(frozen=True)
class Flatten(Block):
    """Samples as vectors. :class:`Affine` needs no such layer before it."""

    _kind = "flatten"


@dataclass(frozen=True)
class Relu(Block):
    """max(0, x)."""

    _kind = "relu"


@dataclass(frozen=True)
class Sigmoid(Block):
    """1/(1 + e⁻ˣ)."""

    _kind = "sigmoid"


@dataclass(frozen=True)
class Tanh(Block):
    """tanh x."""

    _kind = "tanh"


@dataclass(frozen=True)
class Residual(Block):
    """What the layers of ``body`` give, plus x itself or what the layers of ``shortcut`` give: ResNet's skip connection."""

    _kind = "residual"
    body: Iterable[Block]
    shortcut: Iterable[Block] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "body", tuple(self.body))
        object.__setattr__(self, "shortcut", tuple(self.shortcut))

    def _arguments(self) -> tuple[Any, ...]:
        return described(self.body), described(self.shortcut)


@dataclass(frozen=True, init=False)
class Concat(Block):
    """Branches, each a list of layers, side by side: their outputs are joined along the channels. GoogLeNet's inception."""

    _kind = "concat"
    branches: tuple[tuple[Block, ...], ...]

    def __init__(self, *branches: Iterable[Block]) -> None:
        object.__setattr__(self, "branches", tuple(tuple(branch) for branch in branches))

    def _arguments(self) -> tuple[Any, ...]:
        return ([described(branch) for branch in self.branches],)
