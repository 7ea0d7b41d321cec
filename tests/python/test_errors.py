"""Bad input raises the exception NumPy would, and changes nothing."""

import numpy as np
import pytest

from kasoku import functions, kernels, layers, optimizer, util


@pytest.fixture
def affine(rng):
    return layers.Affine(rng.standard_normal((4, 3)), np.zeros(3))


def test_affine_names_both_shapes(affine):
    with pytest.raises(
        ValueError, match=r"shapes \(2,5\) and \(4,3\) not aligned: 5 \(dim 1\) != 4 \(dim 0\)"
    ):
        affine.forward(np.ones((2, 5)))
    assert affine.x is None
    affine.forward(np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"\(2,4\).*not aligned"):
        affine.backward(np.ones((2, 4)))
    with pytest.raises(ValueError, match="not aligned"):
        affine.backward(np.ones((3, 3)))
    assert affine.dW is None


def test_a_bias_that_does_not_broadcast(rng):
    for b in (np.zeros(2), np.zeros((2, 2))):
        with pytest.raises(ValueError, match=r"could not be broadcast together.*\(2,3\)"):
            layers.Affine(rng.standard_normal((4, 3)), b).forward(np.ones((2, 4)))
        with pytest.raises(ValueError, match="broadcast"):
            layers.Convolution(np.ones((3, 1, 2, 2)), b).forward(np.ones((1, 1, 4, 4)))


def test_convolution_names_both_shapes():
    convolution = layers.Convolution(np.ones((4, 3, 3, 3)), np.zeros(4))
    with pytest.raises(ValueError, match=r"\(2,1,8,8\) and \(4,3,3,3\)"):
        convolution.forward(np.ones((2, 1, 8, 8)))
    with pytest.raises(ValueError, match="does not fit"):
        convolution.forward(np.ones((2, 3, 2, 2)))
    with pytest.raises(ValueError, match="4 dimensions"):
        convolution.forward(np.ones((2, 3)))
    assert convolution.x is None
    convolution.forward(np.ones((2, 3, 8, 8)))
    with pytest.raises(ValueError, match=r"\(2,4,5,5\).*\(2,4,6,6\)"):
        convolution.backward(np.ones((2, 4, 5, 5)))
    for stride, pad in ((0, 0), (-1, 0), (1, -1)):
        with pytest.raises(ValueError, match=r"stride|negative"):
            layers.Convolution(np.ones((4, 3, 3, 3)), 0, stride, pad).forward(np.ones((1, 3, 5, 5)))
    with pytest.raises(TypeError):
        layers.Convolution(np.ones((4, 3, 3, 3)), 0, 1.5).forward(np.ones((1, 3, 5, 5)))


def test_pooling_windows_that_do_not_fit():
    with pytest.raises(ValueError, match="does not fit"):
        layers.Pooling(3, 3).forward(np.ones((1, 1, 2, 2)))
    with pytest.raises(ValueError, match="pad"):
        layers.Pooling(2, 2, stride=1, pad=1).forward(np.ones((1, 1, 4, 4)))
    pooling = layers.Pooling(2, 2)
    pooling.forward(np.ones((1, 1, 4, 4)))
    with pytest.raises(ValueError, match="gradient"):
        pooling.backward(np.ones((1, 1, 3, 3)))


@pytest.mark.parametrize("label", [5, 99, -1])
def test_labels_out_of_range(rng, label):
    x, t = rng.standard_normal((3, 5)), np.array([0, label, 1])
    with pytest.raises(IndexError, match=rf"label {label}\b.*5"):
        layers.SoftmaxWithLoss().forward(x, t)
    with pytest.raises(IndexError, match=rf"label {label}\b.*5"):
        functions.cross_entropy_error(functions.softmax(x), t)


def test_labels_of_another_number(rng):
    with pytest.raises((ValueError, IndexError)):
        layers.SoftmaxWithLoss().forward(rng.standard_normal((3, 5)), np.array([0, 1]))
    with pytest.raises(IndexError, match="integer"):
        layers.SoftmaxWithLoss().forward(rng.standard_normal((3, 5)), np.array([0.0, 1.0, 2.0]))


@pytest.mark.parametrize(
    "layer",
    [
        layers.MulLayer(),
        layers.Relu(),
        layers.Sigmoid(),
        layers.Affine(np.ones((3, 3)), np.zeros(3)),
        layers.SoftmaxWithLoss(),
        layers.Dropout(),
        layers.BatchNormalization(np.ones(3), np.zeros(3)),
        layers.Convolution(np.ones((1, 1, 1, 1)), 0),
        layers.Pooling(2, 2),
    ],
)
def test_backward_before_forward(layer):
    name = type(layer).__name__
    with pytest.raises(RuntimeError, match=f"{name}.backward needs a forward pass"):
        layer.backward(np.ones((3, 3)))


@pytest.mark.parametrize(
    "x", [np.ones((2, 4), complex), np.array([["a"] * 4] * 2), np.full((2, 4), None)]
)
def test_types_without_floats(affine, x):
    with pytest.raises(TypeError):
        affine.forward(x)
    with pytest.raises(TypeError):
        kernels.softmax(x)
    assert affine.x is None


def test_batch_normalization_shapes():
    norm = layers.BatchNormalization(np.ones(3), np.zeros(3))
    with pytest.raises(ValueError, match="broadcast"):
        norm.forward(np.ones((2, 4)))
    assert norm.running_mean is None
    norm.forward(np.ones((2, 3)))
    with pytest.raises(ValueError, match="broadcast"):
        norm.backward(np.ones((2, 4)))


def test_read_only_dout(rng):
    relu = layers.Relu()
    relu.forward(rng.standard_normal((2, 3)))
    dout = np.ones((2, 3))
    dout.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        relu.backward(dout)
    with pytest.raises(IndexError):
        relu.backward(np.ones((2, 4)))


RULES = [
    optimizer.SGD,
    optimizer.Momentum,
    optimizer.Nesterov,
    optimizer.AdaGrad,
    optimizer.RMSprop,
    optimizer.Adam,
]


@pytest.mark.parametrize("rule", RULES)
def test_a_failed_update_changes_nothing(rule):
    params = {"W": np.ones((3, 2)), "b": np.ones(2)}
    rule = rule()
    with pytest.raises(KeyError, match="b"):
        rule.update(params, {"W": np.ones((3, 2))})
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        rule.update(params, {"W": np.ones((3, 2)), "b": np.ones(3)})
    params["b"].flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        rule.update(params, {"W": np.ones((3, 2)), "b": np.ones(2)})
    assert (params["W"] == 1).all()
    assert getattr(rule, "iter", 0) == 0


def test_windows_of_column_matrices():
    with pytest.raises(ValueError, match="does not fit"):
        util.im2col(np.ones((1, 1, 2, 2)), 3, 3)
    with pytest.raises(ValueError, match="reshape"):
        util.col2im(np.ones((4, 4)), (1, 1, 5, 5), 2, 2)
    with pytest.raises((ValueError, MemoryError)):
        util.im2col(np.ones((1, 1, 4, 4)), 1, 1, 1, 2**40)


def test_a_huge_result_is_a_memory_error():
    x = np.broadcast_to(np.float64(0), (1 << 30, 1))
    with pytest.raises(MemoryError):
        kernels.matmul(x, np.broadcast_to(np.float64(0), (1, 1 << 20)))
