import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kasoku import blocks

__all__ = [
    "DeepConvNet",
    "Ensemble",
    "Epoch",
    "History",
    "MultiLayerNet",
    "MultiLayerNetExtend",
    "Network",
    "Optimizer",
    "Sequential",
    "SimpleConvNet",
    "Step",
    "TwoLayerNet",
]

class Optimizer:
    def __init__(self, name: str = "sgd", lr: float | None = None, **numbers: float) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def lr(self) -> float: ...
    @lr.setter
    def lr(self, lr: float) -> None: ...

@dataclass(frozen=True)
class Step:
    epoch: int
    step: int
    steps: int
    samples: int
    loss: float
    lr: float

@dataclass(frozen=True)
class Epoch:
    epoch: int
    epochs: int
    loss: float
    train_accuracy: float
    test_accuracy: float | None

@dataclass
class History:
    losses: list[float] = field(default_factory=list)
    lrs: list[float] = field(default_factory=list)
    train_accuracies: list[float] = field(default_factory=list)
    test_accuracies: list[float] = field(default_factory=list)
    stopped: bool = ...

Schedule = str | tuple[Any, ...] | Callable[[float], float]

class Network:
    dtype: np.dtype[Any]
    seed: int
    def __init__(self, dtype: npt.DTypeLike, seed: int | None, *arguments: Any) -> None: ...
    @property
    def params(self) -> dict[str, npt.NDArray[Any]]: ...
    def predict(self, x: npt.ArrayLike, train_flg: bool = False) -> npt.NDArray[Any]: ...
    def loss(self, x: npt.ArrayLike, t: npt.ArrayLike, train_flg: bool = False) -> float: ...
    def accuracy(
        self, x: npt.ArrayLike, t: npt.ArrayLike, batch_size: int | None = None
    ) -> float: ...
    def gradient(self, x: npt.ArrayLike, t: npt.ArrayLike) -> dict[str, npt.NDArray[Any]]: ...
    def numerical_gradient(
        self, x: npt.ArrayLike, t: npt.ArrayLike
    ) -> dict[str, npt.NDArray[Any]]: ...
    def train_step(
        self, x: npt.ArrayLike, t: npt.ArrayLike, optimizer: Any = "sgd", lr: float | None = None
    ) -> float: ...
    def fit(
        self,
        x: npt.ArrayLike,
        t: npt.ArrayLike,
        epochs: int = 20,
        batch_size: int = 100,
        optimizer: Any = "adam",
        lr: float | None = None,
        *,
        test: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
        seed: int | None = None,
        schedule: Schedule = "constant",
        replacement: bool = False,
        augment: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] | None = None,
        evaluate: int | None = None,
        callback: Callable[[Step | Epoch], Any] | None = None,
        progress: bool = False,
    ) -> History: ...
    def freeze(self, start: int | None = None, stop: int | None = None) -> None: ...
    def unfreeze(self, start: int | None = None, stop: int | None = None) -> None: ...
    @property
    def frozen(self) -> list[str]: ...
    def save_params(
        self,
        file_name: str | os.PathLike[str] = "params.pkl",
        dtype: npt.DTypeLike | None = None,
    ) -> None: ...
    def load_params(self, file_name: str | os.PathLike[str] = "params.pkl") -> None: ...
    def to_onnx(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        softmax: bool = False,
        dtype: npt.DTypeLike | None = None,
    ) -> Any: ...
    def summary(self) -> str: ...
    def explain(self, batch_size: int = 100) -> str: ...
    def __getstate__(self) -> dict[str, Any]: ...
    def __setstate__(self, state: Mapping[str, Any]) -> None: ...

class TwoLayerNet(Network):
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        weight_init_std: float = 0.01,
        *,
        activation: str = "relu",
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
    ) -> None: ...

class _MultiLayer(Network): ...

class MultiLayerNet(_MultiLayer):
    def __init__(
        self,
        input_size: int,
        hidden_size_list: Sequence[int],
        output_size: int,
        activation: str = "relu",
        weight_init_std: float | str = "relu",
        weight_decay_lambda: float = 0,
        *,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
    ) -> None: ...

class MultiLayerNetExtend(_MultiLayer):
    def __init__(
        self,
        input_size: int,
        hidden_size_list: Sequence[int],
        output_size: int,
        activation: str = "relu",
        weight_init_std: float | str = "relu",
        weight_decay_lambda: float = 0,
        use_dropout: bool = False,
        dropout_ration: float = 0.5,
        use_batchnorm: bool = False,
        *,
        dropout_ratio: float | None = None,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
    ) -> None: ...

class SimpleConvNet(Network):
    def __init__(
        self,
        input_dim: tuple[int, int, int] = (1, 28, 28),
        conv_param: Mapping[str, int] | None = None,
        hidden_size: int = 100,
        output_size: int = 10,
        weight_init_std: float | str = 0.01,
        *,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
    ) -> None: ...

class DeepConvNet(Network):
    def __init__(
        self,
        input_dim: tuple[int, int, int] = (1, 28, 28),
        conv_param_1: Mapping[str, int] = ...,
        conv_param_2: Mapping[str, int] = ...,
        conv_param_3: Mapping[str, int] = ...,
        conv_param_4: Mapping[str, int] = ...,
        conv_param_5: Mapping[str, int] = ...,
        conv_param_6: Mapping[str, int] = ...,
        hidden_size: int = 50,
        output_size: int = 10,
        *,
        dropout_ratio: float = 0.5,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
    ) -> None: ...

class Sequential(Network):
    def __init__(
        self,
        input_dim: int | Sequence[int],
        layers: Iterable[blocks.Block],
        *,
        weight_decay_lambda: float = 0,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
    ) -> None: ...

class Ensemble:
    members: list[Network]
    def __init__(self, members: Iterable[Network]) -> None: ...
    def predict(self, x: npt.ArrayLike) -> npt.NDArray[Any]: ...
    def accuracy(self, x: npt.ArrayLike, t: npt.ArrayLike) -> float: ...
