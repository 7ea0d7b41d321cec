"""The book's five networks and those of one's own, whole in Rust: the book's constructors and methods, and training without a
layer object in sight.

>>> from kasoku.networks import SimpleConvNet
>>> network = SimpleConvNet(seed=1)
>>> history = network.fit(x_train, t_train, epochs=3, test=(x_test, t_test))  # doctest: +SKIP

Arrays of any real type are taken and computed with in the network's ``dtype``. x is (N, …) with as many elements a sample as the
network has inputs; t is labels (N,) of any integer type, or one-hot (N, classes). Everywhere: ValueError for shapes that do not
fit, TypeError for types, IndexError for a label out of range; a call that fails changes nothing.

Threads that share a network take turns. Weights and the masks of dropout come from kasoku's own generator: the same ``seed``
gives the same network here and in the Rust crate. Without one, a seed is drawn from ``np.random``, so that
``np.random.seed`` repeats it.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from kasoku import blocks, weights
from kasoku import optimizer as book
from kasoku._core import networks as _core
from kasoku.functions import softmax

__all__ = [
    "DeepConvNet",
    "Ensemble",
    "Epoch",
    "History",
    "MultiLayerNet",
    "MultiLayerNetExtend",
    "Network",
    "Optimizer",
    "Sequential",
    "SimpleConvNet",
    "Step",
    "TwoLayerNet",
]

#: Samples that are predicted at once: enough to keep every core busy, few enough that Ctrl-C is heard soon.
_CHUNK = 500

#: Elements of a numerical gradient between two looks at Ctrl-C.
_ELEMENTS = 64

#: The book's optimizers, whose rules the network's own kernels know; their heirs may update otherwise.
_BOOKS = (book.SGD, book.Momentum, book.Nesterov, book.AdaGrad, book.RMSprop, book.Adam)


def _seed(seed: int | None) -> int:
    return int(np.random.randint(2**31) if seed is None else seed)


class Optimizer:
    """An optimizer of the Rust crate: 'sgd', 'momentum', 'nesterov', 'adagrad', 'rmsprop', 'adadelta', 'adam' or 'adamw'.

    ``lr`` is the book's where it is None (of the paper, for AdaDelta). Further numbers by the book's names: ``momentum``,
    ``decay_rate``, ``beta1``, ``beta2``, ``epsilon``, and ``weight_decay`` for an L2 penalty. Its state belongs to the
    network that it first updates; a copy, and a pickle, begin anew.

    Raises ValueError for another name, TypeError for a number that the optimizer does not have.
    """

    def __init__(self, name: str = "sgd", lr: float | None = None, **numbers: float) -> None:
        rate = None if lr is None else float(lr)
        self._core = _core.Optimizer(name, rate, [(key, float(x)) for key, x in numbers.items()])

    @property
    def name(self) -> str:
        """Its name."""
        return self._core.name

    @property
    def lr(self) -> float:
        """The learning rate of the steps to come."""
        return self._core.lr

    @lr.setter
    def lr(self, lr: float) -> None:
        self._core.lr = float(lr)

    def __repr__(self) -> str:
        numbers = "".join(f", {name}={value!r}" for name, value in self._core.numbers)
        return f"Optimizer({self.name!r}, lr={self.lr!r}{numbers})"


@dataclass(frozen=True)
class Step:
    """A step of ``fit`` is done."""

    epoch: int  #: its epoch, from 1
    step: int  #: its number over all epochs, from 1
    steps: int  #: the steps of the whole run
    samples: int  #: its samples
    loss: float  #: its loss, taken before the update
    lr: float  #: its learning rate


@dataclass(frozen=True)
class Epoch:
    """An epoch of ``fit`` is done."""

    epoch: int  #: its number, from 1
    epochs: int  #: the epochs of the whole run
    loss: float  #: the mean loss of its steps
    train_accuracy: float  #: the accuracy on the training samples
    test_accuracy: float | None  #: the accuracy on the test samples, where there are any


@dataclass
class History:
    """What ``fit`` leaves behind."""

    losses: list[float] = field(default_factory=list)  #: of each step, before its update
    lrs: list[float] = field(default_factory=list)  #: the learning rate of each step
    train_accuracies: list[float] = field(default_factory=list)  #: after each epoch
    test_accuracies: list[float] = field(default_factory=list)  #: after each epoch
    stopped: bool = False  #: whether the callback ended it early


Schedule = str | tuple[Any, ...] | Callable[[float], float]


class Network:
    """What the networks have in common."""

    #: The function of the core that builds it.
    _make: ClassVar[str]

    def __init__(self, dtype: npt.DTypeLike, seed: int | None, *arguments: Any) -> None:
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise ValueError(f"dtype is {self.dtype}, expected float32 or float64")
        self.seed = _seed(seed)
        self._arguments = (self.dtype == np.float64, self.seed, *arguments)
        self._core = getattr(_core.Network, self._make)(*self._arguments)
        self._optimizers: dict[str, Optimizer] = {}

    @property
    def params(self) -> dict[str, npt.NDArray[Any]]:
        """The parameters by the book's names, ``W1``, ``b1``, …: live arrays.

        An edit in place, and another array put in its place, is seen by the next call; a step of training is seen in them.
        While one thread trains, another that has edits to bring in gets a RuntimeError.
        """
        return self._core.params()

    def predict(self, x: npt.ArrayLike, train_flg: bool = False) -> npt.NDArray[Any]:
        """The scores (N, classes) of a batch, before softmax.

        ``train_flg``: with dropout and batch normalisation as in training.
        """
        if train_flg:
            return self._core.predict(x, True)
        x = np.asarray(x)
        if x.ndim == 0 or len(x) <= _CHUNK:
            return self._core.predict(x, False)
        chunks = (x[at : at + _CHUNK] for at in range(0, len(x), _CHUNK))
        return np.concatenate([self._core.predict(chunk, False) for chunk in chunks])

    def loss(self, x: npt.ArrayLike, t: npt.ArrayLike, train_flg: bool = False) -> float:
        """The mean cross-entropy of a batch, plus ½·λ·ΣW² where there is weight decay."""
        return self._core.loss(x, t, train_flg)

    def accuracy(self, x: npt.ArrayLike, t: npt.ArrayLike, batch_size: int | None = None) -> float:
        """The share of samples whose highest score is their label's.

        ``batch_size``, which the book's convolutional networks take, changes nothing but the memory needed.

        Raises ValueError where there are no samples, or not as many as labels.
        """
        x, t = np.asarray(x), np.asarray(t)
        if t.ndim > 1:
            t = t.argmax(axis=1)
        if x.ndim == 0 or x.shape[:1] != t.shape or not len(t):
            raise ValueError(
                f"x of shape {x.shape} and t of shape {t.shape}: expected a label a sample"
            )
        size = _CHUNK if batch_size is None else max(int(batch_size), 1)
        correct = 0
        for at in range(0, len(t), size):
            y = self.predict(x[at : at + size])
            correct += int(np.count_nonzero(y.argmax(axis=1) == t[at : at + size]))
        return correct / len(t)

    def gradient(self, x: npt.ArrayLike, t: npt.ArrayLike) -> dict[str, npt.NDArray[Any]]:
        """The gradients of the loss of a batch, as in training, by the parameters' names; of frozen ones, zeros."""
        return self._core.gradient(x, t)[1]

    def numerical_gradient(self, x: npt.ArrayLike, t: npt.ArrayLike) -> dict[str, npt.NDArray[Any]]:
        """:meth:`gradient` by central differences: very slow, and only good in float64."""
        gradients, frozen = {}, self.frozen
        for index, (name, shape) in enumerate(self._core.shapes):
            if name in frozen:
                gradients[name] = np.zeros(shape, self.dtype)
                continue
            size = int(np.prod(shape))
            parts = [
                self._core.numerical_gradient(x, t, index, at, min(at + _ELEMENTS, size))
                for at in range(0, size, _ELEMENTS)
            ]
            gradients[name] = np.concatenate(parts).reshape(shape)
        return gradients

    def train_step(
        self, x: npt.ArrayLike, t: npt.ArrayLike, optimizer: Any = "sgd", lr: float | None = None
    ) -> float:
        """One step of training on a batch; returns the loss before it.

        ``optimizer`` is a name (its state is kept from call to call; ``lr`` sets its learning rate), an :class:`Optimizer`, one
        of :mod:`kasoku.optimizer` (as fast), or any other object with the book's ``update(params, grads)``.
        """
        return self._step(x, t, self._optimizer(optimizer, lr), None, 1.0)

    def fit(
        self,
        x: npt.ArrayLike,
        t: npt.ArrayLike,
        epochs: int = 20,
        batch_size: int = 100,
        optimizer: Any = "adam",
        lr: float | None = None,
        *,
        test: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
        seed: int | None = None,
        schedule: Schedule = "constant",
        replacement: bool = False,
        augment: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] | None = None,
        evaluate: int | None = None,
        callback: Callable[[Step | Epoch], Any] | None = None,
        progress: bool = False,
    ) -> History:
        """Trains on x and t for ``epochs`` epochs, and measures the accuracy on them and on ``test``, (x, t), after each.

        optimizer, lr: as in :meth:`train_step`.
        seed: of the order of the samples. Each comes once an epoch or, with ``replacement``, is drawn as the book does.
        schedule: the learning rate over time, as a factor: 'constant', ('step', epochs, factor), ('exponential', factor an
            epoch), ('cosine', last factor), or a function of the share of the run that is done, 0 to 1.
        augment: changes the samples of a step before they are learned, such as an :class:`~kasoku.augmentation.Augmentation`.
        evaluate: take the accuracy on so many of the first samples only.
        callback: hears of each :class:`Step` and :class:`Epoch`; returning True ends the run.
        progress: print a line an epoch, and draw a bar where tqdm is installed.

        Ctrl-C ends it between two steps: the weights are those of the last one.
        """
        # The labels and samples in the types of the core, once for all steps.
        x, t = np.asarray(x), np.asarray(t)
        if x.dtype.kind in "biuf":
            x = np.ascontiguousarray(x, self.dtype)
        if t.dtype.kind in "biuf":
            labels = t.ndim == 1 and t.dtype.kind != "f"
            t = np.ascontiguousarray(t, np.int64 if labels else self.dtype)
        if not x.ndim:
            raise ValueError("x: expected a batch of samples, got a number")
        function = schedule if callable(schedule) else None
        if function or isinstance(schedule, str):
            schedule = ("constant" if function else schedule,)
        plan = (schedule[0], [float(number) for number in schedule[1:]])
        steps = _core.Steps(len(x), epochs, batch_size, _seed(seed), replacement, plan)
        rule = self._optimizer(optimizer, lr)
        hears = [callback] if callback else []
        if progress:
            hears.append(_Progress(len(steps)))
        history, count, epoch_start = History(), len(steps), 0
        for number, step in enumerate(steps, 1):
            factor = float(function((number - 1) / count)) if function else step.factor
            if augment is None:
                loss = self._step(x, t, rule, step, factor)
            else:
                loss = self._step(augment(x[step.indices]), t[step.indices], rule, None, factor)
            history.losses.append(loss)
            history.lrs.append(rule.lr * factor if hasattr(rule, "lr") else factor)
            done = Step(step.epoch, number, count, len(step), loss, history.lrs[-1])
            history.stopped = _told(hears, done)
            if step.ends_epoch and not history.stopped:
                mean = float(np.mean(history.losses[epoch_start:]))
                epoch_start = number
                train_accuracy = self.accuracy(x[:evaluate], t[:evaluate])
                history.train_accuracies.append(train_accuracy)
                test_accuracy = None
                if test is not None:
                    x_test, t_test = (np.asarray(array)[:evaluate] for array in test)
                    test_accuracy = self.accuracy(x_test, t_test)
                    history.test_accuracies.append(test_accuracy)
                ended = Epoch(step.epoch, epochs, mean, train_accuracy, test_accuracy)
                history.stopped = _told(hears, ended)
            if history.stopped:
                break
        return history

    def freeze(self, start: int | None = None, stop: int | None = None) -> None:
        """Freezes layers, numbered from 0 as ``range`` does: all of them, the first ``freeze(stop)``, or ``freeze(start, stop)``.

        For transfer learning: ``freeze(-1)`` leaves only the last layer to learn. The parameters of frozen layers stay as they
        are, batch normalisation computes with its running statistics and leaves them alone, and the way back ends at the first
        layer that learns. Dropout goes on. Layers are the lines of :meth:`summary` that are not indented.
        """
        self._set_frozen(start, stop, True)

    def unfreeze(self, start: int | None = None, stop: int | None = None) -> None:
        """Lets layers learn again, numbered as in :meth:`freeze`. Optimizers go on with the state they had for them."""
        self._set_frozen(start, stop, False)

    def _set_frozen(self, start: int | None, stop: int | None, frozen: bool) -> None:
        layers = slice(start) if stop is None else slice(start, stop)
        first, end, _ = layers.indices(self._core.layer_count())
        self._core.freeze(first, max(first, end), frozen)

    @property
    def frozen(self) -> list[str]:
        """The names of the parameters that are frozen."""
        return self._core.frozen()

    def save_params(
        self,
        file_name: str | os.PathLike[str] = "params.pkl",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        """Writes the weights, and the running statistics of batch normalisation, to a .safetensors, .npz or .pkl file.

        ``dtype``: float16, which takes half the space and is enough for trained weights, float32 or float64; the network's own
        where it is None. The file is written beside its name first and renamed when whole. Raises ValueError for another
        extension or type, or where a number is too large for it, OSError where the file cannot be written.
        """
        to = np.dtype(self.dtype if dtype is None else dtype)
        if Path(file_name).suffix != ".pkl":
            self._core.save(file_name, to.name)
            return
        if to not in (np.float16, np.float32, np.float64):
            raise ValueError(f"dtype is {to}, expected float16, float32 or float64")
        arrays = self._core.state()
        with np.errstate(over="ignore"):
            rounded = {name: array.astype(to) for name, array in arrays.items()}
        for name, array in rounded.items():
            if np.isinf(array).sum() > np.isinf(arrays[name]).sum():
                raise ValueError(f"{file_name}: {name} holds numbers too large for {to}")
        weights.save_pickle(file_name, rounded)

    def load_params(self, file_name: str | os.PathLike[str] = "params.pkl") -> None:
        """Reads weights from a .safetensors, .npz or .pkl file, the book's included; of any precision.

        Of a pickle only NumPy's arrays are read (see :mod:`kasoku.weights`). Raises ValueError, which names the array, where
        one is missing, unexpected, or of another shape; the network is unchanged then.
        """
        if Path(file_name).suffix == ".pkl":
            try:
                self._core.set_state(weights.load_pickle(file_name))
            except ValueError as error:
                raise ValueError(f"{file_name}: {error}") from None
        else:
            self._core.load(file_name)

    def to_onnx(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        softmax: bool = False,
        dtype: npt.DTypeLike | None = None,
    ) -> Any:
        """The network as an ONNX model, which ONNX Runtime and others run; written to ``path`` where one is given.

        Its input ``x`` is a batch of any size, in the shape of the network's samples, (N, 1, 28, 28) for images; its output
        ``scores`` is what :meth:`predict` gives or, with ``softmax``, ``probabilities``. Numbers are of the network's type,
        or of ``dtype``: ONNX Runtime has convolutions for float32 alone.

        The file is written beside its name first and renamed when whole. Returns the ``onnx.ModelProto``, checked.

        Raises ImportError where the package onnx is not installed, ValueError for another dtype, OSError where the file
        cannot be written.
        """
        from kasoku.onnx import to_onnx

        return to_onnx(self, path, softmax=softmax, dtype=dtype)

    def summary(self) -> str:
        """One line a layer: its name, the shape of its output and how many numbers it learns."""
        return self._core.summary()

    def explain(self, batch_size: int = 100) -> str:
        """How a batch of so many samples is run: which convolutions are planned together, with their operations, memory and
        use of the machine's lanes, and what runs layer by layer. For people to read."""
        return self._core.explain(batch_size)

    def __repr__(self) -> str:
        count = sum(int(np.prod(shape)) for _, shape in self._core.shapes)
        return f"<{type(self).__name__}: {count} parameters, {self.dtype}, seed {self.seed}>"

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name != "_core"}
        return state | {
            "_optimizers": {},
            "_state": self._core.state(),
            "_taken": self._core.step(),
            "_frozen": self._core.frozen(),
        }

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self._core = getattr(_core.Network, self._make)(*self._arguments)
        self._core.set_state(vars(self).pop("_state"))
        self._core.set_step(vars(self).pop("_taken"))
        self._core.set_frozen(vars(self).pop("_frozen", []))

    def _optimizer(self, optimizer: Any, lr: float | None) -> Any:
        if isinstance(optimizer, str):
            optimizer = self._optimizers.setdefault(optimizer.lower(), Optimizer(optimizer, lr))
        if lr is not None:
            optimizer.lr = lr
        if isinstance(optimizer, Optimizer) or callable(getattr(optimizer, "update", None)):
            return optimizer
        raise TypeError(f"optimizer is {optimizer!r}, expected a name or an object with update()")

    def _step(self, x: Any, t: Any, optimizer: Any, step: Any, factor: float) -> float:
        """One step on the samples of ``step``, or on all."""
        if isinstance(optimizer, Optimizer):
            return self._core.train_step(x, t, optimizer._core, step, factor)
        if step is not None:
            x, t = x[step.indices], t[step.indices]
        if type(optimizer) in _BOOKS:
            loss = self._book_step(x, t, optimizer, factor)
            if loss is not None:
                return loss
        loss, gradients = self._core.gradient(x, t)
        # The book's object updates the live arrays; the next call reads them.
        base = getattr(optimizer, "lr", None)
        if factor != 1.0 and base is None:
            raise TypeError(f"{optimizer!r} has no lr for the schedule to change")
        if factor != 1.0:
            optimizer.lr = base * factor
        params = self.params
        kept = {name: params[name].copy() for name in self.frozen}
        try:
            optimizer.update(params, gradients)
        finally:
            if factor != 1.0:
                optimizer.lr = base
            # An optimizer with momentum moves them even without a gradient.
            for name, value in kept.items():
                params[name][...] = value
        self._core.set_step(self._core.step() + 1)
        return loss

    def _book_step(self, x: Any, t: Any, optimizer: Any, factor: float) -> float | None:
        """One step by the kernels, with the state where the book's optimizer has it; None where they do not take it."""
        if None in optimizer._rule(0.0)[2]:
            optimizer._start(self.params)
        loss = self._core.train_step_with(x, t, *optimizer._rule(optimizer.lr * factor))
        if loss is not None:
            optimizer._count()
        return loss


def _told(hears: list[Callable[[Step | Epoch], Any]], event: Step | Epoch) -> bool:
    """Tells all of them; whether one wants to stop."""
    answers = [hear(event) for hear in hears]
    return any(answer is True for answer in answers)


class _Progress:
    """Prints a line an epoch to stdout, and draws a bar on stderr where tqdm is installed."""

    def __init__(self, steps: int) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            self.bar = None
        else:
            self.bar = tqdm(total=steps, unit="step", leave=False)

    def __call__(self, event: Step | Epoch) -> None:
        if isinstance(event, Step):
            if self.bar is not None:
                self.bar.update()
                if event.step == event.steps:
                    self.bar.close()
            return
        test = "" if event.test_accuracy is None else f", test {event.test_accuracy:.4f}"
        line = f"epoch {event.epoch}/{event.epochs}: loss {event.loss:.4f}, train {event.train_accuracy:.4f}{test}"
        self.bar.write(line) if self.bar is not None else print(line)


class TwoLayerNet(Network):
    """Affine - ReLU - affine - softmax (chapter 5); ``activation='sigmoid'`` is chapter 4's."""

    _make = "two_layer"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        weight_init_std: float = 0.01,
        *,
        activation: str = "relu",
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        sizes = (input_size, hidden_size, output_size)
        super().__init__(dtype, seed, sizes, float(weight_init_std), activation)


class _MultiLayer(Network):
    _make = "multi_layer"


class MultiLayerNet(_MultiLayer):
    """Any number of affine layers with an activation ('relu', 'sigmoid' or 'tanh') between them (chapter 6).

    ``weight_init_std`` is a number, 'relu' or 'he', or 'sigmoid' or 'xavier'; ``weight_decay_lambda`` the λ of ½·λ·ΣW².
    """

    def __init__(
        self,
        input_size: int,
        hidden_size_list: Sequence[int],
        output_size: int,
        activation: str = "relu",
        weight_init_std: float | str = "relu",
        weight_decay_lambda: float = 0,
        *,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        sizes = [input_size, *hidden_size_list, output_size]
        decay = float(weight_decay_lambda)
        super().__init__(dtype, seed, sizes, activation, str(weight_init_std), decay, None, False)


class MultiLayerNetExtend(_MultiLayer):
    """:class:`MultiLayerNet` with batch normalisation before, and dropout after, each activation (chapter 6).

    ``dropout_ration``, the publisher's spelling, and ``dropout_ratio`` are the same.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size_list: Sequence[int],
        output_size: int,
        activation: str = "relu",
        weight_init_std: float | str = "relu",
        weight_decay_lambda: float = 0,
        use_dropout: bool = False,
        dropout_ration: float = 0.5,
        use_batchnorm: bool = False,
        *,
        dropout_ratio: float | None = None,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        sizes = [input_size, *hidden_size_list, output_size]
        ratio = float(dropout_ration if dropout_ratio is None else dropout_ratio)
        dropout = ratio if use_dropout else None
        decay = float(weight_decay_lambda)
        std = str(weight_init_std)
        super().__init__(dtype, seed, sizes, activation, std, decay, dropout, bool(use_batchnorm))


def _filters(param: Mapping[str, int]) -> tuple[int, int, int, int]:
    """The book's ``conv_param``: how many filters, their size, the stride and the padding."""
    names = ("filter_num", "filter_size", "stride", "pad")
    unknown = sorted(param.keys() - set(names))
    missing = [name for name in names[:2] if name not in param]
    if unknown or missing:
        raise ValueError(f"conv_param {dict(param)}: expected {', '.join(names)}")
    return param["filter_num"], param["filter_size"], param.get("stride", 1), param.get("pad", 0)


class SimpleConvNet(Network):
    """Convolution - ReLU - pool 2×2 - affine - ReLU - affine - softmax (chapter 7)."""

    _make = "simple_conv"

    def __init__(
        self,
        input_dim: tuple[int, int, int] = (1, 28, 28),
        conv_param: Mapping[str, int] | None = None,
        hidden_size: int = 100,
        output_size: int = 10,
        weight_init_std: float | str = 0.01,
        *,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        default = {"filter_num": 30, "filter_size": 5, "pad": 0, "stride": 1}
        filters = _filters(default if conv_param is None else conv_param)
        sizes = (hidden_size, output_size)
        super().__init__(dtype, seed, tuple(input_dim), filters, sizes, str(weight_init_std))


def _padded(filter_num: int, pad: int = 1) -> dict[str, int]:
    return {"filter_num": filter_num, "filter_size": 3, "pad": pad, "stride": 1}


class DeepConvNet(Network):
    """Six convolutions with ReLU, a 2×2 pool after every second, then affine - ReLU - dropout - affine - dropout - softmax
    (chapter 8).

    He's weights; the fourth convolution is padded by 2.
    """

    _make = "deep_conv"

    def __init__(
        self,
        input_dim: tuple[int, int, int] = (1, 28, 28),
        conv_param_1: Mapping[str, int] = _padded(16),
        conv_param_2: Mapping[str, int] = _padded(16),
        conv_param_3: Mapping[str, int] = _padded(32),
        conv_param_4: Mapping[str, int] = _padded(32, 2),
        conv_param_5: Mapping[str, int] = _padded(64),
        conv_param_6: Mapping[str, int] = _padded(64),
        hidden_size: int = 50,
        output_size: int = 10,
        *,
        dropout_ratio: float = 0.5,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        convolutions = (
            conv_param_1,
            conv_param_2,
            conv_param_3,
            conv_param_4,
            conv_param_5,
            conv_param_6,
        )
        filters = [_filters(param) for param in convolutions]
        sizes = (hidden_size, output_size)
        super().__init__(dtype, seed, tuple(input_dim), filters, sizes, float(dropout_ratio))


class Sequential(Network):
    """Layers of one's own, each sized by what comes before it: a list of descriptions from :mod:`kasoku.blocks`.

    ``input_dim`` is the shape of a sample, (C, H, W) or a number of features; ``weight_decay_lambda`` the λ of ½·λ·ΣW². The
    last layer gives the scores, one a class. Raises ValueError, which names the layer, where one does not fit the one before it,
    TypeError for what is no description.
    """

    _make = "sequential"

    def __init__(
        self,
        input_dim: int | Sequence[int],
        layers: Iterable[blocks.Block],
        *,
        weight_decay_lambda: float = 0,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        shape = tuple(input_dim) if isinstance(input_dim, Iterable) else (input_dim,)
        decay = float(weight_decay_lambda)
        super().__init__(dtype, seed, shape, blocks.described(layers), decay)


class Ensemble:
    """Networks that answer together: the mean of their probabilities (chapter 8).

    They make different mistakes, and the others outvote the one that is wrong. ``members`` are any objects with ``predict(x)``.
    Raises ValueError where there are none.
    """

    def __init__(self, members: Iterable[Network]) -> None:
        self.members = list(members)
        if not self.members:
            raise ValueError("an ensemble needs at least one member")

    def predict(self, x: npt.ArrayLike) -> npt.NDArray[Any]:
        """The mean of the members' probabilities (N, classes), each the softmax of its scores."""
        total = softmax(self.members[0].predict(x))
        for member in self.members[1:]:
            total = total + softmax(member.predict(x))
        return total / len(self.members)

    def accuracy(self, x: npt.ArrayLike, t: npt.ArrayLike) -> float:
        """The share of samples whose highest probability is their label's. Raises ValueError where there are no samples, or not
        as many as labels."""
        t = np.asarray(t)
        if t.ndim > 1:
            t = t.argmax(axis=1)
        y = self.predict(x)
        if y.shape[:1] != t.shape or not len(t):
            raise ValueError(
                f"{len(y)} samples and t of shape {t.shape}: expected a label a sample"
            )
        return float(np.mean(y.argmax(axis=1) == t))

    def __repr__(self) -> str:
        return f"<Ensemble of {len(self.members)}: {self.members[0]!r}, …>"
