"""Chapter 7: the gradient of the convolutional network checked."""

import numpy as np
from simple_convnet import SimpleConvNet

np.random.seed(71)
network = SimpleConvNet(
    input_dim=(1, 6, 6),
    conv_param={"filter_num": 2, "filter_size": 3, "pad": 0, "stride": 1},
    hidden_size=4,
    output_size=3,
    weight_init_std=0.1,
)
x, t = np.random.rand(2, 1, 6, 6), np.array([0, 2])
numerical, backprop = network.numerical_gradient(x, t), network.gradient(x, t)
for key, value in numerical.items():
    print(key, np.average(np.abs(value - backprop[key])) < 1e-7, np.sum(np.abs(backprop[key])))
