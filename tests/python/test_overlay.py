"""The swap: what is taken over, what is kept, and how to go back."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

BOOK = Path(__file__).resolve().parents[1] / "book_style"


def run(code, folder, *, path=(), check=True):
    """Runs Python code in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def test_names_are_replaced_and_others_kept():
    done = run(
        """
        import kasoku
        kasoku.install()
        import common.layers, common.util, common.functions, dataset.mnist
        import kasoku.layers
        assert common.layers.Affine is kasoku.layers.Affine
        assert common.layers.Swish.__module__ == "common.layers"
        assert common.layers.sigmoid is kasoku.functions.sigmoid
        assert common.util.percent(0.5) == "50.0 %"
        assert common.util.im2col is kasoku.util.im2col
        assert dataset.mnist.load_mnist is kasoku.dataset.mnist.load_mnist
        assert common.layers.__file__.endswith("layers.py")
        print(kasoku.status())
        """,
        BOOK / "ch05",
        path=[BOOK],
    )
    assert done.stderr.count("\n") == 1
    assert "takes over common." in done.stderr
    assert "kasoku.layers over" in done.stdout
    assert "kasoku.trainer, once it is imported" in done.stdout


def test_without_the_books_folders(tmp_path):
    run(
        """
        import kasoku
        kasoku.install(quiet=True)
        from common.layers import *
        from common.multi_layer_net_extend import MultiLayerNetExtend
        from common.trainer import Trainer
        from dataset.mnist import load_mnist
        x = np.random.rand(3, 5)
        assert Affine(np.ones((5, 2)), np.zeros(2)).forward(x).shape == (3, 2)
        assert im2col(np.zeros((1, 1, 4, 4)), 2, 2).shape == (9, 4)
        assert softmax(x).shape == x.shape
        import kasoku.trainer
        assert Trainer is kasoku.trainer.Trainer
        """,
        tmp_path,
    )


def test_a_folder_of_data_alone(tmp_path):
    (tmp_path / "dataset").mkdir()
    run(
        """
        import kasoku
        kasoku.install(quiet=True)
        import dataset.mnist, kasoku.dataset.mnist as ours, pathlib
        assert ours._folders()[0] == pathlib.Path("dataset").resolve()
        """,
        tmp_path,
        path=[tmp_path],
    )


def test_uninstall_gives_the_book_back():
    run(
        """
        import kasoku
        kasoku.install(quiet=True)
        import common.layers
        kasoku.uninstall()
        assert not kasoku.status().installed
        import common.layers as again
        assert again.Affine.__module__ != "kasoku.layers"
        kasoku.install(quiet=True)
        kasoku.install("float32", quiet=True)
        assert kasoku.status().dtype == "float32"
        """,
        BOOK / "ch05",
        path=[BOOK],
    )


def test_an_early_import_is_warned_of():
    done = run(
        """
        import common.layers
        import kasoku
        kasoku.install(quiet=True)
        assert "imported before kasoku" in str(kasoku.status())
        """,
        BOOK / "ch05",
        path=[BOOK],
    )
    assert (
        "RuntimeWarning: common.functions, common.layers, common.util was imported" in done.stderr
    )


def test_single_precision():
    run(
        """
        import kasoku
        kasoku.install("float32", quiet=True)
        import numpy as np, pickle, copy
        from common.multi_layer_net import MultiLayerNet
        from common.multi_layer_net_extend import MultiLayerNetExtend
        x, t = np.random.rand(6, 8).astype(np.float32), np.arange(6) % 3
        for net in (
            MultiLayerNet(8, [7, 6], 3, weight_decay_lambda=0.1),
            MultiLayerNetExtend(8, [7, 6], 3, use_dropout=True, use_batchnorm=True),
        ):
            assert {value.dtype for value in net.params.values()} == {np.dtype("float32")}
            assert net.layers["Affine1"].W is net.params["W1"]
            grads = net.gradient(x, t)
            assert {value.dtype for value in grads.values()} == {np.dtype("float32")}
            assert net.predict(x).dtype == np.float32
            assert isinstance(net, MultiLayerNet) or isinstance(net, MultiLayerNetExtend)
            copy.deepcopy(net), pickle.loads(pickle.dumps(net))
        """,
        BOOK / "ch06",
        path=[BOOK],
    )


def test_dtypes_that_are_refused():
    import kasoku

    with pytest.raises(ValueError, match="float16"):
        kasoku.install("float16")


def test_ipython_extension():
    import kasoku

    kasoku.load_ipython_extension(None)
    try:
        assert kasoku.status().installed
    finally:
        kasoku.unload_ipython_extension(None)
    assert not kasoku.status().installed
