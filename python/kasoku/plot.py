"""Pictures of a training run (needs matplotlib)."""

import os

import numpy as np
from matplotlib.figure import Figure

from kasoku import networks
from kasoku.train import first_filters

_LOSS, _TRAIN, _TEST = "#4c72b0", "#55a868", "#c44e52"


def training(
    network: networks.Network,
    history: networks.History,
    batch_size: int,
    path: str | os.PathLike[str],
) -> None:
    """Writes a picture of the loss, the accuracies and the first layer's filters to ``path``."""
    figure = Figure(figsize=(11, 6.5), dpi=120, layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[1, 0.9])
    loss, accuracy = top.subplots(1, 2)
    steps = np.arange(1, len(history.losses) + 1)
    loss.plot(steps, history.losses, color=_LOSS, alpha=0.25, linewidth=0.8)
    loss.plot(steps, _smooth(history.losses), color=_LOSS, linewidth=1.8)
    loss.set(title="Loss", xlabel=f"step (batches of {batch_size})", yscale="log")
    epochs = np.arange(1, len(history.train_accuracies) + 1)
    accuracy.plot(epochs, history.train_accuracies, "o-", color=_TRAIN, label="train")
    accuracy.plot(epochs, history.test_accuracies, "s-", color=_TEST, label="test")
    accuracy.set(title="Accuracy", xlabel="epoch", xticks=epochs)
    accuracy.yaxis.set_major_formatter(lambda share, _: f"{share:.1%}")
    accuracy.legend(frameon=False, loc="lower right")
    for axes in (loss, accuracy):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)

    filters = first_filters(network)[:48]
    columns = 10 if len(filters) <= 30 else 16
    grid = bottom.subplots(-(-len(filters) // columns), columns, squeeze=False)
    bottom.suptitle(f"{type(network).__name__}: what the first layer learned", fontsize=12)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image in zip(grid.flat, filters, strict=False):
        bound = np.abs(image).max()
        axes.imshow(image, cmap="RdBu_r", vmin=-bound, vmax=bound)
    figure.savefig(path)


def _smooth(values: list[float]) -> np.ndarray:
    """A running mean over about a thirtieth of the values, unbiased at the start."""
    weight = 1 - 1 / max(2, min(50, len(values) / 30))
    smooth, mean = np.empty(len(values)), 0.0
    for index, value in enumerate(values):
        mean = weight * mean + (1 - weight) * value
        smooth[index] = mean / (1 - weight ** (index + 1))
    return smooth
