"""Chapter 4: mini-batch training of the network of two layers."""

import os
import sys

sys.path.append(os.pardir)
import numpy as np
from two_layer_net import TwoLayerNet

np.random.seed(40)
x_train = np.random.rand(200, 12)
t_train = np.eye(3)[np.argmax(x_train[:, :3], axis=1)]
network = TwoLayerNet(input_size=12, hidden_size=6, output_size=3)

check = network.numerical_gradient(x_train[:5], t_train[:5])
exact = network.gradient(x_train[:5], t_train[:5])
for key in check:
    print(key, np.average(np.abs(check[key] - exact[key])) < 1e-8)

for i in range(300):
    mask = np.random.choice(200, 20)
    grad = network.gradient(x_train[mask], t_train[mask])
    for key in ("W1", "b1", "W2", "b2"):
        network.params[key] -= 1.0 * grad[key]
    if i % 50 == 0:
        print(i, network.loss(x_train, t_train), network.accuracy(x_train, t_train))
