"""Chapter 6: learning with and without batch normalisation, and its gradient checked."""

import os
import sys

sys.path.append(os.pardir)
import numpy as np
from common.multi_layer_net_extend import MultiLayerNetExtend
from common.optimizer import SGD

np.random.seed(63)
x = np.random.rand(200, 40)
t = np.argmax(x[:, :5], axis=1)
for use_batchnorm in (False, True):
    network = MultiLayerNetExtend(
        40, [30, 30, 30], 5, weight_init_std=0.05, use_batchnorm=use_batchnorm
    )
    optimizer = SGD(lr=0.1)
    for _ in range(80):
        mask = np.random.choice(200, 50)
        optimizer.update(network.params, network.gradient(x[mask], t[mask]))
    print(use_batchnorm, network.loss(x, t), network.accuracy(x, t))

network = MultiLayerNetExtend(10, [6, 5], 3, activation="sigmoid", use_batchnorm=True)
x, t = np.random.randn(4, 10), np.eye(3)[[0, 1, 2, 0]]
numerical, backprop = network.numerical_gradient(x, t), network.gradient(x, t)
for key in sorted(backprop):
    print(key, np.average(np.abs(backprop[key] - numerical[key])) < 1e-6)
