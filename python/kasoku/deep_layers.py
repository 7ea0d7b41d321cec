"""The layers that chapter 8's architectures need beside the book's: chains, branches and skip connections of layers, which are
layers themselves, local response normalisation and the mean of each channel.

``kasoku.layers`` has them too. A layer inside a container may be of any kind with ``forward`` and ``backward``; those whose
``forward`` takes ``train_flg`` are told it.
"""

import inspect
from functools import cache as _cache
from itertools import accumulate as _accumulate

import numpy as np

#: The arrays of a layer that learns, the gradients beside them, and their names in ``params``: as the book's networks count.
_LEARNED = (("W", "dW"), ("b", "db"), ("gamma", "dgamma"), ("beta", "dbeta"))


def _forward_first(layer):
    return RuntimeError(f"{type(layer).__name__}.backward needs a forward pass before it")


@_cache
def _takes_flag(kind):
    return "train_flg" in inspect.signature(kind.forward).parameters


def _indented(text):
    return text.replace("\n", "\n    ")


class _Container:
    """Chains of layers in a layer."""

    def _chains(self):
        raise NotImplementedError

    def _slots(self):
        """(layer, name of the array, name of its gradient) for each array that is learned."""
        for chain in self._chains():
            for layer in chain.layers:
                if isinstance(layer, _Container):
                    yield from layer._slots()
                else:
                    # LocalResponseNormalization has a beta too, but it is not learned.
                    yield from ((layer, *names) for names in _LEARNED if hasattr(layer, names[1]))

    def _named(self, which):
        count, named = {}, {}
        for slot in self._slots():
            count[slot[1]] = count.get(slot[1], 0) + 1
            named[f"{slot[1]}{count[slot[1]]}"] = getattr(slot[0], slot[which])
        return named

    @property
    def params(self):
        """The arrays of the layers inside by the names ``W1``, ``b1``, …: numbered by kind, in the order of the layers.

        They are the layers' own: an edit in place is seen by the next call, another array in the dict is not.
        """
        return self._named(1)

    @property
    def grads(self):
        """The gradients of the latest backward pass, by the names of ``params``: what an optimizer's ``update`` takes."""
        return self._named(2)


class Chain(_Container):
    """Layers one after another, as one layer. Without layers it gives back what it is given."""

    def __init__(self, layers=()):
        self.layers = list(layers)

    def _chains(self):
        return [self]

    def forward(self, x, train_flg=True):
        """What the last layer gives. ``train_flg`` goes to the layers whose ``forward`` takes it."""
        for layer in self.layers:
            flag = (train_flg,) if _takes_flag(type(layer)) else ()
            x = layer.forward(x, *flag)
        return x

    def backward(self, dout):
        """The gradient by x, from dout, that by the output."""
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout

    def __repr__(self):
        layers = "".join(f"\n{layer!r}," for layer in self.layers)
        return f"{type(self).__name__}([{_indented(layers)}{chr(10) if layers else ''}])"


def _chain(layers):
    return layers if isinstance(layers, Chain) else Chain(layers)


class Residual(_Container):
    """out = body(x) + shortcut(x), where the two are chains of layers, and a shortcut without layers is x itself.

    The skip connection of ResNet (He et al., http://arxiv.org/abs/1512.03385). The gradient has a way back that passes
    through no weights, so it cannot vanish in a deep network.
    """

    def __init__(self, body, shortcut=()):
        self.body = _chain(body)
        self.shortcut = _chain(shortcut)
        self.output_shape = None

    def _chains(self):
        return [self.body, self.shortcut]

    def forward(self, x, train_flg=True):
        """body(x) + shortcut(x). Raises ValueError where their shapes differ."""
        out, shortcut = self.body.forward(x, train_flg), self.shortcut.forward(x, train_flg)
        if out.shape != shortcut.shape:
            raise ValueError(
                f"Residual: the body's output has shape {out.shape}, the shortcut's {shortcut.shape}"
            )
        self.output_shape = out.shape
        return out + shortcut

    def backward(self, dout):
        """dx: the sum of what both give. Raises ValueError where dout is not of the output's shape."""
        _check_dout(self, dout, self.output_shape)
        # Relu.backward writes to what it is given, and each of the two needs dout as it is.
        return self.body.backward(dout.copy()) + self.shortcut.backward(dout.copy())

    def __repr__(self):
        shortcut = f", shortcut={self.shortcut!r}" if self.shortcut.layers else ""
        return f"Residual({self.body!r}{shortcut})"


class Concat(_Container):
    """Branches side by side, their outputs joined along axis 1, the channels.

    The inception of GoogLeNet (Szegedy et al., http://arxiv.org/abs/1409.4842). Raises ValueError where there is no branch.
    """

    def __init__(self, *branches):
        if not branches:
            raise ValueError("Concat needs at least one branch, a list of layers")
        self.branches = [_chain(branch) for branch in branches]
        self.output_shape = None
        self._ends = None

    def _chains(self):
        return self.branches

    def forward(self, x, train_flg=True):
        """The branches' outputs, joined. Raises ValueError where they differ in more than their channels."""
        outs = [branch.forward(x, train_flg) for branch in self.branches]
        shapes = [out.shape for out in outs]
        for shape in shapes:
            if len(shape) < 2 or shape[:1] + shape[2:] != shapes[0][:1] + shapes[0][2:]:
                raise ValueError(
                    f"Concat: a branch's output has shape {shape}, the first one's {shapes[0]}: "
                    "only the channels may differ"
                )
        out = np.concatenate(outs, axis=1)
        self.output_shape = out.shape
        self._ends = list(_accumulate(out.shape[1] for out in outs))
        return out

    def backward(self, dout):
        """dx: the sum of what the branches give. Raises ValueError where dout is not of the output's shape."""
        _check_dout(self, dout, self.output_shape)
        # Copies, which may be written to.
        parts = [part.copy() for part in np.split(dout, self._ends[:-1], axis=1)]
        dx = None
        for branch, part in zip(self.branches, parts, strict=True):
            gradient = branch.backward(part)
            dx = gradient if dx is None else dx + gradient
        return dx

    def __repr__(self):
        branches = "".join(f"\n{branch!r}," for branch in self.branches)
        return f"Concat({_indented(branches)}\n)"


def _check_dout(layer, dout, shape):
    if shape is None:
        raise _forward_first(layer)
    if dout.shape != shape:
        name = type(layer).__name__
        raise ValueError(f"{name}: dout has shape {dout.shape}, the output has {shape}")


class GlobalAveragePooling:
    """The mean of each channel: x (N, C, H, W) becomes (N, C) (Lin et al., http://arxiv.org/abs/1312.4400)."""

    def __init__(self):
        self.input_shape = None

    def forward(self, x):
        """The means. Raises ValueError where x has not four axes, or no pixels."""
        if x.ndim != 4 or 0 in x.shape[2:]:
            raise ValueError(f"GlobalAveragePooling: x has shape {x.shape}, expected (N, C, H, W)")
        self.input_shape = x.shape
        return x.mean(axis=(2, 3))

    def backward(self, dout):
        """dx in x's shape: each pixel gets its channel's dout, divided by their number."""
        shape = self.input_shape
        _check_dout(self, dout, None if shape is None else shape[:2])
        area = shape[2] * shape[3]
        return np.broadcast_to((dout / area)[:, :, None, None], shape).copy()

    def __repr__(self):
        return "GlobalAveragePooling()"


class LocalResponseNormalization:
    """out = x·s^−beta with s = k + alpha·Σx², summed over the same pixel of the n channels around each (fewer at the ends).

    Channels compete with their neighbours: AlexNet's (Krizhevsky et al., 2012, §3.3), whose numbers are the defaults; alpha is
    not divided by n there, as some libraries do. Raises ValueError where n is not odd, k not above 0, or another negative.
    """

    def __init__(self, n=5, k=2.0, alpha=1e-4, beta=0.75):
        if n < 1 or n % 2 != 1:
            raise ValueError(f"n is {n}, expected an odd number of channels")
        if not (k > 0 and alpha >= 0 and beta >= 0):
            raise ValueError(f"k={k}, alpha={alpha}, beta={beta}: expected k > 0, the others >= 0")
        self.n = n
        self.k = k
        self.alpha = alpha
        self.beta = beta
        self._last = None  # x, s and s^−beta, of one forward pass

    def _sum_around(self, terms):
        """The sums of terms (N, C, …) over the n channels around each."""
        reach, channels = self.n // 2, terms.shape[1]
        sums = terms.copy()
        for shift in range(1, min(reach, channels - 1) + 1):
            sums[:, shift:] += terms[:, :-shift]
            sums[:, :-shift] += terms[:, shift:]
        return sums

    def forward(self, x):
        """The normalised x, in its shape. Raises ValueError where x has not four axes."""
        if x.ndim != 4:
            expected = "expected (N, C, H, W)"
            raise ValueError(f"LocalResponseNormalization: x has shape {x.shape}, {expected}")
        if x.dtype.kind in "biu":
            x = x.astype(np.float64)
        s = self.k + self.alpha * self._sum_around(x * x)
        if self.beta == 0.75:
            root = np.sqrt(s)
            factor = 1 / (root * np.sqrt(root))  # without a logarithm
        else:
            factor = s**-self.beta
        self._last = x, s, factor
        return x * factor

    def backward(self, dout):
        """dx = dout·s^−beta − 2·alpha·beta·x·Σ dout·out/s, summed over the same channels."""
        x, s, factor = self._last or (None, None, None)
        _check_dout(self, dout, None if x is None else x.shape)
        scaled = dout * factor
        return scaled - (2 * self.alpha * self.beta) * x * self._sum_around(scaled * x / s)

    def __repr__(self):
        numbers = f"n={self.n}, k={self.k}, alpha={self.alpha}, beta={self.beta}"
        return f"LocalResponseNormalization({numbers})"
