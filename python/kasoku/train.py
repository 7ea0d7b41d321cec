"""``kasoku train``: one of the book's networks learns digits, and shows how."""

import argparse
import sys
import time
from typing import Any

import numpy as np

from kasoku import dataset, networks
from kasoku._core import dataset as _core
from kasoku._core import kernels

#: The first so many images are tested after each epoch.
EVALUATED = 10_000

#: How often each image is seen: enough for DeepConvNet to read 99 % of MNIST's test images, whatever the seed.
EPOCHS = {"simple": 3, "deep": 4, "mlp": 5, "two-layer": 5}

#: Where the learning rate falls it may begin higher than the book's, 0.001, and in the same epochs learns more.
FALLING = {"adam": 0.003, "adamw": 0.003}


def build(name: str, seed: int) -> networks.Network:
    """A network of the book for digits: 'simple', 'deep', 'mlp' or 'two-layer'."""
    match name:
        case "simple":
            return networks.SimpleConvNet(seed=seed)
        case "deep":
            return networks.DeepConvNet(seed=seed)
        case "mlp":
            return networks.MultiLayerNet(784, [100] * 4, 10, seed=seed)
        case _:
            return networks.TwoLayerNet(784, 50, 10, seed=seed)


def plan(
    optimizer: str, lr: float | None, schedule: str
) -> tuple[networks.Optimizer, networks.Schedule]:
    """The optimizer and the schedule of a run; along a cosine the learning rate falls to 0."""
    falls = schedule == "cosine"
    if lr is None and falls:
        lr = FALLING.get(optimizer)
    return networks.Optimizer(optimizer, lr), (schedule, 0.0) if falls else schedule


def _load(data: str, seed: int) -> tuple[str, dataset.Pairs]:
    """The name of the data, and ((x, t), (x, t))."""
    from kasoku.dataset import mnist

    match data:
        case "synthetic":
            return "synthetic digits", dataset.load_digits_synthetic(seed=seed, flatten=False)
        case "mnist":
            return "MNIST", mnist.load_mnist(flatten=False)
        case "auto":
            try:
                return "MNIST", mnist.load_mnist(flatten=False)
            except FileNotFoundError as error:
                print(f"{error}\nGoing on with synthetic digits.", file=sys.stderr)
                return _load("synthetic", seed)
        case folder:
            train, test = _core.load(folder)
            return "MNIST", tuple(
                dataset._formed(*pair, True, False, False) for pair in (train, test)
            )


class _Report:
    """A line an epoch, and on a terminal one that counts the steps."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self.spent = 0.0
        self.samples = 0
        self.start = self.shown = time.perf_counter()

    def __call__(self, event: networks.Step | networks.Epoch) -> None:
        now = time.perf_counter()
        if isinstance(event, networks.Step):
            self.samples += event.samples
            self.spent += now - self.start
            if self.live and now - self.shown > 0.1:
                self.shown = now
                line = f"epoch {event.epoch}  step {event.step}/{event.steps}  loss {event.loss:.4f}  {self.rate:,.0f} images/s"
                print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
        else:
            if self.live:
                print("\r\033[K", end="", file=sys.stderr, flush=True)
            print(
                f"epoch {event.epoch}/{event.epochs}: loss {event.loss:.4f}, accuracy {event.train_accuracy:.2%} train, "
                f"{event.test_accuracy:.2%} test, {self.rate:,.0f} images/s",
                flush=True,
            )
        # Testing is not training.
        self.start = time.perf_counter()

    @property
    def rate(self) -> float:
        """Images learned from in a second."""
        return self.samples / max(self.spent, 1e-9)


def main(options: argparse.Namespace) -> int:
    try:
        name, ((x, t), test) = _load(options.data, options.seed)
        x, t = x[: options.samples], t[: options.samples]
        network = build(options.network, options.seed)
        rule, schedule = plan(options.optimizer, options.lr, options.schedule)
        print(
            f"{type(network).__name__} on {len(x):,} images of {name}, {rule.name}, learning rate {rule.lr:g} "
            f"({options.schedule}), {kernels.instruction_set()}, {kernels.num_threads()} threads"
        )
        print(network.summary())
        report = _Report()
        start = time.perf_counter()
        history = network.fit(
            x,
            t,
            options.epochs or EPOCHS[options.network],
            options.batch_size,
            rule,
            test=test,
            seed=options.seed,
            schedule=schedule,
            evaluate=EVALUATED,
            callback=report,
        )
        seconds = time.perf_counter() - start
        accuracy = network.accuracy(*test)
        print(
            f"{accuracy:.2%} of {len(test[1]):,} test images right after {seconds:.1f} s, "
            f"{report.spent:.1f} s of them training at {report.rate:,.0f} images/s"
        )
        if options.save:
            network.save_params(options.save)
            print(f"weights: {options.save}")
    except (OSError, ValueError) as error:
        print(f"kasoku train: {error}", file=sys.stderr)
        return 1
    _plot(network, history, options)
    return 0


def _plot(network: networks.Network, history: networks.History, options: Any) -> None:
    try:
        from kasoku import plot
    except ImportError:
        print("no picture: matplotlib is not installed (pip install 'kasoku[plot]')")
        return
    plot.training(network, history, options.batch_size, options.plot)
    print(f"curves and filters: {options.plot}")


def first_filters(network: networks.Network) -> np.ndarray:
    """What the first layer looks for: images (filters, height, width) of its weights."""
    w = network.params["W1"]
    return w[:, 0] if w.ndim == 4 else w.T.reshape(-1, 28, 28)
