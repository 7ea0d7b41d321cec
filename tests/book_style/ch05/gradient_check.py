"""Chapter 5: backpropagation against numerical gradients."""

import os
import sys

sys.path.append(os.pardir)
import numpy as np
from two_layer_net import TwoLayerNet

np.random.seed(50)
network = TwoLayerNet(input_size=20, hidden_size=8, output_size=4)
x, t = np.random.rand(3, 20), np.eye(4)[[0, 3, 1]]
numerical, backprop = network.numerical_gradient(x, t), network.gradient(x, t)
for key in numerical:
    print(
        key,
        np.average(np.abs(backprop[key] - numerical[key])) < 1e-7,
        np.sum(np.abs(backprop[key])),
    )
