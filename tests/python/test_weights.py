"""Weights in files: the book's pickles, and pickles that are not to be trusted."""

import os
import pickle

import numpy as np
import pytest

from kasoku.weights import load_pickle, save_pickle

ARRAYS = {
    "W1": np.arange(12.0).reshape(3, 4).T,
    "b1": np.array([1.5, -2.5], np.float32),
    "big": np.arange(3, dtype=">f8"),
    "labels": np.arange(4, dtype=np.uint8),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol(tmp_path, protocol):
    path = tmp_path / "params.pkl"
    path.write_bytes(pickle.dumps(ARRAYS, protocol))
    found = load_pickle(path)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
    # The byte order that a pickle sets is that of its own dtype.
    assert np.dtype("f8").isnative
    assert np.dtype(np.float64).isnative


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "call",
    [
        (os.system, "touch ran"),
        (eval, "open('ran', 'w')"),
        (np.load, "ran"),
        (np.ndarray, (10**12,)),
        (getattr, ARRAYS, "clear"),
    ],
    ids=lambda call: call[0].__name__,
)
def test_other_pickles_do_not_run(tmp_path, monkeypatch, protocol, call):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "params.pkl"
    path.write_bytes(pickle.dumps({"W1": Runs(*call)}, protocol))
    with pytest.raises((pickle.UnpicklingError, ValueError), match=r"params\.pkl"):
        load_pickle(path)
    assert os.listdir(tmp_path) == ["params.pkl"]


def test_objects_and_subclasses_are_refused(tmp_path):
    path = tmp_path / "params.pkl"
    for content in (
        {"W1": np.array([{}], object)},
        {"W1": np.ma.masked_array([1.0])},
        {"W1": np.array("text")},
        {"W1": [1.0]},
        {1: np.ones(2)},
        [np.ones(2)],
        {"W1": np.zeros(2, [("x", "f8")])},
    ):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises((pickle.UnpicklingError, ValueError), match=r"params\.pkl"):
            load_pickle(path)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "params.pkl"
    whole = pickle.dumps(ARRAYS)
    for content in (b"", b"no pickle", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises((pickle.UnpicklingError, ValueError), match=r"params\.pkl"):
            load_pickle(path)
    with pytest.raises(FileNotFoundError):
        load_pickle(tmp_path / "none.pkl")


def test_saving_leaves_the_old_file_or_the_new(tmp_path):
    path = tmp_path / "params.pkl"
    save_pickle(path, ARRAYS)
    with path.open("rb") as file:
        plain = pickle.load(file)
    np.testing.assert_array_equal(plain["W1"], ARRAYS["W1"])

    class Fails:
        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("no array")

    with pytest.raises(RuntimeError, match="no array"):
        save_pickle(path, {"W1": Fails()})
    assert os.listdir(tmp_path) == ["params.pkl"]
    assert load_pickle(path).keys() == ARRAYS.keys()


def test_the_books_simple_convnet(book_weights, mnist_folder, monkeypatch):
    from kasoku.dataset.mnist import load_mnist
    from kasoku.networks import SimpleConvNet

    monkeypatch.setenv("KASOKU_DATA", str(mnist_folder))
    _, (x, t) = load_mnist(flatten=False)
    network = SimpleConvNet(dtype="float64")
    network.load_params(book_weights / "simple_convnet_params.pkl")
    # What NumPy gets on the 10,000 test images.
    assert network.accuracy(x, t) == 0.96
    single = SimpleConvNet()
    single.load_params(book_weights / "simple_convnet_params.pkl")
    assert abs(single.accuracy(x, t) - 0.96) <= 2e-4
