"""Training steps of chapter 8's networks at the size of digits, float32, Adam: LeNet, AlexNet, ResNet and GoogLeNet as
`kasoku.networks.Sequential`, beside PyTorch in both memory formats. In turns, as `kasoku.bench` tells.

    pip install torch
    python benches/peers/chapter8.py [--threads 2] [--only ResNet] [--quick] [--json FILE]
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from kasoku import kernels
from kasoku.bench.in_torch import take_step
from kasoku.bench.turns import FULL, QUICK, again_with_threads, compare, take
from kasoku.blocks import (
    Affine,
    BatchNormalization,
    Concat,
    Convolution,
    Dropout,
    GlobalAveragePooling,
    MaxPooling,
    Relu,
    Residual,
)
from kasoku.networks import Optimizer, Sequential

BATCH, IMAGE = 100, (1, 28, 28)


def convolved(filters, size, **geometry):
    return [Convolution(filters, size, **geometry), Relu()]


def normalised(filters, stride=1):
    return [Convolution(filters, 3, stride=stride, pad=1), BatchNormalization()]


def residual(filters):
    return [Residual([*normalised(filters), Relu(), *normalised(filters)]), Relu()]


def inception(one, three, five, pooled):
    return Concat(
        convolved(one, 1),
        [*convolved(three, 1), *convolved(three, 3, pad=1)],
        [*convolved(five, 1), *convolved(five, 5, pad=2)],
        [MaxPooling(3, stride=1, pad=1), *convolved(pooled, 1)],
    )


NETWORKS = {
    "LeNet": [
        *convolved(6, 5, pad=2),
        MaxPooling(2),
        *convolved(16, 5),
        MaxPooling(2),
        *[Affine(120), Relu(), Affine(84), Relu(), Affine(10)],
    ],
    "AlexNet": [
        *convolved(32, 5, pad=2),
        MaxPooling(3, stride=2),
        *convolved(64, 5, pad=2),
        MaxPooling(3, stride=2),
        *convolved(96, 3, pad=1),
        *convolved(64, 3, pad=1),
        MaxPooling(2),
        *[Affine(256), Relu(), Dropout(0.5), Affine(10)],
    ],
    "ResNet": [
        *[*normalised(16), Relu(), *residual(16)],
        *[*normalised(32, stride=2), Relu(), *residual(32)],
        *[*normalised(64, stride=2), Relu(), *residual(64)],
        *[GlobalAveragePooling(), Affine(10)],
    ],
    "GoogLeNet": [
        *convolved(16, 3, pad=1),
        MaxPooling(2),
        inception(16, 24, 8, 8),
        MaxPooling(2),
        inception(32, 48, 16, 16),
        *[GlobalAveragePooling(), Affine(10)],
    ],
}


class Added(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return x + self.body(x)


class Joined(nn.ModuleList):
    def forward(self, x):
        return torch.cat([branch(x) for branch in self], 1)


def module(blocks):
    """The same in PyTorch, which finds the sizes of the inputs itself."""
    made = []
    for block in blocks:
        match block:
            case Convolution(filters, size, stride, pad):
                made.append(nn.LazyConv2d(filters, size, stride, pad))
            case BatchNormalization():
                made.append(nn.LazyBatchNorm2d())
            case Relu():
                made.append(nn.ReLU())
            case MaxPooling(size, stride, pad):
                made.append(nn.MaxPool2d(size, stride or size, pad))
            case GlobalAveragePooling():
                made.append(nn.AdaptiveAvgPool2d(1))
            case Dropout(ratio):
                made.append(nn.Dropout(ratio))
            case Affine(outputs):
                made += [nn.Flatten(), nn.LazyLinear(outputs)]
            case Residual(body):
                made.append(Added(module(body)))
            case Concat(branches):
                made.append(Joined(map(module, branches)))
    return nn.Sequential(*made)


def in_torch(blocks, x, t, memory):
    """A function that takes a step."""
    batch, labels = torch.from_numpy(x).contiguous(memory_format=memory), torch.from_numpy(t)
    network = module(blocks)
    network(batch)
    network.to(memory_format=memory)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
    return partial(take_step, network, optimizer, batch, labels)


def rows(budget, only):
    random = np.random.default_rng(1)
    x, t = random.random((BATCH, *IMAGE), np.float32), random.integers(0, 10, BATCH)
    for name, blocks in NETWORKS.items():
        if only not in name:
            continue
        network = Sequential(IMAGE, blocks, seed=1)
        works = {
            "kasoku": partial(network.train_step, x, t, Optimizer("adam")),
            "PyTorch": in_torch(blocks, x, t, torch.contiguous_format),
            "PyTorch, NHWC": in_torch(blocks, x, t, torch.channels_last),
        }
        yield compare(name, works, budget)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, help="of both libraries")
    parser.add_argument("--only", default="", help="networks whose name has this")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    status = again_with_threads(arguments.threads, sys.argv)
    if status is not None:
        return status
    torch.set_num_threads(kernels.num_threads())
    budget = QUICK if arguments.quick else FULL
    title = f"A step of chapter 8's networks, batch {BATCH}"
    found = take([(title, rows(budget, arguments.only))])
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
