"""Chapter 6: how the spread of the weights shapes activations and learning."""

import os
import sys

sys.path.append(os.pardir)
import numpy as np
from common.functions import relu, sigmoid
from common.multi_layer_net import MultiLayerNet
from common.optimizer import SGD

np.random.seed(61)
data = np.random.randn(1000, 100)
for activation in (sigmoid, relu):
    for spread in (1.0, 0.01, np.sqrt(1.0 / 100), np.sqrt(2.0 / 100)):
        x = data
        for _ in range(5):
            x = activation(np.dot(x, spread * np.random.randn(100, 100)))
        print(activation.__name__, spread, x.mean(), x.std())

t = np.argmax(data[:, :5], axis=1)
for key, std in {"std=0.01": 0.01, "Xavier": "sigmoid", "He": "relu"}.items():
    network = MultiLayerNet(100, [50, 50], 5, activation="relu", weight_init_std=std)
    optimizer = SGD(lr=0.1)
    for _ in range(30):
        optimizer.update(network.params, network.gradient(data[:200], t[:200]))
    print(key, network.loss(data[:200], t[:200]))
