from collections.abc import Iterator
from os import PathLike
from typing import Any, Self, final

import numpy as np
import numpy.typing as npt

__all__ = ["Network", "Optimizer", "Step", "Steps"]

_Filters = tuple[int, int, int, int]

@final
class Step:
    @property
    def epoch(self) -> int: ...
    @property
    def factor(self) -> float: ...
    @property
    def ends_epoch(self) -> bool: ...
    @property
    def indices(self) -> npt.NDArray[np.uintp]: ...
    def __len__(self) -> int: ...

@final
class Steps(Iterator[Step]):
    def __new__(
        cls,
        samples: int,
        epochs: int,
        batch_size: int,
        seed: int,
        replacement: bool,
        schedule: tuple[str, list[float]],
    ) -> Self: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Step: ...

@final
class Optimizer:
    lr: float
    def __new__(cls, name: str, lr: float | None, numbers: list[tuple[str, float]]) -> Self: ...
    @property
    def name(self) -> str: ...
    @property
    def numbers(self) -> list[tuple[str, float]]: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Network:
    @staticmethod
    def two_layer(
        double: bool,
        seed: int,
        sizes: tuple[int, int, int],
        weight_init_std: float,
        activation: str,
    ) -> Network: ...
    @staticmethod
    def multi_layer(
        double: bool,
        seed: int,
        sizes: list[int],
        activation: str,
        weight_init_std: str,
        weight_decay_lambda: float,
        dropout_ratio: float | None,
        use_batchnorm: bool,
    ) -> Network: ...
    @staticmethod
    def simple_conv(
        double: bool,
        seed: int,
        input_dim: tuple[int, int, int],
        filters: _Filters,
        sizes: tuple[int, int],
        weight_init_std: str,
    ) -> Network: ...
    @staticmethod
    def deep_conv(
        double: bool,
        seed: int,
        input_dim: tuple[int, int, int],
        filters: list[_Filters],
        sizes: tuple[int, int],
        dropout_ratio: float,
    ) -> Network: ...
    @staticmethod
    def sequential(
        double: bool,
        seed: int,
        input_dim: tuple[int, ...],
        layers: list[tuple[str, tuple[Any, ...]]],
        weight_decay_lambda: float,
    ) -> Network: ...
    def layers(self) -> list[dict[str, Any]]: ...
    @property
    def classes(self) -> int: ...
    @property
    def shapes(self) -> list[tuple[str, tuple[int, ...]]]: ...
    def params(self) -> dict[str, npt.NDArray[Any]]: ...
    def predict(self, x: npt.ArrayLike, train: bool) -> npt.NDArray[Any]: ...
    def loss(self, x: npt.ArrayLike, t: npt.ArrayLike, train: bool) -> float: ...
    def gradient(
        self, x: npt.ArrayLike, t: npt.ArrayLike
    ) -> tuple[float, dict[str, npt.NDArray[Any]]]: ...
    def numerical_gradient(
        self, x: npt.ArrayLike, t: npt.ArrayLike, index: int, start: int, stop: int
    ) -> npt.NDArray[Any]: ...
    def train_step(
        self,
        x: npt.ArrayLike,
        t: npt.ArrayLike,
        optimizer: Optimizer,
        step: Step | None = None,
        factor: float = 1.0,
    ) -> float: ...
    def train_step_with(
        self,
        x: npt.ArrayLike,
        t: npt.ArrayLike,
        rule: str,
        numbers: list[float],
        states: list[dict[str, npt.NDArray[Any]]],
    ) -> float | None: ...
    def state(self) -> dict[str, npt.NDArray[Any]]: ...
    def set_state(self, state: dict[str, npt.NDArray[Any]]) -> None: ...
    def save(self, path: str | PathLike[str], dtype: str) -> None: ...
    def load(self, path: str | PathLike[str]) -> None: ...
    def step(self) -> int: ...
    def set_step(self, step: int) -> None: ...
    def freeze(self, start: int, stop: int, frozen: bool) -> None: ...
    def frozen(self) -> list[str]: ...
    def set_frozen(self, names: list[str]) -> None: ...
    def layer_count(self) -> int: ...
    def summary(self) -> str: ...
    def explain(self, samples: int) -> str: ...
