"""kasoku.kernels against NumPy, with and without out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import book
from kasoku import kernels
from test_random import LAYOUTS, SEEDS

DTYPES = (np.float32, np.float64)


def tolerance(dtype, terms=1):
    return 16 * np.finfo(dtype).eps * max(terms, 1) ** 0.5


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    SEEDS,
    st.sampled_from(sorted(LAYOUTS)),
    st.sampled_from(sorted(LAYOUTS)),
    *[st.integers(0, 50)] * 3,
)
def test_matmul(dtype, seed, a_layout, b_layout, m, k, n):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    expected = np.float64(a) @ np.float64(b)
    a, b = LAYOUTS[a_layout](a), LAYOUTS[b_layout](b)
    atol = tolerance(dtype, k) * max(1, np.abs(expected).max(initial=0))
    found = kernels.matmul(a, b)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)
    for out in (
        np.full((m, n), np.nan, dtype),
        np.full((n, m), np.nan, dtype).T,
        np.zeros((m, 2 * n), dtype)[:, ::2],
    ):
        assert kernels.matmul(a, b, out=out) is out
        np.testing.assert_allclose(out, expected, rtol=0, atol=atol)


def test_matmul_of_vectors(rng):
    v, w, a = rng.standard_normal(4), rng.standard_normal(3), rng.standard_normal((4, 3))
    np.testing.assert_allclose(kernels.matmul(v, a), v @ a, rtol=1e-12)
    np.testing.assert_allclose(kernels.matmul(a, w), a @ w, rtol=1e-12)
    np.testing.assert_allclose(kernels.matmul(v, v), v @ v, rtol=1e-12)
    with pytest.raises(ValueError, match="not aligned"):
        kernels.matmul(w, a)


@pytest.mark.parametrize("dtype", DTYPES)
def test_conv2d_and_its_gradients(rng, dtype):
    x = rng.standard_normal((3, 4, 9, 7)).astype(dtype)
    w = rng.standard_normal((5, 4, 3, 2)).astype(dtype)
    bias = rng.standard_normal(5).astype(dtype)
    layer = book.Convolution(np.float64(w), np.float64(bias), 2, 1)
    expected = layer.forward(np.float64(x))
    atol = 100 * np.finfo(dtype).eps
    out = np.empty(expected.shape, dtype)
    assert kernels.conv2d(x, w, bias, stride=2, pad=1, out=out) is out
    np.testing.assert_allclose(out, expected, rtol=0, atol=atol)
    clipped = kernels.conv2d(x, w, bias, 2, 1, relu=True)
    np.testing.assert_array_equal(clipped, np.maximum(out, 0))
    dy = rng.standard_normal(expected.shape).astype(dtype)
    dx = layer.backward(np.float64(dy))
    found = kernels.conv2d_backward_data(dy, w, x.shape, 2, 1)
    np.testing.assert_allclose(found, dx, rtol=0, atol=atol)
    found = kernels.conv2d_backward_weight(x, dy, w.shape, stride=(2, 2), pad=(1, 1))
    np.testing.assert_allclose(found, layer.dW, rtol=0, atol=atol)
    assert found.dtype == dtype


def test_conv2d_with_a_stride_and_pad_for_each_axis(rng):
    x, w = rng.standard_normal((1, 2, 6, 8)), rng.standard_normal((3, 2, 2, 3))
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (0, 0)])
    expected = kernels.conv2d(padded, w)[:, :, ::2, ::3]
    np.testing.assert_allclose(
        kernels.conv2d(x, w, stride=(2, 3), pad=(1, 0)), expected, rtol=1e-12
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_pooling(rng, dtype):
    x = rng.standard_normal((2, 3, 6, 8)).astype(dtype)
    y, index = kernels.max_pool2d(x, 2)
    blocks = x.reshape(2, 3, 3, 2, 4, 2).transpose(0, 1, 2, 4, 3, 5).reshape(2, 3, 3, 4, 4)
    np.testing.assert_array_equal(y, blocks.max(-1))
    np.testing.assert_array_equal(index, blocks.argmax(-1))
    assert index.dtype == np.uint8
    dx = kernels.max_pool2d_backward(np.ones_like(y), index, x.shape, 2)
    assert dx.sum() == y.size
    np.testing.assert_array_equal(x[dx == 1].sum(), x[dx == 1].sum())
    mean = kernels.avg_pool2d(x, (2, 2))
    np.testing.assert_allclose(mean, blocks.mean(-1), rtol=1e-6)
    dx = kernels.avg_pool2d_backward(np.ones_like(mean), x.shape, 2)
    np.testing.assert_array_equal(dx, np.full_like(x, 0.25))
    with pytest.raises(ValueError, match="index"):
        kernels.max_pool2d_backward(np.ones_like(y), np.full_like(index, 9), x.shape, 2)
    with pytest.raises(TypeError, match="index"):
        kernels.max_pool2d_backward(np.ones_like(y), index.astype(float), x.shape, 2)


def test_windows_of_many_cells_have_wider_indices(rng):
    x = rng.standard_normal((1, 1, 20, 20))
    y, index = kernels.max_pool2d(x, 20)
    assert index.dtype == np.uint16
    assert index.item() == x.argmax()
    dx = kernels.max_pool2d_backward(y, index, x.shape, 20)
    assert dx.ravel()[x.argmax()] == x.max()


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_family(rng, dtype):
    x = (rng.standard_normal((3, 4, 6)) * 30).astype(dtype)
    exact = np.float64(x)
    lse = np.log(np.exp(exact - exact.max(-1, keepdims=True)).sum(-1)) + exact.max(-1)
    rtol = tolerance(dtype)
    np.testing.assert_allclose(kernels.softmax(x), book.softmax(exact), rtol=64 * rtol, atol=1e-30)
    np.testing.assert_allclose(kernels.logsumexp(x), lse, rtol=rtol)
    np.testing.assert_allclose(
        kernels.log_softmax(x), exact - lse[..., None], rtol=0, atol=100 * rtol
    )
    assert kernels.log_softmax(np.array([1000.0, 0.0])).tolist() == [0.0, -1000.0]
    with pytest.raises(ValueError, match=r"\(3,0\)"):
        kernels.softmax(np.zeros((3, 0)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh", "exp", "log"])
def test_functions(rng, dtype, name):
    x = np.abs(rng.standard_normal((50, 7))).astype(dtype) - (name != "log")
    twin = {"relu": lambda x: np.maximum(x, 0), "sigmoid": book.sigmoid}.get(name) or getattr(
        np, name
    )
    function = getattr(kernels, name)
    expected = twin(np.float64(x))
    np.testing.assert_allclose(function(x), expected, rtol=tolerance(dtype), atol=1e-30)
    assert function(x, out=x) is x  # in place
    np.testing.assert_allclose(x, expected, rtol=tolerance(dtype), atol=1e-30)


def test_im2col_keeps_the_type(rng):
    x = rng.standard_normal((2, 3, 5, 6)).astype(np.float32)
    col = kernels.im2col(x, 2, 3, stride=1, pad=1)
    np.testing.assert_array_equal(col, book.im2col(x, 2, 3, 1, 1))
    assert col.dtype == np.float32
    image = kernels.col2im(col, x.shape, 2, 3, 1, 1)
    np.testing.assert_allclose(image, book.col2im(col, x.shape, 2, 3, 1, 1), rtol=1e-6)
    assert kernels.im2col(np.ones((1, 1, 2, 2), int), 1, 1).dtype == np.float64


def test_sum_squares(rng):
    x = rng.standard_normal((100, 7))
    np.testing.assert_allclose(kernels.sum_squares(x.T), (x**2).sum(), rtol=1e-12)


class TestOut:
    def test_types_follow_numpys_same_kind_rule(self, rng):
        a, b = rng.standard_normal((3, 4)), rng.standard_normal((4, 2))
        out = np.empty((3, 2), np.float32)
        assert kernels.matmul(a, b, out=out) is out
        np.testing.assert_allclose(out, a @ b, rtol=1e-5)
        with pytest.raises(TypeError, match="same_kind"):
            kernels.matmul(a, b, out=np.zeros((3, 2), int))
        half = kernels.matmul(a.astype(np.float16), b.astype(np.float16))
        assert half.dtype == np.float16

    def test_what_does_not_fit_is_left_alone(self, rng):
        a, b = rng.standard_normal((3, 4)), rng.standard_normal((4, 2))
        out = np.full((2, 3), 7.0)
        with pytest.raises(ValueError, match=r"\(2,3\).*\(3,2\)"):
            kernels.matmul(a, b, out=out)
        assert (out == 7).all()
        fixed = np.full((3, 2), 7.0)
        fixed.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            kernels.matmul(a, b, out=fixed)
        with pytest.raises(TypeError, match="array"):
            kernels.matmul(a, b, out=[0])

    def test_an_out_that_is_an_input(self, rng):
        a = rng.standard_normal((4, 4))
        expected = a @ a
        assert kernels.matmul(a, a, out=a) is a
        np.testing.assert_allclose(a, expected, rtol=1e-10)
        x = rng.standard_normal(9)
        expected = np.exp(x[:-1])
        kernels.exp(x[:-1], out=x[1:])
        np.testing.assert_allclose(x[1:], expected, rtol=1e-12)


def test_threads_do_not_change_a_bit(rng):
    a, b = rng.standard_normal((300, 400)), rng.standard_normal((400, 200))
    x, w = rng.standard_normal((8, 4, 20, 20)), rng.standard_normal((8, 4, 3, 3))
    default = kernels.num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            kernels.set_num_threads(threads)
            assert kernels.num_threads() == threads
            y = kernels.conv2d(x, w, pad=1)
            dw = kernels.conv2d_backward_weight(x, y, w.shape, pad=1)
            results.append((kernels.matmul(a, b), y, dw))
    finally:
        kernels.set_num_threads(0)
    assert kernels.num_threads() == default
    for result in results[1:]:
        for found, expected in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(found, expected)


def test_instruction_sets():
    assert kernels.instruction_set() in kernels.instruction_sets()
    assert kernels.instruction_sets()[0] == "scalar"
