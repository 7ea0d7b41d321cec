"""The memory of large outputs: used again once nobody holds them, and never before."""

import threading

import numpy as np
import pytest

from kasoku import kernels

multiarray = pytest.importorskip("numpy._core.multiarray")

A = np.ones((100, 200))  # whose product takes 320 KB


def product() -> np.ndarray:
    return kernels.matmul(A.T.copy(), A)


def address(array):
    return array.ctypes.data


def test_memory_is_used_again_when_its_array_is_gone():
    first = product()
    place = address(first)
    held = first[3:]
    del first
    second = product()
    assert address(second) != place, "a view still holds it"
    np.testing.assert_array_equal(held, np.full((197, 200), 100.0))
    del held
    third = product()
    assert address(third) == place
    assert third.flags.owndata


def test_numpys_own_arrays_keep_numpys_memory():
    assert multiarray.get_handler_name(product()) == "kasoku"
    assert multiarray.get_handler_name(np.empty(100_000)) == "default_allocator"
    assert multiarray.get_handler_name() == "default_allocator"


def test_an_array_can_be_resized():
    array = product()
    array.resize((400, 200), refcheck=False)
    assert array[:200].min() == 100
    assert not array[200:].any()
    array.resize((10, 200), refcheck=False)
    assert array.min() == array.max() == 100


def test_threads_share_it():
    def work():
        results.extend(product().sum() for _ in range(200))

    results: list[float] = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(results) == {200 * 200 * 100.0}
