"""Every golden case through the Python layers, float64."""

import numpy as np
import pytest

from conftest import golden_names
from kasoku import functions, layers, optimizer, util
from kasoku.gradient import numerical_gradient
from kasoku.multi_layer_net import MultiLayerNet
from kasoku.multi_layer_net_extend import MultiLayerNetExtend


def check_layer(case, layer, gradients=()):
    case.check("out", layer.forward(case["x"]))
    case.check("dx", layer.backward(case["dout"].copy()))
    for key in gradients:
        case.check(key, getattr(layer, key))


@pytest.mark.parametrize("name", golden_names("affine_"))
def test_affine(golden, name):
    case = golden(name)
    check_layer(case, layers.Affine(case["W"], case["b"]), ["dW", "db"])


@pytest.mark.parametrize("name", golden_names("convolution_"))
def test_convolution(golden, name):
    case = golden(name)
    stride, pad = case.number("stride"), case.number("pad")
    layer = layers.Convolution(case["W"], case["b"], stride, pad)
    check_layer(case, layer, ["dW", "db"])


@pytest.mark.parametrize("name", golden_names("pooling_"))
def test_pooling(golden, name):
    case = golden(name)
    size = case.number("pool_h"), case.number("pool_w")
    check_layer(case, layers.Pooling(*size, case.number("stride")))


def test_relu(golden):
    check_layer(golden("relu_layer"), layers.Relu())


def test_sigmoid(golden):
    check_layer(golden("sigmoid_layer"), layers.Sigmoid())


@pytest.mark.parametrize("name", golden_names("batch_normalization_"))
def test_batch_normalization(golden, name):
    case = golden(name)
    layer = layers.BatchNormalization(case["gamma"], case["beta"])
    for key in ("x0", "x1", "x2"):
        out = layer.forward(case[key], train_flg=True)
    case.check("out", out)
    case.check("dx", layer.backward(case["dout"]))
    for key in ("dgamma", "dbeta", "running_mean", "running_var"):
        case.check(key, getattr(layer, key))
    case.check("out_eval_x0", layer.forward(case["x0"], train_flg=False))


def test_softmax_with_loss(golden):
    case = golden("softmax_with_loss")
    layer = layers.SoftmaxWithLoss()
    case.check("loss", layer.forward(case["x"], case["labels"]))
    case.check("y", layer.y)
    case.check("dx", layer.backward())
    one_hot = np.eye(case["x"].shape[1])[case["labels"]]
    case.check("loss_one_hot", layer.forward(case["x"], one_hot))
    case.check("dx_one_hot", layer.backward(1))


@pytest.mark.parametrize("name", golden_names("im2col_"))
def test_im2col(golden, name):
    case = golden(name)
    window = [case.number(key) for key in ("filter_h", "filter_w", "stride", "pad")]
    case.check("col", util.im2col(case["x"], *window))
    case.check("dx", util.col2im(case["dcol"], case["x"].shape, *window))


def test_functions(golden):
    case = golden("functions")
    x, labels, one_hot = case["x"], case["labels"], case["one_hot"]
    for name in ("sigmoid", "sigmoid_grad", "relu", "relu_grad", "step_function", "softmax"):
        case.check(name, getattr(functions, name)(x))
    y = functions.softmax(x)
    case.check("softmax_1d", functions.softmax(x[0]))
    case.check("cross_entropy_labels", functions.cross_entropy_error(y, labels))
    case.check("cross_entropy_one_hot", functions.cross_entropy_error(y, one_hot))
    case.check("cross_entropy_1d", functions.cross_entropy_error(y[0], one_hot[0]))
    case.check("sum_squared_error", functions.sum_squared_error(y, one_hot))
    case.check("softmax_loss", functions.softmax_loss(x, labels))
    case.check("smooth_curve", util.smooth_curve(case["smooth_curve_in"]))


OPTIMIZERS = {
    "sgd": optimizer.SGD,
    "momentum": optimizer.Momentum,
    "nesterov": optimizer.Nesterov,
    "adagrad": optimizer.AdaGrad,
    "rmsprop": optimizer.RMSprop,
    "adam": optimizer.Adam,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer(golden, name):
    case = golden(f"optimizer_{name}")
    params = {key: case[f"{key}0"].copy() for key in "Wb"}
    arrays = dict(params)
    rule = OPTIMIZERS[name](lr=0.1)  # as the cases were made
    for step in range(6):
        rule.update(params, {key: case[f"g{key}{step}"] for key in "Wb"})
        for key in "Wb":
            case.check(f"{key}{step + 1}", params[key])
            assert params[key] is arrays[key]


def load(net, case):
    for key in net.params:
        net.params[key][...] = case[f"param_{key}"]


def check_network(net, case):
    load(net, case)
    grads = net.gradient(case["x"], case["t"])
    for key in net.params:
        case.check(f"grad_{key}", grads[key])
    case.check("loss", net.loss(case["x"], case["t"]))
    case.check("predict", net.predict(case["x"]))


def test_multi_layer_net_sigmoid(golden):
    net = MultiLayerNet(20, [12, 9], 10, activation="sigmoid", weight_init_std="sigmoid")
    check_network(net, golden("multi_layer_net_sigmoid"))


def test_multi_layer_net_relu_decay(golden):
    net = MultiLayerNet(20, [12, 9], 10, weight_decay_lambda=0.1)
    check_network(net, golden("multi_layer_net_relu_decay"))


def test_multi_layer_net_extend_batchnorm(golden):
    case = golden("multi_layer_net_extend_batchnorm")
    net = MultiLayerNetExtend(20, [12, 9], 10, weight_decay_lambda=0.01, use_batchnorm=True)
    load(net, case)
    grads = net.gradient(case["x"], case["t"])
    for key in net.params:
        if key in ("b1", "b2"):  # normalisation takes their effect away: what is left is rounding
            assert np.abs(grads[key]).max() < 1e-15
        else:
            case.check(f"grad_{key}", grads[key])
    case.check("loss", net.loss(case["x"], case["t"], train_flg=True))
    case.check("predict", net.predict(case["x"]))  # by running statistics that saw the batch twice


def test_numerical_gradient(golden):
    case = golden("numerical_gradient_simple_net")
    W, x, t = case["W"].copy(), case["x"], case["t"]
    found = numerical_gradient(
        lambda _: functions.cross_entropy_error(functions.softmax(x @ W), t), W
    )
    case.check("dW", found)
    assert (case["W"] == W).all()
