"""The layers of chapter 8's architectures: gradients, formulas, names, errors."""

import copy
import pickle

import numpy as np
import pytest

import kasoku
from kasoku.gradient import numerical_gradient
from kasoku.layers import (
    Affine,
    BatchNormalization,
    Chain,
    Concat,
    Convolution,
    Dropout,
    GlobalAveragePooling,
    LocalResponseNormalization,
    Pooling,
    Relu,
    Residual,
    Sigmoid,
)
from kasoku.optimizer import Momentum


def conv(rng, inputs, outputs, size, dtype=np.float64):
    W = rng.standard_normal((outputs, inputs, size, size)).astype(dtype)
    return Convolution(W, rng.standard_normal(outputs).astype(dtype), pad=size // 2)


def norm(channels, dtype=np.float64):
    return BatchNormalization(np.ones(channels, dtype), np.zeros(channels, dtype), per_channel=True)


def inception(rng, dtype=np.float64):
    return Concat(
        [conv(rng, 2, 3, 1, dtype)],
        [conv(rng, 2, 2, 1, dtype), Sigmoid(), conv(rng, 2, 4, 3, dtype)],
        [conv(rng, 2, 1, 5, dtype), Relu()],
        [],
    )


def block(rng, dtype=np.float64):
    body = [conv(rng, 2, 2, 3, dtype), Sigmoid(), norm(2, dtype), conv(rng, 2, 2, 3, dtype)]
    return Residual(body)


LAYERS = {
    "chain": lambda rng: Chain([conv(rng, 2, 3, 3), Sigmoid(), Pooling(2, 2)]),
    "no layers": lambda rng: Chain(),
    "residual": block,
    "shortcut": lambda rng: Residual([conv(rng, 2, 3, 3), Relu()], shortcut=[conv(rng, 2, 3, 1)]),
    "two relus": lambda rng: Residual([Relu()], [Relu()]),
    "concat": inception,
    "nested": lambda rng: Residual(Chain([inception(rng), conv(rng, 10, 2, 1), block(rng)])),
    "global": lambda rng: Chain([GlobalAveragePooling(), Affine(np.ones((2, 3)), np.ones(3))]),
    "lrn": lambda rng: LocalResponseNormalization(),
    "strong lrn": lambda rng: LocalResponseNormalization(3, 1.0, 0.8, 0.75),
    "other beta": lambda rng: LocalResponseNormalization(5, 0.5, 0.4, 1.3),
    "norm": lambda rng: norm(2),
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradients(rng, name):
    layer = LAYERS[name](rng)
    x = rng.standard_normal((3, 2, 4, 6))
    out = layer.forward(x)
    dout = rng.standard_normal(out.shape)
    given = dout.copy()
    dx = layer.backward(dout)
    if name != "no layers":
        np.testing.assert_array_equal(dout, given)
    assert dx.shape == x.shape

    def value(_):
        return np.sum(layer.forward(x) * given)

    np.testing.assert_allclose(dx, numerical_gradient(value, x), atol=1e-5)
    if hasattr(layer, "params"):
        grads = layer.grads
        assert list(layer.params) == list(grads)
        for key, array in layer.params.items():
            expected = numerical_gradient(value, array)
            np.testing.assert_allclose(grads[key], expected, atol=2e-5, err_msg=key)


def test_local_response_normalization_is_the_papers(rng):
    n, k, alpha, beta = 5, 2.0, 0.5, 0.75
    x = rng.standard_normal((2, 7, 3, 4))
    expected = np.empty_like(x)
    for i in range(7):
        around = x[:, max(0, i - n // 2) : i + n // 2 + 1]
        expected[:, i] = x[:, i] / (k + alpha * np.sum(around**2, axis=1)) ** beta
    layer = LocalResponseNormalization(n, k, alpha, beta)
    np.testing.assert_allclose(layer.forward(x), expected, rtol=1e-12)
    for channels in (1, 2, 3):
        assert layer.forward(x[:, :channels]).shape == (2, channels, 3, 4)
    x[:, 0] += 100  # a loud channel silences its neighbours
    assert np.abs(layer.forward(x)[:, 1]).max() < 0.1


def test_per_channel_statistics(rng):
    x = rng.standard_normal((5, 3, 4, 2)) * 3 + 1
    layer = norm(3)
    y = layer.forward(x)
    np.testing.assert_allclose(y.mean(axis=(0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=(0, 2, 3)), 1, atol=1e-5)
    np.testing.assert_allclose(layer.xn, y)
    np.testing.assert_allclose(layer.running_mean, 0.1 * x.mean(axis=(0, 2, 3)))
    rows = BatchNormalization(np.ones(3), np.zeros(3))
    expected = rows.forward(x.transpose(0, 2, 3, 1).reshape(-1, 3))
    np.testing.assert_allclose(y.transpose(0, 2, 3, 1).reshape(-1, 3), expected, atol=1e-12)
    tested = layer.forward(x, train_flg=False)
    np.testing.assert_allclose(
        tested.transpose(0, 2, 3, 1).reshape(-1, 3),
        rows.forward(x.transpose(0, 2, 3, 1).reshape(-1, 3), train_flg=False),
    )
    vectors = rng.standard_normal((6, 3))
    np.testing.assert_allclose(norm(3).forward(vectors), rows.forward(vectors))
    with pytest.raises(ValueError, match="broadcast"):
        layer.forward(x[:, :2])
    assert layer.forward(x[:0]).shape == (0, 3, 4, 2)
    assert layer.backward(x[:0]).shape == (0, 3, 4, 2)
    assert "per_channel" in repr(layer)


def test_single_precision_stays(rng):
    x = rng.standard_normal((3, 2, 4, 6)).astype(np.float32)
    for make in (block, inception):
        layer = make(rng, np.float32)
        out = layer.forward(x)
        assert out.dtype == np.float32
        assert layer.backward(out).dtype == np.float32
    for layer in (LocalResponseNormalization(), GlobalAveragePooling()):
        out = layer.forward(x)
        assert out.dtype == np.float32
        assert layer.backward(out).dtype == np.float32
    assert LocalResponseNormalization().forward(np.ones((1, 2, 3, 3), int)).dtype == np.float64


def test_params_are_the_layers_own(rng):
    net = Chain(
        [conv(rng, 1, 2, 3), Relu(), block(rng), inception(rng), LocalResponseNormalization()]
    )
    assert list(net.params) == (
        ["W1", "b1", "W2", "b2", "gamma1", "beta1"]
        + [f"{kind}{n}" for n in range(3, 8) for kind in "Wb"]
    )
    assert net.params["W1"] is net.layers[0].W
    assert net.params["gamma1"] is net.layers[2].body.layers[2].gamma
    x = rng.standard_normal((4, 1, 6, 6))
    before = net.forward(x)
    net.backward(before)
    Momentum(0.01).update(net.params, net.grads)
    assert np.abs(net.forward(x) - before).max() > 0


def test_train_flg_reaches_every_layer_that_takes_it(rng):
    class Scale:
        """A layer of a reader's own."""

        def forward(self, x):
            return 2 * x

        def backward(self, dout):
            return 2 * dout

    net = Chain([Scale(), Residual([Dropout(0.5, seed=1)]), Concat([Dropout(0.5, seed=2)], [])])
    x = np.ones((2, 50))
    assert len(np.unique(net.forward(x))) > 1
    tested = net.forward(x, train_flg=False)
    np.testing.assert_allclose(tested, np.repeat([[1.5, 3.0]], 50, axis=1).repeat(2, axis=0))
    np.testing.assert_allclose(net.forward(x, False), tested)


def test_what_does_not_fit(rng):
    x = rng.standard_normal((2, 2, 4, 4))
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\), the shortcut's \(2, 2, 4, 4\)"):
        Residual([conv(rng, 2, 3, 3)]).forward(x)
    with pytest.raises(ValueError, match=r"\(2, 2, 2, 2\).*\(2, 2, 4, 4\)"):
        Concat([], [Pooling(2, 2)]).forward(x)
    with pytest.raises(ValueError, match="at least one"):
        Concat()
    for layer in (Residual([]), Concat([]), GlobalAveragePooling(), LocalResponseNormalization()):
        with pytest.raises(RuntimeError, match="forward"):
            layer.backward(x)
        layer.forward(x)
        with pytest.raises(ValueError, match="dout has shape"):
            layer.backward(x[:1])
    for layer in (GlobalAveragePooling(), LocalResponseNormalization()):
        with pytest.raises(ValueError, match=r"\(2, 2\)"):
            layer.forward(np.ones((2, 2)))
    with pytest.raises(ValueError, match="odd"):
        LocalResponseNormalization(4)
    with pytest.raises(ValueError, match="k=0"):
        LocalResponseNormalization(k=0)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies(rng, duplicate):
    net = Chain([block(rng), inception(rng), LocalResponseNormalization(), GlobalAveragePooling()])
    x = rng.standard_normal((2, 2, 4, 4))
    np.testing.assert_array_equal(duplicate(net).forward(x, False), net.forward(x, False))
    assert "Concat(" in repr(net)


def test_a_readers_own_layers_of_these_names_stay(tmp_path, monkeypatch):
    folder = tmp_path / "common"
    folder.mkdir()
    text = "class Residual:\n    mine = True\n\nclass Relu:\n    pass\n"
    (folder / "layers.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    kasoku.install(quiet=True)
    try:
        from common import layers

        assert layers.Residual.mine
        assert layers.Relu is Relu
        assert layers.Concat is Concat
    finally:
        kasoku.uninstall()
