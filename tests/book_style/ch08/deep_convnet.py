"""Chapter 8: six convolutions, two affine layers, dropout."""

import os
import sys

sys.path.append(os.pardir)
import numpy as np
from common.layers import *


class DeepConvNet:
    def __init__(self, input_dim=(1, 28, 28), hidden_size=50, output_size=10):
        convs = [(16, 1), (16, 1), (32, 1), (32, 2), (64, 1), (64, 1)]
        channels, inputs = input_dim[0], [input_dim[0]] + [n for n, _ in convs[:-1]]
        fan_in = [c * 3 * 3 for c in inputs] + [64 * 4 * 4, hidden_size]
        scales = np.sqrt(2.0 / np.array(fan_in))
        self.params = {}
        for i, (filters, _) in enumerate(convs):
            self.params[f"W{i + 1}"] = scales[i] * np.random.randn(filters, channels, 3, 3)
            self.params[f"b{i + 1}"] = np.zeros(filters)
            channels = filters
        self.params["W7"] = scales[6] * np.random.randn(64 * 4 * 4, hidden_size)
        self.params["b7"] = np.zeros(hidden_size)
        self.params["W8"] = scales[7] * np.random.randn(hidden_size, output_size)
        self.params["b8"] = np.zeros(output_size)
        self.layers = []
        for i, (_, pad) in enumerate(convs):
            W, b = self.params[f"W{i + 1}"], self.params[f"b{i + 1}"]
            self.layers += [Convolution(W, b, stride=1, pad=pad), Relu()]
            if i % 2:
                self.layers.append(Pooling(pool_h=2, pool_w=2, stride=2))
        self.layers += [Affine(self.params["W7"], self.params["b7"]), Relu(), Dropout(0.5)]
        self.layers += [Affine(self.params["W8"], self.params["b8"]), Dropout(0.5)]
        self.last_layer = SoftmaxWithLoss()

    def predict(self, x, train_flg=False):
        for layer in self.layers:
            x = layer.forward(x, train_flg) if isinstance(layer, Dropout) else layer.forward(x)
        return x

    def loss(self, x, t):
        return self.last_layer.forward(self.predict(x, train_flg=True), t)

    def accuracy(self, x, t, batch_size=100):
        acc = 0.0
        for i in range(int(x.shape[0] / batch_size)):
            y = self.predict(x[i * batch_size : (i + 1) * batch_size], train_flg=False)
            acc += np.sum(np.argmax(y, axis=1) == t[i * batch_size : (i + 1) * batch_size])
        return acc / x.shape[0]

    def gradient(self, x, t):
        self.loss(x, t)
        dout = self.last_layer.backward(1)
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        learned = [layer for layer in self.layers if isinstance(layer, (Affine, Convolution))]
        grads = {}
        for i, layer in enumerate(learned):
            grads[f"W{i + 1}"], grads[f"b{i + 1}"] = layer.dW, layer.db
        return grads
