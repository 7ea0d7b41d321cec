"""`kasoku.networks`: against golden cases and numerical gradients, live parameters, threads, files, copies."""

import copy
import os
import pickle
import signal
import threading
import time

import numpy as np
import pytest

import kasoku.optimizer
from kasoku import networks
from kasoku.networks import (
    DeepConvNet,
    Epoch,
    MultiLayerNet,
    MultiLayerNetExtend,
    Optimizer,
    SimpleConvNet,
    Step,
    TwoLayerNet,
)

SMALL = {"filter_num": 3, "filter_size": 3, "pad": 1, "stride": 1}


def small(**options):
    """One of each network, small, with a batch: (network, x, t)."""
    random = np.random.default_rng(1)
    flat, image, t = random.random((6, 8)), random.random((6, 1, 8, 8)), np.arange(6) % 3
    return [
        (TwoLayerNet(8, 5, 3, 0.5, seed=1, **options), flat, t),
        (MultiLayerNet(8, [6, 5], 3, "sigmoid", 0.7, 0.1, seed=1, **options), flat, t),
        (MultiLayerNetExtend(8, [6], 3, use_batchnorm=True, seed=1, **options), flat, t),
        (SimpleConvNet((1, 8, 8), SMALL, 6, 3, 0.3, seed=1, **options), image, t),
        (DeepConvNet((1, 8, 8), *[SMALL] * 6, 6, 3, seed=1, **options), image, t),
    ]


@pytest.mark.parametrize("case", range(5))
def test_gradients(case):
    network, x, t = small(dtype="float64")[case]
    for target in (t, np.eye(3)[t], t.astype(np.uint8)):
        gradients = network.gradient(x, target)
        assert list(gradients) == list(network.params)
        for name, gradient in gradients.items():
            assert gradient.shape == network.params[name].shape
            assert gradient.flags.c_contiguous
    if case < 4:
        for name, numerical in network.numerical_gradient(x, t).items():
            np.testing.assert_allclose(gradients[name], numerical, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", range(5))
def test_training_lowers_the_loss(case, dtype):
    network, x, t = small(dtype=dtype)[case]
    before = network.loss(x, t)
    for _ in range(60):
        network.train_step(x, t, "adam", lr=0.01)
    assert network.loss(x, t) < before
    assert network.predict(x).dtype == dtype
    assert network.accuracy(x, t) == np.mean(network.predict(x).argmax(axis=1) == t)


@pytest.mark.parametrize("name", ["relu_decay", "sigmoid", "simple_conv_net"])
def test_golden_networks(golden, name):
    case = golden(name if name == "simple_conv_net" else f"multi_layer_net_{name}")
    weights = [case[f"param_W{number}"] for number in (1, 2, 3)]
    classes = weights[-1].shape[1]
    if name == "simple_conv_net":
        param = {"filter_num": 4, "filter_size": 3, "pad": 0, "stride": 1}
        hidden = weights[2].shape[0]
        network = SimpleConvNet(case["x"].shape[1:], param, hidden, classes, dtype="float64")
    else:
        hidden = [w.shape[1] for w in weights[:-1]]
        activation, decay = ("relu", 0.1) if name == "relu_decay" else ("sigmoid", 0)
        sizes = (weights[0].shape[0], hidden, classes)
        network = MultiLayerNet(*sizes, activation, weight_decay_lambda=decay, dtype="float64")
    for key, value in network.params.items():
        value[...] = case[f"param_{key}"]
    case.check("loss", network.loss(case["x"], case["t"]))
    case.check("predict", network.predict(case["x"]))
    for key, gradient in network.gradient(case["x"], case["t"]).items():
        case.check(f"grad_{key}", gradient)


def test_params_are_live():
    network, x, t = small()[0]
    params = network.params
    assert params is network.params
    before = network.predict(x)
    params["b2"] += 1
    np.testing.assert_allclose(network.predict(x), before + 1, rtol=1e-6)
    network.params["b2"][...] -= 1  # and nobody holds it afterwards
    del params
    np.testing.assert_allclose(network.predict(x), before, rtol=1e-5)
    w = network.params["W1"]
    old = w.copy()
    network.train_step(x, t, "sgd", lr=0.5)
    assert not np.array_equal(w, old)
    assert w is network.params["W1"]
    view = network.params["W1"][0]
    network.train_step(x, t, "sgd")
    np.testing.assert_array_equal(view, network.params["W1"][0])


def test_a_parameter_can_be_replaced():
    network, x, _ = small()[0]
    w = np.asfortranarray(np.ones((8, 5)))
    network.params["W1"] = w  # double, and in another order
    ones = network.predict(x)
    assert network.params["W1"].dtype == np.float32
    network.params["W1"][...] = 0
    assert not np.array_equal(network.predict(x), ones)
    for change, text in (
        ({"W1": np.ones((5, 8))}, r"W1.*\(5,8\).*\(8,5\)"),
        ({"W9": np.ones(2)}, "W9"),
    ):
        broken = small()[0][0]
        params = broken.params
        params.update(change)
        with pytest.raises(ValueError, match=text):
            broken.predict(x)
    params = small()[0][0].params
    broken = small()[0][0]
    params = broken.params
    del params["b1"]
    with pytest.raises(ValueError, match=r"b1.*missing"):
        broken.predict(x)


def test_the_same_seed_gives_the_same_network():
    for one, other in zip(small(), small(), strict=True):
        for name, value in one[0].params.items():
            np.testing.assert_array_equal(value, other[0].params[name])
    for single, double in zip(small(), small(dtype="float64"), strict=True):
        for name, value in single[0].params.items():
            np.testing.assert_array_equal(value, double[0].params[name].astype(np.float32))
    np.random.seed(5)
    first = TwoLayerNet(4, 3, 2)
    np.random.seed(5)
    assert first.seed == TwoLayerNet(4, 3, 2).seed


@pytest.mark.parametrize("name", ["SGD", "Momentum", "Nesterov", "AdaGrad", "RMSprop", "Adam"])
def test_optimizers_of_both_kinds_agree(name):
    random = np.random.default_rng(0)
    x, t = random.random((20, 8)), np.arange(20) % 3
    rust, python, by_hand = (TwoLayerNet(8, 5, 3, 0.5, dtype="float64", seed=1) for _ in range(3))
    ours, theirs, other = (
        Optimizer(name.lower()),
        *(getattr(kasoku.optimizer, name)() for _ in range(2)),
    )
    for _ in range(5):
        assert rust.train_step(x, t, ours) == pytest.approx(
            python.train_step(x, t, theirs), rel=1e-9
        )
        other.update(by_hand.params, by_hand.gradient(x, t))
    for key, value in rust.params.items():
        np.testing.assert_allclose(value, python.params[key], rtol=1e-9, atol=1e-12)
    # The book's object has the state that it would have, and goes on by hand.
    np.testing.assert_equal(vars(theirs), vars(other))
    for network, optimizer in ((python, theirs), (by_hand, other)):
        optimizer.update(network.params, network.gradient(x, t))
    np.testing.assert_equal(python.params, by_hand.params)


def test_an_heir_of_the_books_optimizer_updates_its_own_way():
    class Halves(kasoku.optimizer.SGD):
        def update(self, params, grads):
            for value in params.values():
                value *= 0.5

    network, x, t = small(dtype="float64")[0]
    before = {name: value.copy() for name, value in network.params.items()}
    network.train_step(x, t, Halves())
    for name, value in network.params.items():
        np.testing.assert_array_equal(value, 0.5 * before[name])


def test_the_books_optimizer_keeps_to_its_network():
    momentum = kasoku.optimizer.Momentum()
    (network, x, t), other = small()[0], TwoLayerNet(3, 2, 2)
    other.train_step(np.ones((4, 3)), np.zeros(4, int), momentum)
    before = {name: value.copy() for name, value in network.params.items()}
    with pytest.raises((KeyError, ValueError)):
        network.train_step(x, t, momentum)
    np.testing.assert_equal(network.params, before)


def test_optimizers():
    assert (
        repr(Optimizer("momentum", 0.1, momentum=0.8))
        == "Optimizer('momentum', lr=0.1, momentum=0.8)"
    )
    with pytest.raises(ValueError, match="newton"):
        Optimizer("newton")
    with pytest.raises(TypeError, match="beta1"):
        Optimizer("sgd", beta1=0.5)
    shared = Optimizer("adam")
    (one, x, t), (_, _, _), *_ = small()
    one.train_step(x, t, shared)
    before = MultiLayerNet(8, [6], 3, seed=1)
    weights = {name: value.copy() for name, value in before.params.items()}
    with pytest.raises(ValueError, match="another network"):
        before.train_step(x, t, shared)
    for name, value in before.params.items():
        np.testing.assert_array_equal(value, weights[name])
    assert copy.deepcopy(shared).lr == shared.lr
    with pytest.raises(TypeError, match="expected a name or an object"):
        one.train_step(x, t, 3)


def test_bad_input_is_refused_and_changes_nothing():
    network, x, t = small()[0]
    params = {name: value.copy() for name, value in network.params.items()}
    for error, call in (
        (ValueError, lambda: network.predict(x[:, :5])),
        (ValueError, lambda: network.predict(3.0)),
        (TypeError, lambda: network.predict(x + 1j)),
        (TypeError, lambda: network.predict([["a"] * 8])),
        (ValueError, lambda: network.train_step(x, t[:4])),
        (IndexError, lambda: network.train_step(x, t + 5)),
        (IndexError, lambda: network.train_step(x, t - 5)),
        (TypeError, lambda: network.train_step(x, t + 0.5)),
        (ValueError, lambda: network.train_step(x[:, :3], t)),
        (ValueError, lambda: network.accuracy(x, t[:2])),
        (ValueError, lambda: network.accuracy(x[:0], t[:0])),
        (ValueError, lambda: network.fit(x, t, batch_size=0)),
        (ValueError, lambda: network.fit(x, t, schedule="sometimes")),
        (ValueError, lambda: TwoLayerNet(4, 3, 2, dtype="float16")),
        (ValueError, lambda: SimpleConvNet(conv_param={"filters": 3})),
        (ValueError, lambda: DeepConvNet((1, 2, 2))),
        (ValueError, lambda: MultiLayerNet(4, [3], 2, activation="step")),
    ):
        with pytest.raises(error):
            call()
    for name, value in network.params.items():
        np.testing.assert_array_equal(value, params[name])
    assert network.predict(x[:0]).shape == (0, 3)


def test_inputs_of_any_layout():
    network, x, t = small(dtype="float64")[3]
    expected, gradient = network.predict(x), network.gradient(x, t)["W1"]
    frozen = x.copy()
    frozen.setflags(write=False)
    for same in (np.asfortranarray(x), x[::-1][::-1], frozen, x.reshape(6, 64), x.tolist()):
        np.testing.assert_array_equal(network.predict(same), expected)
        np.testing.assert_array_equal(network.gradient(same, t)["W1"], gradient)
    np.testing.assert_allclose(network.predict(x.astype(np.float16)), expected, atol=1e-2)


@pytest.mark.parametrize("extension", ["pkl", "npz", "safetensors"])
@pytest.mark.parametrize("case", range(5))
def test_files(tmp_path, case, extension):
    network, x, t = small()[case]
    network.train_step(x, t)
    path = tmp_path / f"params.{extension}"
    network.save_params(path)
    assert os.listdir(tmp_path) == [path.name]
    other = type(network).__new__(type(network))
    other.__setstate__(small(dtype="float64")[case][0].__getstate__())
    shown = other.params
    other.load_params(path)
    np.testing.assert_allclose(other.predict(x), network.predict(x), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(shown["W1"], network.params["W1"])
    wrong = TwoLayerNet(9, 5, 3)
    before = wrong.params["W1"].copy()
    with pytest.raises(ValueError, match="params"):
        wrong.load_params(path)
    np.testing.assert_array_equal(wrong.params["W1"], before)
    with pytest.raises(ValueError, match="safetensors"):
        network.save_params(tmp_path / "params.bin")


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
@pytest.mark.parametrize("case", range(5))
def test_copies(case, duplicate):
    network, x, t = small()[case]
    network.train_step(x, t)
    network.note = "mine"
    twin = duplicate(network)
    assert twin.note == "mine"
    assert repr(twin) == repr(network)
    np.testing.assert_array_equal(twin.predict(x), network.predict(x))
    # The step counts too: the next masks of dropout are the same.
    assert twin.loss(x, t, train_flg=True) == network.loss(x, t, train_flg=True)
    twin.params["b1"] += 1
    assert not np.array_equal(twin.params["b1"], network.params["b1"])


def test_train_flg():
    network = MultiLayerNetExtend(8, [50], 3, use_dropout=True, dropout_ratio=0.5, seed=1)
    x = np.ones((4, 8))
    assert not np.array_equal(network.predict(x, train_flg=True), network.predict(x))
    assert MultiLayerNetExtend(8, [5], 3, dropout_ration=0.2, use_dropout=True).summary()


def test_explain_tells_what_is_planned_and_what_is_not():
    plan = DeepConvNet().explain(100)
    assert "Convolution (Winograd) + Relu + MaxPooling" in plan
    assert "samples in rows: 100; memory" in plan
    assert "layer by layer: Dropout" in plan
    assert TwoLayerNet(8, 5, 3).explain(1) == "layer by layer: Affine, Relu, Affine\n"


def test_fit():
    random = np.random.default_rng(0)
    x, t = random.random((60, 8)), random.integers(0, 3, 60)
    events = []
    options = {"test": (x[:10], t[:10]), "seed": 3, "batch_size": 16, "lr": 0.1}
    network = TwoLayerNet(8, 6, 3, 0.5, seed=1)
    history = network.fit(
        x, t, 3, optimizer="sgd", schedule=("step", 1, 0.5), callback=events.append, **options
    )
    assert len(history.losses) == 12
    assert history.lrs[::4] == pytest.approx([0.1, 0.05, 0.025])
    assert [type(event) for event in events].count(Epoch) == 3
    assert isinstance(events[0], Step)
    assert (events[0].step, events[0].steps, events[0].samples) == (1, 12, 16)
    assert history.test_accuracies[-1] == network.accuracy(x[:10], t[:10])
    again = TwoLayerNet(8, 6, 3, 0.5, seed=1)
    repeated = again.fit(
        x, np.eye(3)[t], 3, optimizer="sgd", schedule=lambda done: 0.5 ** int(3 * done), **options
    )
    np.testing.assert_allclose(repeated.losses, history.losses, rtol=1e-5)
    stopped = again.fit(x, t, 3, callback=lambda event: isinstance(event, Epoch))
    assert stopped.stopped
    assert len(stopped.train_accuracies) == 1
    theirs = again.fit(x, t, 1, optimizer=kasoku.optimizer.Momentum(0.05), schedule="constant")
    assert len(theirs.losses) == 1


def test_progress(capsys):
    network, x, t = small()[0]
    network.fit(x, t, 2, progress=True)
    assert "epoch 2/2: loss" in capsys.readouterr().out


@pytest.fixture
def interruptible():
    """Ctrl-C as a program in the foreground sees it: a shell's background jobs, such as tests may be, ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_fit_between_two_steps():
    network = TwoLayerNet(784, 200, 10, seed=1)
    x, t = np.random.rand(1000, 784).astype(np.float32), np.random.randint(0, 10, 1000)
    params = network.params
    timer = threading.Timer(0.5, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        network.fit(x, t, 100_000)
    assert time.perf_counter() - start < 1.5
    assert all(np.isfinite(value).all() for value in params.values())
    np.testing.assert_array_equal(params["W1"], copy.deepcopy(network).params["W1"])


def test_threads_that_share_a_network_take_turns():
    network, x, t = small(dtype="float64")[0]
    errors = []

    def train():
        try:
            for _ in range(50):
                network.train_step(x, t, optimizer)
        except Exception as error:
            errors.append(error)

    optimizer = Optimizer("sgd", 0.1)
    threads = [threading.Thread(target=train) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    alone = small(dtype="float64")[0][0]
    for _ in range(200):
        alone.train_step(x, t, "sgd", lr=0.1)
    for name, value in alone.params.items():
        np.testing.assert_array_equal(network.params[name], value)


def test_threads_with_live_arrays_get_an_answer_or_an_error():
    network, x, t = small(dtype="float64")[3]
    params = network.params
    problems = []

    def use():
        for _ in range(100):
            try:
                loss = network.train_step(x, t, "sgd")
                assert np.isfinite(loss)
                assert np.isfinite(network.predict(x)).all()
            except RuntimeError as error:
                if "in use" not in str(error):
                    problems.append(error)
            except BaseException as error:
                problems.append(error)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert np.isfinite(params["W1"]).all()


def test_public_names():
    assert set(networks.__all__) <= set(dir(networks))
