"""Single operations as a user of kasoku calls them, NCHW in and out, beside PyTorch's and NumPy's: rows for layers.py."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from kasoku import _numpy_reference as reference
from kasoku import kernels, layers, optimizer
from kasoku.bench.turns import arithmetic, compare

try:
    import torch
except ImportError:
    torch = None
else:
    torch.set_num_threads(kernels.num_threads())

BATCH = 100

# Input channels, image, filters, filter size, stride, padding: SimpleConvNet's, DeepConvNet's, and others of chapter 8.
CONVOLUTIONS = (
    (1, 28, 30, 5, 1, 0),
    (1, 28, 16, 3, 1, 1),
    (16, 28, 16, 3, 1, 1),
    (16, 14, 32, 3, 1, 1),
    (32, 14, 32, 3, 1, 2),
    (32, 8, 64, 3, 1, 1),
    (64, 8, 64, 3, 1, 1),
    (6, 14, 16, 5, 1, 0),
    (3, 32, 16, 7, 2, 3),
    (16, 28, 32, 3, 2, 1),
    (64, 14, 128, 1, 2, 0),
    (56, 7, 48, 1, 1, 0),
)
POOLED = ((30, 24), (16, 28))  # channels, image
ROWS, COLUMNS = 1000, 1000  # 4 MB: beyond L2

random = np.random.default_rng(1)


def uniform(*shape):
    return random.uniform(-1, 1, shape).astype(np.float32)


def in_torch(make, *arrays):
    """What `make` makes of the arrays as tensors: a contender, or two where there are images, one in each memory format."""
    if torch is None:
        return {}
    formats = {"PyTorch": torch.contiguous_format}
    if arrays[0].ndim == 4:
        formats["PyTorch, NHWC"] = torch.channels_last

    def tensor(array, memory):
        found = torch.from_numpy(array.copy())
        return found.contiguous(memory_format=memory) if array.ndim == 4 else found

    return {who: make(*[tensor(x, memory) for x in arrays]) for who, memory in formats.items()}


def copy_of(held, passes=1.0):
    """The floor of an operation whose arrays hold so many bytes, each moved `passes` times in the mean: the fastest of a few
    copies from one half of as many bytes to the other, on kasoku's threads."""
    threads = kernels.num_threads()
    source, target = np.ones(held // 2, np.uint8), np.zeros(held // 2, np.uint8)
    parts = [np.array_split(array, threads) for array in (target, source)]
    pool = ThreadPoolExecutor(threads)

    def seconds():
        start = time.perf_counter()
        if threads == 1:
            np.copyto(target, source)
        else:
            list(pool.map(np.copyto, *parts))
        return time.perf_counter() - start

    return lambda: passes * min(seconds() for _ in range(10))


def convolution(channels, edge, filters, size, stride, pad):
    """Both ways of one: name, kasoku's, PyTorch's, and the floor. Backward is all three gradients."""
    x, w = uniform(BATCH, channels, edge, edge), uniform(filters, channels, size, size)
    layer = layers.Convolution(w, uniform(filters), stride, pad)
    dy = uniform(*layer.forward(x).shape)
    flops = 2 * dy.size * channels * size * size

    def forward(x, w, b):
        return partial(torch.conv2d, x, w, b, stride=stride, padding=pad)

    def backward(dy, x, w):
        geometry = [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], 1
        run = torch.ops.aten.convolution_backward
        return partial(run, dy, x, w, [filters], *geometry, [True] * 3)

    apart = f" / {stride}" if stride > 1 else ""
    name = f"Convolution {channels}→{filters}, {size}×{size}{apart}, {edge}×{edge}"
    theirs = in_torch(forward, x, w, layer.b)
    yield f"{name} forward", partial(layer.forward, x), theirs, arithmetic(flops)
    theirs = in_torch(backward, dy, x, w)
    yield f"{name} backward", partial(layer.backward, dy), theirs, arithmetic(2 * flops)


def max_pooling(channels, edge):
    """2×2, with the indices that the way back needs: a byte each here."""
    x = uniform(BATCH, channels, edge, edge)
    y, index = kernels.max_pool2d(x, 2)
    dy = uniform(*y.shape)
    window = [2, 2], [2, 2], [0, 0], [1, 1], False

    def forward(x):
        return partial(torch.ops.aten.max_pool2d_with_indices, x, *window)

    def backward(x, dy):
        run = torch.ops.aten.max_pool2d_with_indices_backward
        return partial(run, dy, x, *window, forward(x)()[1])

    name, held = f"Max-pool 2×2, {channels}×{edge}×{edge}", x.nbytes + y.nbytes + index.nbytes
    ours = partial(kernels.max_pool2d, x, 2)
    yield f"{name} forward", ours, in_torch(forward, x), copy_of(held)
    ours = partial(kernels.max_pool2d_backward, dy, index, x.shape, 2)
    yield f"{name} backward", ours, in_torch(backward, x, dy), copy_of(held)


def element_by_element():
    """Functions of every element or row: x is read, y written."""
    x = uniform(ROWS, COLUMNS)
    for name, ours, theirs in (
        ("exp", kernels.exp, lambda x: partial(torch.exp, x)),
        ("sigmoid", kernels.sigmoid, lambda x: partial(torch.sigmoid, x)),
        ("softmax of rows", kernels.softmax, lambda x: partial(torch.softmax, x, 1)),
    ):
        yield (
            f"{name}, {ROWS}×{COLUMNS}",
            partial(ours, x),
            in_torch(theirs, x),
            copy_of(2 * x.nbytes),
        )


def batch_normalization():
    """Of each feature: forward x is read (once, at best) and y written; backward x and dy are read and dx is written."""
    x, dy, gamma = uniform(ROWS, COLUMNS), uniform(ROWS, COLUMNS), uniform(COLUMNS)
    layer = layers.BatchNormalization(gamma, uniform(COLUMNS))
    layer.forward(x)

    def forward(x, gamma, beta):
        return partial(torch.native_batch_norm, x, gamma, beta, None, None, True, 0.1, 1e-6)

    def backward(x, gamma, beta, dy):
        statistics = forward(x, gamma, beta)()[1:]
        run = torch.ops.aten.native_batch_norm_backward
        return partial(run, dy, x, gamma, None, None, *statistics, True, 1e-6, [True] * 3)

    name, operands = f"Batch norm, {ROWS}×{COLUMNS}", (x, gamma, layer.beta)
    ours, theirs = partial(layer.forward, x), in_torch(forward, *operands)
    yield f"{name} forward", ours, theirs, copy_of(2 * x.nbytes)
    ours, theirs = partial(layer.backward, dy), in_torch(backward, *operands, dy)
    yield f"{name} backward", ours, theirs, copy_of(3 * x.nbytes)


def adam():
    """The weights, their gradient and two moments are read, all but the gradient written."""
    w, gradient, rule = uniform(ROWS, COLUMNS), uniform(ROWS, COLUMNS), optimizer.Adam()

    def step(w, gradient):
        parameter = torch.nn.Parameter(w)
        parameter.grad = gradient
        return torch.optim.Adam([parameter]).step

    ours, floor = partial(rule.update, {"W": w}, {"W": gradient}), copy_of(4 * w.nbytes, 7 / 4)
    yield f"Adam, {ROWS}×{COLUMNS}", ours, in_torch(step, w, gradient), floor


def column_matrix(channels, edge, filters, size, stride, pad):
    """im2col and its adjoint, as the book calls them: float64."""
    x, window = uniform(BATCH, channels, edge, edge).astype(np.float64), (size, size, stride, pad)
    col = kernels.im2col(x, *window)
    name = f"{channels}→{filters}, {size}×{size}, {edge}×{edge}"
    for kind, operands in (("im2col", (x,)), ("col2im", (col, x.shape))):
        ours, theirs = (
            partial(getattr(module, kind), *operands, *window) for module in (kernels, reference)
        )
        yield f"{kind} {name}", ours, {"NumPy": theirs}, copy_of(x.nbytes + col.nbytes)


def rows(cases, budget, only):
    """The measured rows of cases whose name has `only`."""
    for name, ours, theirs, floor in cases:
        if only in name:
            yield compare(name, {"kasoku": ours, **theirs}, budget, floor)


def convolutions():
    for shape in CONVOLUTIONS:
        yield from convolution(*shape)


def by_memory():
    for shape in POOLED:
        yield from max_pooling(*shape)
    yield from element_by_element()
    yield from batch_normalization()
    yield from adam()


def columns():
    for shape in (CONVOLUTIONS[0], CONVOLUTIONS[5]):
        yield from column_matrix(*shape)
