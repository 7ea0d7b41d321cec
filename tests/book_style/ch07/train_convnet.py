"""Chapter 7: the convolutional network on a few thousand digits, and its weights in a file."""

import os
import sys
import tempfile

sys.path.append(os.pardir)
import numpy as np
from common.trainer import Trainer
from dataset.mnist import load_mnist
from simple_convnet import SimpleConvNet

np.random.seed(72)
(x_train, t_train), (x_test, t_test) = load_mnist(flatten=False)
x_train, t_train, x_test, t_test = x_train[:1000], t_train[:1000], x_test[:500], t_test[:500]
network = SimpleConvNet()
trainer = Trainer(
    network,
    x_train,
    t_train,
    x_test,
    t_test,
    epochs=2,
    mini_batch_size=100,
    optimizer="Adam",
    optimizer_param={"lr": 0.001},
    evaluate_sample_num_per_epoch=300,
)
trainer.train()
before = network.loss(x_test[:50], t_test[:50])
with tempfile.TemporaryDirectory() as folder:
    name = os.path.join(folder, "params.pkl")
    network.save_params(name)
    network.params["W1"][...] = 0
    other = SimpleConvNet()
    other.load_params(name)
print(
    before == other.loss(x_test[:50], t_test[:50]), before != network.loss(x_test[:50], t_test[:50])
)
