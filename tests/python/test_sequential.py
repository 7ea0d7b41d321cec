"""Networks of one's own: `kasoku.blocks` in `Sequential`, freezing, half precision, ensembles."""

import copy
import os
import pickle

import numpy as np
import pytest

import kasoku.optimizer
from kasoku import networks
from kasoku.blocks import (
    Affine,
    AveragePooling,
    BatchNormalization,
    Concat,
    Convolution,
    Dropout,
    Flatten,
    GlobalAveragePooling,
    LocalResponseNormalization,
    MaxPooling,
    Relu,
    Residual,
    Sigmoid,
    Tanh,
)
from kasoku.functions import softmax
from kasoku.networks import Ensemble, Sequential, SimpleConvNet, TwoLayerNet


def everything(**options):
    """A network with every kind of layer, and a batch."""
    layers = [
        Convolution(3, 3, pad=1),
        LocalResponseNormalization(3, 1.0, 0.1, 0.75),
        Residual([Convolution(3, (3, 1), pad=(1, 0)), Tanh(), BatchNormalization()]),
        Residual([Convolution(4, 3, 2, 1), Sigmoid()], shortcut=[Convolution(4, 1, stride=2)]),
        Concat(
            [Convolution(2, 1), Dropout(0.2)],
            [MaxPooling(3, 1, 1), Convolution(3, 1, weight_init_std=0.5)],
            [AveragePooling(3, stride=1, pad=1)],
        ),
        BatchNormalization(per_pixel=True),
        Concat([GlobalAveragePooling()], [Flatten(), Affine(5, "xavier"), Relu()]),
        Affine(4),
    ]
    rng = np.random.default_rng(1)
    x, t = rng.standard_normal((7, 2, 6, 6)), np.arange(7) % 4
    return Sequential((2, 6, 6), layers, seed=3, **options), x, t


def test_every_block_has_gradients():
    network, x, t = everything(dtype="float64", weight_decay_lambda=0.1)
    gradients = network.gradient(x, t)
    assert len(gradients) == 8 * 2 + 2 * 2
    for name, numerical in network.numerical_gradient(x, t).items():
        np.testing.assert_allclose(gradients[name], numerical, atol=2e-5, err_msg=name)


def test_it_is_a_network_like_the_others(tmp_path):
    network, x, t = everything()
    before = network.loss(x, t)
    network.fit(x, t, 40, batch_size=4, lr=0.01, seed=1)
    assert network.loss(x, t) < before
    for line in ("Residual", "+ Convolution", "  Tanh", "+ GlobalAveragePooling", "parameters"):
        assert any(found.startswith(line) for found in network.summary().splitlines()), line
    network.save_params(tmp_path / "w.npz")
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network)), everything()[0]):
        twin.load_params(tmp_path / "w.npz")
        np.testing.assert_array_equal(twin.predict(x), network.predict(x))
    flat = Sequential(8, [Affine(5), Relu(), Affine(3)], seed=1)
    assert flat.predict(np.ones((2, 8))).shape == (2, 3)
    assert repr(flat) == "<Sequential: 63 parameters, float32, seed 1>"


def test_it_builds_what_the_books_networks_build():
    layers = [
        Convolution(30, 5, weight_init_std=0.01),
        Relu(),
        MaxPooling(2),
        Affine(100, 0.01),
        Relu(),
        Affine(10, 0.01),
    ]
    ours, book = Sequential((1, 28, 28), layers, seed=5), SimpleConvNet(seed=5)
    for name, value in book.params.items():
        np.testing.assert_array_equal(ours.params[name], value)
    assert "Convolution + Relu + MaxPooling" in ours.explain()


def test_descriptions():
    block = Residual([Convolution(2, 3, pad=1), Relu()])
    assert block == Residual((Convolution(2, 3, pad=1), Relu()))
    assert pickle.loads(pickle.dumps(block)) == block
    assert "Convolution(filters=2" in repr(block)
    for layers, error, text in (
        ([Relu], TypeError, "kasoku.blocks"),
        ([Residual([3])], TypeError, "kasoku.blocks"),
        ([Affine(3), Convolution(2, 3)], ValueError, "Convolution"),
        ([Residual([Convolution(2, 3)])], ValueError, r"\[2, 4, 4\].*\[1, 6, 6\]"),
        ([Concat()], ValueError, "branches"),
        ([LocalResponseNormalization(4)], ValueError, "odd"),
        ([Dropout(2)], ValueError, "dropout_ratio"),
        ([Convolution(2, 9)], ValueError, "9"),
        ([Convolution(2, -1)], ValueError, "negative"),
        ([Affine("many")], TypeError, "str"),
        ([Affine(3, "much")], ValueError, "much"),
    ):
        with pytest.raises(error, match=text):
            Sequential((1, 6, 6), layers)


def test_frozen_layers_stay():
    network, x, t = everything()
    network.train_step(x, t, "adam", lr=0.01)
    network.freeze(-1)
    assert set(network.params) - set(network.frozen) == {"W8", "b8"}
    assert "frozen" in network.summary()
    before = {name: value.copy() for name, value in network._core.state().items()}
    for optimizer in ("adam", kasoku.optimizer.Momentum(0.01), kasoku.optimizer.Adam()):
        network.train_step(x, t, optimizer)
    for name, value in network._core.state().items():
        assert np.array_equal(value, before[name]) == (name not in ("W8", "b8")), name
    gradients = network.gradient(x, t)
    assert not gradients["W1"].any()
    assert gradients["W8"].any()
    twin = pickle.loads(pickle.dumps(network))
    assert twin.frozen == network.frozen
    network.unfreeze()
    assert network.frozen == []
    network.train_step(x, t, "adam")
    for name, value in network.params.items():
        assert not np.array_equal(value, before[name]), name


def test_frozen_layers_by_number():
    network = TwoLayerNet(8, 5, 3)
    cases = (
        ((), ["W1", "b1", "W2", "b2"]),
        ((1,), ["W1", "b1"]),
        ((0,), []),
        ((-1,), ["W1", "b1"]),
        ((1, 3), ["W2", "b2"]),
        ((-1, 99), ["W2", "b2"]),
        ((2, 1), []),
    )
    for layers, names in cases:
        network.freeze(*layers)
        assert network.frozen == names, layers
        network.unfreeze()


def test_numerical_gradients_of_frozen_layers_are_zeros():
    network, x, t = everything(dtype="float64")
    for _ in range(20):
        network.train_step(x, t, "sgd", lr=1e-9)  # running statistics to compute with
    network.freeze(2, 7)
    gradients = network.gradient(x, t)
    for name, numerical in network.numerical_gradient(x, t).items():
        np.testing.assert_allclose(gradients[name], numerical, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("extension", ["pkl", "npz", "safetensors"])
def test_half_precision(tmp_path, extension):
    network = SimpleConvNet(seed=1)
    path, whole = tmp_path / f"half.{extension}", tmp_path / f"whole.{extension}"
    network.save_params(whole)
    network.save_params(path, dtype="float16")
    assert path.stat().st_size < 0.6 * whole.stat().st_size
    if extension == "npz":
        with np.load(path) as file:
            assert file["W1"].dtype == np.float16
            np.testing.assert_array_equal(file["W1"], network.params["W1"].astype(np.float16))
    for dtype in ("float32", "float64"):
        other = SimpleConvNet(seed=2, dtype=dtype)
        other.load_params(path)
        for name, value in network.params.items():
            np.testing.assert_array_equal(other.params[name], value.astype(np.float16))
    network.params["W2"][3, 4] = 1e6
    with pytest.raises(ValueError, match=r"W2.*too large"):
        network.save_params(path, dtype=np.float16)
    with pytest.raises(ValueError, match="float16"):
        network.save_params(path, dtype=np.int8)
    assert sorted(os.listdir(tmp_path)) == sorted([path.name, whole.name])


def test_half_precision_that_numpy_wrote(tmp_path):
    network = TwoLayerNet(6, 5, 3, 0.5, seed=1)
    arrays = {name: value.astype(">f2") for name, value in network.params.items()}
    arrays["W1"] = np.asfortranarray(arrays["W1"].astype(np.float16))
    np.savez_compressed(tmp_path / "w.npz", **arrays)
    other = TwoLayerNet(6, 5, 3)
    other.load_params(tmp_path / "w.npz")
    for name, value in network.params.items():
        np.testing.assert_array_equal(other.params[name], value.astype(np.float16))
    for wrong, text in (
        (arrays | {"W2": arrays["W2"].T}, r"W2 has shape \[3, 5\].*\[5, 3\]"),
        (arrays | {"b2": np.arange(3)}, "b2 holds '<i8'"),
    ):
        np.savez(tmp_path / "w.npz", **wrong)
        with pytest.raises(ValueError, match=text):
            other.load_params(tmp_path / "w.npz")


def test_an_ensemble_is_the_mean_of_its_members():
    rng = np.random.default_rng(1)
    x, t = rng.random((20, 8)), np.arange(20) % 3
    members = [TwoLayerNet(8, 5, 3, 1.0, seed=seed) for seed in range(3)]
    ensemble = Ensemble(members)
    y = ensemble.predict(x)
    np.testing.assert_allclose(
        y, np.mean([softmax(m.predict(x)) for m in members], axis=0), rtol=1e-6
    )
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-6)
    assert ensemble.accuracy(x, t) == np.mean(y.argmax(axis=1) == t)
    assert ensemble.accuracy(x, np.eye(3)[t]) == ensemble.accuracy(x, t)
    with pytest.raises(ValueError, match="member"):
        Ensemble([])
    with pytest.raises(ValueError, match="samples"):
        ensemble.accuracy(x, t[:3])
    assert "3" in repr(ensemble)


def test_public_names():
    assert {"Sequential", "Ensemble"} <= set(networks.__all__)
    assert set(kasoku.blocks.__all__) <= set(dir(kasoku.blocks))
