"""`Network.to_onnx`: in ONNX Runtime, and in onnx's own evaluator, every network predicts what it predicts here."""

import os
import subprocess
import sys

import numpy as np
import pytest

from kasoku import blocks
from kasoku.functions import softmax
from kasoku.networks import (
    DeepConvNet,
    MultiLayerNet,
    MultiLayerNetExtend,
    Sequential,
    SimpleConvNet,
    TwoLayerNet,
)

SMALL = {"filter_num": 3, "filter_size": 3, "pad": 1, "stride": 1}
STRIDED = {"filter_num": 4, "filter_size": 3, "pad": 2, "stride": 2}
EXTENDED = {"use_batchnorm": True, "use_dropout": True, "dropout_ratio": 0.3}

#: Every layer that the book's networks do not have.
CONTAINERS = [
    blocks.Convolution(4, 3, pad=1),
    blocks.LocalResponseNormalization(),
    blocks.Residual([blocks.Convolution(4, 3, pad=1), blocks.BatchNormalization(), blocks.Relu()]),
    blocks.Residual(
        [blocks.Convolution(6, 3, stride=2, pad=1)], [blocks.Convolution(6, 1, stride=2)]
    ),
    blocks.Concat(
        [blocks.Convolution(2, 1), blocks.Dropout(0.2)],
        [blocks.Dropout(0.3), blocks.Residual([blocks.Tanh()])],
        [blocks.AveragePooling(3, stride=1, pad=1)],
    ),
    blocks.BatchNormalization(per_pixel=True),
    blocks.GlobalAveragePooling(),
    blocks.Flatten(),
    blocks.Affine(18),
    blocks.Sigmoid(),
    blocks.Affine(3),
]

#: Every network, every activation: (class, arguments, options, the shape of a sample).
NETWORKS = {
    "two layers": (TwoLayerNet, (8, 5, 3, 0.5), {}, (8,)),
    "sigmoid": (MultiLayerNet, (8, [6, 5], 3, "sigmoid", 0.7), {}, (8,)),
    "tanh": (MultiLayerNet, (8, [6], 3, "tanh"), {}, (8,)),
    "batch norm": (MultiLayerNetExtend, (8, [6, 7], 3), EXTENDED, (8,)),
    "convolution": (SimpleConvNet, ((2, 9, 8), STRIDED, 6, 3, 0.3), {}, (2, 9, 8)),
    "deep": (DeepConvNet, ((1, 8, 8), *[SMALL] * 6, 6, 3), {}, (1, 8, 8)),
    "containers": (Sequential, ((2, 8, 8), CONTAINERS), {}, (2, 8, 8)),
}


def trained(name, dtype):
    """A network with weights, biases and statistics of its own, and a batch of 7."""
    make, arguments, options, shape = NETWORKS[name]
    network = make(*arguments, seed=1, dtype=dtype, **options)
    random = np.random.default_rng(2)
    x, t = random.standard_normal((7, *shape)).astype(dtype), np.arange(7) % 3
    for _ in range(5):
        network.train_step(x, t, "sgd", lr=0.05)
    return network, x


def evaluated(name):
    """Samples for onnx's evaluator, whose local response normalisation wants as many as channels."""
    return 4 if name == "containers" else 7


def in_onnx(model, x):
    evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator(model)
    return evaluator.run(None, {"x": x})[0]


def in_onnx_runtime(model, x):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


@pytest.fixture
def onnx():
    return pytest.importorskip("onnx")


def check(found, network, x, error):
    expected = network.predict(x)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=error * np.abs(expected).max())


@pytest.mark.usefixtures("onnx")
@pytest.mark.parametrize("name", NETWORKS)
class TestPredictions:
    @pytest.mark.parametrize("batch", [1, 7])
    def test_in_onnx_runtime(self, name, batch):
        network, x = trained(name, "float32")
        check(in_onnx_runtime(network.to_onnx(), x[:batch]), network, x[:batch], 1e-5)

    @pytest.mark.parametrize("batch", [1, 7])
    def test_in_onnx_runtime_float64(self, name, batch):
        if name in ("convolution", "deep", "containers"):
            pytest.skip("ONNX Runtime has no convolution for float64")
        network, x = trained(name, "float64")
        check(in_onnx_runtime(network.to_onnx(), x[:batch]), network, x[:batch], 1e-12)

    def test_by_the_definitions(self, name):
        network, x = trained(name, "float64")
        x = x[: evaluated(name)]
        # Local response normalisation has its numbers in float32.
        error = 1e-7 if name == "containers" else 1e-12
        check(in_onnx(network.to_onnx(), x), network, x, error)

    def test_in_the_other_precision(self, name):
        network, x = trained(name, "float64")
        x = x[: evaluated(name)]
        y = in_onnx(network.to_onnx(dtype="float32"), x.astype(np.float32))
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, network.predict(x), atol=1e-5)


def test_epsilon_counts(onnx):
    """Where a feature hardly varies, the epsilon of batch normalisation decides."""
    network, x = trained("batch norm", "float64")
    same = np.repeat(x[:1], 7, axis=0)
    for _ in range(300):
        network.train_step(same, np.zeros(7, int), "sgd", lr=0.0)
    check(in_onnx(network.to_onnx(), x), network, x, 1e-12)


def test_a_file(tmp_path, onnx):
    network, x = trained("deep", "float32")
    path = tmp_path / "deep.onnx"
    path.write_text("something else")
    model = network.to_onnx(path)
    assert os.listdir(tmp_path) == ["deep.onnx"]
    read = onnx.load(path)
    assert read == model
    assert read.graph.name == "DeepConvNet"
    assert read.producer_name == "kasoku"
    (value,) = read.graph.input
    batch, *shape = value.type.tensor_type.shape.dim
    assert (value.name, batch.dim_param) == ("x", "batch")
    assert [axis.dim_value for axis in shape] == [1, 8, 8]
    before = path.read_bytes()
    network.params["W1"] += 1  # an edit that no call has seen yet
    network.to_onnx(path)
    assert path.read_bytes() != before
    check(in_onnx(onnx.load(path), x), network, x, 1e-5)


def test_probabilities(onnx):
    network, x = trained("two layers", "float64")
    y = in_onnx(network.to_onnx(softmax=True), x)
    np.testing.assert_allclose(y, softmax(network.predict(x)), rtol=1e-12)


def test_what_does_not_work_says_so_and_leaves_no_file(tmp_path, onnx):
    network, _ = trained("two layers", "float32")
    path = tmp_path / "network.onnx"
    with pytest.raises(ValueError, match=r"float16.*expected float32 or float64"):
        network.to_onnx(path, dtype="float16")
    with pytest.raises(OSError, match="none"):
        network.to_onnx(tmp_path / "none" / "network.onnx")
    network.params["W1"] = np.ones((2, 2))
    with pytest.raises(ValueError, match="W1"):
        network.to_onnx(path)
    assert not os.listdir(tmp_path)


def test_every_layer_is_described_and_has_an_entry():
    from kasoku.onnx import _LAYERS

    layers = MultiLayerNetExtend(8, [6], 3, "tanh", **EXTENDED)._core.layers()
    assert [layer["name"] for layer in layers] == [
        "Affine",
        "BatchNormalization",
        "Tanh",
        "Dropout",
        "Affine",
    ]
    assert layers[1] == {
        "name": "BatchNormalization",
        "settings": {"per_channel": False, "epsilon": 1e-6},
        "arrays": {
            "gamma": "gamma1",
            "beta": "beta1",
            "running_mean": "running_mean1",
            "running_var": "running_var1",
        },
        "input": [6],
        "output": [6],
        "chains": [],
    }
    assert layers[3]["settings"] == {"ratio": 0.3}
    assert layers[4]["arrays"] == {"W": "W2", "b": "b2"}
    convolution, _, pooling, *_ = trained("convolution", "float32")[0]._core.layers()
    window = {"size": [3, 3], "stride": [2, 2], "pad": [2, 2]}
    assert convolution["settings"] == window
    assert (convolution["input"], convolution["output"]) == ([2, 9, 8], [4, 6, 5])
    assert pooling["settings"] == {"size": [2, 2], "stride": [2, 2], "pad": [0, 0]}
    for name in NETWORKS:
        network, _ = trained(name, "float32")
        assert {layer["name"] for layer in network._core.layers()} <= _LAYERS.keys()


def test_without_onnx(tmp_path):
    """As where onnx is not installed: what to install."""
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "from kasoku import cli, networks\n"
        "networks.TwoLayerNet(784, 50, 10).save_params('w.npz')\n"
        "try: networks.TwoLayerNet(8, 5, 3).to_onnx()\n"
        "except ImportError as error: print(error)\n"
        "sys.exit(cli.main('export --onnx a.onnx --network two-layer --weights w.npz'.split()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    for text in (done.stdout, done.stderr):
        assert text.rstrip().endswith("ONNX files need the package onnx: pip install onnx")
    assert os.listdir(tmp_path) == ["w.npz"]
