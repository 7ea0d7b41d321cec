"""The book's Trainer."""

import io
import re
from contextlib import redirect_stdout

import numpy as np
import pytest

import kasoku
from kasoku.multi_layer_net import MultiLayerNet
from kasoku.networks import TwoLayerNet

RANDOM = np.random.default_rng(0)
X, T = RANDOM.random((50, 8)), RANDOM.integers(0, 3, 50)


def train(network, **options):
    trainer = kasoku.Trainer(
        network, X[:40], T[:40], X[40:], T[40:], epochs=2, mini_batch_size=10, **options
    )
    with redirect_stdout(io.StringIO()) as out:
        trainer.train()
    return trainer, out.getvalue()


@pytest.mark.parametrize(
    "make", [lambda: MultiLayerNet(8, [6], 3), lambda: TwoLayerNet(8, 6, 3, seed=1)]
)
@pytest.mark.parametrize("optimizer", ["SGD", "momentum", "Nesterov", "adagrad", "rmsprpo", "Adam"])
def test_messages_and_lists(make, optimizer):
    np.random.seed(1)
    trainer, out = train(make(), optimizer=optimizer, optimizer_param={"lr": 0.05})
    lines = out.splitlines()
    assert len(trainer.train_loss_list) == trainer.max_iter == 8
    assert len(trainer.train_acc_list) == len(trainer.test_acc_list) == 2
    assert lines[0] == f"train loss:{trainer.train_loss_list[0]}"
    accuracies = f"train acc:{trainer.train_acc_list[0]}, test acc:{trainer.test_acc_list[0]}"
    assert lines[1] == f"=== epoch:1, {accuracies} ==="
    assert lines[-2] == "=============== Final Test Accuracy ==============="
    assert re.fullmatch(r"test acc:[\d.]+", lines[-1])


def test_seeded_runs_repeat_and_progress_prints_nothing_more():
    losses, texts = [], []
    for progress in (False, True):
        np.random.seed(2)
        trainer, out = train(MultiLayerNet(8, [6], 3), progress=progress)
        losses.append(trainer.train_loss_list)
        texts.append(out)
    assert losses[0] == losses[1]
    assert texts[0] == texts[1]


def test_quiet_and_unknown():
    _, out = train(TwoLayerNet(8, 6, 3, seed=1), verbose=False)
    assert out == ""
    with pytest.raises(KeyError, match="newton"):
        train(TwoLayerNet(8, 6, 3), optimizer="newton")
