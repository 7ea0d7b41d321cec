"""Chapter 6: optimizers on MNIST."""

import os
import sys

sys.path.append(os.pardir)
import numpy as np
from common.multi_layer_net import MultiLayerNet
from common.optimizer import *
from common.util import smooth_curve
from dataset.mnist import load_mnist

(x_train, t_train), (x_test, t_test) = load_mnist(normalize=True)
for optimizer in (SGD(), Momentum(), AdaGrad(), Adam(), Nesterov(), RMSprop()):
    np.random.seed(60)
    network = MultiLayerNet(input_size=784, hidden_size_list=[100, 100, 100, 100], output_size=10)
    losses = []
    for _ in range(40):
        mask = np.random.choice(x_train.shape[0], 128)
        grads = network.gradient(x_train[mask], t_train[mask])
        optimizer.update(network.params, grads)
        losses.append(network.loss(x_train[mask], t_train[mask]))
    print(type(optimizer).__name__, smooth_curve(np.array(losses))[::13])
    print("acc", network.accuracy(x_test[:1000], t_test[:1000]))
