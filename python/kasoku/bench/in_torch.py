"""The networks in PyTorch, in either memory format."""

from collections.abc import Callable, Sequence
from typing import Any

from kasoku._core import kernels
from kasoku.bench.contest import RATES, Array, Case
from kasoku.blocks import (
    Affine,
    BatchNormalization,
    Block,
    Convolution,
    Dropout,
    MaxPooling,
    Relu,
)


def step(
    case: Case, weights: Sequence[Sequence[Array]], channels_last: bool
) -> Callable[[Array, Array], float]:
    """A function of images and labels that takes a step and returns the loss before it. Raises ImportError without PyTorch."""
    import torch
    from torch import nn

    def module(block: Block, arrays: Sequence[Array]) -> Any:
        w, b = [torch.from_numpy(array.copy()) for array in arrays] or (None, None)
        match block:
            case Affine(outputs):
                w = w.T.contiguous()
                made = nn.Linear(w.shape[1], outputs)
            case Convolution(filters, size, stride, pad):
                made = nn.Conv2d(w.shape[1], filters, size, stride, pad)
            case BatchNormalization():
                made = nn.BatchNorm1d(len(w), eps=1e-6)
            case MaxPooling(size):
                made = nn.MaxPool2d(size)
            case Dropout(ratio):
                made = nn.Dropout(ratio)
            case Relu():
                made = nn.ReLU()
            case _:
                raise TypeError(f"no {block} here")
        if w is not None:
            made.weight.data, made.bias.data = w, b
        return made

    torch.set_num_threads(kernels.num_threads())
    modules, images = [], len(case.sample) == 3
    for block, arrays in zip(case.layers, weights, strict=True):
        if images and isinstance(block, Affine):
            modules.append(nn.Flatten())
            images = False
        modules.append(module(block, arrays))
    memory = torch.channels_last if channels_last else torch.contiguous_format
    network = nn.Sequential(*modules).to(memory_format=memory)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[case.rule]
    optimizer = kind(network.parameters(), lr=RATES[case.rule])

    def run(x: Array, t: Array) -> float:
        batch, labels = torch.from_numpy(x), torch.from_numpy(t)
        if channels_last:
            batch = batch.to(memory_format=memory)
        return take_step(network, optimizer, batch, labels)

    return run


def take_step(network: Any, optimizer: Any, batch: Any, labels: Any) -> float:
    """One step of a network of PyTorch's; returns the loss before it."""
    from torch.nn.functional import cross_entropy

    optimizer.zero_grad(set_to_none=True)
    loss = cross_entropy(network(batch), labels)
    loss.backward()
    optimizer.step()
    return loss.item()
