"""Pictures of data, networks and training (needs matplotlib: the extra ``plot``).

Each function draws into the ``axes`` or ``figure`` that it is given, else into a new figure of pyplot's, which a notebook shows
at the end of the cell and a script with ``plt.show()``. It returns the axes.
"""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from kasoku import networks
from kasoku.train import first_filters

__all__ = [
    "activation_histograms",
    "computational_graph",
    "confusion_matrix",
    "filters",
    "learning_curves",
    "misclassified",
    "training",
]

_LOSS, _TRAIN, _TEST = "#4c72b0", "#55a868", "#c44e52"

#: The inches between the columns, and between the rows, of a graph.
_COLUMN, _ROW = 1.5, 1.05


def learning_curves(
    history: Any, *, batch_size: int | None = None, figure: FigureBase | None = None
) -> tuple[Axes, Axes]:
    """The loss of each step beside the accuracies of each epoch.

    history: what ``fit`` of :mod:`kasoku.networks` returned, or a Trainer that has trained, whose first accuracies are of the
        untrained network's first step. ``batch_size`` is only named in the axis' label.

    Raises ValueError where no step was taken.
    """
    if hasattr(history, "train_loss_list"):
        losses, first = history.train_loss_list, 0
        accuracies = history.train_acc_list, history.test_acc_list
    else:
        losses, first = history.losses, 1
        accuracies = history.train_accuracies, history.test_accuracies
    if not len(losses):
        raise ValueError("history: expected the losses of at least one step")
    figure = _figure((10, 3.6)) if figure is None else figure
    loss, accuracy = figure.subplots(1, 2)

    steps = np.arange(1, len(losses) + 1)
    loss.plot(steps, losses, color=_LOSS, alpha=0.25, linewidth=0.8)
    loss.plot(steps, _smooth(losses), color=_LOSS, linewidth=1.8)
    batches = "" if batch_size is None else f" (batches of {batch_size})"
    loss.set(title="Loss", xlabel=f"step{batches}", ylabel="cross-entropy")
    if min(losses) > 0:
        loss.set_yscale("log")
    lines = zip(accuracies, ("o-", "s-"), (_TRAIN, _TEST), ("train", "test"), strict=True)
    for shares, line, color, label in lines:
        if len(shares):
            epochs = np.arange(first, first + len(shares))
            accuracy.plot(epochs, shares, line, color=color, label=label)
    accuracy.set(title="Accuracy", xlabel="epoch", ylabel="share right")
    accuracy.xaxis.get_major_locator().set_params(integer=True)
    accuracy.yaxis.set_major_formatter(lambda share, _: f"{share:.1%}")
    if accuracy.lines:
        accuracy.legend(frameon=False, loc="lower right")
    for axes in (loss, accuracy):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return loss, accuracy


def filters(
    weights: npt.ArrayLike,
    *,
    columns: int = 10,
    channel: int = 0,
    title: str | None = None,
    figure: FigureBase | None = None,
) -> npt.NDArray[Any]:
    """Each filter as a picture: red above 0, blue below, each on a scale of its own.

    weights: (filters, channels, height, width), of which ``channel`` is drawn, or (filters, height, width).
    Returns the axes, (rows, columns).

    Raises ValueError for another rank, or where there is no filter; IndexError for a channel that is not there.
    """
    weights = np.asarray(weights)
    if weights.ndim not in (3, 4) or not weights.size:
        raise ValueError(
            f"weights of shape {weights.shape}: expected (filters, channels, height, width) or (filters, height, width)"
        )
    images = weights[:, channel] if weights.ndim == 4 else weights
    grid = _grid(len(images), columns, title, figure, (0.75, 0.75))
    for axes, image in zip(grid.flat, images, strict=False):
        bound = np.abs(image).max()
        axes.imshow(image, cmap="RdBu_r", vmin=-bound, vmax=bound)
    return grid


def activation_histograms(
    activations: Mapping[str, npt.ArrayLike],
    *,
    bins: int = 30,
    range: tuple[float, float] | None = None,
    title: str | None = None,
    figure: FigureBase | None = None,
) -> npt.NDArray[Any]:
    """How the outputs of each layer are distributed, side by side on the same axes, with their standard deviation σ.

    activations: the name of a layer to its outputs, an array of any shape. ``range`` is what the histograms cover (by default
    all outputs). Returns the axes, one a layer.

    Raises ValueError where there is no layer, or one without outputs.
    """
    arrays = {name: np.ravel(array) for name, array in activations.items()}
    empty = [name for name, array in arrays.items() if not array.size]
    if not arrays or empty:
        raise ValueError(f"no activations in {', '.join(empty) or 'an empty mapping'}")
    if range is None:
        range = min(a.min() for a in arrays.values()), max(a.max() for a in arrays.values())
    figure = _figure((2.2 * len(arrays) + 0.6, 2.6)) if figure is None else figure
    row = figure.subplots(1, len(arrays), sharex=True, sharey=True, squeeze=False)[0]
    if title:
        figure.suptitle(title, fontsize=12)
    for axes, (name, array) in zip(row, arrays.items(), strict=True):
        share = np.full(array.size, 1 / array.size)
        axes.hist(array, bins, range=range, weights=share, color=_LOSS)
        axes.set(xlabel="output")
        axes.set_title(f"{name}\nσ = {array.std():.2g}", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    row[0].set_ylabel("share")
    row[0].yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    return row


def misclassified(
    x: npt.ArrayLike,
    t: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    count: int = 20,
    columns: int = 10,
    title: str | None = None,
    figure: FigureBase | None = None,
) -> npt.NDArray[Any]:
    """The first ``count`` images that a network gets wrong, each titled with its label → the network's answer.

    x: images (N, 1, H, W), (N, H, W), or (N, H·W) where they are square. t: labels (N,) or one-hot. y: answers (N,) or
    scores (N, classes). Returns the axes, (rows, columns); without a mistake all of them are empty.

    Raises ValueError where x, t and y are not of one length, or x is of another shape.
    """
    x, t, y = np.asarray(x), _labels(t), _labels(y)
    _check_lengths(x=x, t=t, y=y)
    wrong = np.flatnonzero(t != y)
    shown = wrong[:count]
    if title is None:
        title = f"{len(wrong):,} of {len(t):,} wrong: label → answer"
    grid = _grid(max(len(shown), 1), columns, title, figure, (0.85, 1.1))
    for axes, index, image in zip(grid.flat, shown, _images(x[shown]), strict=False):
        axes.imshow(image, cmap="gray_r")
        axes.set_title(f"{t[index]} → {y[index]}", fontsize=10)
    return grid


def confusion_matrix(
    t: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    classes: Sequence[str] | None = None,
    title: str = "Confusion matrix",
    axes: Axes | None = None,
) -> Axes:
    """How often each label (row) got each answer (column): mistakes in red, right answers written only.

    t: labels (N,) or one-hot. y: answers (N,) or scores (N, classes). ``classes`` names them.

    Raises ValueError where t and y are not of one length, or empty; IndexError where ``classes`` has too few names.
    """
    t, y = _labels(t), _labels(y)
    _check_lengths(t=t, y=y)
    if not len(t):
        raise ValueError("t and y are empty")
    size = int(max(t.max(), y.max())) + 1 if classes is None else len(classes)
    counts = np.zeros((size, size), dtype=int)
    np.add.at(counts, (t, y), 1)
    mistakes = counts * (1 - np.eye(size, dtype=int))

    axes = _figure((5.2, 4.8)).subplots() if axes is None else axes
    axes.imshow(mistakes, cmap="Reds", vmin=0, vmax=max(mistakes.max(), 1) * 1.3)
    for (row, column), number in np.ndenumerate(counts):
        if number:
            weight = "bold" if row == column else "normal"
            axes.text(column, row, number, ha="center", va="center", fontsize=8, weight=weight)
    names = range(size) if classes is None else classes
    axes.set(title=title, xlabel="answer", ylabel="label")
    axes.set_xticks(np.arange(size), names)
    axes.set_yticks(np.arange(size), names)
    return axes


Edge = tuple[str, str] | tuple[str, str, Any] | tuple[str, str, Any, Any]


def computational_graph(
    edges: Iterable[Edge],
    *,
    labels: Mapping[str, str] = {},
    circled: Collection[str] | None = None,
    title: str | None = None,
    axes: Axes | None = None,
) -> Axes:
    """A graph from left to right: values of the forward pass above its edges, of the backward pass below them in red.

    edges: (from, to), (from, to, forward) or (from, to, forward, backward); None is no value. Nodes are known by their names;
        ``labels`` gives what is written in those whose name is not it.
    circled: the nodes in circles (by default those with edges both into and out of them; inputs and outputs are only written).

    Inputs stand under each other in the order of the edges, every other node as high as those before it on average.

    Raises ValueError where there are no edges, or where they run in a circle.
    """
    edges = [(*edge, None, None)[:4] for edge in edges]
    places = _places(edges)
    sources = {source for source, *_ in edges}
    targets = {target for _, target, *_ in edges}
    circled = sources & targets if circled is None else set(circled)
    xs, ys = zip(*places.values(), strict=True)
    # An edge that would run through a node goes over it.
    bends = [
        0.75 if _passes(places[source], places[target], places.values()) else 0.0
        for source, target, *_ in edges
    ]
    top = max(ys) + max(bends)
    if axes is None:
        axes = _figure((_COLUMN * max(xs) + 1.6, _ROW * (top - min(ys)) + 1.2)).subplots()

    def written(name: str) -> str:
        return labels.get(name, name)

    def radius(name: str, steepness: float) -> float:
        """How far from the node's middle an edge ends, in points."""
        if name not in circled:
            return 4
        if len(written(name)) < 3:
            return 15
        width, height = 9 + 3.4 * len(written(name)), 14  # half of a frame's
        return min(width, height / max(steepness, 1e-9)) * float(np.hypot(1, steepness)) + 1

    for (source, target, forward, backward), bend in zip(edges, bends, strict=True):
        start, end = np.array(places[source]), np.array(places[target])
        across, up = (end - start) * [_COLUMN, _ROW]
        steepness = abs(up / across)
        arrow = {
            "arrowstyle": "-|>",
            "color": "#444444",
            "connectionstyle": f"arc3,rad={-2 * bend * _ROW / across}",
            "shrinkA": radius(source, steepness),
            "shrinkB": radius(target, steepness),
        }
        axes.annotate("", end, start, arrowprops=arrow)
        # Before the middle, as edges meet at their ends.
        place = 0.57 * start + 0.43 * end + [0, bend]
        for value, sign, align, color in (
            (forward, 1, "bottom", "#222222"),
            (backward, -1, "top", _TEST),
        ):
            if value is not None:
                clear = 2 + 3 * len(f"{value}") * steepness
                text = {"ha": "center", "va": align, "color": color, "fontsize": 10}
                axes.annotate(
                    f"{value}", place, (0, sign * clear), textcoords="offset points", **text
                )

    for name, (x, y) in places.items():
        align, frame = "center", None
        if name in circled:
            frame = {"boxstyle": "round,pad=0.5", "facecolor": "#dbe5f1", "edgecolor": "#444444"}
            if len(written(name)) < 3:
                axes.plot(x, y, "o", markersize=28, color="#dbe5f1", markeredgecolor="#444444")
                frame = None
        elif name not in targets:
            align = "right"
        elif name not in sources:
            align = "left"
        text = {"ha": align, "va": "center", "fontsize": 11, "zorder": 3}
        axes.text(x, y, written(name), bbox=frame, **text)
    axes.set(xlim=(min(xs) - 0.4, max(xs) + 0.4), ylim=(min(ys) - 0.6, top + 0.6))
    axes.set_axis_off()
    if title:
        axes.set_title(title)
    return axes


def training(
    network: networks.Network,
    history: networks.History,
    batch_size: int,
    path: str | os.PathLike[str],
) -> None:
    """Writes a picture of the loss, the accuracies and the first layer's filters to ``path``."""
    figure = Figure(figsize=(11, 6.5), dpi=120, layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[1, 0.9])
    learning_curves(history, batch_size=batch_size, figure=top)
    images = first_filters(network)[:48]
    columns = 10 if len(images) <= 30 else 16
    title = f"{type(network).__name__}: what the first layer learned"
    filters(images, columns=columns, title=title, figure=bottom)
    figure.savefig(path)


def _figure(size: tuple[float, float]) -> Figure:
    """A figure that pyplot knows."""
    from matplotlib import pyplot

    return pyplot.figure(figsize=size, layout="constrained")


def _grid(
    count: int,
    columns: int,
    title: str | None,
    figure: FigureBase | None,
    cell: tuple[float, float],
) -> npt.NDArray[Any]:
    """Axes without frames for ``count`` pictures, each of ``cell`` inches in a new figure."""
    if columns < 1:
        raise ValueError(f"columns is {columns}, expected 1 or more")
    columns = min(columns, count)
    rows = -(-count // columns)
    if figure is None:
        # A title needs its room even above few pictures.
        width = max(cell[0] * columns, 0.09 * len(title or ""))
        figure = _figure((width, cell[1] * rows + (0.35 if title else 0)))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=12)
    return grid


def _labels(array: npt.ArrayLike) -> npt.NDArray[Any]:
    """Labels (N,) of labels, one-hot rows or scores."""
    array = np.asarray(array)
    return array.argmax(axis=1) if array.ndim == 2 else array


def _check_lengths(**arrays: npt.NDArray[Any]) -> None:
    if len({array.shape[:1] for array in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"{shapes}: expected as many of each")


def _images(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """x as images (N, H, W)."""
    if x.ndim == 4 and x.shape[1] == 1:
        return x[:, 0]
    if x.ndim == 2 and (side := int(np.sqrt(x.shape[1]))) ** 2 == x.shape[1]:
        return x.reshape(-1, side, side)
    if x.ndim == 3:
        return x
    raise ValueError(f"x of shape {x.shape}: expected (N, 1, H, W), (N, H, W), or squares (N, H·W)")


def _places(edges: Sequence[tuple[str, str, Any, Any]]) -> dict[str, tuple[float, float]]:
    """Where each node stands: its column is the length of the longest way to it, but inputs stand just before their use."""
    before: dict[str, list[str]] = {}
    for source, target, *_ in edges:
        before.setdefault(source, [])
        before.setdefault(target, []).append(source)
    if not before:
        raise ValueError("edges: expected at least one")

    columns: dict[str, int] = {}
    left = list(before)
    while left:
        ready = [name for name in left if all(source in columns for source in before[name])]
        if not ready:
            raise ValueError(f"edges: {', '.join(left)} are in a circle")
        for name in ready:
            columns[name] = max((columns[source] + 1 for source in before[name]), default=0)
        left = [name for name in left if name not in columns]
    inputs = [name for name in before if not before[name]]
    for name in inputs:
        columns[name] = min(columns[target] for source, target, *_ in edges if source == name) - 1

    ys = {name: -float(row) for row, name in enumerate(inputs)}
    for column in range(max(columns.values()) + 1):
        names = [name for name in before if columns[name] == column]
        for name in names:
            if before[name]:
                ys[name] = float(np.mean([ys[source] for source in before[name]]))
        _spread(names, ys)
    return {name: (float(columns[name]), ys[name]) for name in before}


def _spread(names: list[str], ys: dict[str, float]) -> None:
    """Moves those that stand too close to each other in a column apart, about their middle."""
    groups: list[list[str]] = []
    for name in sorted(names, key=lambda name: -ys[name]):
        if groups and ys[groups[-1][-1]] - ys[name] < 0.8:
            groups[-1].append(name)
        else:
            groups.append([name])
    for group in groups:
        middle = float(np.mean([ys[name] for name in group]))
        for row, name in enumerate(group):
            ys[name] = middle + (len(group) - 1) / 2 - row


def _passes(
    start: tuple[float, float], end: tuple[float, float], nodes: Iterable[tuple[float, float]]
) -> bool:
    """Whether a node lies on the straight line between two others."""
    for x, y in nodes:
        if start[0] < x < end[0]:
            share = (x - start[0]) / (end[0] - start[0])
            if abs(start[1] + share * (end[1] - start[1]) - y) < 0.25:
                return True
    return False


def _smooth(values: Sequence[float]) -> npt.NDArray[Any]:
    """A running mean over about a thirtieth of the values, unbiased at the start."""
    weight = 1 - 1 / max(2, min(50, len(values) / 30))
    smooth, mean = np.empty(len(values)), 0.0
    for index, value in enumerate(values):
        mean = weight * mean + (1 - weight) * value
        smooth[index] = mean / (1 - weight ** (index + 1))
    return smooth
