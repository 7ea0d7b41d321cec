"""What importing gives, and what it costs."""

import subprocess
import sys

import numpy as np
import pytest

import kasoku
from kasoku import gradient, util


def python(code):
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_import_costs_little_beside_numpy():
    code = (
        "import time, numpy; start = time.perf_counter(); import kasoku;"
        "print(time.perf_counter() - start)"
    )
    assert min(float(python(code)[0]) for _ in range(5)) < 0.030


def test_import_starts_no_threads():
    code = (
        "import numpy, threading, os; tasks = '/proc/self/task';"
        "count = lambda: len(os.listdir(tasks)) if os.path.isdir(tasks) else threading.active_count();"
        "before = count(); import kasoku, kasoku.layers, kasoku.kernels;"
        "print(count() - before)"
    )
    assert python(code) == ["0"]


def test_attributes_are_found_when_asked_for():
    assert kasoku.layers.Relu is kasoku.layers.ReLU
    assert {"layers", "Trainer", "install", "__version__"} <= set(dir(kasoku))
    assert kasoku.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="nonsense"):
        kasoku.nonsense  # noqa: B018


STAR = {
    "functions": """identity_function step_function sigmoid sigmoid_grad relu relu_grad softmax mean_squared_error
        sum_squared_error cross_entropy_error softmax_loss""",
    "util": "smooth_curve shuffle_dataset conv_output_size im2col col2im",
    "gradient": "numerical_gradient numerical_gradient_2d numerical_diff gradient_descent",
    "layers": """AddLayer MulLayer Relu ReLU Sigmoid Affine SoftmaxWithLoss Dropout BatchNormalization Convolution
        Pooling im2col col2im sigmoid softmax cross_entropy_error""",
    "optimizer": "SGD Momentum Nesterov AdaGrad RMSprop Adam",
    "multi_layer_net": "MultiLayerNet Affine numerical_gradient OrderedDict",
    "multi_layer_net_extend": "MultiLayerNetExtend Dropout numerical_gradient OrderedDict",
}


@pytest.mark.parametrize("module", STAR)
def test_star_imports_give_the_books_names_and_np(module):
    names = {}
    exec(f"from kasoku.{module} import *", names)
    missing = {*STAR[module].split(), "np"} - names.keys()
    assert not missing
    assert not [name for name in names if name.startswith("_") and name != "__builtins__"]


class TestUtil:
    def test_shuffle_dataset_keeps_pairs(self):
        x, t = np.arange(20).reshape(10, 2), np.arange(10)
        np.random.seed(0)
        a, b = util.shuffle_dataset(x, t)
        np.random.seed(0)
        order = np.random.permutation(10)
        np.testing.assert_array_equal(a, x[order])
        np.testing.assert_array_equal(b, t[order])
        images = np.zeros((4, 1, 2, 2))
        assert util.shuffle_dataset(images, t[:4])[0].shape == images.shape

    def test_conv_output_size(self):
        assert util.conv_output_size(28, 5) == 24.0
        assert util.conv_output_size(28, 5, stride=2, pad=1) == 13.5

    def test_smooth_curve_keeps_the_length(self):
        assert len(util.smooth_curve(np.arange(30.0))) == 30
        np.testing.assert_allclose(util.smooth_curve([2.0] * 20), 2.0)

    def test_columns_are_float64_as_in_the_book(self):
        x = np.ones((1, 1, 3, 3), np.float32)
        assert util.im2col(x, 2, 2).dtype == np.float64
        assert util.col2im(util.im2col(x, 2, 2), x.shape, 2, 2).dtype == np.float64


class TestGradient:
    def test_of_a_scalar(self):
        assert abs(gradient.numerical_diff(lambda x: x**2, 3.0) - 6) < 1e-6

    @pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 2, 2, 1)])
    def test_of_any_rank(self, rng, shape):
        x = rng.standard_normal(shape)
        before = x.copy()
        np.testing.assert_allclose(
            gradient.numerical_gradient(lambda x: np.sum(x**2), x), 2 * x, atol=1e-7
        )
        np.testing.assert_array_equal(x, before)

    def test_of_a_view(self, rng):
        x = rng.standard_normal((3, 4)).T
        found = gradient.numerical_gradient(lambda _: np.sum(x**2), x)
        np.testing.assert_allclose(found, 2 * x, atol=1e-7)

    def test_x_is_put_back_where_f_raises(self):
        x = np.ones(3)
        with pytest.raises(ZeroDivisionError):
            gradient.numerical_gradient(lambda _: 1 / 0, x)
        np.testing.assert_array_equal(x, 1)

    def test_row_by_row(self, rng):
        x = rng.standard_normal((4, 2))
        np.testing.assert_allclose(
            gradient.numerical_gradient_2d(lambda row: np.sum(row**2), x), 2 * x, atol=1e-7
        )

    def test_gradient_descent(self):
        x, history = gradient.gradient_descent(
            lambda x: x[0] ** 2 + x[1] ** 2, np.array([-3.0, 4.0]), lr=0.1, step_num=100
        )
        assert np.abs(x).max() < 1e-8
        assert history.shape == (100, 2)
        np.testing.assert_array_equal(history[0], [-3, 4])
