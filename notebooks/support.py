"""What the notebooks share: the digits they learn, and a short setting for tests.

KASOKU_NOTEBOOKS_SHORT=1 cuts data and training so far that all notebooks together take about a minute; what they print is then
no measure of anything.
"""

import os
from typing import Any

import matplotlib.pyplot as plt

from kasoku.dataset import Pairs, load_digits_synthetic
from kasoku.dataset.mnist import load_mnist

SHORT = os.environ.get("KASOKU_NOTEBOOKS_SHORT", "0") not in ("", "0")

plt.rcParams.update({"figure.dpi": 80, "axes.titlesize": 11, "figure.constrained_layout.use": True})


def quick(full: Any, short: Any) -> Any:
    """``full``, or ``short`` in the short setting."""
    return short if SHORT else full


def load_digits(flatten: bool = True, one_hot_label: bool = False) -> Pairs:
    """((x_train, t_train), (x_test, t_test)) as ``load_mnist`` gives them, images of 0 to 1.

    Where MNIST is not on this machine and cannot be downloaded, they are digits that kasoku draws itself, in the same form.
    The short setting keeps 3,000 and 1,000 of them.
    """
    form = {"flatten": flatten, "one_hot_label": one_hot_label}
    try:
        train, test = load_mnist(**form)
        print("The digits are MNIST's.")
    except FileNotFoundError:
        train, test = load_digits_synthetic(**form)
        print("MNIST is not here (KASOKU_DATA names its folder): the digits are kasoku's own.")
    if SHORT:
        train, test = ((x[:n], t[:n]) for (x, t), n in ((train, 3000), (test, 1000)))
    return train, test
