"""The network of chapter 3 with the weights published with the book."""

import gzip
import io
import pickle

import numpy as np

from kasoku import functions


class _ArraysOnly(pickle.Unpickler):
    """Admits the reconstruction of NumPy arrays and nothing else."""

    def find_class(self, module, name):
        if (module.split(".")[0], name) in {
            ("numpy", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"{module}.{name}")


def test_chapter_3_classifies_9352_of_10000(book_weights, mnist_folder):
    network = _ArraysOnly(io.BytesIO((book_weights / "sample_weight.pkl").read_bytes())).load()
    with gzip.open(mnist_folder / "t10k-images-idx3-ubyte.gz") as file:
        x = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)
    with gzip.open(mnist_folder / "t10k-labels-idx1-ubyte.gz") as file:
        t = np.frombuffer(file.read(), np.uint8, offset=8)
    x = x.astype(np.float32) / 255.0
    z1 = functions.sigmoid(np.dot(x, network["W1"]) + network["b1"])
    z2 = functions.sigmoid(np.dot(z1, network["W2"]) + network["b2"])
    y = functions.softmax(np.dot(z2, network["W3"]) + network["b3"])
    assert (y.argmax(axis=1) == t).sum() == 9352
    # and an image at a time, as chapter 3 does it first
    one = functions.softmax(z2[0] @ network["W3"] + network["b3"])
    np.testing.assert_allclose(one, y[0], rtol=1e-5)
