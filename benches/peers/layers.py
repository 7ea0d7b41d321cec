"""The book's layers and networks on kasoku against the same in NumPy, float64, one gradient and update step.

Both run in one process, turn by turn (ours, theirs, theirs, ours): the median of the paired ratios is what counts, since absolute
times drift. `pip install .` first, then

    python benches/peers/layers.py [--rounds 30] [--batch 1 100 1000] [--only DeepConvNet] [--json FILE]
"""

import argparse
import itertools
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))
import book  # noqa: E402
from kasoku import kernels, layers, optimizer  # noqa: E402

DEEP = ((16, 1), (16, 1), (32, 1), (32, 2), (64, 1), (64, 1))


class Network:
    """Layers of one module (the book's or ours) in a row, with a loss and an optimizer."""

    def __init__(self, module, stack, rule):
        self.layers, self.loss, self.rule = stack, module.SoftmaxWithLoss(), rule
        self.params, self.names = {}, []
        for number, layer in enumerate(stack):
            for value, gradient in (
                ("W", "dW"),
                ("b", "db"),
                ("gamma", "dgamma"),
                ("beta", "dbeta"),
            ):
                if isinstance(getattr(layer, value, None), np.ndarray):
                    key = f"{value}{number}"
                    self.params[key] = getattr(layer, value)
                    self.names.append((key, layer, gradient))

    def step(self, x, t):
        for layer in self.layers:
            x = layer.forward(x)
        self.loss.forward(x, t)
        dout = self.loss.backward()
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        grads = {key: getattr(layer, gradient) for key, layer, gradient in self.names}
        self.rule.update(self.params, grads)


def affine(module, rng, inputs, outputs):
    W = rng.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs)
    return module.Affine(W, np.zeros(outputs))


def convolution(module, rng, channels, filters, size, pad):
    W = rng.standard_normal((filters, channels, size, size)) * np.sqrt(2 / (channels * size * size))
    return module.Convolution(W, np.zeros(filters), 1, pad)


def two_layer_net(module, rules, rng):
    stack = [affine(module, rng, 784, 50), module.Relu(), affine(module, rng, 50, 10)]
    return Network(module, stack, rules.SGD(0.1))


def multi_layer_net(module, rules, rng):
    sizes = [784, 100, 100, 100, 100, 10]
    stack = []
    for inputs, outputs in itertools.pairwise(sizes):
        stack += [affine(module, rng, inputs, outputs), module.Relu()]
    return Network(module, stack[:-1], rules.SGD(0.01))


def multi_layer_net_extend(module, rules, rng):
    sizes = [784, 100, 100, 100, 100, 100, 10]
    stack = []
    for inputs, outputs in itertools.pairwise(sizes):
        norm = module.BatchNormalization(np.ones(outputs), np.zeros(outputs))
        stack += [affine(module, rng, inputs, outputs), norm, module.Relu(), module.Dropout(0.2)]
    return Network(module, stack[:-3], rules.SGD(0.01))


def simple_conv_net(module, rules, rng):
    stack = [
        convolution(module, rng, 1, 30, 5, 0),
        module.Relu(),
        module.Pooling(2, 2, 2),
        affine(module, rng, 30 * 12 * 12, 100),
        module.Relu(),
        affine(module, rng, 100, 10),
    ]
    return Network(module, stack, rules.Adam(0.001))


def deep_conv_net(module, rules, rng):
    stack, channels = [], 1
    for number, (filters, pad) in enumerate(DEEP):
        stack += [convolution(module, rng, channels, filters, 3, pad), module.Relu()]
        channels = filters
        if number % 2 == 1:
            stack.append(module.Pooling(2, 2, 2))
    stack += [affine(module, rng, 64 * 4 * 4, 50), module.Relu(), module.Dropout(0.5)]
    stack += [affine(module, rng, 50, 10), module.Dropout(0.5)]
    return Network(module, stack, rules.Adam(0.001))


NETWORKS = {
    "TwoLayerNet": two_layer_net,
    "MultiLayerNet": multi_layer_net,
    "MultiLayerNetExtend": multi_layer_net_extend,
    "SimpleConvNet": simple_conv_net,
    "DeepConvNet": deep_conv_net,
}

# name: (what makes the layer, the shape of one sample)
LAYERS = {
    "Affine 784→100": (lambda module, rng: affine(module, rng, 784, 100), (784,)),
    "Affine 100→10": (lambda module, rng: affine(module, rng, 100, 10), (100,)),
    "Relu 100": (lambda module, _: module.Relu(), (100,)),
    "Relu 30×24×24": (lambda module, _: module.Relu(), (30, 24, 24)),
    "Sigmoid 100": (lambda module, _: module.Sigmoid(), (100,)),
    "Dropout 100": (lambda module, _: module.Dropout(0.5), (100,)),
    "BatchNormalization 100": (
        lambda module, _: module.BatchNormalization(np.ones(100), np.zeros(100)),
        (100,),
    ),
    "Convolution 1→30, 5×5": (
        lambda module, rng: convolution(module, rng, 1, 30, 5, 0),
        (1, 28, 28),
    ),
    "Convolution 16→16, 3×3": (
        lambda module, rng: convolution(module, rng, 16, 16, 3, 1),
        (16, 28, 28),
    ),
    "Convolution 64→64, 3×3": (
        lambda module, rng: convolution(module, rng, 64, 64, 3, 1),
        (64, 8, 8),
    ),
    "Pooling 30×24×24": (lambda module, _: module.Pooling(2, 2, 2), (30, 24, 24)),
}


def layer_step(layer, x, dout):
    layer.forward(x)
    layer.backward(dout)


def measure(ours, theirs, rounds, seconds=3.0):
    """(median ratio, our best time, their best time) over paired rounds, within about `seconds`."""

    def clock(call):
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    for call in (ours, theirs):
        call()
    repeats = max(1, round(0.002 / max(clock(ours) + clock(theirs), 1e-7)))

    def many(call):
        return clock(lambda: [call() for _ in range(repeats)]) / repeats

    pairs, start = [], time.perf_counter()
    while len(pairs) < rounds and (len(pairs) < 3 or time.perf_counter() - start < seconds):
        a, b, c, d = many(ours), many(theirs), many(theirs), many(ours)
        pairs += [(a, b), (d, c)]
    ratio = statistics.median(theirs / ours for ours, theirs in pairs)
    return ratio, min(a for a, _ in pairs), min(b for _, b in pairs)


def cases(batches, only):
    for name, build in NETWORKS.items():
        if only and only not in name:
            continue
        for batch in batches:
            rng = np.random.default_rng(0)
            shape = (batch, 1, 28, 28) if "Conv" in name else (batch, 784)
            x, t = rng.random(shape), rng.integers(0, 10, batch)
            ours = build(layers, optimizer, np.random.default_rng(1))
            theirs = build(book, book, np.random.default_rng(1))
            yield (
                name,
                batch,
                lambda o=ours, a=(x, t): o.step(*a),
                lambda o=theirs, a=(x, t): o.step(*a),
            )
    for name, (build, sample) in LAYERS.items():
        if only and only not in name:
            continue
        for batch in batches:
            rng = np.random.default_rng(0)
            x = rng.standard_normal((batch, *sample))
            ours, theirs = build(layers, rng), build(book, rng)
            dout = rng.standard_normal(theirs.forward(x).shape)
            yield (
                name,
                batch,
                lambda o=ours, a=(x, dout): layer_step(o, *a),
                lambda o=theirs, a=(x, dout): layer_step(o, *a),
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--only", help="networks and layers whose name has this")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(f"{kernels.instruction_set()}, {kernels.num_threads()} threads, NumPy {np.__version__}")
    print(f"{'':26} batch    kasoku     NumPy     ratio")
    results = []
    for name, batch, ours, theirs in cases(arguments.batch, arguments.only):
        ratio, our_time, their_time = measure(ours, theirs, arguments.rounds)
        print(
            f"{name:26} {batch:5} {our_time * 1e3:8.3f}ms {their_time * 1e3:8.3f}ms {ratio:8.2f}×",
            flush=True,
        )
        results.append(
            {"name": name, "batch": batch, "ratio": ratio, "ours": our_time, "numpy": their_time}
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
