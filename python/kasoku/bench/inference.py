"""``kasoku bench inference``: predictions of the book's networks, of a batch and of one sample, beside NumPy and ONNX Runtime."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from kasoku import _numpy_reference as reference
from kasoku import networks
from kasoku._core import kernels
from kasoku.bench.contest import CASES, Array, Case, initial_weights
from kasoku.bench.in_layers import LayerNet
from kasoku.bench.turns import Budget, Row, arithmetic, compare

Predict = Callable[[Array], Array]


def _onnx_runtime(network: networks.Network) -> Predict:
    """The network as ``to_onnx`` writes it, in ONNX Runtime. Raises ImportError where that or onnx is not installed."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = kernels.num_threads()
    model = network.to_onnx().SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def contenders(case: Case) -> dict[str, Predict]:
    """Predictions with the same weights: kasoku's in float32, NumPy's the book's way, ONNX Runtime's where it is installed."""
    network = case.build()
    weights = initial_weights(case, network)
    found: dict[str, Predict] = {
        "kasoku": network.predict,
        "NumPy": LayerNet(reference, reference, case, weights).predict,
    }
    with suppress(ImportError):
        found["ONNX Runtime"] = _onnx_runtime(network)
    return found


def rows(batch: int, budget: Budget, only: str = "") -> Iterator[Row]:
    """A row for each network whose name has ``only`` and each of two batches; the floor as in training."""
    for case in CASES:
        name = case.name.rpartition(", ")[0]
        if only not in case.name:
            continue
        predicts = contenders(case)
        for size in dict.fromkeys((batch, 1)):
            x = case.batch(size)[0]
            works = {who: partial(predict, x) for who, predict in predicts.items()}
            floor = arithmetic(size * case.flops()[1])
            yield compare(f"{name}, batch {size}", works, budget, floor)
