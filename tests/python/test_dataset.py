"""Data sets."""

import os
import subprocess
import sys

import numpy as np
import pytest

from kasoku.dataset import load_digits_synthetic
from kasoku.dataset import mnist as module


def test_mnist_in_every_form(mnist_folder, monkeypatch):
    monkeypatch.setenv("KASOKU_DATA", str(mnist_folder))
    (x, t), (x_test, t_test) = module.load_mnist()
    assert (x.shape, x.dtype, x_test.shape) == ((60000, 784), np.float32, (10000, 784))
    assert (t.dtype, t[:5].tolist(), t_test[:5].tolist()) == (
        np.uint8,
        [5, 0, 4, 1, 9],
        [7, 2, 1, 0, 4],
    )
    (raw, one_hot), _ = module.load_mnist(normalize=False, flatten=False, one_hot_label=True)
    assert (raw.shape, raw.dtype) == ((60000, 1, 28, 28), np.uint8)
    assert (one_hot.shape, one_hot.dtype) == ((60000, 10), np.float64)
    np.testing.assert_array_equal(one_hot.argmax(axis=1), t)
    np.testing.assert_array_equal(
        x[:100], raw[:100].reshape(100, 784).astype(np.float32) / np.float32(255)
    )
    raw[...] = 0  # the reader's own
    assert module.load_mnist(normalize=False)[0][0].any()


def test_nowhere_to_be_found(tmp_path):
    code = "from kasoku.dataset.mnist import load_mnist; load_mnist()"
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(tmp_path),
        "https_proxy": "http://127.0.0.1:9",
    }
    environment.pop("KASOKU_DATA", None)
    environment |= {"HTTPS_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    last = done.stderr.strip().splitlines()[-1]
    if done.returncode == 0:
        pytest.skip("MNIST could be downloaded")
    assert last.startswith("FileNotFoundError")
    for part in (
        str(tmp_path),
        "train-images-idx3-ubyte.gz",
        "KASOKU_DATA",
        "load_digits_synthetic",
        "--data synthetic",
    ):
        assert part in last


def test_synthetic_digits():
    (x, t), (x_test, t_test) = load_digits_synthetic(200, 50, seed=3)
    assert (x.shape, x.dtype, t.dtype, x_test.shape) == (
        (200, 784),
        np.float32,
        np.uint8,
        (50, 784),
    )
    assert 0 <= x.min() < x.max() <= 1
    assert sorted(t[:10]) == list(range(10))
    (again, _), _ = load_digits_synthetic(100, 0, seed=3, normalize=False, flatten=False)
    np.testing.assert_array_equal(again.reshape(100, 784) / np.float32(255), x[:100])
    assert load_digits_synthetic(10, 10, one_hot_label=True)[1][1].shape == (10, 10)
    assert t_test.shape == (50,)
    with pytest.raises(ValueError, match="-1"):
        load_digits_synthetic(-1)
