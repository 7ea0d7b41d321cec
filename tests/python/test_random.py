"""Random shapes, values and layouts against the book's layers in NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import book
from kasoku import functions, layers, util

settings.register_profile("kasoku", max_examples=60, deadline=None)
settings.load_profile("kasoku")

DTYPES = st.sampled_from([np.float32, np.float64])
SEEDS = st.integers(0, 2**32 - 1)

LAYOUTS = {
    "C": lambda x: x,
    "Fortran": np.asfortranarray,
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "reversed": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "last axis reversed": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1],
    "every second": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "read-only": lambda x: read_only(x.copy()),
    "unaligned": lambda x: unaligned(x),
    "other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
}


def read_only(x):
    x.flags.writeable = False
    return x


def unaligned(x):
    raw = np.zeros(x.nbytes + 1, dtype=np.uint8)
    view = raw[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def close(found, expected, dtype, terms=1):
    """Within what `terms` roundings of the type, and of the sums in between, may give."""
    eps = np.finfo(dtype).eps
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    atol = 8 * eps * scale * np.sqrt(terms) + 1e-300
    np.testing.assert_allclose(np.asarray(found, np.float64), expected, rtol=0, atol=atol)
    assert found.dtype == dtype


@given(
    SEEDS,
    DTYPES,
    st.sampled_from(sorted(LAYOUTS)),
    st.integers(0, 40),
    st.integers(1, 60),
    st.integers(1, 40),
)
def test_affine(seed, dtype, layout, n, d, m):
    rng = np.random.default_rng(seed)
    x, W, dout = (rng.standard_normal(s).astype(dtype) for s in ((n, d), (d, m), (n, m)))
    b = rng.standard_normal(m).astype(dtype)
    ours, theirs = layers.Affine(LAYOUTS[layout](W), b), book.Affine(*map(np.float64, (W, b)))
    if n == 0:
        assert ours.forward(x).shape == (0, m)
        assert ours.backward(dout).shape == (0, d)
        assert not ours.dW.any()
        assert not ours.db.any()
        return
    close(ours.forward(LAYOUTS[layout](x)), theirs.forward(np.float64(x)), dtype, d)
    close(ours.backward(LAYOUTS[layout](dout)), theirs.backward(np.float64(dout)), dtype, m)
    close(ours.dW, theirs.dW, dtype, n)
    close(ours.db, theirs.db, dtype, n)


@st.composite
def convolutions(draw):
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    pad = draw(st.integers(0, 3))
    h = draw(st.integers(max(1, height - 2 * pad), 12))
    w = draw(st.integers(max(1, width - 2 * pad), 12))
    n, c, fn = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(1, 9))
    return (n, c, h, w), (fn, c, height, width), draw(st.integers(1, 3)), pad


@given(SEEDS, DTYPES, st.sampled_from(sorted(LAYOUTS)), convolutions())
def test_convolution(seed, dtype, layout, case):
    shape, weight, stride, pad = case
    rng = np.random.default_rng(seed)
    x, W = rng.standard_normal(shape).astype(dtype), rng.standard_normal(weight).astype(dtype)
    b = rng.standard_normal(weight[0]).astype(dtype)
    ours = layers.Convolution(LAYOUTS[layout](W), b, stride, pad)
    theirs = book.Convolution(np.float64(W), np.float64(b), stride, pad)
    expected = theirs.forward(np.float64(x))
    out = ours.forward(LAYOUTS[layout](x))
    close(out, expected, dtype, W[0].size)
    np.testing.assert_array_equal(ours.col, theirs.col)
    np.testing.assert_array_equal(ours.col_W, theirs.col_W)
    dout = rng.standard_normal(expected.shape).astype(dtype)
    dx = theirs.backward(np.float64(dout))
    close(ours.backward(LAYOUTS[layout](dout)), dx, dtype, W[:, 0].size)
    close(ours.dW, theirs.dW, dtype, dout[:, 0].size)
    close(ours.db, theirs.db, dtype, dout[:, 0].size)


@st.composite
def poolings(draw):
    height, width = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    h, w = draw(st.integers(height, 11)), draw(st.integers(width, 11))
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 4)), h, w
    return shape, (height, width), draw(st.integers(1, 4))


@given(SEEDS, DTYPES, st.sampled_from(sorted(LAYOUTS)), poolings())
def test_pooling(seed, dtype, layout, case):
    shape, size, stride = case
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 3, shape).astype(dtype)  # with many ties
    ours, theirs = layers.Pooling(*size, stride), book.Pooling(*size, stride)
    out, expected = ours.forward(LAYOUTS[layout](x)), theirs.forward(x)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(ours.arg_max, theirs.arg_max)
    dout = rng.integers(-9, 9, expected.shape).astype(dtype)
    dx = ours.backward(LAYOUTS[layout](dout))
    np.testing.assert_array_equal(dx, theirs.backward(dout))
    assert out.dtype == dx.dtype == dtype


@given(SEEDS, DTYPES, st.sampled_from(sorted(LAYOUTS)), st.integers(1, 30), st.integers(1, 30))
def test_batch_normalization(seed, dtype, layout, n, d):
    rng = np.random.default_rng(seed)
    x, dout = (rng.standard_normal((n, d)).astype(dtype) for _ in range(2))
    gamma, beta = (rng.standard_normal(d).astype(dtype) for _ in range(2))
    ours = layers.BatchNormalization(gamma, beta)
    theirs = book.BatchNormalization(np.float64(gamma), np.float64(beta))
    # 1/std may be 1000 where a feature hardly varies.
    terms = n * (1e6 if n < 4 else 1e2)
    close(ours.forward(LAYOUTS[layout](x)), theirs.forward(np.float64(x)), dtype, terms)
    if n >= 4:
        close(ours.backward(LAYOUTS[layout](dout)), theirs.backward(np.float64(dout)), dtype, terms)
        close(ours.dgamma, theirs.dgamma, dtype, terms)
        close(ours.dbeta, theirs.dbeta, dtype, terms)
    close(ours.running_mean, theirs.running_mean, dtype, terms)
    close(ours.running_var, theirs.running_var, dtype, terms)
    evaluated = ours.forward(LAYOUTS[layout](x), train_flg=False)
    close(evaluated, theirs.forward(np.float64(x), train_flg=False), dtype, terms)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@given(SEEDS, DTYPES, st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_activations(layout, seed, dtype, shape):
    rng = np.random.default_rng(seed)
    x, dout = (rng.standard_normal(shape).astype(dtype) * 4 for _ in range(2))
    view = LAYOUTS[layout]
    relu, sigmoid = layers.Relu(), layers.Sigmoid()
    np.testing.assert_array_equal(relu.forward(view(x)), np.maximum(x, 0))
    np.testing.assert_array_equal(relu.mask, x <= 0)
    close(sigmoid.forward(view(x)), book.sigmoid(np.float64(x)), dtype)
    y = np.float64(sigmoid.out)
    close(sigmoid.backward(view(dout)), np.float64(dout) * (1 - y) * y, dtype)
    close(functions.sigmoid(view(x)), book.sigmoid(np.float64(x)), dtype)
    close(functions.softmax(view(x)), book.softmax(np.float64(x)), dtype, x.shape[-1])
    np.testing.assert_array_equal(functions.relu(view(x)), np.maximum(x, 0))


@given(SEEDS, DTYPES, st.integers(2, 30), st.integers(2, 12), st.booleans())
def test_softmax_with_loss(seed, dtype, n, classes, one_hot):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, classes)).astype(dtype) * 3
    t = rng.integers(0, classes, n)
    t = np.eye(classes)[t] if one_hot else t
    ours, theirs = layers.SoftmaxWithLoss(), book.SoftmaxWithLoss()
    close(ours.forward(x, t), theirs.forward(np.float64(x), t), dtype, n)
    close(ours.y, theirs.y, dtype, classes)
    dx = ours.backward()
    close(dx, theirs.backward(), dtype)
    close(functions.cross_entropy_error(ours.y, t), theirs.loss, dtype, n)


@given(SEEDS, convolutions())
def test_im2col_and_its_adjoint(seed, case):
    shape, (_, _, height, width), stride, pad = case
    x = np.random.default_rng(seed).standard_normal(shape)
    col = book.im2col(x, height, width, stride, pad)
    np.testing.assert_array_equal(util.im2col(x, height, width, stride, pad), col)
    np.testing.assert_allclose(
        util.col2im(col, shape, height, width, stride, pad),
        book.col2im(col, shape, height, width, stride, pad),
        rtol=1e-13,
        atol=1e-13,
    )
