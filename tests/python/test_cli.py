"""The command."""

import json
import os
import subprocess
import sys

import pytest


def kasoku(*arguments, folder, code=0, **environment):
    command = [sys.executable, "-m", "kasoku", *map(str, arguments)]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stderr
    return done


def test_run_is_like_python(tmp_path):
    script = tmp_path / "chapter" / "script.py"
    script.parent.mkdir()
    (script.parent / "neighbour.py").write_text("VALUE = 3\n")
    script.write_text(
        "import sys, neighbour, pickle\n"
        "class Mine: pass\n"
        "pickle.loads(pickle.dumps(Mine()))\n"
        "print(__name__, sys.argv[1:], neighbour.VALUE, __file__)\n"
        "from common.layers import Affine\n"
        "print(Affine.__module__)\n"
        "sys.exit(5)\n"
    )
    done = kasoku("run", "chapter/script.py", "--epochs", "3", "-q", folder=tmp_path, code=5)
    assert done.stdout == f"__main__ ['--epochs', '3', '-q'] 3 {script}\nkasoku.layers\n"
    assert done.stderr.count("\n") == 1
    assert kasoku("run", "-q", script, folder=tmp_path, code=5).stderr == ""
    script.write_text("def f():\n    raise KeyError('oops')\nf()\n")
    trace = kasoku("run", "-q", script, folder=tmp_path, code=1).stderr
    assert "line 2, in f" in trace
    assert trace.rstrip().endswith("KeyError: 'oops'")
    assert "cannot open" in kasoku("run", "none.py", folder=tmp_path, code=2).stderr


def test_train(tmp_path):
    arguments = [
        "--data",
        "synthetic",
        "--samples",
        "600",
        "--epochs",
        "2",
        "--network",
        "two-layer",
    ]
    done = kasoku("train", *arguments, "--save", "w.safetensors", "--threads", "1", folder=tmp_path)
    assert "TwoLayerNet on 600 images of synthetic digits, adam, learning rate 0.003" in done.stdout
    assert "epoch 2/2: loss" in done.stdout
    assert "images/s" in done.stdout
    assert (tmp_path / "w.safetensors").exists()
    assert (tmp_path / "kasoku-train.png").exists() or "matplotlib is not installed" in done.stdout
    again = kasoku("train", *arguments, folder=tmp_path)
    line = [
        text.split(", ")[:3] for text in again.stdout.splitlines() if text.startswith("epoch 2/2")
    ]
    assert line == [
        text.split(", ")[:3] for text in done.stdout.splitlines() if text.startswith("epoch 2/2")
    ]
    bad = kasoku("train", "--data", "nowhere", folder=tmp_path, code=1)
    assert "nowhere" in bad.stderr
    assert "Traceback" not in bad.stderr


def test_a_rate_that_falls_begins_higher():
    from kasoku import train

    rule, schedule = train.plan("adam", None, "cosine")
    assert (rule.lr, schedule) == (0.003, ("cosine", 0.0))
    constant, schedule = train.plan("adam", None, "constant")
    assert (constant.lr, schedule) == (0.001, "constant")
    assert train.plan("sgd", None, "cosine")[0].lr == 0.01
    assert train.plan("adam", 0.5, "cosine")[0].lr == 0.5


def test_export(tmp_path):
    onnx = pytest.importorskip("onnx")
    from kasoku.networks import TwoLayerNet

    network = TwoLayerNet(784, 50, 10, seed=3)
    network.save_params(tmp_path / "w.pkl")
    arguments = ["export", "--network", "two-layer", "--onnx", "net.onnx", "--weights"]
    done = kasoku(*arguments, "w.pkl", "--softmax", folder=tmp_path)
    assert done.stdout.startswith("TwoLayerNet: net.onnx, ")
    assert done.stdout.endswith("from x (batch, 784) to probabilities\n")
    assert onnx.load(tmp_path / "net.onnx") == network.to_onnx(softmax=True)
    (tmp_path / "bad.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    for wrong in ("none.npz", "w.txt", "bad.pkl"):
        bad = kasoku(*arguments, wrong, folder=tmp_path, code=1)
        assert wrong in bad.stderr
        assert "Traceback" not in bad.stderr
    simple = kasoku("export", "--onnx", "x.onnx", "--weights", "w.pkl", folder=tmp_path, code=1)
    assert "W3" in simple.stderr
    assert not (tmp_path / "x.onnx").exists()


def test_info_and_version(tmp_path):
    facts = json.loads(kasoku("info", "--json", folder=tmp_path).stdout)
    assert facts["threads"] >= 1
    assert facts["instruction set"] in facts["instruction sets"]
    assert "cpu" in kasoku("info", folder=tmp_path).stdout
    assert kasoku("--version", folder=tmp_path).stdout.startswith("kasoku ")
