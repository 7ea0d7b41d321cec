"""Chapter 5: MNIST learned by two layers."""

import os
import sys

sys.path.append(os.pardir)
import numpy as np
from dataset.mnist import load_mnist
from two_layer_net import TwoLayerNet

np.random.seed(51)
(x_train, t_train), (x_test, t_test) = load_mnist(normalize=True, one_hot_label=True)
network = TwoLayerNet(input_size=784, hidden_size=50, output_size=10)
for i in range(901):
    mask = np.random.choice(x_train.shape[0], 100)
    x_batch, t_batch = x_train[mask], t_train[mask]
    grad = network.gradient(x_batch, t_batch)
    for key in ("W1", "b1", "W2", "b2"):
        network.params[key] -= 0.1 * grad[key]
    if i % 300 == 0:
        print(i, "loss", network.loss(x_batch, t_batch))
        train_acc, test_acc = network.accuracy(x_train, t_train), network.accuracy(x_test, t_test)
        print("acc", train_acc, test_acc)
