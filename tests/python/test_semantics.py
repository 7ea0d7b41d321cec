"""What scripts of the book rely on, because NumPy does it."""

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest

import book
from kasoku import functions, layers, optimizer, util
from kasoku.multi_layer_net import MultiLayerNet
from kasoku.multi_layer_net_extend import MultiLayerNetExtend


def make_layers(rng, dtype=np.float64):
    """One of each layer with a parameterless call, and its input."""
    image = rng.standard_normal((2, 3, 6, 6)).astype(dtype)
    rows = rng.standard_normal((5, 4)).astype(dtype)
    W = rng.standard_normal((4, 3)).astype(dtype)
    filters = rng.standard_normal((4, 3, 3, 3)).astype(dtype)
    return [
        (layers.Affine(W, np.zeros(3, dtype)), rows),
        (layers.Relu(), rows),
        (layers.Sigmoid(), rows),
        (layers.Dropout(0.4), rows),
        (layers.BatchNormalization(np.ones(4, dtype), np.zeros(4, dtype)), rows),
        (layers.Convolution(filters, np.zeros(4, dtype), 1, 1), image),
        (layers.Pooling(2, 2, 2), image),
    ]


class TestReferences:
    def test_arrays_come_back_by_identity(self, rng):
        W, b, x = rng.standard_normal((4, 3)), np.zeros(3), rng.standard_normal((2, 4))
        affine = layers.Affine(W, b)
        assert affine.W is W
        assert affine.b is b
        affine.forward(x)
        assert affine.x is x
        image, filters = rng.standard_normal((1, 1, 4, 4)), rng.standard_normal((2, 1, 3, 3))
        convolution = layers.Convolution(filters, b[:2])
        convolution.forward(image)
        assert convolution.W is filters
        assert convolution.x is image
        softmax, t = layers.SoftmaxWithLoss(), np.array([0, 2])
        softmax.forward(rng.standard_normal((2, 3)), t)
        assert softmax.t is t
        pooling = layers.Pooling(2, 2)
        pooling.forward(image)
        assert pooling.x is image

    def test_changes_in_place_are_seen(self, rng):
        W, b, x = rng.standard_normal((4, 3)), np.zeros(3), rng.standard_normal((2, 4))
        affine = layers.Affine(W, b)
        affine.forward(x)
        W *= 2
        b += 1
        np.testing.assert_allclose(affine.forward(x), x @ W + b, rtol=1e-12)
        filters, image = rng.standard_normal((2, 1, 3, 3)), rng.standard_normal((1, 1, 5, 5))
        convolution = layers.Convolution(filters, b[:2])
        convolution.forward(image)
        filters[...] = rng.standard_normal(filters.shape)
        expected = book.Convolution(filters, b[:2]).forward(image)
        np.testing.assert_allclose(convolution.forward(image), expected, rtol=1e-11)

    def test_a_changed_weight_is_seen_by_backward(self, rng):
        W, x, dout = (rng.standard_normal(s) for s in ((4, 3), (2, 4), (2, 3)))
        affine = layers.Affine(W, np.zeros(3))
        affine.forward(x)
        W[...] = 7
        np.testing.assert_allclose(affine.backward(dout), dout @ W.T, rtol=1e-12)

    def test_weights_can_be_rebound(self, rng):
        affine = layers.Affine(rng.standard_normal((4, 3)), np.zeros(3))
        affine.W, affine.b = rng.standard_normal((4, 5)), np.ones(5)
        x = rng.standard_normal((2, 4))
        np.testing.assert_allclose(affine.forward(x), x @ affine.W + affine.b, rtol=1e-12)

    @pytest.mark.parametrize("b", [0, 0.5, np.float64(2), [1, 2, 3], np.array([1, 2, 3])])
    def test_bias_of_any_kind(self, rng, b):
        x, W = rng.standard_normal((2, 4)), rng.standard_normal((4, 3))
        np.testing.assert_allclose(layers.Affine(W, b).forward(x), np.dot(x, W) + b, rtol=1e-12)
        image, filters = rng.standard_normal((2, 2, 5, 5)), rng.standard_normal((3, 2, 3, 3))
        expected = book.Convolution(filters, b).forward(image)
        found = layers.Convolution(filters, b).forward(image)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


class TestTypes:
    TYPES = (np.float16, np.float32, np.float64, np.int8, np.int64, np.uint8, np.bool_)

    @pytest.mark.parametrize("x_type", TYPES)
    @pytest.mark.parametrize("W_type", TYPES)
    def test_affine_promotes_as_numpy(self, rng, x_type, W_type):
        x = rng.integers(0, 3, (3, 4)).astype(x_type)
        W = rng.integers(0, 3, (4, 2)).astype(W_type)
        b = rng.integers(0, 3, 2).astype(W_type)
        ours, theirs = layers.Affine(W, b), book.Affine(W, b)
        expected = theirs.forward(x)
        out = ours.forward(x)
        assert out.dtype == expected.dtype
        np.testing.assert_array_equal(out, expected)
        if expected.dtype.kind == "f":
            dx = theirs.backward(expected)
            found = ours.backward(out)
            assert found.dtype == dx.dtype
            np.testing.assert_allclose(found, dx, rtol=1e-2 if dx.dtype == np.float16 else 1e-6)

    @pytest.mark.parametrize("x_type", TYPES)
    @pytest.mark.parametrize("W_type", TYPES)
    def test_convolution_keeps_float32_and_is_float64_otherwise(self, rng, x_type, W_type):
        x = rng.integers(0, 3, (1, 2, 5, 5)).astype(x_type)
        W = rng.integers(0, 3, (3, 2, 3, 3)).astype(W_type)
        out = layers.Convolution(W, 0).forward(x)
        single = np.result_type(x_type, W_type) == np.float32
        assert out.dtype == (np.float32 if single else np.float64)
        np.testing.assert_array_equal(out, book.Convolution(W, 0).forward(x))

    def test_a_float32_network_stays_float32(self, rng):
        for layer, x in make_layers(rng, np.float32):
            out = layer.forward(x)
            assert out.dtype == np.float32, layer
            assert layer.backward(out).dtype == np.float32, layer
            for gradient in ("dW", "db", "dgamma", "dbeta"):
                assert getattr(layer, gradient, out).dtype == np.float32, layer
        loss = layers.SoftmaxWithLoss()
        assert loss.forward(x[:, 0, 0], np.array([1, 2])).dtype == np.float32
        assert loss.backward().dtype == np.float32

    @pytest.mark.parametrize("dtype", TYPES)
    def test_functions_give_numpys_types(self, dtype):
        x = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
        if (
            np.dtype(dtype).kind in "fi"
        ):  # NumPy does not negate booleans, and wraps unsigned integers around
            expected = 1 / (1 + np.exp(-x))
            assert functions.sigmoid(x).dtype == expected.dtype
        assert functions.relu(x).dtype == np.maximum(0, x).dtype
        assert layers.Relu().forward(x).dtype == dtype
        assert functions.relu_grad(x).dtype == dtype
        assert functions.step_function(x).dtype == int

    def test_numbers_and_lists(self):
        assert functions.sigmoid(0) == 0.5
        assert functions.relu(-2) == 0
        assert functions.softmax([0.0, 0.0]).tolist() == [0.5, 0.5]
        assert functions.step_function(np.array([-1.0, 2.0])).tolist() == [0, 1]
        assert isinstance(functions.sigmoid(1.0), float)

    @pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int64, np.uint64])
    def test_labels_of_any_integer_type(self, rng, dtype):
        x, t = rng.standard_normal((4, 5)), np.array([0, 4, 2, 2])
        ours, theirs = layers.SoftmaxWithLoss(), book.SoftmaxWithLoss()
        np.testing.assert_allclose(ours.forward(x, t.astype(dtype)), theirs.forward(x, t))
        np.testing.assert_allclose(ours.backward(), theirs.backward())
        one_hot = np.eye(5, dtype=dtype)[t]
        np.testing.assert_allclose(ours.forward(x, one_hot), theirs.loss)
        np.testing.assert_allclose(ours.backward(), theirs.backward())

    def test_the_loss_is_a_float_scalar(self, rng):
        loss = layers.SoftmaxWithLoss().forward(rng.standard_normal((4, 5)), np.arange(4))
        assert isinstance(loss, float)
        assert np.ndim(loss) == 0


class TestResults:
    def test_outputs_are_ndarrays_in_c_order(self, rng):
        for layer, x in make_layers(rng):
            out = layer.forward(np.asfortranarray(x))
            dx = layer.backward(np.asfortranarray(out))
            results = [out, dx] if not isinstance(layer, layers.Relu) else [out]
            for name in ("dW", "db", "dgamma", "dbeta"):
                results += [getattr(layer, name)] if hasattr(layer, name) else []
            for result in results:
                assert type(result) is np.ndarray, layer
                assert result.flags.c_contiguous, layer
                assert result.flags.writeable, layer
                result += 1

    def test_inputs_are_not_changed(self, rng):
        for layer, x in make_layers(rng):
            before = x.copy()
            out = layer.forward(x)
            after = out.copy()
            if not isinstance(layer, layers.Relu):
                layer.backward(out)
            np.testing.assert_array_equal(x, before)
            np.testing.assert_array_equal(out, after)

    def test_zero_rows(self):
        empty = np.zeros((0, 3))
        assert layers.Affine(np.ones((3, 2)), np.zeros(2)).forward(empty).shape == (0, 2)
        images = np.zeros((0, 3, 5, 5))
        affine = layers.Affine(np.ones((75, 2)), np.zeros(2))
        assert affine.forward(images).shape == (0, 2)
        assert affine.backward(np.zeros((0, 2))).shape == images.shape
        convolution = layers.Convolution(np.ones((4, 3, 3, 3)), np.zeros(4))
        assert convolution.forward(images).shape == (0, 4, 3, 3)
        assert convolution.backward(np.zeros((0, 4, 3, 3))).shape == images.shape
        assert not convolution.dW.any()
        pooling = layers.Pooling(2, 2)
        assert pooling.forward(images).shape == (0, 3, 2, 2)
        assert pooling.backward(np.zeros((0, 3, 2, 2))).shape == images.shape
        for layer in (layers.Relu(), layers.Sigmoid(), layers.Dropout()):
            assert layer.forward(empty).shape == (0, 3)
            assert layer.backward(np.zeros((0, 3))).shape == (0, 3)
        norm = layers.BatchNormalization(np.ones(3), np.zeros(3))
        assert norm.forward(empty).shape == (0, 3)
        assert norm.backward(empty).shape == (0, 3)
        assert not norm.running_mean.any()
        assert functions.softmax(empty).shape == (0, 3)
        assert util.im2col(images, 3, 3).shape == (0, 27)

    def test_broadcast_views(self, rng):
        row = rng.standard_normal(4)
        x = np.broadcast_to(row, (6, 4))
        W = rng.standard_normal((4, 3))
        np.testing.assert_allclose(layers.Affine(W, 0).forward(x), x @ W, rtol=1e-12)
        dout = np.broadcast_to(1.0, (6, 3))
        affine = layers.Affine(W, 0)
        affine.forward(x)
        np.testing.assert_allclose(affine.backward(dout), dout @ W.T, rtol=1e-12)
        np.testing.assert_array_equal(layers.Relu().forward(x), np.maximum(x, 0))

    def test_layers_take_what_the_book_made_four_dimensional(self, rng):
        x, W = rng.standard_normal((2, 3, 2, 2)), rng.standard_normal((12, 5))
        affine = layers.Affine(W, np.zeros(5))
        np.testing.assert_allclose(affine.forward(x), x.reshape(2, -1) @ W, rtol=1e-12)
        assert affine.original_x_shape == x.shape
        assert affine.backward(np.ones((2, 5))).shape == x.shape
        norm = layers.BatchNormalization(np.ones(12), np.zeros(12))
        assert norm.forward(x).shape == x.shape
        assert norm.backward(x).shape == x.shape
        assert norm.input_shape == x.shape


class TestRelu:
    def test_nan_passes(self):
        x = np.array([np.nan, -1.0, 0.0, 2.0])
        relu = layers.Relu()
        np.testing.assert_array_equal(relu.forward(x), [np.nan, 0, 0, 2])
        np.testing.assert_array_equal(relu.mask, [False, True, True, False])
        np.testing.assert_array_equal(functions.relu(x), [np.nan, 0, 0, 2])

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_backward_writes_into_dout_and_returns_it(self, dtype, order):
        relu = layers.Relu()
        relu.forward(np.array([[1.0, -1.0], [-2.0, 3.0]]))
        dout = np.asarray([[5, 6], [7, 8]], dtype=dtype, order=order)
        assert relu.backward(dout) is dout
        np.testing.assert_array_equal(dout, [[5, 0], [0, 8]])


class TestDropout:
    def test_the_mask_is_numpys(self):
        x = np.ones((50, 20))
        np.random.seed(3)
        ours = layers.Dropout(0.3).forward(x)
        np.random.seed(3)
        theirs = book.Dropout(0.3).forward(x)
        np.testing.assert_array_equal(ours, theirs)

    def test_test_time_scales(self):
        x = np.ones((5, 2))
        np.testing.assert_array_equal(layers.Dropout(0.3).forward(x, train_flg=False), x * 0.7)

    def test_own_generator_repeats_with_its_seed_and_leaves_numpys_alone(self):
        x = np.ones((100, 100), np.float32)
        state = np.random.get_state()[1].copy()
        first, second = layers.Dropout(0.25, seed=7), layers.Dropout(0.25, seed=7)
        a, b = first.forward(x), first.forward(x)
        np.testing.assert_array_equal(a, second.forward(x))
        assert (a != b).any()
        assert abs(a.mean() - 0.75) < 0.02
        np.testing.assert_array_equal(first.backward(x), b)
        np.testing.assert_array_equal(state, np.random.get_state()[1])

    def test_infinities_multiply_as_in_numpy(self):
        dropout = layers.Dropout(1.0)
        assert np.isnan(dropout.forward(np.array([[np.inf]]))).all()


class TestObjects:
    @pytest.mark.parametrize(
        "duplicate", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
    )
    def test_copies_and_pickles(self, rng, duplicate):
        for layer, x in make_layers(rng):
            layer.forward(x)
            layer.note = "mine"
            other = duplicate(layer)
            assert type(other) is type(layer)
            assert other.note == "mine"
            np.random.seed(1)
            out = layer.forward(x)
            np.random.seed(1)
            np.testing.assert_array_equal(other.forward(x), out)
            np.testing.assert_array_equal(other.backward(out.copy()), layer.backward(out.copy()))
        rule = optimizer.Adam()
        rule.update({"W": np.ones(3)}, {"W": np.ones(3)})
        assert duplicate(rule).iter == 1

    def test_a_deep_copy_has_its_own_weights(self, rng):
        affine = layers.Affine(rng.standard_normal((4, 3)), np.zeros(3))
        other = copy.deepcopy(affine)
        other.W[...] = 0
        assert affine.W.any()

    def test_networks_pickle(self, rng):
        net = MultiLayerNetExtend(6, [5], 4, use_batchnorm=True, use_dropout=True)
        x = rng.standard_normal((3, 6))
        other = pickle.loads(pickle.dumps(net))
        np.testing.assert_array_equal(other.predict(x), net.predict(x))
        assert other.layers["Affine1"].W is other.params["W1"]

    def test_isinstance_and_alias(self):
        assert layers.ReLU is layers.Relu
        assert isinstance(layers.Dropout(), layers.Dropout)

    def test_repr_says_what_it_is(self, rng):
        texts = [repr(layer) for layer, _ in make_layers(rng)]
        texts += [repr(layers.SoftmaxWithLoss()), repr(optimizer.SGD(0.1)), repr(optimizer.Adam())]
        assert texts[0] == "Affine(W: 4×3)"
        assert texts[5] == "Convolution(W: 4×3×3×3, stride=1, pad=1)"
        assert "lr=0.1" in repr(optimizer.SGD(0.1))
        assert all(text.isprintable() for text in texts)

    def test_a_subclass_that_overrides_forward_works(self, rng):
        class Doubled(layers.Affine):
            def forward(self, x):
                return 2 * super().forward(x)

        net = MultiLayerNet(4, [3], 2)
        net.layers["Affine1"] = Doubled(net.params["W1"], net.params["b1"])
        x = rng.standard_normal((5, 4))
        hidden = np.maximum(2 * (x @ net.params["W1"]), 0)
        np.testing.assert_allclose(net.predict(x), hidden @ net.params["W2"], rtol=1e-12)

    def test_add_and_multiply(self):
        multiply, add = layers.MulLayer(), layers.AddLayer()
        assert multiply.forward(100, 2) == 200
        assert multiply.backward(1.1) == (2.2, 110.00000000000001)
        assert add.forward(1, 2) == 3
        assert add.backward(5) == (5, 5)
        a, b = np.arange(3.0), np.ones(3)
        np.testing.assert_array_equal(multiply.forward(a, b), a * b)


class TestNetworks:
    def test_params_are_the_layers_own(self):
        net = MultiLayerNetExtend(6, [5, 4], 3, use_batchnorm=True)
        assert isinstance(net.layers, OrderedDict)
        assert net.layers["Affine2"].W is net.params["W2"]
        assert net.layers["BatchNorm1"].gamma is net.params["gamma1"]

    def test_gradients_come_layer_by_layer_as_in_the_book(self, rng):
        net = MultiLayerNetExtend(6, [5, 4], 3, use_batchnorm=True)
        x, t = rng.standard_normal((4, 6)), np.array([0, 1, 2, 0])
        expected = ["W1", "b1", "gamma1", "beta1", "W2", "b2", "gamma2", "beta2", "W3", "b3"]
        assert list(net.gradient(x, t)) == expected
        assert list(net.numerical_gradient(x, t)) == expected

    def test_weights_are_drawn_as_in_the_book(self):
        np.random.seed(5)
        net = MultiLayerNet(6, [5], 3, weight_init_std=0.01)
        np.random.seed(5)
        np.testing.assert_array_equal(net.params["W1"], 0.01 * np.random.randn(6, 5))
        np.testing.assert_array_equal(net.params["W2"], 0.01 * np.random.randn(5, 3))
        he = MultiLayerNet(10_000, [1], 3, weight_init_std="He").params["W1"]
        assert abs(he.std() - np.sqrt(2 / 10_000)) < 1e-3

    def test_both_spellings_of_the_dropout_ratio(self):
        for keyword in ("dropout_ration", "dropout_ratio"):
            net = MultiLayerNetExtend(4, [3], 2, use_dropout=True, **{keyword: 0.25})
            assert net.layers["Dropout1"].dropout_ratio == 0.25

    @pytest.mark.parametrize("activation", ["relu", "sigmoid"])
    @pytest.mark.parametrize("use_batchnorm", [False, True])
    def test_gradients_agree_with_numerical_ones(self, rng, activation, use_batchnorm):
        np.random.seed(0)
        net = MultiLayerNetExtend(
            5, [4], 3, activation, weight_decay_lambda=0.1, use_batchnorm=use_batchnorm
        )
        x, t = rng.standard_normal((6, 5)), rng.integers(0, 3, 6)
        found, expected = net.gradient(x, t), net.numerical_gradient(x, t)
        assert found.keys() == expected.keys() == net.params.keys()
        for key in expected:
            np.testing.assert_allclose(found[key], expected[key], atol=2e-6, err_msg=key)

    def test_training_lowers_the_loss_as_in_numpy(self, rng):
        """The same steps in NumPy give the same losses."""
        x, t = rng.standard_normal((50, 8)), rng.integers(0, 4, 50)
        net = MultiLayerNet(8, [10], 4)
        first = net.loss(x, t)
        twin = [
            book.Affine(net.params["W1"].copy(), net.params["b1"].copy()),
            book.Relu(),
            book.Affine(net.params["W2"].copy(), net.params["b2"].copy()),
        ]
        loss, rule = book.SoftmaxWithLoss(), optimizer.SGD(0.1)
        for _ in range(20):
            y = x
            for layer in twin:
                y = layer.forward(y)
            expected = loss.forward(y, t)
            found = net.loss(x, t)
            np.testing.assert_allclose(found, expected, rtol=1e-10)
            rule.update(net.params, net.gradient(x, t))
            dout = loss.backward()
            for layer in reversed(twin):
                dout = layer.backward(dout)
            for layer in (twin[0], twin[2]):
                layer.W -= 0.1 * layer.dW
                layer.b -= 0.1 * layer.db
        assert found < first
