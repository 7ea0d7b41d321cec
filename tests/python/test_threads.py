"""Threads, forks and processes: kernels neither hang, nor tear, nor hold the interpreter."""

import concurrent.futures
import multiprocessing
import os
import threading
import time

import numpy as np
import pytest

from kasoku import kernels, layers, optimizer

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def product(seed):
    """A product large enough for the thread pool; returns its sum."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((256, 256))
    return float(kernels.matmul(a, a.T).sum())


def test_the_interpreter_is_released():
    """Another thread notes the time while one kernel runs: it could not, were the interpreter held."""
    a = np.ones((1500, 1500))
    stamps, done = [], threading.Event()

    def note():
        while not done.is_set():
            stamps.append(time.perf_counter())
            time.sleep(0.0005)

    other = threading.Thread(target=note)
    other.start()
    try:
        kernels.matmul(a, a)  # starts the pool
        start = time.perf_counter()
        kernels.matmul(a, a)
        end = time.perf_counter()
    finally:
        done.set()
        other.join()
    third = (end - start) / 3
    assert any(start + third < stamp < end - third for stamp in stamps)


def test_two_threads_run_two_networks():
    def train(seed):
        rng = np.random.default_rng(seed)
        W, b = rng.standard_normal((20, 5)), np.zeros(5)
        affine, loss, rule = layers.Affine(W, b), layers.SoftmaxWithLoss(), optimizer.SGD(0.1)
        x, t = rng.standard_normal((40, 20)), rng.integers(0, 5, 40)
        for _ in range(50):
            loss.forward(affine.forward(x), t)
            affine.backward(loss.backward())
            rule.update({"W": W, "b": b}, {"W": affine.dW, "b": affine.db})
        return W

    expected = [train(seed) for seed in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found, alone in zip(pool.map(train, range(4)), expected, strict=True):
            np.testing.assert_array_equal(found, alone)


def test_threads_on_one_layer_get_right_answers(rng):
    W, b = rng.standard_normal((8, 3, 3, 3)), rng.standard_normal(8)
    shared = layers.Convolution(W, b, 1, 1)
    inputs = [rng.standard_normal((n, 3, 16, 16)) for n in (1, 4, 9, 16)]
    expected = [layers.Convolution(W, b, 1, 1).forward(x) for x in inputs]

    def work(number):
        for _ in range(20):
            np.testing.assert_array_equal(shared.forward(inputs[number]), expected[number])

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(work, number) for number in range(4)]:
            future.result()


def test_backward_of_a_layer_other_threads_use_is_whole(rng):
    """It belongs to one forward pass, whosever that was, or is an error: never a mixture."""
    x = [rng.standard_normal((n, 5)) for n in (7, 8)]
    t = [rng.integers(0, 5, len(x)) for x in x]
    shared, whole = layers.SoftmaxWithLoss(), []
    for each, labels in zip(x, t, strict=True):
        shared.forward(each, labels)
        whole.append(shared.backward())

    def work(number):
        for _ in range(300):
            shared.forward(x[number], t[number])
            dx = shared.backward()
            assert any(dx.shape == each.shape and (dx == each).all() for each in whole)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(work, number) for number in range(2)]:
            future.result()


def test_an_update_beside_a_kernel_is_an_error_or_waits(rng):
    """Weights that a running kernel reads are not written meanwhile."""
    W = np.zeros((600, 600))
    x = np.ones((600, 600))
    params, grads, rule = {"W": W}, {"W": np.full_like(W, -1.0)}, optimizer.SGD(1.0)
    done = threading.Event()

    def update():
        while not done.is_set():
            try:
                rule.update(params, grads)
            except RuntimeError as error:
                assert "in use" in str(error)  # noqa: PT017
            time.sleep(0)

    writer = threading.Thread(target=update)
    writer.start()
    try:
        for _ in range(20):
            try:
                y = kernels.matmul(x, W)
            except RuntimeError as error:
                assert "in use" in str(error)  # noqa: PT017
                continue
            assert (y == y[0, 0]).all()  # all of W from one moment
    finally:
        done.set()
        writer.join()


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_fork():
    expected = product(1)  # starts the parent's pool
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        ok = product(1) == expected
        os.write(writer, b"1" if ok else b"0")
        os._exit(0)
    assert os.read(reader, 1) == b"1"
    assert os.waitpid(child, 0)[1] == 0
    assert product(1) == expected


@pytest.mark.parametrize("method", [pytest.param("fork", marks=needs_fork), "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_multiprocessing(method):
    expected = [product(seed) for seed in range(4)]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map_async(product, range(4)).get(timeout=120) == expected


def test_process_pool_executor():
    """What joblib's workers are."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        found = list(pool.map(product, range(3), timeout=120))
    assert found == [product(seed) for seed in range(3)]


def test_joblib():
    joblib = pytest.importorskip("joblib")
    found = joblib.Parallel(n_jobs=2)(joblib.delayed(product)(seed) for seed in range(3))
    assert found == [product(seed) for seed in range(3)]
