"""The book's ``Trainer``, for its networks, the reader's own, and those of :mod:`kasoku.networks`."""

from typing import Any

import numpy as np
import numpy.typing as npt

from kasoku import networks, optimizer

__all__ = ["Trainer"]

#: The book's optimizers by the name it gives them; 'rmsprpo' is its own spelling.
_OPTIMIZERS = {
    "sgd": optimizer.SGD,
    "momentum": optimizer.Momentum,
    "nesterov": optimizer.Nesterov,
    "adagrad": optimizer.AdaGrad,
    "rmsprop": optimizer.RMSprop,
    "rmsprpo": optimizer.RMSprop,
    "adam": optimizer.Adam,
}


class Trainer:
    """Trains a network as the book does: batches by ``np.random.choice``, the accuracy once an epoch, the book's messages.

    network: anything with the book's ``params``, ``gradient``, ``loss`` and ``accuracy``.
    x_train, t_train, x_test, t_test: samples (N, …) and labels (N,) or one-hot.
    optimizer: 'sgd', 'momentum', 'nesterov', 'adagrad', 'rmsprop' or 'adam', with the numbers of ``optimizer_param``. A
        network of :mod:`kasoku.networks` is updated by :class:`kasoku.networks.Optimizer`, any other by
        :mod:`kasoku.optimizer`.
    evaluate_sample_num_per_epoch: take the accuracy on so many of the first samples only.
    verbose: print the messages.
    progress: draw a bar on stderr where tqdm is installed.

    ``train_loss_list`` has the loss of each step, taken on its batch after the update; ``train_acc_list`` and
    ``test_acc_list`` an accuracy for each epoch. Ctrl-C ends ``train`` between two steps.
    """

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
        optimizer_param: dict[str, float] = {"lr": 0.01},  # noqa: B006 - the book's, never changed
        evaluate_sample_num_per_epoch: int | None = None,
        verbose: bool = True,
        *,
        progress: bool = False,
    ) -> None:
        name = optimizer.lower()
        if name not in _OPTIMIZERS:
            known = ", ".join(name for name in _OPTIMIZERS if name != "rmsprpo")
            raise KeyError(f"optimizer is {optimizer!r}, expected one of {known}")
        self.network = network
        self.verbose = verbose
        self.progress = progress
        self.x_train, self.t_train = x_train, t_train
        self.x_test, self.t_test = x_test, t_test
        self.epochs = epochs
        self.batch_size = mini_batch_size
        self.evaluate_sample_num_per_epoch = evaluate_sample_num_per_epoch
        self.optimizer: Any
        if isinstance(network, networks.Network):
            name = name.replace("rmsprpo", "rmsprop")
            self.optimizer = networks.Optimizer(name, **optimizer_param)
        else:
            self.optimizer = _OPTIMIZERS[name](**optimizer_param)

        self.train_size = x_train.shape[0]
        self.iter_per_epoch = max(self.train_size / mini_batch_size, 1)
        self.max_iter = int(epochs * self.iter_per_epoch)
        self.current_iter = 0
        self.current_epoch = 0
        self.train_loss_list: list[float] = []
        self.train_acc_list: list[float] = []
        self.test_acc_list: list[float] = []

    def train_step(self) -> None:
        """One step, and at the beginning of an epoch the accuracies."""
        batch = np.random.choice(self.train_size, self.batch_size)
        x, t = self.x_train[batch], self.t_train[batch]
        if isinstance(self.optimizer, networks.Optimizer):
            self.network.train_step(x, t, self.optimizer)
        else:
            gradients = self.network.gradient(x, t)
            self.optimizer.update(self.network.params, gradients)
        loss = self.network.loss(x, t)
        self.train_loss_list.append(loss)
        if self.verbose:
            print(f"train loss:{loss}")
        if self.current_iter % self.iter_per_epoch == 0:
            self._evaluate()
        self.current_iter += 1

    def _evaluate(self) -> None:
        self.current_epoch += 1
        first = slice(self.evaluate_sample_num_per_epoch)
        train_acc = self.network.accuracy(self.x_train[first], self.t_train[first])
        test_acc = self.network.accuracy(self.x_test[first], self.t_test[first])
        self.train_acc_list.append(train_acc)
        self.test_acc_list.append(test_acc)
        if self.verbose:
            print(f"=== epoch:{self.current_epoch}, train acc:{train_acc}, test acc:{test_acc} ===")

    def train(self) -> None:
        """All steps, then the accuracy on all test samples."""
        for _ in self._bar(range(self.max_iter)):
            self.train_step()
        test_acc = self.network.accuracy(self.x_test, self.t_test)
        if self.verbose:
            print("=============== Final Test Accuracy ===============")
            print(f"test acc:{test_acc}")

    def _bar(self, steps: range) -> Any:
        if not self.progress:
            return steps
        try:
            from tqdm.auto import tqdm
        except ImportError:
            return steps
        return tqdm(steps, unit="step", leave=False)
