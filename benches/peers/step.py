"""Training steps of the book's networks, batch 100, float32: kasoku beside PyTorch in both memory formats.

    python benches/peers/step.py [--threads 2] [--seconds 5]

The contestants take turns in one process (A B C C B A …); the figures are medians, and the median of the ratios of a round to
kasoku's time in it. Contestants that are not installed are left out.
"""

import argparse
import os
import statistics
import time

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--seconds", type=float, default=5.0, help="for each network")
arguments = parser.parse_args()
for variable in (
    "KASOKU_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
):
    os.environ[variable] = str(arguments.threads)

import numpy as np  # noqa: E402 -- after the environment

BATCH = 100


def kasoku_steps():
    """name -> (a function of images and labels that takes a step, whether samples are images)"""
    try:
        import kasoku.networks as networks
        import kasoku.optimizer as optimizers
    except ImportError as error:
        print(f"kasoku is left out: {error}")
        return {}

    def step(network, optimizer):
        return lambda x, t: network.train_step(x, t, optimizer)

    hidden = [100] * 5
    return {
        "DeepConvNet": step(networks.DeepConvNet(), optimizers.Adam(lr=1e-3)),
        "SimpleConvNet": step(networks.SimpleConvNet(), optimizers.Adam(lr=1e-3)),
        "MLP": step(networks.MultiLayerNet(784, hidden[:4], 10), optimizers.SGD(lr=0.01)),
        "MLP, batch norm, dropout": step(
            networks.MultiLayerNetExtend(
                784, hidden, 10, use_dropout=True, dropout_ration=0.5, use_batchnorm=True
            ),
            optimizers.SGD(lr=0.01),
        ),
        "TwoLayerNet": step(networks.TwoLayerNet(784, 50, 10), optimizers.SGD(lr=0.01)),
    }


def torch_steps(channels_last):
    try:
        import torch
        from torch import nn
    except ImportError as error:
        print(f"PyTorch is left out: {error}")
        return {}
    torch.set_num_threads(arguments.threads)

    def deep():
        layers, channels = [], 1
        for index, (filters, pad) in enumerate(
            zip([16, 16, 32, 32, 64, 64], [1, 1, 1, 2, 1, 1], strict=True)
        ):
            layers += [nn.Conv2d(channels, filters, 3, padding=pad), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if index % 2 else []
            channels = filters
        head = [nn.Linear(1024, 50), nn.ReLU(), nn.Dropout(0.5), nn.Linear(50, 10), nn.Dropout(0.5)]
        return nn.Sequential(*layers, nn.Flatten(), *head)

    def simple():
        return nn.Sequential(
            nn.Conv2d(1, 30, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(4320, 100), nn.ReLU(), nn.Linear(100, 10),
        )  # fmt: skip

    def mlp(hidden, extras):
        layers, inputs = [], 784
        for outputs in hidden:
            layers.append(nn.Linear(inputs, outputs))
            layers += [nn.BatchNorm1d(outputs)] if extras else []
            layers.append(nn.ReLU())
            layers += [nn.Dropout(0.5)] if extras else []
            inputs = outputs
        return nn.Sequential(*layers, nn.Linear(inputs, 10))

    def step(network, optimizer):
        if channels_last:
            network = network.to(memory_format=torch.channels_last)
        optimizer = optimizer(network.parameters())

        def run(x, t):
            x, t = torch.from_numpy(x), torch.from_numpy(t)
            if channels_last:
                x = x.to(memory_format=torch.channels_last)
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(network(x), t).backward()
            optimizer.step()

        return run

    def adam(parameters):
        return torch.optim.Adam(parameters, lr=1e-3)

    def sgd(parameters):
        return torch.optim.SGD(parameters, lr=0.01)

    steps = {"DeepConvNet": step(deep(), adam), "SimpleConvNet": step(simple(), adam)}
    if not channels_last:
        steps["MLP"] = step(mlp([100] * 4, False), sgd)
        steps["MLP, batch norm, dropout"] = step(mlp([100] * 5, True), sgd)
        steps["TwoLayerNet"] = step(mlp([50], False), sgd)
    return steps


def main():
    contestants = {
        "kasoku": kasoku_steps(),
        "PyTorch NCHW": torch_steps(channels_last=False),
        "PyTorch channels_last": torch_steps(channels_last=True),
    }
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 10, BATCH)
    print(f"batch {BATCH}, float32, {arguments.threads} threads; milliseconds, and times kasoku's")
    for name in ["DeepConvNet", "SimpleConvNet", "MLP", "MLP, batch norm, dropout", "TwoLayerNet"]:
        shape = (BATCH, 1, 28, 28) if "ConvNet" in name else (BATCH, 784)
        x = rng.random(shape, dtype=np.float32)
        steps = {who: steps[name] for who, steps in contestants.items() if name in steps}
        times = {who: [] for who in steps}
        for step in steps.values():
            step(x, labels)
        start = time.perf_counter()
        order = list(steps)
        while time.perf_counter() - start < arguments.seconds:
            for who in order:
                begin = time.perf_counter()
                steps[who](x, labels)
                times[who].append(time.perf_counter() - begin)
            order.reverse()
        for who, seconds in times.items():
            line = f"{name:<26} {who:<22} {1e3 * statistics.median(seconds):9.3f}"
            if "kasoku" in times:
                ratios = [peer / ours for peer, ours in zip(seconds, times["kasoku"], strict=True)]
                line += f" {statistics.median(ratios):7.2f}×"
            print(line)


if __name__ == "__main__":
    main()
