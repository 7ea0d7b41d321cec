"""Networks as ONNX files, for ONNX Runtime and whatever else reads them (needs onnx: ``pip install onnx``).

Used by :meth:`kasoku.networks.Network.to_onnx`. Rust describes the layers; :data:`_LAYERS` says for each kind what it is in
ONNX. A new layer needs an entry there.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import kasoku
from kasoku import networks, weights

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["to_onnx"]

#: The version of ONNX's operations: of 2022, which every runtime in use reads.
_OPSET = 17


def to_onnx(
    network: networks.Network,
    path: str | os.PathLike[str] | None = None,
    *,
    softmax: bool = False,
    dtype: npt.DTypeLike | None = None,
) -> "ModelProto":
    """The model of ``network``, written to ``path`` where one is given: see :meth:`kasoku.networks.Network.to_onnx`."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError("ONNX files need the package onnx: pip install onnx") from error
    dtype = np.dtype(network.dtype if dtype is None else dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype is {dtype}, expected float32 or float64")
    layers = _layers(network._core.layers())
    graph = _Graph(network._core.state(), dtype)
    value = graph.chain(layers, "x")
    if softmax:
        value = graph.add("Softmax", value, axis=1)
    output = "probabilities" if softmax else "scores"
    graph.nodes[-1].output[0] = output

    element = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    shapes = {"x": layers[0].input, output: layers[-1].output}
    x, y = (
        onnx.helper.make_tensor_value_info(name, element, ["batch", *shape])
        for name, shape in shapes.items()
    )
    name = type(network).__name__
    opset = onnx.helper.make_opsetid("", _OPSET)
    model = onnx.helper.make_model(
        onnx.helper.make_graph(graph.nodes, name, [x], [y], graph.initializers),
        producer_name="kasoku",
        producer_version=kasoku.__version__,
        opset_imports=[opset],
        ir_version=onnx.helper.find_min_ir_version_for([opset]),
    )
    onnx.checker.check_model(model, full_check=True)
    if path is not None:
        with weights._replacing(Path(path)) as file:
            file.write(model.SerializeToString())
    return model


@dataclass(frozen=True)
class _Layer:
    """A layer as Rust describes it."""

    name: str
    settings: dict[str, Any]
    arrays: dict[str, str]  #: what an array is to the layer, and its name among the network's
    input: list[int]  #: the shape of a sample
    output: list[int]
    chains: list[list["_Layer"]]  #: the layers inside


def _layers(described: list[dict[str, Any]]) -> list[_Layer]:
    """A chain of layers as Rust describes it."""
    return [
        _Layer(**{**layer, "chains": [_layers(chain) for chain in layer["chains"]]})
        for layer in described
    ]


@dataclass
class _Graph:
    """A graph in the making. Values are known by name: that of the node which computes them."""

    arrays: dict[str, npt.NDArray[Any]]
    dtype: np.dtype[Any]
    nodes: list[Any] = field(default_factory=list)
    initializers: list[Any] = field(default_factory=list)

    def chain(self, layers: list[_Layer], x: str) -> str:
        """Adds layers that follow each other; returns their output."""
        for layer in layers:
            if layer.name not in _LAYERS:
                raise ValueError(f"{layer.name}: there is no such layer in ONNX files yet")
            x = _LAYERS[layer.name](self, layer, x)
        return x

    def chains(self, layer: _Layer, x: str) -> list[str]:
        """Adds the layers inside of a layer, each chain of them on x; returns their outputs."""
        return [self.chain(chain, x) for chain in layer.chains]

    def add(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node; returns its output."""
        from onnx import helper

        name = f"{operation}{sum(node.op_type == operation for node in self.nodes) + 1}"
        self.nodes.append(helper.make_node(operation, inputs, [name], name, **attributes))
        return name

    def constant(self, name: str, value: npt.ArrayLike, dtype: npt.DTypeLike | None = None) -> str:
        """Adds numbers, in the graph's type unless another is given; returns their name."""
        from onnx import numpy_helper

        array = np.ascontiguousarray(value, self.dtype if dtype is None else dtype)
        self.initializers.append(numpy_helper.from_array(array.reshape(np.shape(value)), name))
        return name

    def array(self, layer: _Layer, name: str) -> str:
        """Adds an array of a layer; returns its name."""
        return self.constant(layer.arrays[name], self.arrays[layer.arrays[name]])

    def flat(self, layer: _Layer, x: str) -> str:
        """The layer's input as vectors."""
        return x if len(layer.input) == 1 else self.add("Flatten", x, axis=1)


def _window(layer: _Layer) -> dict[str, Any]:
    settings = layer.settings
    pads = [*settings["pad"], *settings["pad"]]
    return {"kernel_shape": settings["size"], "strides": settings["stride"], "pads": pads}


def _affine(graph: _Graph, layer: _Layer, x: str) -> str:
    w, b = graph.array(layer, "W"), graph.array(layer, "b")
    return graph.add("Gemm", graph.flat(layer, x), w, b)


def _convolution(graph: _Graph, layer: _Layer, x: str) -> str:
    w, b = graph.array(layer, "W"), graph.array(layer, "b")
    return graph.add("Conv", x, w, b, **_window(layer))


def _max_pooling(graph: _Graph, layer: _Layer, x: str) -> str:
    return graph.add("MaxPool", x, **_window(layer))


def _average_pooling(graph: _Graph, layer: _Layer, x: str) -> str:
    return graph.add("AveragePool", x, count_include_pad=1, **_window(layer))


def _batch_normalization(graph: _Graph, layer: _Layer, x: str) -> str:
    # The attribute is a float32. What it lacks is added to the variance, where a float64 keeps it.
    epsilon = layer.settings["epsilon"]
    stored = float(np.float32(epsilon))
    variance = graph.arrays[layer.arrays["running_var"]].astype(np.float64) + (epsilon - stored)
    inputs = [graph.array(layer, name) for name in ("gamma", "beta", "running_mean")]
    inputs.append(graph.constant(layer.arrays["running_var"], variance))
    per_channel = layer.settings["per_channel"]
    x = x if per_channel else graph.flat(layer, x)
    y = graph.add("BatchNormalization", x, *inputs, epsilon=stored)
    if per_channel or len(layer.input) == 1:
        return y
    shape = graph.constant(f"shape_of_{y}", [0, *layer.input], np.int64)  # 0: the batch's
    return graph.add("Reshape", y, shape)


def _dropout(graph: _Graph, layer: _Layer, x: str) -> str:
    # As in the book, which scales when testing: ONNX's own Dropout scales in training and is nothing afterwards.
    kept = graph.constant(f"kept{len(graph.initializers)}", 1 - layer.settings["ratio"])
    return graph.add("Mul", x, kept)


def _local_response_normalization(graph: _Graph, layer: _Layer, x: str) -> str:
    # ONNX divides alpha by the number of channels.
    settings = layer.settings
    size = int(settings["channels"])
    alpha = size * settings["alpha"]
    return graph.add("LRN", x, size=size, alpha=alpha, beta=settings["beta"], bias=settings["k"])


def _global_average_pooling(graph: _Graph, layer: _Layer, x: str) -> str:
    return graph.add("Flatten", graph.add("GlobalAveragePool", x), axis=1)


def _same(operation: str) -> Callable[[_Graph, _Layer, str], str]:
    return lambda graph, layer, x: graph.add(operation, x)


#: The layers of Rust by name: a function adds one to a graph and returns the name of its output.
_LAYERS: dict[str, Callable[[_Graph, _Layer, str], str]] = {
    "Affine": _affine,
    "AveragePooling": _average_pooling,
    "BatchNormalization": _batch_normalization,
    "Chain": lambda graph, layer, x: graph.chains(layer, x)[0],
    "Concat": lambda graph, layer, x: graph.add("Concat", *graph.chains(layer, x), axis=1),
    "Convolution": _convolution,
    "Dropout": _dropout,
    "Flatten": lambda graph, layer, x: graph.flat(layer, x),
    "GlobalAveragePooling": _global_average_pooling,
    "LocalResponseNormalization": _local_response_normalization,
    "MaxPooling": _max_pooling,
    "Relu": _same("Relu"),
    "Residual": lambda graph, layer, x: graph.add("Add", *graph.chains(layer, x)),
    "Sigmoid": _same("Sigmoid"),
    "Tanh": _same("Tanh"),
}
