from typing import Any

import numpy.typing as npt

__all__ = ["Trainer"]

class Trainer:
    network: Any
    verbose: bool
    progress: bool
    x_train: npt.NDArray[Any]
    t_train: npt.NDArray[Any]
    x_test: npt.NDArray[Any]
    t_test: npt.NDArray[Any]
    epochs: int
    batch_size: int
    evaluate_sample_num_per_epoch: int | None
    optimizer: Any
    train_size: int
    iter_per_epoch: float
    max_iter: int
    current_iter: int
    current_epoch: int
    train_loss_list: list[float]
    train_acc_list: list[float]
    test_acc_list: list[float]
    def __init__(
        self,
        network: Any,
        x_train: npt.NDArray[Any],
        t_train: npt.NDArray[Any],
        x_test: npt.NDArray[Any],
        t_test: npt.NDArray[Any],
        epochs: int = 20,
        mini_batch_size: int = 100,
        optimizer: str = "SGD",
        optimizer_param: dict[str, float] = {"lr": 0.01},
        evaluate_sample_num_per_epoch: int | None = None,
        verbose: bool = True,
        *,
        progress: bool = False,
    ) -> None: ...
    def train_step(self) -> None: ...
    def train(self) -> None: ...
