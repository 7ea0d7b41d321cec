"""``kasoku bench``: layers and whole training steps beside NumPy, in the same run on this machine.

Both sides of a row take turns, A B B A; a row's ratio is the median of the ratios of neighbours, so that a machine that slows
down slows both. NumPy's side is :mod:`kasoku._numpy_reference`.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

import numpy as np

from kasoku import _numpy_reference as reference
from kasoku import info, layers, networks, optimizer

Work = Callable[[], Any]

#: Seconds between two measurements: OpenBLAS's threads wait awake for 0.1 s after a product of NumPy's, on a core that
#: kasoku's then do not get.
_REST = 0.15

#: Seconds of work before a measurement: a core that rested takes tens of milliseconds to get up to its speed.
_WARM = 0.1

#: A measurement lasts at least so many seconds: shorter work is repeated.
_SHORTEST = 2e-2

#: Seconds and pairs of measurements that a row gets: (seconds, fewest, most).
_FULL, _QUICK = (6.0, 7, 50), (1.5, 3, 15)


@dataclass
class Row:
    """One comparison: milliseconds of each side, medians, and how many times faster kasoku is."""

    name: str
    numpy_ms: float
    kasoku_ms: float
    ratio: float


def _seconds(work: Work, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - start) / repeats


def _warm_up(work: Work) -> None:
    end = time.perf_counter() + _WARM
    work()
    while time.perf_counter() < end:
        work()


def compare(name: str, theirs: Work, ours: Work, budget: tuple[float, int, int] = _FULL) -> Row:
    """Measures both, interleaved."""
    limit, fewest, most = budget
    repeats = {}
    for work in (theirs, ours):
        _warm_up(work)
        repeats[work] = max(1, int(_SHORTEST / max(_seconds(work, 1), 1e-9)))
    pairs: list[tuple[float, float]] = []
    end = time.perf_counter() + limit
    while len(pairs) < fewest or (len(pairs) < most and time.perf_counter() < end):
        order = (theirs, ours) if len(pairs) % 2 == 0 else (ours, theirs)
        took = {}
        for work in order:
            time.sleep(_REST)
            _warm_up(work)
            took[work] = _seconds(work, repeats[work])
        pairs.append((took[theirs], took[ours]))
    numpy_ms, kasoku_ms = (1e3 * statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(slow / fast for slow, fast in pairs)
    return Row(name, numpy_ms, kasoku_ms, ratio)


class _Net:
    """A network of the book from the layer objects of ``maker``, NumPy's or kasoku's, in float64."""

    def __init__(self, maker: ModuleType, optimizers: ModuleType, name: str, rule: str) -> None:
        self.random = np.random.default_rng(1)
        self.maker = maker
        self.layers: list[Any] = []
        self.params: dict[str, Any] = {}
        self.last_layer = maker.SoftmaxWithLoss()
        self.optimizer = getattr(optimizers, rule)()
        getattr(self, f"_{name}")()

    def _weights(self, *shape: int) -> tuple[Any, Any]:
        number = len(self.params) // 2 + 1
        inputs, outputs = (
            (shape[0], shape[1]) if len(shape) == 2 else (np.prod(shape[1:]), shape[0])
        )
        w = self.random.standard_normal(shape) * np.sqrt(2 / inputs)
        self.params |= {f"W{number}": w, f"b{number}": np.zeros(outputs)}
        return w, self.params[f"b{number}"]

    def _affine(self, inputs: int, outputs: int) -> None:
        self.layers.append(self.maker.Affine(*self._weights(inputs, outputs)))

    def _two_layer(self) -> None:
        self._mlp((784, 50, 10))

    def _mlp(self, sizes: tuple[int, ...] = (784, 100, 100, 100, 100, 10)) -> None:
        for inputs, outputs in itertools.pairwise(sizes):
            self._affine(inputs, outputs)
            self.layers.append(self.maker.Relu())
        self.layers.pop()

    def _simple(self) -> None:
        maker = self.maker
        self.layers = [maker.Convolution(*self._weights(30, 1, 5, 5)), maker.Relu()]
        self.layers.append(maker.Pooling(2, 2, stride=2))
        self._mlp((4320, 100, 10))

    def _deep(self) -> None:
        channels = 1
        for index, filters in enumerate((16, 16, 32, 32, 64, 64)):
            w, b = self._weights(filters, channels, 3, 3)
            pad = 2 if index == 3 else 1
            self.layers += [self.maker.Convolution(w, b, stride=1, pad=pad), self.maker.Relu()]
            if index % 2:
                self.layers.append(self.maker.Pooling(2, 2, stride=2))
            channels = filters
        self._affine(1024, 50)
        self.layers += [self.maker.Relu(), self.maker.Dropout(0.5)]
        self._affine(50, 10)
        self.layers.append(self.maker.Dropout(0.5))

    def train_step(self, x: Any, t: Any) -> Any:
        y = x
        for layer in self.layers:
            y = layer.forward(y)
        loss = self.last_layer.forward(y, t)
        dout = self.last_layer.backward()
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        learned = [layer for layer in self.layers if hasattr(layer, "dW")]
        gradients = {}
        for number, layer in enumerate(learned, 1):
            gradients |= {f"W{number}": layer.dW, f"b{number}": layer.db}
        self.optimizer.update(self.params, gradients)
        return loss


#: The steps measured: title, layers, optimizer, shape of a sample, and the network whole in Rust.
_STEPS: dict[str, tuple[str, str, tuple[int, ...], Callable[[], networks.Network]]] = {
    "TwoLayerNet 784-50-10, SGD": (
        "two_layer",
        "SGD",
        (784,),
        lambda: networks.TwoLayerNet(784, 50, 10, seed=1),
    ),
    "MLP 784-100×4-10, SGD": (
        "mlp",
        "SGD",
        (784,),
        lambda: networks.MultiLayerNet(784, [100] * 4, 10, seed=1),
    ),
    "SimpleConvNet, Adam": (
        "simple",
        "Adam",
        (1, 28, 28),
        lambda: networks.SimpleConvNet(seed=1),
    ),
    "DeepConvNet, Adam": (
        "deep",
        "Adam",
        (1, 28, 28),
        lambda: networks.DeepConvNet(seed=1),
    ),
}


def _both_ways(layer: Any, x: Any, dout: Any) -> Work:
    """A pass forward and one backward."""

    def work() -> None:
        layer.forward(x)
        # Relu's backward pass writes into what it is given.
        layer.backward(dout.copy())

    return work


def _layer_cases(batch: int) -> Iterator[tuple[str, Work, Work]]:
    random = np.random.default_rng(0)
    weights = {
        "Affine 784→100": ("Affine", (784, 100), 100, (784,), {}),
        "Convolution 1→30, 5×5, 28×28": ("Convolution", (30, 1, 5, 5), 30, (1, 28, 28), {}),
        "Convolution 16→16, 3×3, 28×28": (
            "Convolution",
            (16, 16, 3, 3),
            16,
            (16, 28, 28),
            {"pad": 1},
        ),
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


def layer_rows(batch: int, budget: tuple[float, int, int]) -> list[Row]:
    """The book's layers, forward and backward, float64 on both sides."""
    return [compare(title, *pair, budget) for title, *pair in _layer_cases(batch)]


def _step(network: Any, *arguments: Any) -> Work:
    return lambda: network.train_step(*arguments)


def step_rows(batch: int, budget: tuple[float, int, int]) -> tuple[list[Row], list[Row]]:
    """Training steps against NumPy's in float64: by kasoku's layer objects in float64, by its whole networks in float32."""
    random = np.random.default_rng(0)
    by_layers, whole = [], []
    for title, (name, rule, sample, build) in _STEPS.items():
        x, t = random.random((batch, *sample)), random.integers(0, 10, batch)
        theirs = _step(_Net(reference, reference, name, rule), x, t)
        ours = _step(_Net(layers, optimizer, name, rule), x, t)
        single = _step(build(), x.astype(np.float32), t, networks.Optimizer(rule.lower()))
        by_layers.append(compare(title, theirs, ours, budget))
        whole.append(compare(title, theirs, single, budget))
    return by_layers, whole


def _table(title: str, rows: list[Row]) -> str:
    lines = [f"{title:<44} {'NumPy':>11} {'kasoku':>11} {'faster':>9}"]
    lines += [
        f"{row.name:<44} {row.numpy_ms:>8.3f} ms {row.kasoku_ms:>8.3f} ms {row.ratio:>8.1f}×"
        for row in rows
    ]
    return "\n".join(lines)


def main(options: argparse.Namespace) -> int:
    budget = _QUICK if options.quick else _FULL
    facts = info.info()
    if not options.json:
        print(
            f"{facts['cpu']}, {facts['cores']} cores; kasoku {facts['kasoku']} ({facts['instruction set']}, "
            f"{facts['threads']} threads), NumPy {facts['numpy']}; batches of {options.batch_size}"
        )
    tables: dict[str, list[Row]] = {}

    def show(title: str, rows: list[Row]) -> None:
        tables[title] = rows
        if not options.json:
            print(f"\n{_table(title, rows)}", flush=True)

    show("Layers, forward + backward, float64", layer_rows(options.batch_size, budget))
    by_layers, whole = step_rows(options.batch_size, budget)
    show("Training step by layer objects, float64", by_layers)
    show("Training step of kasoku.networks, float32", whole)
    if options.json:
        rows = {title: [asdict(row) for row in rows] for title, rows in tables.items()}
        print(
            json.dumps(
                {"machine": facts, "batch_size": options.batch_size, "tables": rows}, indent=2
            )
        )
    return 0
