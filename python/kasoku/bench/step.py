"""``kasoku bench step``: one step of training of each of the book's networks, beside every library that is installed."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from kasoku import _numpy_reference as reference
from kasoku import layers, networks, optimizer
from kasoku.bench import in_jax, in_torch
from kasoku.bench.contest import CASES, RATES, Array, Case, initial_weights
from kasoku.bench.in_layers import LayerNet
from kasoku.bench.turns import Budget, Row, arithmetic, compare

Step = Callable[[Array, Array], Any]

#: The other libraries, and what makes their steps.
PEERS: dict[str, Callable[[Case, list[list[Array]]], Step]] = {
    "NumPy": lambda *start: LayerNet(reference, reference, *start).train_step,
    "PyTorch": lambda *start: in_torch.step(*start, channels_last=False),
    "PyTorch, NHWC": lambda *start: in_torch.step(*start, channels_last=True),
    "JAX": in_jax.step,
}


def contenders(case: Case, peers: Iterable[str] = PEERS) -> dict[str, Step]:
    """Steps from the same weights: kasoku's and, where they are installed, those of ``peers``; PyTorch's in both memory formats
    where there are images. All in float32, but NumPy's, which is the book's, in float64."""
    network = case.build()
    weights = initial_weights(case, network)
    rule = networks.Optimizer(case.rule, RATES[case.rule])
    found: dict[str, Step] = {"kasoku": lambda x, t: network.train_step(x, t, rule)}
    for who in peers:
        if "NHWC" in who and len(case.sample) < 3:
            continue
        with suppress(ImportError):
            found[who] = PEERS[who](case, weights)
    return found


def rows(batch: int, budget: Budget, only: str = "", peers: Iterable[str] = PEERS) -> Iterator[Row]:
    """A row for each network whose name has ``only``; its floor is the arithmetic of the definition at the machine's peak."""
    for case in CASES:
        if only not in case.name:
            continue
        x, t = case.batch(batch)
        works = {who: partial(step, x, t) for who, step in contenders(case, peers).items()}
        floor = arithmetic(batch * case.flops()[0])
        yield compare(case.name, works, budget, floor)


def rows_by_layers(
    batch: int, budget: Budget, only: str = "", dtype: DTypeLike = np.float64
) -> Iterator[Row]:
    """The same by the book's layer objects, kasoku's in ``dtype`` and NumPy's in float64."""
    for case in CASES:
        if only not in case.name:
            continue
        x, t = case.batch(batch)
        weights = initial_weights(case, case.build())
        sides = {
            "kasoku": (layers, optimizer, dtype),
            "NumPy": (reference, reference, np.float64),
        }
        works = {
            who: partial(
                LayerNet(maker, optimizers, case, weights, kind).train_step, x.astype(kind), t
            )
            for who, (maker, optimizers, kind) in sides.items()
        }
        yield compare(case.name, works, budget)
