"""What the tests share. They run on the installed package: `pip install .`, then `pytest tests/python`."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))  # book.py


class Golden(dict):
    """One file of golden cases: results of an independent NumPy implementation, float64."""

    def __init__(self, name):
        with np.load(ROOT / "tests" / "golden" / f"{name}.npz", allow_pickle=False) as file:
            super().__init__({key: file[key] for key in file.files})

    def number(self, key):
        return int(self[key])

    def check(self, key, found):
        """Asserts that `found` is the array `key`, within 1e-10 of its largest element."""
        expected = self[key]
        assert np.shape(found) == expected.shape, key
        scale = max(float(np.abs(expected).max()), 1e-300)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * scale, err_msg=key)


def golden_names(prefix):
    return sorted(path.stem for path in (ROOT / "tests" / "golden").glob(f"{prefix}*.npz"))


@pytest.fixture
def golden():
    return Golden


@pytest.fixture
def rng():
    return np.random.default_rng(20260101)


@pytest.fixture(scope="session")
def book_weights():
    """The folder of the book's trained weights, where this machine has it."""
    folder = Path(os.environ.get("KASOKU_BOOK_WEIGHTS", ROOT.parent / "shared" / "book-weights"))
    if not folder.is_dir():
        pytest.skip("no book weights here: KASOKU_BOOK_WEIGHTS names their folder")
    return folder


@pytest.fixture(scope="session")
def mnist_folder():
    """The folder of MNIST, where this machine has it."""
    folder = Path(os.environ.get("KASOKU_DATA", ROOT.parent / "shared" / "mnist"))
    if not folder.is_dir():
        pytest.skip("no MNIST here: KASOKU_DATA names its folder")
    return folder
