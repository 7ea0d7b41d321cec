"""MNIST from the four files beside this one or in the folder of KASOKU_DATA, in plain NumPy."""

import gzip
import os

import numpy as np

dataset_dir = os.environ.get("KASOKU_DATA") or os.path.dirname(os.path.abspath(__file__))


def _read(name, offset):
    with gzip.open(os.path.join(dataset_dir, name + ".gz")) as file:
        return np.frombuffer(file.read(), np.uint8, offset=offset)


def load_mnist(normalize=True, flatten=True, one_hot_label=False):
    sets = []
    for name in ("train", "t10k"):
        images = _read(name + "-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28)
        labels = _read(name + "-labels-idx1-ubyte", 8)
        if normalize:
            images = images.astype(np.float32) / 255.0
        if flatten:
            images = images.reshape(-1, 784)
        if one_hot_label:
            labels = np.eye(10)[labels]
        sets.append((images, labels))
    return tuple(sets)
