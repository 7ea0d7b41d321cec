"""kasoku bench: the contenders compute the same, and the command prints and writes what it measured."""

import json
from dataclasses import replace

import numpy as np
import pytest

from kasoku import _numpy_reference as reference
from kasoku import bench, blocks, networks
from kasoku._core import kernels
from kasoku.bench import inference, layers, step, turns
from kasoku.bench.contest import CASES, initial_weights
from test_cli import kasoku

SHORT = turns.Budget(0.0, 1, 1)


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch):
    for name in ("_REST", "_WARM", "_TURN"):
        monkeypatch.setattr(turns, name, 0.0)


def test_ratios_are_of_the_first_contenders_time():
    works = {"fast": lambda: sum(range(2000)), "slow": lambda: sum(range(20000))}
    row = turns.compare("sums", works, turns.Budget(0.2, 9, 30), floor=lambda: 1e-9)
    assert row.figures["fast"].ratio == 1
    assert row.figures["slow"].ratio == pytest.approx(10, rel=0.8)
    assert row.floor_ms == pytest.approx(1e-6)
    assert 0 < row.share < 1
    other = turns.Row("other", {"fast": turns.Figures(1.0, 1.0)})
    texts = turns.header("Title", row), turns.line(row, row), turns.line(other, row)
    assert len({len(text) for text in texts}) == 1


def test_the_peak_is_that_of_one_core():
    single, double = kernels.peak_flops(False), kernels.peak_flops(True)
    assert 1e8 < double < single * 1.5
    assert turns.arithmetic(single)() * kernels.num_threads() == pytest.approx(1, rel=0.5)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_descriptions_are_the_books_networks(case):
    network = case.build()
    described = networks.Sequential(case.sample, case.layers)
    assert described.summary() == network.summary()
    # A step's multiply-adds, counted from the parameters where no image is involved.
    if len(case.sample) == 1:
        sizes = [w.size for name, w in network.params.items() if name.startswith("W")]
        assert case.flops() == (6 * sum(sizes) - 2 * sizes[0], 2 * sum(sizes))


def test_the_floor_of_deep_conv_net():
    step, prediction = CASES[0].flops()
    assert prediction == pytest.approx(17.55e6, rel=1e-3)
    assert step == pytest.approx(52.4e6, rel=1e-3)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_contenders_take_the_same_steps(case):
    certain = [layer for layer in case.layers if not isinstance(layer, blocks.Dropout)]

    def build():
        return networks.Sequential(case.sample, certain, seed=3)

    case = replace(case, layers=certain, build=build)
    x, t = case.batch(20)
    steps = step.contenders(case)
    assert list(steps)[:2] == ["kasoku", "NumPy"]
    losses = {who: [take(x, t) for _ in range(3)] for who, take in steps.items()}
    for found in losses.values():
        assert found[0] == pytest.approx(losses["NumPy"][0], rel=1e-5)
        # Adam's first steps are as long for a gradient of rounding errors as for any other.
        rtol = 1e-4 if case.rule == "sgd" else 3e-2
        np.testing.assert_allclose(found, losses["NumPy"], rtol=rtol)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_contenders_predict_the_same(case):
    x = case.batch(2)[0]
    predictions = [predict(x) for predict in inference.contenders(case).values()]
    for found in predictions:
        np.testing.assert_allclose(found, predictions[0], rtol=1e-3, atol=1e-4)


def test_initial_weights_are_copies():
    network = CASES[3].build()
    weights = initial_weights(CASES[3], network)
    names = ["W1", "b1", "gamma1", "beta1"]
    first = weights[0] + weights[1]
    for name, array in zip(names, first, strict=True):
        np.testing.assert_array_equal(array, network.params[name])
        assert not np.shares_memory(array, network.params[name])


def test_layers_are_measured_beside_numpy():
    rows = list(layers.rows(2, SHORT))
    assert len(rows) == 11
    assert all(list(row.figures) == ["kasoku", "NumPy"] for row in rows)
    assert [row.name for row in layers.rows(2, SHORT, "Pooling")] == ["Pooling 2×2, 30×24×24"]
    for dtype in ("float64", "float32"):
        (row,) = step.rows_by_layers(2, SHORT, "TwoLayer", dtype)
        assert all(figures.ms > 0 for figures in row.figures.values())


def test_a_layer_net_is_the_books(rng):
    case = CASES[2]
    net = bench.step.LayerNet(reference, reference, case, initial_weights(case, case.build()))
    x = rng.random((3, 784))
    np.testing.assert_allclose(net.predict(x), case.build().predict(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("what", ["step", "inference"])
def test_the_command(tmp_path, what):
    arguments = ["bench", what, "--quick", "--batch-size", 2, "--only", "TwoLayer"]
    table = kasoku(*arguments, "--threads", 1, folder=tmp_path).stdout
    assert "1 threads" in table
    assert "TwoLayerNet" in table
    assert "DeepConvNet" not in table
    found = json.loads(kasoku(*arguments, "--json", folder=tmp_path).stdout)
    (rows,) = found["tables"].values()
    assert len(rows) == (1 if what == "step" else 2)
    for row in rows:
        assert row["floor_ms"] > 0
        assert {"kasoku", "NumPy"} <= row["figures"].keys()
